// What is shown as pixels: all images as the page lays them out, or the chosen one, enlarged so that pixels stay squares.

import { selectedRun, shownShape } from '../store/select.js';

/** @typedef {import('../store/state.js').State} State */
/** @typedef {{pixels: Uint8ClampedArray<ArrayBuffer>, width: number, height: number}} Picture  as RGBA8 */
/** @typedef {'all'|'one'} Which  all images, or the chosen one */

/**
 * @param {Uint8Array|Uint8ClampedArray} batch  the pixels of all images, one after another
 * @param {{width: number, height: number}} size  of an image
 * @param {import('../store/layout.js').Layout} layout
 * @returns {Picture}
 */
export function pictureOf(batch, { width, height }, { columns, rows, cells }) {
  const bytes = width * height * 4;
  const pixels = new Uint8ClampedArray(columns * rows * bytes);
  for (const [i, { column, row }] of cells.entries()) {
    for (let y = 0; y < height; y++) {
      const from = i * bytes + y * width * 4;
      const to = ((row * height + y) * columns + column) * width * 4;
      pixels.set(batch.subarray(from, from + width * 4), to);
    }
  }
  return { pixels, width: columns * width, height: rows * height };
}

/** @param {State} state @param {number} index  of the run's states @param {Which} which @returns {Picture} */
function momentOf(state, index, which) {
  const { recording, layout } = /** @type {import('../store/state.js').Run} */ (selectedRun(state));
  const { view, image } = state.selection;
  const { width, height } = recording;
  return which === 'all' ? pictureOf(recording.batch(index, view), { width, height }, layout) : { pixels: recording.image(index, view, image), width, height };
}

/** @param {State} state @param {Which} which @returns {Picture} */
export function shownPicture(state, which) {
  const { selection, preview } = state;
  if (selectedRun(state)) return momentOf(state, selection.index, which);
  const { pixels, width, height } = preview.batch;
  const bytes = width * height * 4;
  return which === 'all' ? pictureOf(pixels, { width, height }, preview.layout) : { pixels: new Uint8ClampedArray(pixels.slice(selection.image * bytes, (selection.image + 1) * bytes)), width, height };
}

/**
 * Some moments of the run that is shown, the first and the last among them; each is made when it is asked for, since all of
 * them at once may be large.
 * @param {State} state
 * @param {Which} which
 * @param {number} most
 * @returns {(() => Picture)[]}
 */
export function momentsOf(state, which, most) {
  const run = selectedRun(state);
  if (!run) return [() => shownPicture(state, which)];
  const { recording } = run;
  const count = Math.min(most, recording.newest + 1);
  return Array.from({ length: count }, (_, i) => {
    const index = Math.round((i * recording.newest) / Math.max(1, count - 1));
    return () => momentOf(state, index, which);
  });
}

/** The images of the run that is shown one after another, there and back, at the step that is shown. @param {State} state @returns {(() => Picture)[]} */
export function imagesOf(state) {
  const { count } = shownShape(state);
  const there = Array.from({ length: count }, (_, image) => image);
  const back = there.slice(1, -1).reverse();
  return [...there, ...back].map((image) => () => shownPicture({ ...state, selection: { ...state.selection, image } }, 'one'));
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
