// From one noise, or one class, to another: the batch as a strip of what lies between.

import { ANY, MIXED, classNames, isAlphabet } from '../model/classes.js';
import { gridLayout } from './layout.js';

/** @typedef {import('../model/classes.js').Classes} Classes */
/** @typedef {import('./beginning.js').Beginning} Beginning */
/** @typedef {import('./settings.js').Settings} Settings */

/** Images in a row of a strip. */
const LONGEST = 8;

/** Whether there can be something between two of these classes: their embeddings are learned, and a letter is one of a word. @param {Classes|null} classes */
export const mixes = (classes) => classes !== null && classes.class_kind === 'label' && classNames(classes).length > 1 && !isAlphabet(classes);

/** Whether the chosen class is one, from which the strip can go to another. @param {Settings} settings */
export const isOneClass = ({ class: name }) => name !== ANY && name !== MIXED;

/** Whether a run draws the noise that it begins with or a picture is noised with, so that it can lie between two. @param {Beginning['kind']|null} [begins] */
export const drawsNoise = (begins) => begins !== 'noise';

/**
 * Which strip a run of these settings is.
 * @param {Classes|null} classes
 * @param {Settings} settings
 * @param {Beginning['kind']|null} [begins]  what the run begins with in place of noise
 */
export const stripOf = (classes, settings, begins = null) => ({
  seeds: settings.seedTo !== '' && drawsNoise(begins),
  classes: settings.classTo !== '' && mixes(classes) && isOneClass(settings),
});

/** @param {ReturnType<typeof stripOf>} strip */
export const isStrip = ({ seeds, classes }) => seeds || classes;

/** The weight of each image: how far along the strip it lies. @param {number} count */
const weights = (count) => Array.from({ length: count }, (_, i) => (count > 1 ? i / (count - 1) : 0));

/**
 * @param {Classes} classes
 * @param {Settings} settings
 * @param {number} count
 * @param {Beginning['kind']|null} [begins]
 * @returns {Partial<import('../engine/protocol.js').EngineSettings>}
 */
export function stripRequest(classes, settings, count, begins) {
  const strip = stripOf(classes, settings, begins);
  return {
    ...(strip.seeds && { slerp: { seed: Number(settings.seedTo), weights: weights(count) } }),
    ...(strip.classes && { class_mix: { labels: Array(count).fill(classNames(classes).indexOf(settings.classTo)), weights: weights(count) } }),
  };
}

/** Rows of about the same length, as few as can be. @param {number} count */
export const stripLayout = (count) => gridLayout(count, Math.ceil(count / Math.ceil(count / LONGEST)));

/** The image after another one where the strip is looked through back and forth, and the way on from there. @param {number} image @param {1|-1} way @param {number} count @returns {{image: number, way: 1|-1}} */
export function alongStrip(image, way, count) {
  const next = image + way;
  if (next >= 0 && next < count) return { image: next, way };
  const back = way === 1 ? -1 : 1;
  return { image: Math.min(count - 1, Math.max(0, image + back)), way: back };
}
