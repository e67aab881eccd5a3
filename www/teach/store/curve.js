// How the loss went: every step's, and a moving average through them.

/** A loss a step; it grows in place, and `length` tells what has grown. @typedef {{steps: number[], losses: number[], smooth: number[], length: number}} Curve */

/** How much of itself the average keeps a step. */
const KEPT = 0.96;

/** @returns {Curve} */
export const emptyCurve = () => ({ steps: [], losses: [], smooth: [], length: 0 });

/** The same curve with points behind it; those that are taken again, after going back to a checkpoint, replace the ones before. @param {Curve} curve @param {readonly import('../../engine/learning-protocol.js').Point[]} points @returns {Curve} */
export function withPoints(curve, points) {
  if (points.length) cut(curve, points[0].step - 1);
  const { steps, losses, smooth } = curve;
  for (const { step, loss } of points) {
    // The first average is of few, and the newest of them counts the most.
    const kept = Math.min(KEPT, losses.length / (losses.length + 4));
    smooth.push(losses.length ? kept * smooth[smooth.length - 1] + (1 - kept) * loss : loss);
    steps.push(step);
    losses.push(loss);
  }
  return { steps, losses, smooth, length: losses.length };
}

/** Takes out what comes after a step. @param {Curve} curve @param {number} step */
function cut({ steps, losses, smooth }, step) {
  let length = steps.length;
  while (length > 0 && steps[length - 1] > step) length--;
  steps.length = losses.length = smooth.length = length;
}

/** As a checkpoint at a step has it. @param {Curve} curve @param {number} step */
export function pointsUpTo({ steps, losses }, step) {
  let length = steps.length;
  while (length > 0 && steps[length - 1] > step) length--;
  return { steps: Uint32Array.from(steps.slice(0, length)), losses: Float32Array.from(losses.slice(0, length)) };
}

/**
 * Lines of a chart of so many pixels: more points than that are thinned out, each pixel's least and largest kept.
 * @param {Curve} curve
 * @param {number} width
 * @returns {{raw: [number, number][], smooth: [number, number][]}}  step and loss
 */
export function linesOf({ steps, losses, smooth }, width) {
  const each = Math.max(1, Math.ceil(losses.length / width));
  /** @type {[number, number][]} */
  const raw = [];
  /** @type {[number, number][]} */
  const line = [];
  for (let first = 0; first < losses.length; first += each) {
    const last = Math.min(losses.length, first + each) - 1;
    let [least, most] = [first, first];
    for (let i = first; i <= last; i++) {
      if (losses[i] < losses[least]) least = i;
      if (losses[i] > losses[most]) most = i;
    }
    for (const i of new Set([Math.min(least, most), Math.max(least, most)])) raw.push([steps[i], losses[i]]);
    line.push([steps[last], smooth[last]]);
  }
  return { raw, smooth: line };
}

/** A log axis around some losses: its ends, and where its marks are. @param {Curve} curve */
export function axisOf({ losses }) {
  let [least, most] = [Infinity, 0];
  for (const loss of losses) {
    if (loss > 0 && loss < least) least = loss;
    if (loss > most) most = loss;
  }
  if (!(most > 0)) [least, most] = [0.1, 1];
  const [from, to] = [Math.max(1e-6, least / 1.1), Math.max(most * 1.1, least * 2)];
  // As many marks as are read easily: each power of ten, or more where there are few of these.
  const all = DIGITS.map((digits) => marksOf(digits, from, to));
  return { from, to, marks: all.find((marks) => marks.length >= 3) ?? all[all.length - 1] };
}

/** Which multiples of the powers of ten have a mark. */
const DIGITS = [[1], [1, 2, 5], [1, 2, 3, 4, 5, 6, 7, 8, 9], Array.from({ length: 90 }, (_, i) => 1 + i / 10)];

/** @param {readonly number[]} digits @param {number} from @param {number} to */
function marksOf(digits, from, to) {
  const marks = [];
  for (let power = Math.floor(Math.log10(from)); power <= Math.ceil(Math.log10(to)); power++) {
    for (const digit of digits) marks.push(Number((digit * 10 ** power).toPrecision(2)));
  }
  return marks.filter((mark) => mark >= from && mark <= to);
}
