// Which variants of its kernels a GPU runs fastest is measured once and kept: it takes up to a second.

const DATABASE = 'denoise';
const STORE = 'tunings';

/**
 * Has an engine use the fastest kernels of its GPU: those that were found on an earlier visit, or are found now.
 * @param {import('../pkg/denoise.js').Engine} engine
 */
export async function tune(engine) {
  const key = await keyOfGpu();
  const kept = await stored('readonly', (store) => store.get(key));
  try {
    if (typeof kept === 'string') return engine.set_tuning(kept);
  } catch (error) {
    // It is damaged, or of another version of the engine.
    console.warn('The stored tuning is not used:', error);
  }
  const found = await engine.tune();
  await stored('readwrite', (store) => store.put(found, key));
}

/** What tells one GPU from another, as far as a browser says. */
async function keyOfGpu() {
  // The one that the engine takes.
  const adapter = await navigator.gpu.requestAdapter({ powerPreference: 'high-performance' });
  const { vendor, architecture, device, description } = adapter?.info ?? {};
  // A browser may get to know what it did not before.
  return JSON.stringify([vendor, architecture, device, description, adapter?.features.has('subgroups')]);
}

/**
 * Does one thing with what is stored. Where a page may store nothing, nothing is there, and it only takes a second longer.
 * @param {IDBTransactionMode} mode
 * @param {(store: IDBObjectStore) => IDBRequest} act
 */
async function stored(mode, act) {
  try {
    const opening = indexedDB.open(DATABASE, 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore(STORE);
    const database = await settled(opening);
    try {
      return await settled(act(database.transaction(STORE, mode).objectStore(STORE)));
    } finally {
      database.close();
    }
  } catch (error) {
    console.warn('The tuning is not stored:', error);
  }
}

/** @param {IDBRequest} request */
function settled(request) {
  return new Promise((done, failed) => {
    request.onsuccess = () => done(request.result);
    request.onerror = () => failed(request.error);
  });
}
