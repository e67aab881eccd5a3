// Zip archives, written without compression and read with or without it (PKWARE's APPNOTE, without its 64-bit extension).

/** @typedef {import('./source.js').Found} Found */

const LOCAL = 0x04034b50;
const CENTRAL = 0x02014b50;
const END = 0x06054b50;
const [LOCAL_SIZE, CENTRAL_SIZE, END_SIZE] = [30, 46, 22];
/** The archive's comment is as long at most. */
const LONGEST_COMMENT = 0xffff;
const MOST_BYTES = 2 ** 32 - 1;
/** Flags of an entry: names are UTF-8. */
const UTF8 = 1 << 11;
const ENCRYPTED = 1;
/** 1 January 1980, the first day there is: the same files make the same archive. */
const DATE = 0x21;
const METHOD = { stored: 0, deflated: 8 };

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  for (let bit = 0; bit < 8; bit++) byte = byte & 1 ? 0xedb88320 ^ (byte >>> 1) : byte >>> 1;
  return byte;
});

/** CRC-32 of bytes that follow others. @param {Uint8Array} bytes @param {number} [crc]  of those before */
export function crc32(bytes, crc = 0) {
  crc = ~crc;
  for (let i = 0; i < bytes.length; i++) crc = TABLE[(crc ^ bytes[i]) & 0xff] ^ (crc >>> 8);
  return ~crc >>> 0;
}

/** A chunk at a time, so that a large file does not stop the page. @param {Blob} blob */
async function crcOf(blob) {
  let crc = 0;
  for (const reader = blob.stream().getReader(); ;) {
    const { value } = await reader.read();
    if (!value) return crc;
    crc = crc32(value, crc);
  }
}

/**
 * @param {Record<string, Blob>} files  by their paths
 * @param {string} [type]
 * @returns {Promise<Blob>}
 */
export async function zip(files, type = 'application/zip') {
  /** @type {(Blob|Uint8Array<ArrayBuffer>)[]} */
  const parts = [];
  const directory = [];
  let at = 0;
  for (const [path, blob] of Object.entries(files)) {
    const name = new TextEncoder().encode(path);
    // Version 2.0, flags, method, time, date, CRC, size twice, length of the name, of what else there is.
    const common = (/** @type {DataView} */ view, /** @type {number} */ offset, /** @type {number} */ crc) => {
      view.setUint16(offset, 20, true);
      view.setUint16(offset + 2, UTF8, true);
      view.setUint16(offset + 4, METHOD.stored, true);
      view.setUint16(offset + 8, DATE, true);
      view.setUint32(offset + 10, crc, true);
      view.setUint32(offset + 14, blob.size, true);
      view.setUint32(offset + 18, blob.size, true);
      view.setUint16(offset + 22, name.length, true);
    };
    const crc = await crcOf(blob);
    const local = new DataView(new ArrayBuffer(LOCAL_SIZE));
    local.setUint32(0, LOCAL, true);
    common(local, 4, crc);
    const central = new DataView(new ArrayBuffer(CENTRAL_SIZE));
    central.setUint32(0, CENTRAL, true);
    central.setUint16(4, 20, true);
    common(central, 6, crc);
    central.setUint32(42, at, true);
    parts.push(new Uint8Array(local.buffer), name, blob);
    directory.push(new Uint8Array(central.buffer), name);
    at += LOCAL_SIZE + name.length + blob.size;
  }
  const size = directory.reduce((sum, part) => sum + part.length, 0);
  if (at + size > MOST_BYTES) throw new Error('These are more than 4 GB, more than a zip of this kind can hold.');
  const end = new DataView(new ArrayBuffer(END_SIZE));
  end.setUint32(0, END, true);
  end.setUint16(8, directory.length / 2, true);
  end.setUint16(10, directory.length / 2, true);
  end.setUint32(12, size, true);
  end.setUint32(16, at, true);
  return new Blob([...parts, ...directory, new Uint8Array(end.buffer)], { type });
}

