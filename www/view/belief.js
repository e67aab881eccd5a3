// What a classifier believes of an image over a run: p(k | x_t) of the classes that it is surest of.

import { softmaxOf } from '../engine/numbers.js';

/** @typedef {import('../engine/numbers.js').Numbers} Numbers */
/** @typedef {import('../store/recording.js').Recording} Recording */

/** More lines could not be told apart. */
const MOST_LINES = 5;

/** By the logits of a step, and then the image. @type {WeakMap<Numbers, Map<number, number[]>>} */
const known = new WeakMap();

/** @param {Numbers} logits  of all images @param {number} image @param {number} count */
function probabilities(logits, image, count) {
  const of = known.get(logits) ?? new Map();
  known.set(logits, of);
  const classes = logits.length / count;
  if (!of.has(image)) of.set(image, softmaxOf(logits.subarray(image * classes, (image + 1) * classes)));
  return /** @type {number[]} */ (of.get(image));
}

/**
 * The classes in the order in which they are believed in at a step, with p at every step that is known and at that one.
 * @param {Recording} recording
 * @param {number} image
 * @param {number} step  that is shown
 * @returns {{label: number, here: number|null, points: [number, number][]}[]}
 */
export function beliefOf({ logits, count }, image, step) {
  // Of the last state nobody was asked: the step that led to it is told.
  const said = logits[step] ?? logits[step - 1];
  const now = said ? probabilities(said, image, count) : [];
  const steps = logits.flatMap((all, at) => (all ? [{ at, p: probabilities(all, image, count) }] : []));
  const classes = steps[0]?.p.length ?? 0;
  const lines = Array.from({ length: classes }, (_, label) => ({
    label,
    most: Math.max(...steps.map(({ p }) => p[label])),
    here: now[label] ?? null,
    points: steps.map(({ at, p }) => /** @type {[number, number]} */ ([at, p[label]])),
  }));
  return lines.sort((a, b) => b.most - a.most).slice(0, MOST_LINES).sort((a, b) => (b.here ?? 0) - (a.here ?? 0)).map(({ label, here, points }) => ({ label, here, points }));
}
