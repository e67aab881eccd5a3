// Fetches one large file by byte ranges, part by part, and goes on where an earlier attempt stopped.

import { messageOf } from '../words/messages.js';

/** @typedef {import('./cache.js').Version} Version */

/** Bytes that a request asks for, and that the cache keeps as one entry. */
export const PART = 8 * 2 ** 20;
/** Milliseconds before each further attempt; whatever arrives in between starts the list anew. */
const PAUSES = [500, 1000, 2000, 4000, 8000];
/** A file that changes under us this often is not going to hold still. */
const MOST_RESTARTS = 2;

/** An answer that is worth asking again for. */
export const isTransient = (/** @type {number} */ status) => status === 408 || status === 429 || status >= 500;

/** What tells one version of a file from another, or null when the server does not say. @param {Response} response */
export const tagOf = (response) => response.headers.get('etag') ?? response.headers.get('last-modified');

/**
 * Takes a file while it arrives. What was pushed counts only once the file has ended; it may begin anew before.
 * @typedef {{begin: () => void, push: (bytes: Uint8Array) => void, end: () => void}} Sink
 */

/**
 * @param {string} address
 * @param {object} options
 * @param {import('./cache.js').StoredFile} options.file  where parts are kept
 * @param {Sink} options.sink  what throws there ends the download
 * @param {boolean} options.pinned  the address always means the same bytes, so what is kept needs no asking
 * @param {AbortSignal} options.signal
 * @param {(done: number, total: number|null, waiting?: boolean) => void} options.onbytes
 * @param {(response: Response) => Error} options.refused  what to say of an answer that will not change
 * @returns {Promise<number|null>}  its bytes; null when there is no such file
 */
export async function download(address, { file, sink, pinned, signal, onbytes, refused }) {
  const held = await file.held();
  /** @type {Version|null} */
  let version = held;
  if (version && !pinned && !await isCurrent(address, version, signal)) {
    await file.clear();
    version = null;
  }
  const received = new Received(file, sink);
  for (let part = 0; version && held && part < held.parts; part++) {
    const bytes = await file.read(part);
    signal.throwIfAborted();
    if (bytes?.length !== Math.min(PART, version.total - part * PART)) break;
    received.pushStored(bytes);
    onbytes(received.length, version.total);
  }

  let failures = 0;
  let restarts = 0;
  let ranges = true;
  onbytes(received.length, version?.total ?? null);
  while (received.length !== version?.total) {
    const from = received.length;
    try {
      const response = await request(address, ranges && from, version, signal);
      if (response.status === 404 && from === 0) return null;
      if (isTransient(response.status)) throw new Error(`the server answered ${response.status}`);
      if (response.status === 416 && from === 0) ranges = false; // an empty file has no range at all
      const changed = response.status === 416;
      if (!response.ok && !changed) throw final(refused(response));
      // Null where the file has become another one.
      const range = changed ? null : extent(response, from);
      if (range === undefined) {
        // A partial answer that does not say which part it is cannot be trusted: take the whole file.
        ranges = false;
        await response.body?.cancel();
        continue;
      }
      const tag = tagOf(response);
      if (range === null || (version && ((range.total !== null && range.total !== version.total) || (tag && version.tag && tag !== version.tag)))) {
        if (++restarts > MOST_RESTARTS) throw final(new Error(`${address} keeps changing while it is downloaded. Wait until its upload is done and load the model again.`));
        await response.body?.cancel();
        await file.clear();
        received.restart();
        version = null;
        continue;
      }
      if (range.from !== from) received.restart(); // the whole file, though only the rest was asked for
      if (range.total !== null) version = { tag: version?.tag ?? tag, total: range.total };
      if (!response.body) throw new Error('the answer is empty');
      for (const reader = response.body.getReader(); ;) {
        const { done, value } = await reader.read();
        if (done) break;
        received.push(value);
        onbytes(received.length, version?.total ?? null);
        await received.store(version);
      }
      if (range.to !== null && received.length !== range.to) throw new Error('the connection was closed');
      version ??= { tag, total: received.length };
      await received.store(version);
      failures = 0;
    } catch (error) {
      signal.throwIfAborted();
      if (FINAL.has(/** @type {object} */ (error))) throw error;
      failures = received.length > from ? 1 : failures + 1;
      if (failures > PAUSES.length) {
        const total = version ? ` of ${version.total.toLocaleString('en')}` : '';
        throw new Error(`${address} stopped arriving after ${received.length.toLocaleString('en')}${total} bytes (${messageOf(error)}). Check the connection and try again: it goes on from there.`, { cause: error });
      }
      onbytes(received.length, version?.total ?? null, true);
      await pause(PAUSES[failures - 1], signal);
    }
  }
  sink.end();
  return received.length;
}

