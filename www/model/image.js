// A visitor's picture in a model's size: cut to its proportions, averaged down to its pixels, in its channels.
//
// Its levels are bytes as a screen has them, plane after plane [C, H, W]; a model has them from −1 to 1.

import { messageOf } from '../words/messages.js';

/** @typedef {{channels: number, width: number, height: number}} Shape  of an image that a model makes */
/** @typedef {Uint8ClampedArray<ArrayBuffer>} Levels  [C, H, W] */

/** More bytes are not read, and more pixels along the shorter side are left to the browser to average. */
const MOST_BYTES = 64e6;
const MOST_SIDE = 1024;

/** Whether pictures of so many channels can be drawn and shown: grey, or red, green and blue. @param {Shape} shape */
export const isDrawable = ({ channels }) => channels === 1 || channels === 3;

/** @param {Shape} a @param {Shape} b */
export const sameShape = (a, b) => a.channels === b.channels && a.width === b.width && a.height === b.height;

/** @param {Shape} shape */
export const sizeOf = ({ channels, width, height }) => channels * width * height;

/** @param {File} file @param {Shape} shape @returns {Promise<Levels>} */
export async function readPicture(file, shape) {
  if (file.size > MOST_BYTES) throw new Error(`${file.name} has ${Math.ceil(file.size / 1e6)} MB; a picture may have ${MOST_BYTES / 1e6} MB. Make it smaller first.`);
  const { pixels, width, height } = await pixelsOf(file);
  return levelsOf(averaged(pixels, { width, height }, shape), shape);
}

/** @param {File} file */
async function pixelsOf(file) {
  try {
    const image = await createImageBitmap(file);
    const shrink = Math.min(1, MOST_SIDE / Math.min(image.width, image.height));
    const [width, height] = [image.width, image.height].map((side) => Math.max(1, Math.round(side * shrink)));
    const context = /** @type {OffscreenCanvasRenderingContext2D} */ (new OffscreenCanvas(width, height).getContext('2d'));
    context.fillRect(0, 0, width, height); // what is transparent becomes black
    context.imageSmoothingQuality = 'high';
    context.drawImage(image, 0, 0, width, height);
    image.close();
    return { pixels: context.getImageData(0, 0, width, height).data, width, height };
  } catch (error) {
    throw new Error(`${file.name} could not be read as a picture (${messageOf(error)}). PNG, JPEG, WebP and GIF are.`, { cause: error });
  }
}

/**
 * The middle of an image in other proportions and another size: each pixel is the mean of the area that it stands for.
 * @param {Uint8ClampedArray} rgba
 * @param {{width: number, height: number}} from
 * @param {{width: number, height: number}} to
 */
export function averaged(rgba, from, to) {
  const scale = Math.min(from.width / to.width, from.height / to.height);
  const columns = overlaps(from.width, to.width, scale);
  const rows = overlaps(from.height, to.height, scale);
  const out = new Uint8ClampedArray(4 * to.width * to.height);
  for (const [y, high] of rows.entries()) {
    for (const [x, wide] of columns.entries()) {
      const sum = [0, 0, 0, 0];
      for (const { at: row, share: down } of high) {
        for (const { at, share } of wide) {
          const i = 4 * (row * from.width + at);
          for (let k = 0; k < 4; k++) sum[k] += down * share * rgba[i + k];
        }
      }
      out.set(sum, 4 * (y * to.width + x));
    }
  }
  return out;
}

/** For each pixel of a shorter line, those of a longer one below it and which share of it each is. @param {number} from @param {number} to @param {number} scale */
function overlaps(from, to, scale) {
  const first = (from - to * scale) / 2;
  return Array.from({ length: to }, (_, i) => {
    const [start, end] = [first + i * scale, first + (i + 1) * scale];
    const all = [];
    for (let at = Math.max(0, Math.floor(start)); at < Math.min(from, end); at++) {
      const share = (Math.min(at + 1, end) - Math.max(at, start)) / scale;
      if (share > 0) all.push({ at, share });
    }
    return all;
  });
}

/** @param {ArrayLike<number>} rgba @param {Shape} shape @returns {Levels} */
export function levelsOf(rgba, { channels, width, height }) {
  const pixels = width * height;
  const levels = new Uint8ClampedArray(channels * pixels);
  for (let i = 0; i < pixels; i++) {
    const [red, green, blue] = [rgba[4 * i], rgba[4 * i + 1], rgba[4 * i + 2]];
    if (channels === 1) levels[i] = 0.299 * red + 0.587 * green + 0.114 * blue;
    else for (const [k, level] of [red, green, blue].entries()) levels[k * pixels + i] = level;
  }
  return levels;
}

/** @param {Levels} levels @param {Shape} shape @returns {Uint8ClampedArray<ArrayBuffer>} */
export function rgbaOf(levels, { channels, width, height }) {
  const pixels = width * height;
  const rgba = new Uint8ClampedArray(4 * pixels).fill(255);
  for (let i = 0; i < pixels; i++) {
    for (let k = 0; k < 3; k++) rgba[4 * i + k] = levels[(channels === 1 ? 0 : k) * pixels + i];
  }
  return rgba;
}

/** As a model has it, from −1 to 1. @param {Levels} levels */
export const numbersOf = (levels) => Float32Array.from(levels, (level) => level / 127.5 - 1);

/** As a screen shows it. @param {ArrayLike<number>} numbers @returns {Levels} */
export const shownLevels = (numbers) => Uint8ClampedArray.from(numbers, (x) => (x + 1) * 127.5);

/** A picture of one model for another. @param {Levels} levels @param {Shape} from @param {Shape} to */
export const refitted = (levels, from, to) => levelsOf(averaged(rgbaOf(levels, from), from, to), to);
