// The history as the browser keeps it, in IndexedDB. Where a page may keep nothing, everything here fails.

import { gridLayout } from '../store/layout.js';
import { readRecipe } from '../store/recipe.js';

/** @typedef {import('../store/state.js').Entry} Entry */

const DATABASE = 'denoise-history';
const STORE = 'runs';
/** How many runs are kept, and how many bytes of their pictures. */
const MOST = { entries: 60, bytes: 8e6 };

/** Those that stay of a list, the newest first: all are bounded, and of the older ones only the thumbnails stay. @param {readonly Entry[]} entries */
export function bounded(entries) {
  let bytes = 0;
  return entries.slice(0, MOST.entries).map((entry) => {
    bytes += entry.thumbnail.length + (entry.picture?.length ?? 0);
    return entry.picture && bytes > MOST.bytes ? { ...entry, picture: null } : entry;
  });
}

/** Replaces what is kept where it differs. @param {readonly Entry[]} before @param {readonly Entry[]} after */
export const write = (before, after) => within('readwrite', (store) => {
  for (const { key } of before) if (!after.some((entry) => entry.key === key)) store.delete(key);
  for (const entry of after) if (!before.includes(entry)) store.put(entry);
});

/** @returns {Promise<Entry[]>} the newest first */
export async function read() {
  /** @type {unknown[]} */
  const found = await within('readonly', (store) => store.getAll());
  return bounded(found.flatMap((entry) => checked(entry) ?? []).sort((a, b) => b.key - a.key));
}

/** What another version of the page has written may look otherwise. @param {any} entry @returns {Entry|null} */
function checked({ key, caption, recipe, shape, layout, thumbnail, picture }) {
  /** @param {any} bytes @returns {bytes is Uint8Array<ArrayBuffer>} */
  const isBytes = (bytes) => bytes instanceof Uint8Array;
  if (![key, shape?.count, shape?.width, shape?.height].every(Number.isFinite) || !isBytes(thumbnail) || !(picture === null || isBytes(picture))) return null;
  try {
    return { key, caption: String(caption), recipe: readRecipe(JSON.stringify(recipe)), shape, layout: layout?.cells?.length === shape.count ? layout : gridLayout(shape.count), thumbnail, picture };
  } catch {
    return null;
  }
}

/**
 * @param {IDBTransactionMode} mode
 * @param {(store: IDBObjectStore) => IDBRequest|void} act
 * @returns {Promise<any>} what it asked for, once it is on the disk
 */
async function within(mode, act) {
  const database = await new Promise((done, failed) => {
    const opening = indexedDB.open(DATABASE, 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore(STORE, { keyPath: 'key' });
    opening.onsuccess = () => done(opening.result);
    opening.onerror = () => failed(opening.error);
  });
  try {
    return await new Promise((done, failed) => {
      const transaction = database.transaction(STORE, mode);
      const request = act(transaction.objectStore(STORE));
      transaction.oncomplete = () => done(request?.result);
      transaction.onabort = () => failed(transaction.error);
    });
  } finally {
    database.close();
  }
}
