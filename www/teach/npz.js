// Images as an `.npz`, which NumPy and `denoise train` read, and back (NumPy `lib/format.py`).

import { unzip, zip } from '../model/zip.js';

/** @typedef {import('../engine/learning-protocol.js').Images} Images */

const MAGIC = '\x93NUMPY';

/** A header whose length, with what is before it, is a multiple of 64. @param {string} descr @param {readonly number[]} shape */
function header(descr, shape) {
  const text = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${shape.join(', ')}${shape.length === 1 ? ',' : ''}), }`;
  const length = Math.ceil((text.length + 11) / 64) * 64 - 10;
  const bytes = new Uint8Array(10 + length).fill(0x20);
  for (const [i, character] of [...MAGIC].entries()) bytes[i] = character.charCodeAt(0);
  bytes.set([1, 0, length & 255, length >> 8], 6);
  bytes.set(new TextEncoder().encode(text), 10);
  bytes[9 + length] = 0x0a;
  return bytes;
}

/** @param {Images} images @returns {Promise<Blob>} */
export function toNpz({ shape, pixels, labels, names }) {
  const longest = Math.max(1, ...names.map((name) => [...name].length));
  const letters = new Uint32Array(longest * names.length);
  for (const [i, name] of names.entries()) letters.set([...name].map((letter) => letter.codePointAt(0) ?? 0), i * longest);
  /** @type {[string, string, readonly number[], Uint8Array<ArrayBuffer>|Uint32Array<ArrayBuffer>|null][]} */
  const arrays = [
    ['images', '|u1', shape, /** @type {Uint8Array<ArrayBuffer>} */ (pixels)],
    ['labels', '<u4', [shape[0]], /** @type {Uint32Array<ArrayBuffer>|null} */ (labels)],
    ['classes', `<U${longest}`, [names.length], names.length ? letters : null],
  ];
  return zip(Object.fromEntries(arrays.flatMap(([name, descr, of, numbers]) => (numbers ? [[`${name}.npy`, new Blob([header(descr, of), numbers])]] : []))), 'application/octet-stream');
}

/** What `toNpz` has written. @param {File} file @returns {Promise<Images>} */
export async function fromNpz(file) {
  const arrays = new Map();
  for (const { path, file: array } of await unzip(file)) {
    const bytes = new Uint8Array(await array.arrayBuffer());
    const length = bytes[8] | (bytes[9] << 8);
    const text = new TextDecoder().decode(bytes.subarray(10, 10 + length));
    const [, descr] = text.match(/'descr': '([^']+)'/) ?? [];
    const [, shape] = text.match(/'shape': \(([\d, ]*)\)/) ?? [];
    if (!descr || shape === undefined) throw wrong(file, `its ${path} has no header that is understood`);
    arrays.set(path.replace(/\.npy$/, ''), { descr, shape: shape.split(',').filter((part) => part.trim()).map(Number), bytes: bytes.slice(10 + length) });
  }
  const [images, labels, classes] = ['images', 'labels', 'classes'].map((name) => arrays.get(name));
  if (images?.descr !== '|u1' || images.shape.length !== 4) throw wrong(file, 'it has no images, bytes of [N, C, H, W]');
  if (labels && labels.descr !== '<u4') throw wrong(file, `its labels are ${labels.descr}, not <u4`);
  const letters = classes && new Uint32Array(classes.bytes.buffer);
  const longest = Number(classes?.descr.slice(2));
  const names = classes ? Array.from({ length: classes.shape[0] }, (_, i) => String.fromCodePoint(...letters.subarray(i * longest, (i + 1) * longest).filter((/** @type {number} */ letter) => letter))) : [];
  return { shape: images.shape, pixels: images.bytes, labels: labels ? new Uint32Array(labels.bytes.buffer) : null, names };
}

/** @param {File} file @param {string} problem */
const wrong = (file, problem) => new Error(`${file.name} is not what this page writes: ${problem}.`);
