// Installs the worker that keeps the page for use without the network, and says when a newer version of it is ready.

/** A newer version that waits to take over. @type {ServiceWorker|null} */
let waiting = null;

/** Only the built page has a version; while it is worked on every file comes from where it is. */
const isBuilt = () => document.querySelector('meta[name="version"]') !== null;

/** @param {import('./controller.js').Controller} controller */
export async function setUpOffline(controller) {
  if (!isBuilt() || !navigator.serviceWorker) return;
  try {
    const registration = await navigator.serviceWorker.register('service-worker.js', { updateViaCache: 'none' });
    const see = () => {
      // The very first one replaces nothing.
      if (!registration.waiting || !navigator.serviceWorker.controller || registration.waiting === waiting) return;
      waiting = registration.waiting;
      controller.dispatch({ type: 'notify', notice: {
        key: 'update',
        text: 'A newer version of this page is ready. Reload to use it; a run that is under way ends.',
        actions: [{ label: 'Reload', intent: { do: 'update' } }],
      } });
    };
    see();
    registration.installing?.addEventListener('statechange', see);
    registration.addEventListener('updatefound', () => registration.installing?.addEventListener('statechange', see));
  } catch (error) {
    console.info('The page is not kept for use without the network:', error);
  }
}

let hasAsked = false;

/** Has what the page asks for later kept, once some of it was: the first visit's worker does not see what its page fetches. */
export async function keepLater() {
  if (hasAsked || !isBuilt() || !navigator.serviceWorker) return;
  hasAsked = true;
  (await navigator.serviceWorker.ready).active?.postMessage({ type: 'keep' });
}

/** The same once the engine with gradients is there. @param {import('./store/state.js').State} state */
export function keepGradients({ gradients, backend }) {
  if (gradients && backend) keepLater();
}

/** Lets the newer version take over, and begins anew with it. */
export function update() {
  // Another tab may have asked for it already.
  if (waiting?.state !== 'installed') return location.reload();
  navigator.serviceWorker.addEventListener('controllerchange', () => location.reload(), { once: true });
  waiting?.postMessage({ type: 'activate' });
}
