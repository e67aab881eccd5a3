// Images that a shipped model has learned from: those of the Teach page's sheets.

import { fetchSheet } from './sheet.js';

/** Where the sheets are, without an ending, by the model's folder. @type {Readonly<Record<string, string>>} */
const SHEETS = { 'models/digits': 'teach/data/digits', 'models/letters': 'teach/data/letters' };

/** Whether there are images that a model has learned from. @param {import('./source.js').Source} source */
export const hasData = ({ id }) => id in SHEETS;

/**
 * One of the images, drawn by lot, with the black border that it was learned with.
 * @param {import('./source.js').Source} source  of a model that has some
 * @param {number} label  of its class; of any class, if there is none of that label
 * @param {{width: number, height: number}} shape  of the model's images
 */
export async function imageOfData({ id }, label, { width, height }) {
  const { about: { side, columns, each, names }, sheet } = await fetchSheet(SHEETS[id]);
  const drawn = (/** @type {number} */ of) => Math.floor(Math.random() * of);
  const is = label in names ? label : drawn(names.length);
  const tile = is * each + drawn(each);
  const canvas = new OffscreenCanvas(width, height);
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext('2d'));
  context.fillRect(0, 0, width, height);
  const image = await createImageBitmap(sheet, side * (tile % columns), side * Math.floor(tile / columns), side, side);
  context.drawImage(image, (width - side) >> 1, (height - side) >> 1);
  image.close();
  return new File([await canvas.convertToBlob()], `${names[is]} of the data`, { type: 'image/png' });
}
