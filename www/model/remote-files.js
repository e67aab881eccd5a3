// A model's files on a server or on the hub, kept in the browser once they have come.

import { messageOf } from '../words/messages.js';
import { download, isTransient, pause } from './download.js';
import { explainRefusal, isCommit } from './hub.js';
import { probe } from './networks.js';

/** @typedef {import('./download.js').Sink} Sink */
/** @typedef {import('./files.js').Files} Files */
/** @typedef {import('./files.js').OnBytes} OnBytes */
/** @typedef {import('./networks.js').Wanted} Wanted */
/** @typedef {Extract<import('./source.js').Source, {kind: 'folder'|'hub'}>} RemoteSource */

/** Milliseconds before a small file is asked for again. */
const PAUSES = [400, 1200];

/** @implements {Files} */
export class RemoteFiles {
  #source;
  #cache;
  #signal;
  #stored;
  /** Once the hub has said which commit a branch is at, everything else is asked of that commit. */
  #folder;
  #revision;
  #pinned;
  /** What was asked for already. @type {Map<string, Promise<string|null>>} */
  #texts = new Map();
  /** By path, as the hub lists them. @type {Map<string, number>} */
  #sizes = new Map();

  /**
   * @param {RemoteSource} source
   * @param {import('./cache.js').ModelCache} cache
   * @param {AbortSignal} signal
   * @param {boolean} stored
   */
  constructor(source, cache, signal, stored) {
    this.#stored = stored;
    this.#source = source;
    this.#cache = cache;
    this.#signal = signal;
    this.#folder = source.address;
    this.#revision = source.kind === 'hub' ? source.revision : '';
    this.#pinned = source.kind === 'hub' && isCommit(source.revision);
    this.place = source.kind === 'hub' ? source.id : source.address;
  }

