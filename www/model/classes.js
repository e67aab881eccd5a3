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

/** Everything that can be chosen. @param {Classes} model */
export function classChoices(model) {
  const names = classNames(model);
  return [...names, ...(model.null_class === null ? [] : [ANY]), ...(names.length > 1 ? [MIXED] : [])];
}

/** What the page chooses by itself: guidance needs a class to lean towards. @param {Classes} model */
export function defaultClass(model) {
  if (!hasClasses(model)) return ANY;
  if (model.class_kind === 'number') return '0';
  return model.null_class !== null && (model.guidance ?? 1) === 1 ? ANY : classChoices(model).at(-1) ?? ANY;
}

/** @param {Classes} model @param {string} chosen */
export function hasClass(model, chosen) {
  return model.class_kind === 'number' ? Number.isFinite(Number(chosen)) : classChoices(model).includes(chosen);
}

/**
 * One label an image, or null for a model without classes.
 * @param {Classes} model
 * @param {string} chosen
 * @param {number} count
 * @returns {number[]|null}
 */
export function classLabels(model, chosen, count) {
  if (!hasClasses(model)) return null;
  if (model.class_kind === 'number') return Array(count).fill(Number(chosen));
  const names = classNames(model);
  if (chosen === MIXED) return Array.from({ length: count }, (_, i) => i % names.length);
  return Array(count).fill(chosen === ANY ? model.null_class : names.indexOf(chosen));
}
