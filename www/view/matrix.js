// A comparison as one picture, with the values of its settings along its edges: on the page, and as a file.

import { download } from '../keep/keeper.js';
import { pictureOf } from '../keep/pictures.js';
import { batchOf, indexAt, wordsOf } from '../store/comparing.js';
import { LABELS } from '../words/hints.js';

/** @typedef {import('../store/comparing.js').Axis} Axis */
/** @typedef {import('../store/comparing.js').Comparison} Comparison */
/** @typedef {CanvasRenderingContext2D|OffscreenCanvasRenderingContext2D} Context */

/** What it is drawn with, in the same pixels: the side of a cell, and of its labels the font's size and how wide they are on the left. */
/** @typedef {{cell: number, font: number, left: number, ink: string, caption: string}} Look */

const GAP = 4;
/** Below this width labels stand above their rows. */
const NARROW = 560;
/** The side of a cell of a file, and its font. */
const FILE = { cell: 256, font: 20 };
/** As the mat in style.css and what is written on it. */
const GROUND = '#2b2f31';
const INK = '#d9dcdd';

/** What a column's label says: its value alone where the axis is named beside it. @param {Axis} axis @param {import('../store/comparing.js').Value} value */
const short = (axis, value) => (axis === 'sampler' || axis === 'class' ? wordsOf(axis, value) : String(value));

/** @param {Axis} axis */
const nameOf = (axis) => (axis === 'class' ? 'Class' : LABELS[axis]);

/** The rows and columns of a comparison; columns side by side are a row of their own. @param {Comparison} comparison */
function tableOf({ kind, axes, values }) {
  const [rows, columns] = kind === 'matrix' ? values : [[''], values[0]];
  return { rows, columns, rowAxis: kind === 'matrix' ? axes[0] : null, columnAxis: axes[kind === 'matrix' ? 1 : 0] };
}

/** @param {Comparison} comparison @param {Look} look */
function sizeOf(comparison, { cell, font, left, caption }) {
  const { rows, columns, rowAxis } = tableOf(comparison);
  const line = Math.round(font * 1.6);
  const above = rowAxis && !left ? line : 0;
  const top = 2 * line;
  return {
    line, above, top,
    width: left + columns.length * (cell + GAP) - GAP,
    height: top + rows.length * (above + cell + GAP) - GAP + (caption ? Math.round(1.5 * line) : 0),
  };
}

/** @param {Context} context @param {Comparison} comparison @param {Look} look */
function draw(context, comparison, look) {
  const { cell, font, left, ink, caption } = look;
  const { rows, columns, rowAxis, columnAxis } = tableOf(comparison);
  const { line, above, top, width, height } = sizeOf(comparison, look);
  context.fillStyle = ink;
  context.font = `${font}px system-ui, sans-serif`;
  context.textBaseline = 'middle';
  const write = (/** @type {string} */ text, /** @type {number} */ x, /** @type {number} */ y, /** @type {number} */ room, /** @type {CanvasTextAlign} */ align = 'left') => {
    context.textAlign = align;
    context.fillText(fitted(context, text, room), x, y);
  };
  write(nameOf(columnAxis), left + (width - left) / 2, line / 2, width - left, 'center');
  columns.forEach((value, i) => write(short(columnAxis, value), left + i * (cell + GAP) + cell / 2, 1.5 * line, cell, 'center'));
  rows.forEach((value, i) => {
    const y = top + i * (above + cell + GAP) + above;
    if (rowAxis && left) write(wordsOf(rowAxis, value), 0, y + cell / 2, left - 2 * GAP);
    else if (rowAxis) write(wordsOf(rowAxis, value), 0, y - above / 2, width);
    columns.forEach((_, j) => drawTrial(context, comparison, i * columns.length + j, left + j * (cell + GAP), y, look));
  });
  context.fillStyle = ink;
  if (caption) write(caption, 0, height - line / 2, width);
}