  /** @param {string[]} paths @param {Wanted} wanted */
  async list(paths, wanted) {
    if (this.#source.kind === 'hub') {
      // Most models have it, and its answer tells which commit a branch is at.
      await this.text(paths[0]);
      const listing = await this.#listing(this.#source.listing);
      if (listing) {
        this.#sizes = new Map(listing);
        return [...this.#sizes.keys()];
      }
    }
    return probe(paths, wanted, { text: (path) => this.text(path), has: (path) => this.#has(path) });
  }

  /** @param {string} path */
  size(path) {
    return this.#sizes.get(path) ?? null;
  }

  /** @param {string} path */
  text(path) {
    const asked = this.#texts.get(path) ?? this.#fetchText(path);
    this.#texts.set(path, asked);
    return asked;
  }

  /** @param {string} path @returns {Promise<string|null>} */
  async #fetchText(path) {
    const address = this.#address(path);
    const stored = await this.#cache.text(address);
    if (stored && this.#stored) this.#pin(stored.commit);
    if (stored && (this.#pinned || this.#stored)) return stored.text;
    let response;
    try {
      response = await this.#ask(address, stored ? [] : PAUSES);
    } catch (error) {
      this.#signal.throwIfAborted();
      if (!stored) throw this.#unreachable(address, error);
      this.#pin(stored.commit);
      return stored.text;
    }
    if (!response.ok && response.status !== 404) throw this.#refusal(response);
    const refused = !response.ok && response.headers.get('x-error-code') !== 'EntryNotFound';
    const explained = refused && this.#source.kind === 'hub' && explainRefusal(response, this.#source);
    if (explained) throw new Error(explained);
    const text = response.ok ? await response.text() : null;
    const commit = response.headers.get('x-repo-commit');
    await this.#cache.putText(address, text, commit);
    this.#pin(commit);
    return text;
  }

  /** @param {string} path @param {Sink} sink @param {OnBytes} onbytes */
  pour(path, sink, onbytes) {
    const address = this.#address(path);
    return download(address, {
      file: this.#cache.file(address),
      sink,
      pinned: this.#pinned || this.#stored,
      signal: this.#signal,
      onbytes,
      refused: (response) => this.#refusal(response),
    });
  }

  /** Decoration only, so the browser's own cache does. @param {string} path */
  async blob(path) {
    const response = await fetch(this.#address(path), { signal: this.#signal });
    return response.ok ? response.blob() : null;
  }

  async settle() {
    await this.#cache.settle(this.#folder);
    return this.#cache.problem;
  }

  /** Where a file is; its name may have any character. @param {string} path */
  #address(path) {
    return new URL(path.split('/').map(encodeURIComponent).join('/'), this.#folder).href;
  }

  /** Whether there is a large file, without fetching it. @param {string} path */
  async #has(path) {
    const address = this.#address(path);
    if (await this.#cache.file(address).held()) return true;
    const key = `${address}?denoise-there`;
    const known = await this.#cache.text(key);
    if (known && (this.#pinned || this.#stored)) return known.text !== null;
    let response;
    try {
      response = await this.#ask(address, PAUSES, { method: 'HEAD', cache: 'no-store' });
      // Some servers only hand files out.
      if (response.status === 405 || response.status === 501) {
        response = await this.#ask(address, PAUSES, { headers: { range: 'bytes=0-0' }, cache: 'no-store' });
        await response.body?.cancel();
      }
    } catch (error) {
      this.#signal.throwIfAborted();
      if (!known) throw this.#unreachable(address, error);
      return known.text !== null;
    }
    await this.#cache.putText(key, response.ok ? 'yes' : null, null);
    return response.ok;
  }

  /** All files of a repository with their sizes, or null where the server does not tell. @param {string} place @returns {Promise<[string, number][]|null>} */
  async #listing(place) {
    const address = `${place}${encodeURIComponent(this.#revision)}?recursive=true`;
    const stored = await this.#cache.text(address);
    /** @type {[string, number][]|null} */
    const kept = stored && JSON.parse(stored.text ?? 'null');
    if (kept && (this.#pinned || this.#stored)) return kept;
    try {
      const response = await this.#ask(address, []);
      // The first thousand will do: a model is at the top of its repository.
      if (!response.ok) throw new Error(`the server answered ${response.status}`);
      /** @type {{type: string, path: string, size: number}[]} */
      const entries = await response.json();
      /** @type {[string, number][]} */
      const listing = entries.filter(({ type }) => type === 'file').map(({ path, size }) => [String(path), Number(size)]);
      await this.#cache.putText(address, JSON.stringify(listing), null);
      return listing;
    } catch (error) {
      this.#signal.throwIfAborted();
      console.warn('The files are not listed:', error);
      return kept;
    }
  }

  /** @param {string|null} commit */
  #pin(commit) {
    if (this.#source.kind !== 'hub' || this.#pinned || commit === null || !isCommit(commit)) return;
    this.#folder = this.#source.address.replace(/[^/]+\/$/, `${commit}/`);
    this.#revision = commit;
    this.#pinned = true;
  }

  /** Asks for a small file, if nothing else is said; the browser checks what it has with the server. @param {string} address @param {number[]} pauses @param {RequestInit} [options] */
  async #ask(address, pauses, options = { cache: 'no-cache' }) {
    for (let attempt = 0; ; attempt++) {
      try {
        const response = await fetch(address, { ...options, signal: this.#signal });
        if (!isTransient(response.status)) return response;
        throw new Error(`the server answered ${response.status}`);
      } catch (error) {
        if (attempt >= pauses.length) throw error;
        await pause(pauses[attempt], this.#signal);
      }
    }
  }

  /** @param {string} address @param {unknown} error */
  #unreachable(address, error) {
    if (error instanceof TypeError && !navigator.onLine) return new Error('You are offline, and this model is not stored yet. Connect to the network and try again.', { cause: error });
    const why = error instanceof TypeError ? 'there was no answer, or the server does not let other pages read it (CORS)' : messageOf(error);
    return new Error(`${address} could not be fetched: ${why}. Check the address and the connection.`, { cause: error });
  }

  /** @param {Response} response */
  #refusal(response) {
    const explained = this.#source.kind === 'hub' && explainRefusal(response, this.#source);
    return new Error(explained || `${response.url} could not be fetched: the server answered ${`${response.status} ${response.statusText}`.trim()}.`);
  }
}
