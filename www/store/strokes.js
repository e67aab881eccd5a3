// Lines on a picture: how much of each pixel a round pen covers, and what that makes of it.

/** @typedef {{x: number, y: number}} Point  in pixels of the picture, from its upper left corner */

/**
 * What is covered once a line is drawn as well. A pixel's share is how far its middle lies within the pen's edge.
 * @param {Float32Array} covered  [H, W], from 0 to 1
 * @param {number} width  of the picture
 * @param {Point} from
 * @param {Point} to
 * @param {number} size  of the pen, its diameter
 */
export function withLine(covered, width, from, to, size) {
  const out = covered.slice();
  const height = covered.length / width;
  const radius = size / 2;
  const span = (/** @type {number} */ a, /** @type {number} */ b, /** @type {number} */ most) => [Math.max(0, Math.floor(Math.min(a, b) - radius - 1)), Math.min(most - 1, Math.ceil(Math.max(a, b) + radius))];
  const [left, right] = span(from.x, to.x, width);
  const [top, bottom] = span(from.y, to.y, height);
  for (let y = top; y <= bottom; y++) {
    for (let x = left; x <= right; x++) {
      const share = Math.min(1, radius + 0.5 - distance({ x: x + 0.5, y: y + 0.5 }, from, to));
      const i = y * width + x;
      if (share > out[i]) out[i] = share;
    }
  }
  return out;
}

/** From a point to the nearest of a line. @param {Point} point @param {Point} from @param {Point} to */
function distance(point, from, to) {
  const [wide, high] = [to.x - from.x, to.y - from.y];
  const length = wide * wide + high * high;
  const along = length ? Math.min(1, Math.max(0, ((point.x - from.x) * wide + (point.y - from.y) * high) / length)) : 0;
  return Math.hypot(from.x + along * wide - point.x, from.y + along * high - point.y);
}

/**
 * A picture with ink where it is covered.
 * @param {import('../model/image.js').Levels} levels
 * @param {Float32Array} covered
 * @param {number[]} ink  a level a channel
 */
export function inked(levels, covered, ink) {
  const pixels = covered.length;
  return levels.map((level, i) => level + (ink[Math.floor(i / pixels)] - level) * covered[i % pixels]);
}

/** A mask with another value where more than half is covered. @param {Uint8Array<ArrayBuffer>} mask @param {Float32Array} covered @param {0|1} value */
export const marked = (mask, covered, value) => mask.map((before, i) => (covered[i] > 0.5 ? value : before));
