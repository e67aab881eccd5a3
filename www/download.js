// Fetches one large file by byte ranges, part by part, and goes on where an earlier attempt stopped.

/** Bytes that a request asks for, and that the cache keeps as one entry. */
export const PART = 8 * 2 ** 20;
/** Milliseconds before each further attempt; whatever arrives in between starts the list anew. */
const PAUSES = [500, 1000, 2000, 4000, 8000];
/** A file that changes under us this often is not going to hold still. */
const MOST_RESTARTS = 2;

/** An answer that is worth asking again for. */
export const isTransient = (status) => status === 408 || status === 429 || status >= 500;

/** What tells one version of a file from another, or null when the server does not say. @param {Response} response */
export const tagOf = (response) => response.headers.get('etag') ?? response.headers.get('last-modified');

/**
 * @param {string} address
 * @param {object} options
 * @param {ReturnType<import('./model-cache.js').ModelCache['file']>} options.file  where parts are kept
 * @param {boolean} options.pinned  the address always means the same bytes, so what is kept needs no asking
 * @param {AbortSignal} options.signal
 * @param {(done: number, total: number|null, waiting?: boolean) => void} options.onbytes
 * @param {(response: Response) => Error} options.refused  what to say of an answer that will not change
 * @returns {Promise<Uint8Array|null>}  null when there is no such file
 */
export async function download(address, { file, pinned, signal, onbytes, refused }) {
  let version = await file.held();
  if (version && !pinned && !await isCurrent(address, version, signal)) {
    await file.clear();
    version = null;
  }
  const buffer = new GrowingBuffer(version?.total);
  for (let part = 0; part < (version?.parts ?? 0); part++) {
    const bytes = await file.read(part);
    if (bytes?.length !== Math.min(PART, version.total - part * PART)) break;
    buffer.append(bytes);
    onbytes(buffer.length, version.total);
  }
  if (buffer.length === version?.total) return buffer.bytes;

  const kept = { parts: Math.floor(buffer.length / PART) };
  let failures = 0;
  let restarts = 0;
  let ranges = true;
  onbytes(buffer.length, version?.total ?? null);
  while (buffer.length !== version?.total) {
    const from = buffer.length;
    try {
      const response = await request(address, ranges && from, version, signal);
      if (response.status === 404 && from === 0) return null;
      if (isTransient(response.status)) throw new Error(`the server answered ${response.status}`);
      if (response.status === 416 && from === 0) ranges = false; // an empty file has no range at all
      const changed = response.status === 416;
      if (!response.ok && !changed) throw Object.assign(refused(response), { final: true });
      const range = changed ? null : extent(response, from);
      if (range === undefined) {
        // A partial answer that does not say which part it is cannot be trusted: take the whole file.
        ranges = false;
        await response.body?.cancel();
        continue;
      }
      const tag = tagOf(response);
      if (changed || (version && ((range.total !== null && range.total !== version.total) || (tag && version.tag && tag !== version.tag)))) {
        if (++restarts > MOST_RESTARTS) throw Object.assign(new Error(`${address} keeps changing while it is downloaded. Wait until its upload is done and load the model again.`), { final: true });
        await response.body?.cancel();
        await file.clear();
        buffer.length = kept.parts = 0;
        version = null;
        continue;
      }
      buffer.length = range.from;
      buffer.reserve(range.total);
      if (range.total !== null) version = { tag: version?.tag ?? tag, total: range.total };
      for (const reader = response.body.getReader(); ;) {
        const { done, value } = await reader.read();
        if (done) break;
        buffer.append(value);
        onbytes(buffer.length, version?.total ?? null);
        await keep(file, buffer, version, kept);
      }
      if (range.to !== null && buffer.length !== range.to) throw new Error('the connection was closed');
      version ??= { tag, total: buffer.length };
      await keep(file, buffer, version, kept);
      failures = 0;
    } catch (error) {
      signal.throwIfAborted();
      if (error.final) throw error;
      failures = buffer.length > from ? 1 : failures + 1;
      if (failures > PAUSES.length) {
        const total = version ? ` of ${version.total.toLocaleString('en')}` : '';
        throw new Error(`${address} stopped arriving after ${buffer.length.toLocaleString('en')}${total} bytes (${error.message}). Check the connection and try again: it goes on from there.`, { cause: error });
      }
      onbytes(buffer.length, version?.total ?? null, true);
      await pause(PAUSES[failures - 1], signal);
    }
  }
  return buffer.bytes;
}

/** @param {number|false} from  false asks for the whole file */
function request(address, from, version, signal) {
  const end = from === false ? 0 : Math.min((Math.floor(from / PART) + 1) * PART, version?.total ?? Infinity);
  // The parts are stored by us: the browser's own cache would keep everything twice.
  return fetch(address, { cache: 'no-store', signal, headers: from === false ? {} : { range: `bytes=${from}-${end - 1}` } });
}

/** Which bytes an answer brings: `to` is one past the last. Undefined when it does not say, or brings others. */
function extent(response, from) {
  if (response.status !== 206) {
    // With a content-encoding the header counts compressed bytes, which says nothing about the size here.
    const total = response.headers.get('content-encoding') ? null : Number(response.headers.get('content-length')) || null;
    return { from: 0, to: total, total };
  }
  const [, first, last, total] = (response.headers.get('content-range') ?? '').match(/^bytes (\d+)-(\d+)\/(\d+)$/)?.map(Number) ?? [];
  return first === from && last >= first && last < total ? { from, to: last + 1, total } : undefined;
}

/** Stores the parts that are complete; without knowing the size, none is. */
async function keep(file, buffer, version, kept) {
  if (!version) return;
  for (let end = (kept.parts + 1) * PART; buffer.length >= Math.min(end, version.total) && kept.parts * PART < version.total; end += PART) {
    const part = kept.parts++;
    await file.write(part, buffer.bytes.subarray(part * PART, Math.min(end, version.total)), version);
  }
}

/** Whether what is kept is still what the server has. Offline it is taken as it is. */
async function isCurrent(address, version, signal) {
  try {
    const response = await fetch(address, { method: 'HEAD', cache: 'no-store', signal });
    return isTransient(response.status) || (response.ok && tagOf(response) !== null && tagOf(response) === version.tag);
  } catch {
    signal.throwIfAborted();
    return true;
  }
}

/** @param {number} milliseconds @param {AbortSignal} signal */
export function pause(milliseconds, signal) {
  return new Promise((done, failed) => {
    const timer = setTimeout(done, milliseconds);
    signal.addEventListener('abort', () => {
      clearTimeout(timer);
      failed(signal.reason);
    }, { once: true });
  });
}

/** Bytes that come in pieces; one allocation when the size is known beforehand. */
export class GrowingBuffer {
  length = 0;
  #room;

  /** @param {number} [size] */
  constructor(size = 0) {
    this.#room = new Uint8Array(size);
  }

  get bytes() {
    return this.#room.subarray(0, this.length);
  }

  /** @param {number|null} size */
  reserve(size) {
    if (size === null || size <= this.#room.length) return;
    let larger;
    try {
      larger = new Uint8Array(size);
    } catch (error) {
      throw Object.assign(new Error(`The browser has no memory for ${size.toLocaleString('en')} bytes in one piece. Close other pages, or use a smaller model.`, { cause: error }), { final: true });
    }
    larger.set(this.bytes);
    this.#room = larger;
  }

  /** @param {Uint8Array} bytes */
  append(bytes) {
    const end = this.length + bytes.length;
    if (end > this.#room.length) this.reserve(Math.max(end, 2 * this.#room.length));
    this.#room.set(bytes, this.length);
    this.length = end;
  }
}
