// What follows from the state.

import { COPIES, NAMES, imagesOf, isDrawn, sideOf } from './drawings.js';
import { OF_NEW, classCount, defaultSettings, readSetting, settingsIn } from './settings.js';

/** @typedef {import('./settings.js').Settings} Settings */
/** @typedef {import('./state.js').State} State */

/** The titles of what there is to learn from. @type {Record<import('./state.js').From, string>} */
export const TITLES = { digits: 'Digits', letters: 'Letters', files: 'Your pictures', drawings: 'Your handwriting' };

/** Whether a worker is at it, or waits to go on. @param {State} state */
export const isActive = ({ run }) => run !== null && ['starting', 'learning', 'pausing', 'paused', 'stopping'].includes(run.activity);

/** Whether it goes on with the images that came with a checkpoint. @param {Pick<State, 'beginning'>} state */
export const hasOwnImages = ({ beginning }) => beginning.kind === 'checkpoint' && beginning.images !== null;

/** What a network would learn from. @param {State} state @returns {import('./state.js').Images|null} */
export function chosenImages({ from, data, drawings, beginning }) {
  if (beginning.kind === 'checkpoint' && beginning.images) return beginning.images;
  return from === 'drawings' ? imagesOf(drawings) : data.images;
}

/** How many images there are, of which size and of how many classes, without making those of drawings; null: there are none. @param {State} state */
function factsOf(state) {
  const { from, drawings } = state;
  if (from !== 'drawings' || hasOwnImages(state)) {
    const images = chosenImages(state);
    return images && { count: images.shape[0], side: images.shape[3], channels: images.shape[1], classes: () => (images.labels ? classCount(images) : 0) };
  }
  const inked = drawings.boxes.filter(isDrawn).length;
  return inked ? { count: COPIES * inked, side: sideOf(drawings.alphabet), channels: 1, classes: () => NAMES[drawings.alphabet].length } : null;
}

/** The same as far as settings follow from it. @param {State} state */
function imageFacts(state) {
  const { from, pictures, drawings } = state;
  const facts = factsOf(state);
  if (from === 'drawings' && !hasOwnImages(state)) return { count: Math.max(16, facts?.count ?? 0), side: sideOf(drawings.alphabet), channels: 1 };
  return facts ?? { count: 16, side: from === 'files' ? pictures.side : from === 'letters' ? 32 : 28, channels: from === 'files' ? pictures.channels : 1 };
}

/** The settings: those that were chosen and are right, and for the others what is taken by itself. @param {State} state @returns {Settings} */
export function settingsOf(state) {
  const { beginning } = state;
  const settings = defaultSettings(beginning.kind, state.from, imageFacts(state));
  if (beginning.kind === 'checkpoint') return { ...settings, ...settingsIn(beginning.recipe), backend: backendOf(state) ?? settings.backend };
  for (const [name, text] of Object.entries(state.texts)) {
    const { value, problem } = readSetting(/** @type {keyof Settings} */ (name), text);
    if (problem === null) Object.assign(settings, { [name]: value });
  }
  return settings;
}

/** @param {State} state */
const backendOf = ({ texts }) => /** @type {Settings['backend']|undefined} */ (readSetting('backend', texts.backend ?? '').value);

/** The first setting that is wrong. @param {State} state @returns {{name: keyof Settings, problem: string}|null} */
export function settingProblem({ beginning, texts }) {
  if (beginning.kind === 'checkpoint') return null; // it says itself how it goes on
  const names = /** @type {(keyof Settings)[]} */ (Object.keys(texts)).filter((name) => beginning.kind === 'nothing' || !OF_NEW.includes(name));
  for (const name of names) {
    const { problem } = readSetting(name, texts[name] ?? '');
    if (problem !== null) return { name, problem };
  }
  return null;
}

/** Why there is nothing to learn from yet, or these images cannot be learned from. @param {State} state @returns {string|null} */
export function imageProblem(state) {
  const { from, data, beginning } = state;
  const facts = factsOf(state);
  if (!facts) {
    if (data.reading && from !== 'drawings') return 'The images are being read.';
    return data.problem ?? { digits: 'The digits are not there yet.', letters: 'The letters are not there yet.', files: 'Choose pictures first, or drop a folder of them on the page.', drawings: 'Draw in a box or two first.' }[from];
  }
  const { count, channels, side } = facts;
  const batch = beginning.kind === 'checkpoint' ? beginning.recipe.batch : settingsOf(state).batch;
  if (count < batch) return `There are ${count} images, fewer than a batch of ${batch}. Add some, or choose a smaller batch.`;
  if (beginning.kind !== 'model') return null;
  const { known, title, pending } = beginning;
  if (pending) return 'The model is being looked at.';
  if (!known) return null;
  if (![1, 3].includes(known.channels)) return `${title} makes images of ${known.channels} channels. Only those of 1 or 3, grey or coloured ones, can be taught here: choose another model, or begin with nothing.`;
  const kind = (/** @type {number} */ of) => (of === 1 ? 'grey' : 'coloured');
  if (known.channels !== channels) return `${title} makes ${kind(known.channels)} images, and these are ${kind(channels)}. Choose others, or begin with nothing.`;
  if (known.side !== null && known.side < side) return `${title} makes images of ${known.side} × ${known.side}, and these are ${side} × ${side}. Choose smaller ones, or begin with nothing.`;
  const classes = facts.classes();
  const most = known.classes === null ? null : known.nullClass ?? known.classes;
  if (most !== null && classes > most) return `These images are of ${classes} classes, and ${title} knows ${most}. Begin with nothing, or choose fewer.`;
  return null;
}

/**
 * What a model that learns more is given: its classes where it has them by the same names, else in their order; without classes,
 * that which means none.
 * @param {import('./state.js').Images} images
 * @param {import('./settings.js').Known|null} known
 * @returns {import('./state.js').Images}
 */
export function fittedTo(images, known) {
  if (!known) return images;
  if (known.classes === null) return { ...images, labels: null, names: [] };
  if (!images.labels) return { ...images, labels: new Uint32Array(images.shape[0]).fill(known.nullClass ?? 0), names: [] };
  const places = images.names.map((name) => known.names.indexOf(name));
  if (!places.length || places.includes(-1)) return images;
  return { ...images, labels: images.labels.map((label) => places[label]), names: known.names };
}

/** Seconds that a run still takes, samples with it. @param {import('./state.js').Run} run */
export function secondsLeft({ recipe, step, speed, samples: { share } }) {
  return recipe && speed ? ((recipe.steps - step) * recipe.batch) / speed / (1 - share) : null;
}