/** @param {Context} context @param {Comparison} comparison @param {number} index @param {number} x @param {number} y @param {Look} look */
function drawTrial(context, { trials, at, view }, index, x, y, { cell, font, ink }) {
  const { recording, layout, problem } = trials[index];
  context.fillStyle = 'rgb(255 255 255 / 0.06)';
  context.fillRect(x, y, cell, cell);
  context.fillStyle = ink;
  context.textAlign = 'center';
  if (problem) context.fillText(fitted(context, 'not possible', cell), x + cell / 2, y + cell / 2, cell - font);
  if (!recording) return;
  const { width, height } = recording;
  const picture = pictureOf(batchOf(recording, indexAt(recording, at), view), { width, height }, layout);
  const canvas = new OffscreenCanvas(picture.width, picture.height);
  /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext('2d')).putImageData(new ImageData(picture.pixels, picture.width, picture.height), 0, 0);
  const scale = cell / Math.max(picture.width, picture.height);
  context.imageSmoothingEnabled = scale < 1;
  const [wide, high] = [picture.width * scale, picture.height * scale];
  context.drawImage(canvas, x + (cell - wide) / 2, y + (cell - high) / 2, wide, high);
}

/** A text that has its room, with an ellipsis if it is cut. @param {Context} context @param {string} text @param {number} room */
function fitted(context, text, room) {
  if (context.measureText(text).width <= room) return text;
  let length = text.length - 1;
  while (length > 0 && context.measureText(`${text.slice(0, length)}…`).width > room) length--;
  return `${text.slice(0, length)}…`;
}

/** How wide the labels of the rows are. @param {Context} context @param {Comparison} comparison @param {number} font */
function leftOf(context, comparison, font) {
  const { rows, rowAxis } = tableOf(comparison);
  if (!rowAxis) return 0;
  context.font = `${font}px system-ui, sans-serif`;
  return Math.ceil(Math.max(...rows.map((value) => context.measureText(wordsOf(rowAxis, value)).width))) + 3 * GAP;
}

export class Matrix {
  #place;
  #canvas;

  /** @param {HTMLElement} place  with a canvas @param {() => void} resized  called when it has another size */
  constructor(place, resized) {
    this.#place = place;
    this.#canvas = /** @type {HTMLCanvasElement} */ (place.querySelector('canvas'));
    new ResizeObserver(resized).observe(place);
  }

  /** @param {Comparison} comparison */
  paint(comparison) {
    const { clientWidth, clientHeight } = this.#place;
    const context = this.#canvas.getContext('2d');
    if (!clientWidth || !context) return;
    const { rows, columns } = tableOf(comparison);
    const font = 13;
    const left = clientWidth < NARROW ? 0 : leftOf(context, comparison, font);
    const look = { cell: 1, font, left, ink: INK, caption: '' };
    // The page scrolls where it is narrow, so that the width alone counts.
    const room = matchMedia('(max-width: 959px)').matches ? Infinity : clientHeight;
    const { above, top } = sizeOf(comparison, look);
    look.cell = Math.max(16, Math.floor(Math.min((clientWidth - left - (columns.length - 1) * GAP) / columns.length, (room - top - (rows.length - 1) * GAP) / rows.length - above)));
    const { width, height } = sizeOf(comparison, look);
    Object.assign(this.#canvas, { width: Math.round(width * devicePixelRatio), height: Math.round(height * devicePixelRatio) });
    this.#canvas.style.width = `${width}px`;
    this.#canvas.style.height = `${height}px`;
    context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    draw(context, comparison, look);
    this.#canvas.setAttribute('aria-label', aboutOf(comparison));
  }

  /** @param {Comparison} comparison */
  async save(comparison) {
    const measure = /** @type {OffscreenCanvasRenderingContext2D} */ (new OffscreenCanvas(1, 1).getContext('2d'));
    const look = { ...FILE, left: leftOf(measure, comparison, FILE.font), ink: INK, caption: `${comparison.title} · ${comparison.caption}` };
    const { width, height } = sizeOf(comparison, look);
    const margin = 4 * GAP;
    const canvas = new OffscreenCanvas(width + 2 * margin, height + 2 * margin);
    const context = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext('2d'));
    context.fillStyle = GROUND;
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.translate(margin, margin);
    draw(context, comparison, look);
    const name = `${comparison.title} ${comparison.axes.join(' ')}`.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, '-').replace(/^-/, '');
    download(await canvas.convertToBlob({ type: 'image/png' }), `${name}.png`);
  }
}

/** What it shows, for those who cannot see it. @param {Comparison} comparison */
function aboutOf(comparison) {
  const { trials, axes, values } = comparison;
  const made = trials.filter(({ milliseconds }) => milliseconds !== null).length;
  const words = axes.map((axis, i) => `${i ? 'columns' : 'rows'}: ${values[i].map((value) => wordsOf(axis, value)).join(', ')}`).join('; ');
  return `Matrix of ${trials.length} runs, ${made} of them made; ${words}`;
}
