// What is shown as pixels: all images as the page lays them out, or the chosen one, enlarged so that pixels stay squares.

import { selectedRun, shownShape } from '../store/select.js';

/** @typedef {import('../store/state.js').State} State */
/** @typedef {{pixels: Uint8ClampedArray<ArrayBuffer>, width: number, height: number}} Picture  as RGBA8 */
/** @typedef {'all'|'one'} Which  all images, or the chosen one */

/** How many images stand side by side. @param {number} count */
export const columnsOf = (count) => Math.ceil(Math.sqrt(count));

/**
 * @param {Uint8Array} batch  the pixels of all images, one after another
 * @param {{count: number, width: number, height: number}} shape
 * @param {Which} which
 * @param {number} chosen
 * @returns {Picture}
 */
export function pictureOf(batch, { count, width, height }, which, chosen) {
  const bytes = width * height * 4;
  if (which === 'one') return { pixels: new Uint8ClampedArray(batch.slice(chosen * bytes, (chosen + 1) * bytes)), width, height };
  const columns = columnsOf(count);
  const rows = Math.ceil(count / columns);
  const pixels = new Uint8ClampedArray(columns * rows * bytes);
  for (let i = 0; i < count; i++) {
    for (let y = 0; y < height; y++) {
      const from = i * bytes + y * width * 4;
      const to = ((Math.floor(i / columns) * height + y) * columns + (i % columns)) * width * 4;
      pixels.set(batch.subarray(from, from + width * 4), to);
    }
  }
  return { pixels, width: columns * width, height: rows * height };
}

/** @param {State} state @param {Which} which @returns {Picture} */
export function shownPicture(state, which) {
  const { selection, preview } = state;
  const run = selectedRun(state);
  const shown = run?.recording.states[selection.index];
  const batch = shown ? (selection.view === 'x' ? shown.x : shown.x0) ?? shown.x : preview.batch.pixels;
  return pictureOf(batch, shownShape(state), which, selection.image);
}

/**
 * Some moments of a run that is shown, the first and the last among them.
 * @param {State} state
 * @param {Which} which
 * @param {number} most
 * @returns {Picture[]}
 */
export function momentsOf(state, which, most) {
  const run = selectedRun(state);
  if (!run) return [shownPicture(state, which)];
  const { recording } = run;
  const { view, image } = state.selection;
  const count = Math.min(most, recording.newest + 1);
  return Array.from({ length: count }, (_, i) => {
    const { x, x0 } = recording.states[Math.round((i * recording.newest) / Math.max(1, count - 1))];
    return pictureOf((view === 'x' ? x : x0) ?? x, recording, which, image);
  });
}

/** The whole number that brings a picture near a size. @param {Picture} picture @param {number} side @param {(x: number) => number} [round] */
export const scaleTo = ({ width, height }, side, round = Math.floor) => Math.max(1, round(side / Math.max(width, height)));

/**
 * Draws a picture enlarged, so that its pixels become squares, or smaller.
 * @param {OffscreenCanvas|HTMLCanvasElement} canvas
 * @param {Picture} picture
 * @param {number} scale
 */
export function draw(canvas, { pixels, width, height }, scale) {
  const source = new OffscreenCanvas(width, height);
  /** @type {OffscreenCanvasRenderingContext2D} */ (source.getContext('2d')).putImageData(new ImageData(pixels, width, height), 0, 0);
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext('2d'));
  context.imageSmoothingEnabled = scale < 1;
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.drawImage(source, 0, 0, width * scale, height * scale);
}

/** @param {Picture} picture @param {number} [scale] @returns {Promise<Blob>} */
export function toPng(picture, scale = 1) {
  const canvas = new OffscreenCanvas(picture.width * scale, picture.height * scale);
  draw(canvas, picture, scale);
  return canvas.convertToBlob({ type: 'image/png' });
}
