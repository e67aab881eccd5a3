// The worker that reads what a network is to learn from: a sheet of the page's own, or pictures of the visitor's.

import { readPicture } from '../model/image.js';
import { fetchSheet } from '../model/sheet.js';
import { messageOf } from '../words/messages.js';
import { classesOf } from './classes.js';

/** @typedef {import('../engine/learning-protocol.js').Images} Images */
/** @typedef {import('../model/source.js').Found} Found */
/** @typedef {{path: string, problem: string}} Skipped  a file that is no picture, or a damaged one */

/**
 * Page → worker: a sheet by its address without an ending, or files.
 * @typedef {(
 *   {type: 'sheet', id: number, address: string} |
 *   {type: 'pictures', id: number, files: Found[], side: number, channels: 1|3}
 * )} DataCommand
 */
/**
 * Worker → page.
 * @typedef {(
 *   {type: 'reading', id: number, done: number, total: number} |
 *   {type: 'read', id: number, images: Images, skipped: Skipped[]} |
 *   {type: 'unreadable', id: number, message: string}
 * )} DataEvent
 */

/** Milliseconds between two messages about how far it is. */
const TELL = 100;

/** The last command: another one ends what is under way. */
let current = 0;

addEventListener('message', (event) => {
  /** @type {DataCommand} */
  const command = event.data;
  current = command.id;
  const reading = command.type === 'sheet' ? readSheet(command.address) : readPictures(command);
  reading.then(
    (found) => found && say({ type: 'read', id: command.id, ...found }, [found.images.pixels.buffer]),
    (error) => say({ type: 'unreadable', id: command.id, message: messageOf(error) }),
  );
});

/** @param {DataEvent} event @param {Transferable[]} [transfer] */
function say(event, transfer = []) {
  postMessage(event, { transfer });
}

/** @param {string} address */
async function readSheet(address) {
  const { about: { side, columns, each, names }, sheet } = await fetchSheet(address, ', or teach pictures or drawings of your own');
  const count = each * names.length;
  const pixels = new Uint8Array(count * side * side);
  const image = await createImageBitmap(sheet, { colorSpaceConversion: 'none', premultiplyAlpha: 'none' });
  const context = contextOf(columns * side, side);
  for (let first = 0; first < count; first += columns) {
    context.drawImage(image, 0, -(first / columns) * side);
    const { data } = context.getImageData(0, 0, columns * side, side);
    for (let tile = 0; tile < Math.min(columns, count - first); tile++) {
      for (let y = 0; y < side; y++) {
        for (let x = 0; x < side; x++) pixels[((first + tile) * side + y) * side + x] = data[4 * (y * columns * side + tile * side + x)];
      }
    }
  }
  image.close();
  const labels = Uint32Array.from({ length: count }, (_, i) => Math.floor(i / each));
  return { images: { shape: /** @type {Images['shape']} */ ([count, 1, side, side]), pixels, labels, names }, skipped: [] };
}

/** @param {number} width @param {number} height */
function contextOf(width, height) {
  const context = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true });
  if (!context) throw new Error('This browser does not let the page draw pictures, so it cannot read them.');
  return context;
}

/** @param {Extract<DataCommand, {type: 'pictures'}>} command */
async function readPictures({ id, files, side, channels }) {
  const shape = { channels, width: side, height: side };
  /** @type {Skipped[]} */
  const skipped = [];
  /** @type {{path: string, levels: import('../model/image.js').Levels}[]} */
  const read = [];
  let told = 0;
  for (const [i, { path, file }] of files.entries()) {
    if (id !== current) return null;
    if (performance.now() - told > TELL) {
      told = performance.now();
      say({ type: 'reading', id, done: i, total: files.length });
    }
    try {
      read.push({ path, levels: await readPicture(file, shape) });
    } catch (error) {
      skipped.push({ path, problem: messageOf(error) });
    }
  }
  if (!read.length) {
    if (files.length === 1) throw new Error(skipped[0].problem);
    throw new Error(`There is no picture among the ${files.length} files. ${skipped[0].problem}`);
  }
  const size = channels * side * side;
  const pixels = new Uint8Array(read.length * size);
  for (const [i, { levels }] of read.entries()) pixels.set(levels, i * size);
  const { labels, names } = classesOf(read.map(({ path }) => path));
  return { images: { shape: /** @type {Images['shape']} */ ([read.length, channels, side, side]), pixels, labels, names }, skipped };
}
