// What the worker itself reads of a model's card; what a damaged card should have said the engine says.

import { join } from '../model/networks.js';

/** @typedef {{null_class?: number|null, guidance?: number|null, preview?: {file: string, caption?: string}}} Card */

/** @param {string|null} text @returns {Card} */
export function readCard(text) {
  try {
    return JSON.parse(text ?? '{}') ?? {};
  } catch {
    return {};
  }
}

/** Whether the page begins with guidance, for which the network is asked twice. @param {string|null} card @param {number|null} asked */
export function isGuided(card, asked) {
  const { null_class: none = null, guidance = null } = readCard(card);
  return none !== null && (asked ?? guidance ?? 1) !== 1;
}

/**
 * The sample that comes with a model, if its card names one: a PNG that holds a grid of images. It is decoration, so
 * whatever is wrong with it must not keep the model from loading.
 * @param {import('../model/files.js').Files} files
 * @param {string} folder  that the card is in
 * @param {import('../model/files.js').ModelFiles} small
 * @returns {Promise<{batch: import('./protocol.js').Batch, columns: number, caption: string}|null>}  it stands in so many columns
 */
export async function readPreview(files, folder, { config, card }) {
  try {
    const { preview } = readCard(card);
    if (!preview) return null;
    const size = [JSON.parse(config).sample_size].flat();
    const [height, width] = [size[0], size.at(-1)];
    const file = await files.blob(join(folder, preview.file));
    if (!file) throw new Error(`${preview.file} is not there`);
    const picture = await createImageBitmap(file);
    const columns = picture.width / width;
    const count = columns * (picture.height / height);
    if (!Number.isInteger(count) || !Number.isInteger(columns)) throw new Error(`${preview.file} is not a grid of ${width}×${height} images`);
    const context = /** @type {OffscreenCanvasRenderingContext2D} */ (new OffscreenCanvas(picture.width, picture.height).getContext('2d'));
    context.drawImage(picture, 0, 0);
    const pixels = new Uint8Array(count * width * height * 4);
    for (let i = 0; i < count; i++) {
      const image = context.getImageData((i % columns) * width, Math.floor(i / columns) * height, width, height);
      pixels.set(image.data, i * image.data.length);
    }
    return { batch: { pixels, count, width, height }, columns, caption: String(preview.caption ?? '') };
  } catch (error) {
    console.warn('No preview:', error);
    return null;
  }
}
