// What was taught on the Teach page, as the browser keeps it, in IndexedDB: one run of training, written whole or not at all, with
// the images that it goes on with, and drawings. Where a page may keep nothing, everything here fails.

/** @typedef {import('./source.js').Found} Found */
/** @typedef {Record<string, Blob>} BlobsByName */
/** Images of a run, whose bytes nothing reads until it goes on. @typedef {{shape: [number, number, number, number], pixels: Blob, labels: Uint32Array|null, names: string[]}} KeptImages */

/**
 * A run of training at a checkpoint.
 * @typedef {object} KeptRun
 * @property {string} name  what the page's address calls it
 * @property {string} title
 * @property {number} step
 * @property {BlobsByName} files  the checkpoint
 * @property {BlobsByName} model  the folder that diffusers loads
 * @property {unknown} shown  what the Teach page showed of it
 */

const DATABASE = 'denoise-taught';
const STORE = 'taught';
const [RUN, IMAGES, DRAWINGS] = ['run', 'images', 'drawings'];

/**
 * Keeps a run if nothing else is kept, or what it may replace: another tab may have begun its own, or gone on with this one. One
 * that goes on needs to be there.
 * @param {KeptRun} run
 * @param {KeptImages|null} images  of a run that begins
 * @param {{replaces?: string|null, known?: number|null}} [since]  the run that may go for one that begins, by its name; at which step this one was kept, as far as is known here
 */
export const keepRun = (run, images, { replaces = null, known = null } = {}) => within('readwrite', (store) => store.get(RUN), (store, kept) => {
  if (kept ? kept.name !== run.name && !(images && kept.name === replaces) : !images) {
    throw new Error(kept ? `Another run is kept now, and one is kept at a time: another tab has begun ${kept.name}.` : 'Another tab has deleted this run.');
  }
  if (kept?.name === run.name) checkStep(kept, known);
  if (images) store.put(images, IMAGES);
  store.put(run, RUN);
});

/** @returns {Promise<KeptRun|null>} */
export const keptRun = async () => await within('readonly', (store) => store.get(RUN)) ?? null;

/** The run with its images. @returns {Promise<{kept: KeptRun, images: KeptImages}|null>} */
export async function keptRunWithImages() {
  /** @type {IDBRequest<KeptImages>|undefined} */
  let images;
  const kept = await within('readonly', (store) => store.get(RUN), (store) => {
    images = store.get(IMAGES);
  });
  return kept && images?.result ? { kept, images: images.result } : null;
}

/** Deletes a run if it is still the one that is kept. @param {string} name @param {number|null} known  at which step, as far as is known here */
export const forgetRun = (name, known) => within('readwrite', (store) => store.get(RUN), (store, kept) => {
  if (kept?.name !== name) return;
  checkStep(kept, known);
  store.delete(RUN);
  store.delete(IMAGES);
});

/** @param {KeptRun} kept @param {number|null} known */
function checkStep({ step }, known) {
  if (step !== known) throw new Error(`Another tab has gone on with this run and keeps its step ${step}. Reload the page to see that one.`);
}

/** @param {(kept: any) => unknown} drawings  what to keep, given what is kept */
export const keepDrawings = (drawings) => within('readwrite', (store) => store.get(DRAWINGS), (store, kept) => {
  store.put(drawings(kept), DRAWINGS);
});

/** @returns {Promise<any>} */
export const keptDrawings = () => within('readonly', (store) => store.get(DRAWINGS));

/** The files of the model that is called so. @param {string} name @returns {Promise<Found[]>} */
export async function taughtModel(name) {
  const run = await keptRun();
  if (run?.name !== name) {
    throw new Error(`The model ${name} that was taught in this browser is gone: ${run ? `${run.name} was taught since, and one is kept` : 'nothing that was taught is kept any more'}. ${run ? `Open ?model=taught:${run.name}, or teach` : 'Teach'} it again on the Teach page.`);
  }
  return Object.entries(run.model).map(([path, blob]) => ({ path, file: new File([blob], path.split('/').at(-1) ?? path) }));
}

/**
 * What goes wrong in either function leaves everything as it was.
 * @param {IDBTransactionMode} mode
 * @param {(store: IDBObjectStore) => IDBRequest} ask
 * @param {(store: IDBObjectStore, found: any) => void} [act]  does what depends on the answer
 * @returns {Promise<any>} what it asked for, once it is on the disk
 */
async function within(mode, ask, act = () => {}) {
  const database = await new Promise((done, failed) => {
    const opening = indexedDB.open(DATABASE, 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore(STORE);
    opening.onsuccess = () => done(opening.result);
    opening.onerror = () => failed(opening.error);
  });
  try {
    return await new Promise((done, failed) => {
      const transaction = database.transaction(STORE, mode);
      const store = transaction.objectStore(STORE);
      const attempt = (/** @type {() => void} */ what) => {
        try {
          what();
        } catch (error) {
          failed(error);
          transaction.abort();
        }
      };
      attempt(() => {
        const request = ask(store);
        request.onsuccess = () => attempt(() => act(store, request.result));
        transaction.oncomplete = () => done(request.result);
      });
      transaction.onabort = () => failed(transaction.error ?? new Error('The browser did not keep it.'));
    });
  } finally {
    database.close();
  }
}
