// What a run can begin with in place of noise from its seed: as the engine is told, in words, and as a file keeps it.

import { numbersOf, sizeOf } from '../model/image.js';

/** @typedef {import('../engine/protocol.js').EngineSettings} EngineSettings */
/** @typedef {import('../model/image.js').Levels} Levels */
/** @typedef {import('../model/image.js').Shape} Shape */

/**
 * `picture`: x_0 with the noise of the last `share` of the steps on it (SDEdit, Meng et al. 2021), at time `t` of the forward
 * process. `part`: where `mask` is 1 the picture is made anew, the rest is kept. `noise`: x_T as it stands, for every image.
 * @typedef {(
 *   {kind: 'picture', shape: Shape, levels: Levels, t: number, share: number} |
 *   {kind: 'part', shape: Shape, levels: Levels, mask: Uint8Array<ArrayBuffer>} |
 *   {kind: 'noise', shape: Shape, noise: Float32Array<ArrayBuffer>}
 * )} Beginning
 */

/** What is too large to be kept says only what it was. @typedef {{kind: 'picture'|'part'|'noise', t: number, share: number, shape: [number, number, number], data: string|null, mask: string|null, digest: string|null}} Kept  `digest` tells what is not kept from another */

/** Of what a file keeps, in bytes. */
const MOST_BYTES = 64e3;
/** Longer sides no model has. */
const MOST_SIDE = 4096;

/** How many steps at the beginning are left out, as diffusers' pipelines count them: at least one stays. @param {number} steps @param {number} share */
export const leftOut = (steps, share) => steps - Math.min(steps, Math.max(1, Math.floor(steps * share + 1e-9)));

/**
 * @param {Beginning|null} beginning
 * @param {number} steps
 * @param {number} count
 * @returns {Partial<EngineSettings>}
 */
export function beginningRequest(beginning, steps, count) {
  switch (beginning?.kind) {
    case 'picture': return { start: { sample: repeated(numbersOf(beginning.levels), count), alpha_cumprod: 1, begin: leftOut(steps, beginning.share) } };
    case 'part': return { inpaint: { original: numbersOf(beginning.levels), mask: Float32Array.from(beginning.mask, (anew) => 1 - anew) } };
    // It was found without x̂0 being clipped, which nothing undoes.
    case 'noise': return { noise: repeated(beginning.noise, count), clip_sample: false };
    default: return {};
  }
}

/** @param {Float32Array} numbers @param {number} count */
export function repeated(numbers, count) {
  const all = new Float32Array(count * numbers.length);
  for (let i = 0; i < count; i++) all.set(numbers, i * numbers.length);
  return all;
}

/** @param {Beginning} beginning */
export function beginningWords(beginning) {
  switch (beginning.kind) {
    case 'picture': return `from a picture at t ${beginning.t}`;
    case 'part': return 'a part of a picture made anew';
    case 'noise': return 'from the noise of a picture';
  }
}

// ---- In an address ----------------------------------------------------------------------------

const PARAMETERS = { begins: 'begins', forked: 'forked' };

/** An address cannot carry a picture, or the run that a fork goes on from, but say that there was one. @param {URLSearchParams} query @param {Beginning['kind']|null} kind @param {boolean} isForked */
export function withMissing(query, kind, isForked) {
  if (kind) query.set(PARAMETERS.begins, kind);
  else query.delete(PARAMETERS.begins);
  if (isForked) query.set(PARAMETERS.forked, '1');
  else query.delete(PARAMETERS.forked);
  return query;
}

/** What is to be said of an address that cannot carry everything, if it is one. @param {URLSearchParams} query */
export const missingFrom = (query) => [
  ...(query.has(PARAMETERS.begins) ? ['The run of this address began with a picture, which an address cannot carry. Here it begins with noise and makes other images; a saved PNG has the picture inside.'] : []),
  ...(query.has(PARAMETERS.forked) ? ['The run of this address went on from a step of another run, which an address cannot carry. Here it begins with noise and makes other images.'] : []),
];

