// Which classes a model has, and which of them each image is to be of.

/** No class at all, for models that were also trained without. */
export const ANY = 'any';
/** Each image the next class in turn. */
export const MIXED = 'mixed';

/** @typedef {Pick<import('../engine/protocol.js').Model, 'class_names'|'class_count'|'class_kind'|'null_class'|'guidance'>} Classes */

/** Whether there is a class to choose: some models are told a vector instead, which nobody can type. @param {Classes} model */
export const hasClasses = ({ class_kind: kind }) => kind === 'label' || kind === 'number';

/** What the classes are called; without names, by their labels. @param {Classes} model @returns {string[]} */
export function classNames({ class_kind: kind, class_names: names, class_count: count }) {
  if (kind !== 'label') return [];
  return names.length ? names : Array.from({ length: count }, (_, label) => String(label));
}

/** How many letters can be spelled at a time. */
export const MOST_LETTERS = 32;

/** What the page greets with where it can be spelled. */
const GREETING = 'DENOISE';

/** Whether the classes are letters, so that a word can be typed: each of its letters is an image. @param {Classes} model */
export function isAlphabet(model) {
  const names = classNames(model);
  return names.length > 1 && names.every((name) => /^\p{Lu}$/u.test(name));
}

/** Whether a chosen class is a word of these letters. @param {Classes} model @param {string} chosen */
export function spells(model, chosen) {
  if (!isAlphabet(model)) return false;
  const letters = lettersOf(chosen);
  return letters.length > 0 && letters.length <= MOST_LETTERS && letters.every((letter) => model.class_names.includes(letter));
}

/** The letters of a text, without its spaces. @param {string} text */
export const lettersOf = (text) => [...text.replaceAll(' ', '')];

/** What of a typed text can be spelled: capitals without their accents, and single spaces between words. @param {Classes} model @param {string} typed */
export function spelled(model, typed) {
  const capitals = typed.normalize('NFD').toUpperCase();
  const known = [...capitals.replace(/\s+/g, ' ')].filter((letter) => letter === ' ' || model.class_names.includes(letter));
  let left = MOST_LETTERS;
  return known.filter((letter) => letter === ' ' || left-- > 0).join('').replace(/^ /, '');
}

/** What of a typed text cannot be spelled, in words; nothing if all of it can. @param {Classes} model @param {string} typed */
export function droppedFrom(model, typed) {
  const { class_names: names } = model;
  const capitals = [...typed.normalize('NFD').replace(/\p{M}/gu, '').toUpperCase()];
  const unknown = [...new Set(capitals.filter((letter) => !/\s/.test(letter) && !names.includes(letter)))];
  const many = capitals.filter((letter) => names.includes(letter)).length > MOST_LETTERS;
  const left = unknown.length ? `Left out: ${unknown.slice(0, 6).join(' ')}${unknown.length > 6 ? ' …' : ''}. There is only ${names[0]} to ${names.at(-1)}.` : '';
  return [left, many ? `Left out: what comes after ${MOST_LETTERS} letters.` : ''].filter(Boolean).join(' ');
}

/** Everything that can be chosen. @param {Classes} model */
export function classChoices(model) {
  const names = classNames(model);
  return [...names, ...(model.null_class === null ? [] : [ANY]), ...(names.length > 1 ? [MIXED] : [])];
}

/** What the page chooses by itself: guidance needs a class to lean towards. @param {Classes} model */
export function defaultClass(model) {
  if (!hasClasses(model)) return ANY;
  if (isAlphabet(model)) return spells(model, GREETING) ? GREETING : model.class_names.slice(0, 8).join('');
  if (model.class_kind === 'number') return '0';
  return model.null_class !== null && (model.guidance ?? 1) === 1 ? ANY : classChoices(model).at(-1) ?? ANY;
}

/** @param {Classes} model @param {string} chosen */
export function hasClass(model, chosen) {
  if (isAlphabet(model)) return spells(model, chosen);
  return model.class_kind === 'number' ? Number.isFinite(Number(chosen)) : classChoices(model).includes(chosen);
}

/**
 * One label an image, or null for a model without classes. The letters of a word are as many as its images.
 * @param {Classes} model
 * @param {string} chosen
 * @param {number} count
 * @returns {number[]|null}
 */
export function classLabels(model, chosen, count) {
  if (!hasClasses(model)) return null;
  if (model.class_kind === 'number') return Array(count).fill(Number(chosen));
  const names = classNames(model);
  if (isAlphabet(model)) return lettersOf(chosen).map((letter) => names.indexOf(letter));
  if (chosen === MIXED) return Array.from({ length: count }, (_, i) => i % names.length);
  return Array(count).fill(chosen === ANY ? model.null_class : names.indexOf(chosen));
}
