// How many images of a model are made at a time, where nobody says.

import { messageOf } from '../words/messages.js';

/** @typedef {import('../pkg/denoise.js').Engine} Engine */
/** @typedef {import('../pkg/denoise.js').Requirements} Requirements */

/** How many images the page makes by itself: the most of these that the device does with ease. */
const COUNTS = [16, 9, 4, 1];
/** What that is, in parameters × pixels: a rough measure of an evaluation's work. */
const EASY = { gpu: 1e12, cpu: 1.5e11 };

/** Why a model cannot be loaded, and with how many images it could. */
export class TooLarge extends Error {
  /** @param {string} problem @param {number|undefined} fits */
  constructor(problem, fits) {
    super(problem);
    this.fits = fits;
  }
}

/**
 * Checks that the device has the memory, before anything large is fetched.
 * @param {Engine} engine
 * @param {import('../model/files.js').ModelFiles} small
 * @param {number|null} asked  null: as many as are made with ease
 * @param {Omit<import('../pkg/denoise.js').LoadOptions, 'count'>} fixed
 */
export function countThatFits(engine, small, asked, fixed) {
  /** @type {Map<number, Requirements>} */
  const seen = new Map();
  /** Asked once for each count: with large models it takes a while. @param {number} count */
  const needs = (count) => {
    const found = seen.get(count) ?? engine.requirements(small, { count, ...fixed });
    seen.set(count, found);
    return found;
  };
  const problemOf = (/** @type {number} */ count) => {
    try {
      return needs(count).problem;
    } catch (error) {
      return messageOf(error); // a value of a size that no device has
    }
  };
  const roomFor = (/** @type {number} */ most) => COUNTS.find((count) => count <= most && !problemOf(count));
  const count = asked ?? roomFor(easyCount(needs(1), engine.backend().kind)) ?? 1;
  const problem = problemOf(count);
  if (problem) throw new TooLarge(problem, roomFor(count - 1));
  return count;
}

/** As many images as a step of is made with ease, as far as that can be told before the model is there. @param {Requirements} needs @param {'gpu'|'cpu'} kind */
function easyCount({ parameters, width, height }, kind) {
  return COUNTS.find((count) => parameters * height * width * count <= EASY[kind]) ?? 1;
}