// ---- In a file --------------------------------------------------------------------------------

/** @param {Beginning|null} beginning @returns {Kept|null} */
export function keptBeginning(beginning) {
  if (!beginning) return null;
  const { kind, shape: { channels, width, height } } = beginning;
  const [t, share] = kind === 'picture' ? [beginning.t, beginning.share] : [0, 1];
  const data = kind === 'noise' ? new Uint8Array(beginning.noise.buffer, beginning.noise.byteOffset, beginning.noise.byteLength) : beginning.levels;
  const mask = kind === 'part' ? beginning.mask : new Uint8Array();
  const fits = data.length + mask.length <= MOST_BYTES;
  return { kind, t, share, shape: [channels, height, width], data: fits ? toText(data) : null, mask: fits && mask.length ? toText(mask) : null, digest: fits ? null : digestOf(data, mask) };
}

/** @param {any} found  in a file, written by anybody @returns {Kept|null} an error says what is wrong with it */
export function checkedBeginning(found) {
  if (found === null || found === undefined) return null;
  const { kind, t, share, shape, data, mask, digest } = found;
  const whole = (/** @type {unknown} */ x, /** @type {number} */ most) => Number.isInteger(x) && Number(x) >= 0 && Number(x) <= most;
  const isShape = Array.isArray(shape) && shape.length === 3 && shape.every((x) => whole(x, MOST_SIDE) && x > 0);
  const isText = (/** @type {unknown} */ x) => x === null || (typeof x === 'string' && /^[A-Za-z0-9+/]*={0,2}$/.test(x));
  if (!['picture', 'part', 'noise'].includes(kind) || !whole(t, 9999) || !(share > 0 && share <= 1) || !isShape || !isText(data) || !isText(mask ?? null)) throw new Error('what it began with is not a picture, a part of one or noise, with its shape');
  /** @type {Kept} */
  const kept = { kind, t, share, shape: [shape[0], shape[1], shape[2]], data, mask: mask ?? null, digest: typeof digest === 'string' && /^[0-9a-f]{8}$/.test(digest) ? digest : null };
  if (data !== null) readBeginning(kept);
  return kept;
}

/** What a file has kept; null where that was too large. @param {Kept} kept @returns {Beginning|null} */
export function readBeginning({ kind, t, share, shape: [channels, height, width], data, mask }) {
  if (data === null) return null;
  const shape = { channels, width, height };
  const bytes = fromText(data);
  const [size, expected] = [bytes.length, sizeOf(shape) * (kind === 'noise' ? 4 : 1)];
  if (size !== expected) throw new Error(`what it began with has ${size} bytes; ${channels} × ${height} × ${width} are ${expected}`);
  if (kind === 'noise') {
    const noise = new Float32Array(bytes.buffer);
    if (!noise.every(Number.isFinite)) throw new Error('the noise it began with has numbers that are not finite');
    return { kind, shape, noise };
  }
  const levels = new Uint8ClampedArray(bytes.buffer);
  if (kind === 'picture') return { kind, shape, levels, t, share };
  const marked = fromText(mask ?? '');
  if (marked.length !== width * height || marked.some((x) => x > 1)) throw new Error(`its mask has ${marked.length} numbers; it should have ${width * height} of 0 or 1`);
  return { kind, shape, levels, mask: marked };
}

/** FNV-1a, in hexadecimal. @param {...ArrayLike<number>} parts */
function digestOf(...parts) {
  let hash = 0x811c9dc5;
  for (const part of parts) {
    for (let i = 0; i < part.length; i++) hash = Math.imul(hash ^ part[i], 0x01000193);
  }
  return (hash >>> 0).toString(16).padStart(8, '0');
}

/** @param {ArrayLike<number>} bytes */
const toText = (bytes) => btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''));
/** @param {string} text */
const fromText = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
