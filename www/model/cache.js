// Keeps the files of models in the browser, one cache a model, so that a second load needs no network.
//
// Without room, or without the Cache API (pages that are not served securely have none), files are
// kept in memory until their model is loaded: a download then survives a broken connection, not a reload.

import { PART } from './download.js';

const PREFIX = 'denoise-model:';

/** Models that are stored, whole or in part, and the room there is. @typedef {{models: {id: string, bytes: number, total: number}[], quota: number|null}} StoredModels */
/** @typedef {{tag: string|null, total: number}} Version  what tells one version of a file from another, and its bytes */

/**
 * A large file, kept in parts.
 * @typedef {object} StoredFile
 * @property {() => Promise<(Version & {parts: number})|null>} held  how much is there, from the beginning on
 * @property {(part: number) => Promise<Uint8Array<ArrayBuffer>|null>} read
 * @property {(part: number, bytes: Uint8Array<ArrayBuffer>, version: Version) => Promise<void>} write
 * @property {() => Promise<void>} clear
 */

export class ModelCache {
  /** Why files are not stored, or null. @type {string|null} */
  problem = null;
  /** @type {Cache|null} */
  #cache = null;
  /** By address. @type {Map<string, {bytes: Uint8Array<ArrayBuffer>, headers: Record<string, string>}>} */
  #memory = new Map();
  /** What this load has read or written; the rest is of an older version of the model. @type {Set<string>} */
  #used = new Set();

  /** @param {string} id  what the list of stored models calls it */
  static async open(id) {
    const opened = new ModelCache();
    try {
      opened.#cache = await globalThis.caches.open(PREFIX + id);
    } catch (error) {
      opened.#refused(error);
    }
    return opened;
  }

  /**
   * A small file as it was stored.
   * @param {string} address
   * @returns {Promise<{text: string|null, commit: string|null}|null>}  a text of null: it was not there
   */
  async text(address) {
    const entry = await this.#get(address);
    if (!entry) return null;
    const text = entry.headers.get('x-missing') ? null : await entry.text();
    return { text, commit: entry.headers.get('x-commit') };
  }

  /** @param {string} address @param {string|null} text @param {string|null} commit  what the revision stood for */
  putText(address, text, commit) {
    const body = text ?? '';
    return this.#put(address, new TextEncoder().encode(body), { ...(text === null && { 'x-missing': '1' }), ...(commit && { 'x-commit': commit }) });
  }

  /** The parts of a large file. @param {string} address @returns {StoredFile} */
  file(address) {
    const key = (/** @type {number} */ part) => {
      const url = new URL(address);
      url.searchParams.set('denoise-part', String(part));
      return url.href;
    };
    return {
      held: async () => {
        /** @type {Version|null} */
        let version = null;
        for (let parts = 0; ; parts++) {
          /** @type {Response|null} */
          const entry = version && parts * PART >= version.total ? null : await this.#get(key(parts));
          /** @type {Version|null} */
          const found = entry && { tag: entry.headers.get('x-tag'), total: Number(entry.headers.get('x-total')) };
          if (!found || (version && (found.tag !== version.tag || found.total !== version.total))) return version && { ...version, parts };
          version = found;
        }
      },
      read: async (part) => {
        const entry = await this.#get(key(part));
        return entry && new Uint8Array(await entry.arrayBuffer());
      },
      write: (part, bytes, { tag, total }) => this.#put(key(part), bytes, { 'x-total': String(total), ...(tag && { 'x-tag': tag }) }),
      clear: async () => {
        for (let part = 0; await this.#delete(key(part)); part++);
      },
    };
  }

  /**
   * The model is loaded: nothing has to wait in memory, and older versions of its files may go.
   * @param {string} folder  where the files of this version are; others of them, as another network's, stay
   */
  async settle(folder) {
    this.#memory.clear();
    try {
      if (!this.#cache) return;
      for (const { url } of await this.#cache.keys()) if (!this.#used.has(url) && !url.startsWith(folder)) await this.#cache.delete(url);
    } catch (error) {
      this.#refused(error);
    }
  }

  /** @param {string} key */
  async #get(key) {
    this.#used.add(key);
    const kept = this.#memory.get(key);
    if (kept) return new Response(kept.bytes, { headers: kept.headers });
    try {
      return (await this.#cache?.match(key)) ?? null;
    } catch (error) {
      this.#refused(error);
      return null;
    }
  }

  /** @param {string} key @param {Uint8Array<ArrayBuffer>} bytes @param {Record<string, string>} headers */
  async #put(key, bytes, headers) {
    this.#used.add(key);
    headers = { ...headers, 'x-bytes': String(bytes.length) };
    try {
      if (!this.#cache) throw new Error(this.problem ?? '');
      await this.#cache.put(key, new Response(bytes, { headers }));
      this.#memory.delete(key);
    } catch (error) {
      this.#refused(error);
      this.#memory.set(key, { bytes, headers });
    }
  }

  /** @param {string} key */
  async #delete(key) {
    const kept = this.#memory.delete(key);
    try {
      return (await this.#cache?.delete(key)) || kept;
    } catch (error) {
      this.#refused(error);
      return kept;
    }
  }

  /** @param {unknown} error */
  #refused(error) {
    console.warn('The model is not stored:', error);
    this.problem ??= error instanceof DOMException && error.name === 'QuotaExceededError'
      ? 'The browser has no room to store this model, so it is downloaded again next time. Removing stored models makes room.'
      : 'This browser does not let the page store the model, so it is downloaded again next time.';
  }
}

/**
 * The models that are stored, whole or in part, and the room there is.
 * @returns {Promise<StoredModels>}
 */
export async function storedModels() {
  const models = [];
  try {
    for (const name of await globalThis.caches.keys()) {
      if (!name.startsWith(PREFIX)) continue;
      const cache = await caches.open(name);
      let bytes = 0;
      const totals = new Map();
      for (const request of await cache.keys()) {
        const headers = (await cache.match(request))?.headers;
        const size = Number(headers?.get('x-bytes') ?? 0);
        bytes += size;
        const whole = headers?.get('x-total');
        totals.set(whole ? request.url.split('?')[0] : request.url, Number(whole ?? size));
      }
      if (bytes) models.push({ id: name.slice(PREFIX.length), bytes, total: [...totals.values()].reduce((sum, size) => sum + size, 0) });
    }
    const { quota } = await navigator.storage.estimate();
    return { models, quota: quota ?? null };
  } catch (error) {
    console.warn('Stored models cannot be listed:', error);
    return { models, quota: null };
  }
}

/** @param {string|null} id  null: all of them */
export async function removeStored(id) {
  const names = (await globalThis.caches?.keys() ?? []).filter((name) => (id === null ? name.startsWith(PREFIX) : name === PREFIX + id));
  await Promise.all(names.map((name) => caches.delete(name)));
}
