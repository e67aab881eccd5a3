// The visitor's own files as a model's.

import { messageOf } from '../words/messages.js';

/** @typedef {import('./download.js').Sink} Sink */
/** @typedef {import('./files.js').Files} Files */
/** @typedef {import('./files.js').OnBytes} OnBytes */

/** @implements {Files} */
export class LocalFiles {
  place = null;
  /** @type {Map<string, File>} */
  #files;
  #signal;

  /** @param {import('./source.js').Found[]} found @param {AbortSignal} signal */
  constructor(found, signal) {
    this.#files = new Map(found.map(({ path, file }) => [path, file]));
    this.#signal = signal;
  }

  async list() {
    return [...this.#files.keys()];
  }

  /** @param {string} path */
  size(path) {
    return this.#files.get(path)?.size ?? null;
  }

  /** @param {string} path */
  async text(path) {
    return await this.#files.get(path)?.text() ?? null;
  }

  /** @param {string} path @param {Sink} sink @param {OnBytes} onbytes */
  async pour(path, sink, onbytes) {
    const file = this.#files.get(path);
    if (!file) return null;
    sink.begin();
    let done = 0;
    for (const reader = file.stream().getReader(); ;) {
      const value = await this.#next(file, reader);
      if (!value) break;
      sink.push(value);
      onbytes(done += value.length, file.size);
    }
    sink.end();
    return done;
  }

  /** @param {string} path */
  async blob(path) {
    return this.#files.get(path) ?? null;
  }

  /** @returns {Promise<string|null>} */
  async settle() {
    return null;
  }

  /** The bytes that come next, or undefined after the last. @param {File} file @param {ReadableStreamDefaultReader<Uint8Array>} reader */
  async #next(file, reader) {
    try {
      return (await reader.read()).value;
    } catch (error) {
      throw new Error(`${file.name} could not be read (${messageOf(error)}). If it was moved or changed since, drop it again.`, { cause: error });
    } finally {
      this.#signal.throwIfAborted();
    }
  }
}
