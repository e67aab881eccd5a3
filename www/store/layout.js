// Where each image of a batch is shown: a grid, or the lines of a word, in which a letter is an image and a space is left free.

import { spells } from '../model/classes.js';

/** Cells count from the top left. @typedef {{columns: number, rows: number, cells: readonly {column: number, row: number}[]}} Layout */

/** How wide the place of the pictures is for its height, more or less. */
const ASPECT = 1.6;
/** A longer word is broken. */
const LONGEST = 12;

/** Images in rows of the same length. @param {number} count @param {number} [columns]  as many as make a square, if it is not said @returns {Layout} */
export function gridLayout(count, columns = Math.ceil(Math.sqrt(count))) {
  const cells = Array.from({ length: count }, (_, i) => ({ column: i % columns, row: Math.floor(i / columns) }));
  return { columns, rows: Math.ceil(count / columns), cells };
}

/** The letters of a text in lines that make them as large as can be. @param {string} text @returns {Layout} */
export function wordLayout(text) {
  const words = text.split(' ').filter(Boolean).flatMap(broken);
  const longest = Math.max(...words.map((word) => word.length));
  const all = [...text.trim()].length;
  const choices = Array.from({ length: all - longest + 1 }, (_, i) => linesOf(words, longest + i));
  const size = (/** @type {string[]} */ lines) => Math.min(ASPECT / widthOf(lines), 1 / lines.length);
  const lines = choices.reduce((best, lines) => (size(lines) > size(best) ? lines : best));
  const cells = lines.flatMap((line, row) => [...line].flatMap((letter, column) => (letter === ' ' ? [] : [{ column, row }])));
  return { columns: widthOf(lines), rows: lines.length, cells };
}

/** A word in parts of about the same length, none too long. @param {string} word */
function broken(word) {
  const parts = Math.ceil(word.length / LONGEST);
  const size = Math.ceil(word.length / parts);
  return Array.from({ length: parts }, (_, i) => word.slice(i * size, (i + 1) * size));
}

/** @param {string[]} words @param {number} width  that no line exceeds */
function linesOf(words, width) {
  /** @type {string[]} */
  const lines = [];
  for (const word of words) {
    const line = lines.at(-1);
    if (line !== undefined && line.length + 1 + word.length <= width) lines[lines.length - 1] = `${line} ${word}`;
    else lines.push(word);
  }
  return lines;
}

/** @param {string[]} lines */
const widthOf = (lines) => Math.max(...lines.map((line) => line.length));

/**
 * How the images of a run are shown.
 * @param {import('../model/classes.js').Classes|null} classes  of its model
 * @param {string} chosen  its class
 * @param {number} count
 */
export function layoutOf(classes, chosen, count) {
  const layout = classes && spells(classes, chosen) ? wordLayout(chosen) : null;
  return layout?.cells.length === count ? layout : gridLayout(count);
}