/** Errors that another attempt would not change. @type {WeakSet<object>} */
const FINAL = new WeakSet();

/** @template {object} Thrown @param {Thrown} error @returns {Thrown} */
function final(error) {
  FINAL.add(error);
  return error;
}

/** @param {string} address @param {number|false} from  false asks for the whole file @param {Version|null} version @param {AbortSignal} signal */
function request(address, from, version, signal) {
  const end = from === false ? 0 : Math.min((Math.floor(from / PART) + 1) * PART, version?.total ?? Infinity);
  // The parts are stored by us: the browser's own cache would keep everything twice.
  return fetch(address, { cache: 'no-store', signal, headers: from === false ? {} : { range: `bytes=${from}-${end - 1}` } });
}

/**
 * Which bytes an answer brings: `to` is one past the last. Undefined when it does not say, or brings others.
 * @param {Response} response
 * @param {number} from  which was asked for
 * @returns {{from: number, to: number|null, total: number|null}|undefined}
 */
function extent(response, from) {
  if (response.status !== 206) {
    // With a content-encoding the header counts compressed bytes, which says nothing about the size here.
    const total = response.headers.get('content-encoding') ? null : Number(response.headers.get('content-length')) || null;
    return { from: 0, to: total, total };
  }
  const [, first, last, total] = (response.headers.get('content-range') ?? '').match(/^bytes (\d+)-(\d+)\/(\d+)$/)?.map(Number) ?? [];
  return first === from && last >= first && last < total ? { from, to: last + 1, total } : undefined;
}

/** Whether what is kept is still what the server has. Offline it is taken as it is. @param {string} address @param {Version} version @param {AbortSignal} signal */
async function isCurrent(address, version, signal) {
  try {
    const response = await fetch(address, { method: 'HEAD', cache: 'no-store', signal });
    return isTransient(response.status) || (response.ok && tagOf(response) !== null && tagOf(response) === version.tag);
  } catch {
    signal.throwIfAborted();
    return true;
  }
}

/** @param {number} milliseconds @param {AbortSignal} signal @returns {Promise<void>} */
export function pause(milliseconds, signal) {
  return new Promise((done, failed) => {
    const timer = setTimeout(done, milliseconds);
    signal.addEventListener('abort', () => {
      clearTimeout(timer);
      failed(signal.reason);
    }, { once: true });
  });
}

/** What has come of a file: it is passed on at once, and stored part by part. */
class Received {
  /** Bytes so far. */
  length = 0;
  #file;
  #sink;
  /** How many parts are stored, or wait for it: none is stored before the file's size is known. */
  #parts = 0;
  /** @type {{part: number, bytes: Uint8Array<ArrayBuffer>}[]} */
  #waiting = [];
  /** What has come of the next part. @type {Uint8Array[]} */
  #pieces = [];

  /** @param {import('./cache.js').StoredFile} file @param {Sink} sink */
  constructor(file, sink) {
    this.#file = file;
    this.#sink = sink;
    sink.begin();
  }

  restart() {
    this.length = this.#parts = 0;
    this.#waiting = [];
    this.#pieces = [];
    this.#sink.begin();
  }

  /** The next part, which is stored already. @param {Uint8Array} bytes */
  pushStored(bytes) {
    this.#sink.push(bytes);
    this.length += bytes.length;
    this.#parts++;
  }

  /** @param {Uint8Array} bytes */
  push(bytes) {
    try {
      this.#sink.push(bytes);
    } catch (error) {
      throw final(/** @type {object} */ (error));
    }
    for (let at = 0; at < bytes.length;) {
      const piece = bytes.subarray(at, at + PART - this.length % PART);
      this.#pieces.push(piece);
      this.length += piece.length;
      at += piece.length;
      if (this.length % PART === 0) this.#endPart();
    }
  }

  /** Stores the parts that are complete. @param {Version|null} version  null: not known yet */
  async store(version) {
    if (!version) return;
    if (this.length === version.total && this.#pieces.length) this.#endPart();
    for (const { part, bytes } of this.#waiting.splice(0)) await this.#file.write(part, bytes, version);
  }

  #endPart() {
    const bytes = new Uint8Array(this.#pieces.reduce((sum, piece) => sum + piece.length, 0));
    let at = 0;
    for (const piece of this.#pieces.splice(0)) {
      bytes.set(piece, at);
      at += piece.length;
    }
    this.#waiting.push({ part: this.#parts++, bytes });
  }
}
