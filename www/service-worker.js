// Keeps the page itself in the browser, so that it opens without the network; models are kept by model/cache.js.
//
// The build writes the list of files, with their SHA-256, above this text, and of those that are kept once they were asked for
// (the engine with gradients). A version is kept whole or not at all: a file that
// is not what the list says (another version was put on the server meanwhile) ends the installation, and the version before
// stays. A newer version takes over once no page of the older is open, or when the visitor asks for it.

/** @typedef {ServiceWorkerGlobalScope & {VERSION: string, FILES: Readonly<Record<string, string>>, LATER: Readonly<Record<string, string>>}} Scope  of which the build writes the last three */

const worker = /** @type {Scope} */ (/** @type {unknown} */ (self));
const { VERSION, FILES, LATER } = worker;
const PREFIX = 'denoise-page:';

worker.addEventListener('install', (event) => event.waitUntil(install()));
worker.addEventListener('activate', (event) => event.waitUntil(forgetOthers()));
worker.addEventListener('message', (event) => {
  const { data } = event;
  if (data?.type === 'activate') worker.skipWaiting();
  if (data?.type === 'keep') event.waitUntil(keep(LATER));
});
worker.addEventListener('fetch', (event) => {
  const path = pathOf(event.request);
  if (path !== null && (path in FILES || path in LATER)) event.respondWith(kept(path));
});

/** The file that a request of the page is for, or null. @param {Request} request */
function pathOf({ method, url }) {
  const { scope } = worker.registration;
  if (method !== 'GET' || !url.startsWith(scope)) return null;
  const path = new URL(url).pathname.slice(new URL(scope).pathname.length);
  return path === '' || path.endsWith('/') ? `${path}index.html` : path;
}

async function install() {
  await keep(FILES);
  // What the version before had beside the page this one has too.
  const kept = await Promise.all(Object.keys(LATER).map((path) => caches.match(path)));
  if (kept.some(Boolean)) await keep(LATER);
}

/** @param {Readonly<Record<string, string>>} files */
async function keep(files) {
  const cache = await caches.open(PREFIX + VERSION);
  await Promise.all(Object.entries(files).map(async ([path, hash]) => {
    if (await cache.match(path)) return;
    const response = await fetch(path, { cache: 'no-cache' });
    const bytes = await response.arrayBuffer();
    const found = [...new Uint8Array(await crypto.subtle.digest('SHA-256', bytes))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
    if (!response.ok || found !== hash) throw new Error(`${path} is not the one of version ${VERSION}.`);
    await cache.put(path, new Response(bytes, { headers: { 'content-type': response.headers.get('content-type') ?? '' } }));
  }));
}

async function forgetOthers() {
  const names = await caches.keys();
  await Promise.all(names.filter((name) => name.startsWith(PREFIX) && name !== PREFIX + VERSION).map((name) => caches.delete(name)));
}

/** @param {string} path */
async function kept(path) {
  const cache = await caches.open(PREFIX + VERSION);
  // The browser may have taken back what it had stored.
  return await cache.match(path) ?? fetch(path);
}