/** Milliseconds between two words about how far it is. */
const TELL = 100;
const UNPACK = 'Unpack it, and drop the folder.';

/**
 * The files of an archive. What is stored is not read yet.
 * @param {File} archive
 * @param {(done: number, total: number) => void} [onprogress]  hears how many files are unpacked, a few times a second
 * @returns {Promise<Found[]>}
 */
export async function unzip(archive, onprogress = () => {}) {
  const wrong = (/** @type {string} */ what, todo = 'Download or make it again.') => new Error(`${archive.name} ${what} ${todo}`);
  const view = async (/** @type {number} */ from, /** @type {number} */ length) => {
    if (from < 0 || from + length > archive.size) throw wrong('is cut off.');
    return new DataView(await archive.slice(from, from + length).arrayBuffer());
  };
  const tail = await view(Math.max(0, archive.size - END_SIZE - LONGEST_COMMENT), Math.min(archive.size, END_SIZE + LONGEST_COMMENT));
  let end = tail.byteLength - END_SIZE;
  while (end >= 0 && tail.getUint32(end, true) !== END) end--;
  if (end < 0) throw wrong('is no zip archive, or is cut off.');
  const [count, length, start] = [tail.getUint16(end + 10, true), tail.getUint32(end + 12, true), tail.getUint32(end + 16, true)];
  const notIn32Bits = () => wrong('is a zip of the 64-bit kind, which is not read here.', UNPACK);
  if (count === 0xffff || length === MOST_BYTES || start === MOST_BYTES) throw notIn32Bits();
  const directory = await view(start, length);
  /** @type {Found[]} */
  const found = [];
  let told = performance.now();
  for (let at = 0, done = 0; done < count; done++) {
    if (performance.now() - told > TELL) {
      told = performance.now();
      onprogress(done, count);
    }
    if (at + CENTRAL_SIZE > directory.byteLength || directory.getUint32(at, true) !== CENTRAL) throw wrong('is damaged: its list of files is.');
    const [flags, method, crc, size] = [directory.getUint16(at + 8, true), directory.getUint16(at + 10, true), directory.getUint32(at + 16, true), directory.getUint32(at + 20, true)];
    const [nameLength, extra, comment] = [28, 30, 32].map((offset) => directory.getUint16(at + offset, true));
    const from = directory.getUint32(at + 42, true);
    if (at + CENTRAL_SIZE + nameLength > directory.byteLength) throw wrong('is damaged: its list of files is.');
    const path = new TextDecoder().decode(new Uint8Array(directory.buffer, directory.byteOffset + at + CENTRAL_SIZE, nameLength));
    at += CENTRAL_SIZE + nameLength + extra + comment;
    if (path.endsWith('/')) continue;
    if (flags & ENCRYPTED) throw wrong(`is encrypted: ${path} is read with a password only.`, UNPACK);
    if (size === MOST_BYTES || from === MOST_BYTES) throw notIn32Bits();
    const local = await view(from, LOCAL_SIZE);
    const begin = from + LOCAL_SIZE + local.getUint16(26, true) + local.getUint16(28, true);
    if (begin + size > archive.size) throw wrong('is cut off.');
    const packed = archive.slice(begin, begin + size);
    if (method !== METHOD.stored && method !== METHOD.deflated) throw wrong(`has ${path} packed in a way (${method}) that is not read here.`, UNPACK);
    const bytes = method === METHOD.stored ? packed : await inflated(packed);
    if (!bytes || await crcOf(bytes) !== crc) throw wrong(`is damaged: ${path} is not what was put in.`);
    found.push({ path, file: new File([bytes], path.split('/').at(-1) ?? path) });
  }
  return found;
}

/** What was deflated; null if it was not. @param {Blob} packed */
const inflated = (packed) => new Response(packed.stream().pipeThrough(new DecompressionStream('deflate-raw'))).blob().catch(() => null);
