// What there is to see in the numbers of a run: x_t and x̂0 are Float32Arrays [N, C, H, W], image after image.

/** @typedef {import('./protocol.js').Row} Row */
/** @typedef {import('../pkg/denoise.js').Shown} Shown */
/** @typedef {Float32Array<ArrayBuffer>} Numbers */

/** How x̂0 and x_0 are shown, and x where there is no table: as it is. */
export const AS_IT_IS = Object.freeze({ scale: 1, offset: 0 });

/** How pictures of a run are shown: a sampler may keep them over [0, 1]. @param {readonly Row[]} rows @returns {Shown} */
export const shownPicture = (rows) => (rows.at(-1)?.shown.offset ? { scale: 2, offset: -1 } : AS_IT_IS);

/** How x at a step is shown. @param {readonly Row[]} rows @param {number} step @returns {Shown} */
export const shownAt = (rows, step) => rows[step]?.shown ?? shownPicture(rows);

/** How much picture and how much noise there is in x before an evaluation: x = signal · x_0 + noise · ε. @param {Row} row */
export const mixtureOf = ({ signal, alpha_cumprod: alpha }) => ({ signal, noise: signal > 0 ? signal * Math.sqrt((1 - alpha) / alpha) : 1 });

/**
 * Numbers over [−1, 1] as RGBA8, image after image. A byte is round((x / 2 + 1/2) · 255), ties to even, in 32 bits, as
 * diffusers has it and the engine too. Fewer channels than three are grey.
 * @param {Numbers} numbers
 * @param {number} channels
 * @param {Shown} [shown]
 * @returns {Uint8ClampedArray<ArrayBuffer>}
 */
export function rgba8(numbers, channels, { scale, offset } = AS_IT_IS, size = numbers.length / channels) {
  const { fround } = Math;
  const [a, b] = [fround(scale), fround(offset)];
  // What is written to it is clamped, and rounded with ties to even.
  const pixels = new Uint8ClampedArray(4 * (numbers.length / channels));
  const colours = channels < 3 ? [0, 0, 0] : [0, size, 2 * size];
  for (let at = 0, image = 0; image < numbers.length; image += channels * size) {
    for (let i = 0; i < size; i++, at += 4) {
      for (let c = 0; c < 3; c++) {
        // A grey pixel is computed once.
        pixels[at + c] = c && channels < 3 ? pixels[at] : fround(fround(fround(fround(a * numbers[image + colours[c] + i]) + b) * 0.5 + 0.5) * 255);
      }
      pixels[at + 3] = 255;
    }
  }
  return pixels;
}

/**
 * ε̂, the noise that x then consists of if x̂0 is right: (x − signal · x̂0) / noise; Ho et al. 2020, equation 9.
 * @param {Row} row
 * @param {Numbers} x
 * @param {Numbers} x0
 * @returns {Numbers}
 */
export function noiseIn(row, x, x0) {
  const { signal, noise } = mixtureOf(row);
  return x.map((value, i) => (value - signal * x0[i]) / noise);
}

/** b − a, each as it is shown. @param {Numbers} a @param {Shown} before @param {Numbers} b @param {Shown} after @returns {Numbers} */
export function changeOf(a, before, b, after) {
  return b.map((value, i) => after.scale * value + after.offset - (before.scale * a[i] + before.offset));
}

/** Root mean square. @param {Numbers} numbers */
export function rms(numbers) {
  let sum = 0;
  for (const value of numbers) sum += value * value;
  return Math.sqrt(sum / Math.max(1, numbers.length));
}

/** The largest of some numbers, whatever their signs. @param {Numbers} numbers */
export const largestOf = (numbers) => numbers.reduce((most, value) => Math.max(most, Math.abs(value)), 0);

/** What a classifier's logits of an image are as probabilities. @param {Numbers} logits */
export function softmaxOf(logits) {
  const most = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const parts = Array.from(logits, (logit) => Math.exp(logit - most));
  const sum = parts.reduce((a, b) => a + b, 0);
  return parts.map((part) => part / sum);
}

/** The power of two that makes a change visible: its root mean square becomes about 0.35. @param {Numbers} change */
export function gainOf(change) {
  const size = rms(change);
  return size > 0 ? 2 ** Math.min(12, Math.max(0, Math.round(Math.log2(0.35 / size)))) : 1;
}

/** How many of some numbers are in each of `bins` equal parts of [−limit, limit], as a density; what lies beyond is left out. @param {Numbers} numbers @param {number} scale @param {number} limit @param {number} bins */
export function densityOf(numbers, scale, limit, bins) {
  const counts = new Array(bins).fill(0);
  for (const value of numbers) {
    const bin = Math.floor(((scale * value + limit) / (2 * limit)) * bins);
    if (bin >= 0 && bin < bins) counts[bin]++;
  }
  const width = (2 * limit) / bins;
  return counts.map((count) => count / (numbers.length * width));
}
