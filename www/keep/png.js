// Text inside a PNG: what a picture says of itself, in chunks that picture viewers pass over.
//
// A PNG is a signature and then chunks: length, type, data, and a checksum (CRC-32) of type and data. tEXt holds a
// keyword and text in Latin-1, iTXt the same in UTF-8.

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];
/** Length, type and checksum of a chunk. */
const AROUND = 12;

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});

/** @param {Uint8Array} bytes */
function crc32(bytes) {
  let crc = ~0;
  for (const byte of bytes) crc = TABLE[(crc ^ byte) & 255] ^ (crc >>> 8);
  return ~crc >>> 0;
}

/** @param {Uint8Array} bytes */
export const isPng = (bytes) => SIGNATURE.every((byte, i) => bytes[i] === byte);

/** @param {string} keyword @param {string} text */
function chunk(keyword, text) {
  const latin = /^[\n\x20-\x7e\xa0-\xff]*$/.test(text);
  // After the keyword's zero: whether it is compressed and how, then a language and the keyword in it, both empty.
  const body = latin ? Uint8Array.from(`tEXt${keyword}\0${text}`, (letter) => letter.charCodeAt(0)) : new TextEncoder().encode(`iTXt${keyword}\0\0\0\0\0${text}`);
  const bytes = new Uint8Array(body.length + 8);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, body.length - 4);
  bytes.set(body, 4);
  view.setUint32(4 + body.length, crc32(body));
  return bytes;
}

/**
 * The same picture with these texts in it.
 * @param {Uint8Array} png
 * @param {Record<string, string>} texts  by keywords of up to 79 letters
 */
export function withTexts(png, texts) {
  const at = SIGNATURE.length + AROUND + 13; // after IHDR, which comes first and holds 13 bytes
  return new Blob([png.slice(0, at), ...Object.entries(texts).map(([keyword, text]) => chunk(keyword, text)), png.slice(at)], { type: 'image/png' });
}

/**
 * The texts in a PNG, by their keywords. What is compressed is left out.
 * @param {Uint8Array} png
 * @returns {Map<string, string>}
 */
export function readTexts(png) {
  const view = new DataView(png.buffer, png.byteOffset, png.byteLength);
  /** @type {Map<string, string>} */
  const texts = new Map();
  for (let at = SIGNATURE.length; ;) {
    const length = at + AROUND <= png.length ? view.getUint32(at) : Infinity;
    const end = at + AROUND + length;
    if (end > png.length) throw new Error('is cut off: the picture goes on where the file ends');
    const type = String.fromCharCode(...png.subarray(at + 4, at + 8));
    if (type === 'tEXt' || type === 'iTXt') {
      const body = png.subarray(at + 4, end - 4);
      if (view.getUint32(end - 4) !== crc32(body)) throw new Error('is damaged: the checksum of a text in it is wrong');
      const found = readText(type, body.subarray(4));
      if (found) texts.set(...found);
    }
    if (type === 'IEND') return texts;
    at = end;
  }
}

/** @param {string} type @param {Uint8Array} data @returns {[string, string]|null} */
function readText(type, data) {
  const latin = (/** @type {Uint8Array} */ bytes) => Array.from(bytes, (byte) => String.fromCharCode(byte)).join('');
  const zero = data.indexOf(0);
  if (zero < 1) return null;
  const keyword = latin(data.subarray(0, zero));
  if (type === 'tEXt') return [keyword, latin(data.subarray(zero + 1))];
  if (data[zero + 1] !== 0) return null; // compressed
  const text = data.indexOf(0, data.indexOf(0, zero + 3) + 1) + 1;
  return text > zero + 4 ? [keyword, new TextDecoder().decode(data.subarray(text))] : null;
}
