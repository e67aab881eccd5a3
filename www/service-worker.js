// Keeps the page itself in the browser, so that it opens without the network; models are kept by model/cache.js.
//
// The build writes the list of files, with their SHA-256, above this text, and of those that are kept once they were asked for
// (the engine with gradients). A version is kept whole or not at all: a file that
// is not what the list says (another version was put on the server meanwhile) ends the installation, and the version before
// stays. A newer version takes over once no page of the older is open, or when the visitor asks for it.

// What the page asks for later, if ever, is kept from then on.

/** @typedef {Readonly<Record<string, string>>} Hashes  by path */
/** @typedef {ServiceWorkerGlobalScope & {VERSION: string, FILES: Hashes, LATER: Hashes}} Scope  of which the build writes the last three */

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
  const had = await Promise.all(Object.keys(LATER).map((path) => caches.match(path)));
  await keep(Object.fromEntries(Object.entries(LATER).filter((_, i) => had[i])));
}

/** @param {Hashes} files */
async function keep(files) {
  const cache = await caches.open(PREFIX + VERSION);
  await Promise.all(Object.entries(files).map(async ([path, hash]) => {
    if (await cache.match(path)) return;
    await fetchInto(cache, path, hash);
    if (!await cache.match(path)) throw new Error(`${path} is not the one of version ${VERSION}.`);
  }));
}

/** Fetches a file, and keeps it if it is the one with this hash. @param {Cache} cache @param {string} path @param {string} hash */
async function fetchInto(cache, path, hash) {
  const response = await fetch(path, { cache: 'no-cache' });
  const bytes = await response.arrayBuffer();
  const found = [...new Uint8Array(await crypto.subtle.digest('SHA-256', bytes))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  const { status } = response;
  const answer = new Response(bytes, { status, headers: { 'content-type': response.headers.get('content-type') ?? '' } });
  if (response.ok && found === hash) await cache.put(path, answer.clone());
  return answer;
}

async function forgetOthers() {
  const names = await caches.keys();
  await Promise.all(names.filter((name) => name.startsWith(PREFIX) && name !== PREFIX + VERSION).map((name) => caches.delete(name)));
}

/** @param {string} path */
async function kept(path) {
  const cache = await caches.open(PREFIX + VERSION);
  // The browser may have taken back what it had stored.
  return await cache.match(path) ?? fetchInto(cache, path, FILES[path] ?? LATER[path]);
}
