// How pictures were made: what a saved picture carries, and each entry of the history. What comes back from a file may have
// been written by anybody, so every value is checked by the rules of the address.

import { checkedBeginning, keptBeginning } from './beginning.js';
import { usesClassifier } from './guide.js';
import { loadedOf, selectedRun } from './select.js';
import { DEFAULTS, SAMPLERS, VIEWS, isUseful, readField } from './settings.js';
import { messageOf } from '../words/messages.js';

/** @typedef {import('./settings.js').Settings} Settings */
/** @typedef {import('./state.js').Run} Run */
/** @typedef {import('./state.js').State} State */

/** Of what is written; what is newer cannot be read. */
const VERSION = 1;
/** Longer than any that the page writes. */
const MOST_LETTERS = 1 << 17;

/** Settings of the page, not of a run. */
const OF_THE_PAGE = ['model', 'network', 'variant', 'backend', 'autotune', 'lock', 'view'];
/** What a run is made with. */
export const RUN_SETTINGS = /** @type {(keyof Settings)[]} */ (Object.keys(DEFAULTS)).filter((name) => !OF_THE_PAGE.includes(name));
/** The same without what the model is loaded with. */
export const SAMPLING_SETTINGS = RUN_SETTINGS.filter((name) => name !== 'precision');

/**
 * With what a run was made, beside its settings; an id of null: from files of the visitor's, which have no address. Network and variant are as in
 * the address: nothing is the first there is.
 * @typedef {object} Setup
 * @property {{id: string|null, title: string, network: string, variant: string}} model
 * @property {'gpu'|'cpu'} backend
 * @property {'f32'|'f16'} precision
 * @property {string|null} condition  the name of what the model took beside x_t
 */

/**
 * @typedef {Setup & {
 *   version: number,
 *   settings: Partial<Settings>,
 *   forkedAt: number|null,
 *   fork?: string|null,
 *   begins?: import('./beginning.js').Kept|null,
 *   step: number,
 *   view: import('./recording.js').View,
 *   image: number,
 * }} Recipe
 * `settings` are the run's, all of them; `forkedAt` is the step of another run that it went on from, and
 * `fork` tells it from others of that step, whose way there may be another; `begins` is what it began with in place of noise. What is shown is the
 * chosen `image`, or all of them, in a `view` at a `step`.
 */

/** @param {State} state @returns {Setup} */
export function setupOf(state) {
  const { source, title, model } = loadedOf(state);
  return {
    model: { id: source.kind === 'files' ? null : source.id, title, network: source.network ?? '', variant: source.variant ?? '' },
    backend: state.backend?.kind ?? 'cpu',
    precision: model.precision === 'f16' ? 'f16' : 'f32',
    condition: state.condition?.name ?? null,
  };
}

/**
 * @param {Run} run
 * @param {{index: number, view: import('./recording.js').View, image: number}} shown
 * @returns {Recipe}
 */
export function recipeOf(run, { index, view, image }) {
  const { step, x0Step } = run.recording.states[index];
  return {
    version: VERSION,
    ...run.setup,
    // Of a word the setting says nothing: it has as many images as letters.
    settings: { ...Object.fromEntries(RUN_SETTINGS.map((name) => [name, run.settings[name]])), count: run.recording.count },
    forkedAt: run.parent?.step ?? null,
    fork: run.parent && `${run.id} at ${run.startedAt}`,
    ...(run.beginning && { begins: keptBeginning(run.beginning) }),
    // What the newest state of a run shows of these is of an earlier step.
    step: view === 'x0' && x0Step >= 0 ? x0Step : view === 'eps' || view === 'gradient' ? run.recording.evaluation(index)?.step ?? step : step,
    view,
    image,
  };
}

/** How what is shown was made; null for what came with a model. @param {State} state @returns {Recipe|null} */
export function shownRecipe(state) {
  const run = selectedRun(state);
  return run ? recipeOf(run, state.selection) : state.preview.recipe ?? null;
}

/**
 * The same as other programs read it: what is to be seen in a line, then "name: value, …".
 * @param {Recipe} recipe
 * @param {{width: number, height: number}} size  of an image
 */
export function parametersOf({ model, settings, backend, precision, begins }, { width, height }) {
  const { sampler = DEFAULTS.sampler, steps, seed, guide = DEFAULTS.guide, guidance, scale, eta, count, class: name = DEFAULTS.class } = settings;
  const quoted = (/** @type {string} */ text) => (/[,:\n"]/.test(text) ? JSON.stringify(text) : text);
  const facts = {
    Steps: steps,
    Sampler: SAMPLERS[sampler],
    'CFG scale': guide === 'free' || guide === 'both' ? guidance : 1,
    ...(usesClassifier(guide) && { 'Classifier scale': scale }),
    Seed: seed,
    ...(begins?.kind === 'picture' && { 'Denoising strength': Math.round(100 * begins.share) / 100 }),
    Size: `${width}x${height}`,
    Model: quoted(model.title),
    ...(isUseful('eta', sampler) && { Eta: eta }),
    'Batch size': count,
    Class: quoted(name),
    ...(settings.seedTo && { 'Seed to': settings.seedTo }),
    ...(settings.classTo && { 'Class to': quoted(settings.classTo) }),
    Backend: backend,
    Precision: precision,
    Version: 'Denoise',
  };
  return `${name}\n${Object.entries(facts).map(([fact, value]) => `${fact}: ${value}`).join(', ')}`;
}

/**
 * @param {string} text  as JSON
 * @returns {Recipe}
 */
export function readRecipe(text) {
  /** @type {any} */
  let found;
  try {
    if (text.length <= MOST_LETTERS) found = JSON.parse(text);
  } catch {
    // It is none, as is what is too long.
  }
  if (typeof found?.version !== 'number' || !found.model || !found.settings) throw new Error('has settings in it that cannot be read: they should be JSON with version, model and settings');
  if (found.version > VERSION) throw new Error(`was made by a newer Denoise: its settings have version ${short(found.version)}, and this page reads version ${VERSION}. Reload the page to get the newest`);

  /** @type {string[]} */
  const problems = [];
  /** @param {string} name @param {unknown} value @param {(text: string) => {value: any, problem: string|null}} read */
  const check = (name, value, read) => {
    const plain = typeof value === 'string' || typeof value === 'number';
    const { value: taken, problem } = read(plain ? String(value) : '');
    if (!plain || problem) problems.push(`${name} is ${short(value)}, which is not ${problem ?? 'text or a number'}`);
    return taken;
  };
  const field = (/** @type {keyof Settings} */ name) => (/** @type {string} */ text) => readField(name, text);
  const among = (/** @type {readonly string[]} */ ...values) => (/** @type {string} */ text) => ({ value: text, problem: values.includes(text) ? null : values.join(' or ') });
  const whole = (/** @type {string} */ text) => (/^\d{1,4}$/.test(text) ? { value: Number(text), problem: null } : { value: 0, problem: 'a whole number from 0 to 9999' });
  const words = (/** @type {string} */ text) => ({ value: text.slice(0, 200), problem: null });

  const checked = (/** @type {unknown} */ begins) => {
    try {
      return checkedBeginning(begins);
    } catch (error) {
      problems.push(messageOf(error));
      return null;
    }
  };

  const { model } = found;
  const recipe = {
    version: VERSION,
    model: {
      id: model.id === null ? null : check('model', model.id, field('model')),
      title: check('the model’s title', model.title ?? model.id ?? '', words),
      network: check('network', model.network ?? '', words),
      variant: check('variant', model.variant ?? '', words),
    },
    settings: Object.fromEntries(RUN_SETTINGS.map((name) => [name, check(name, found.settings[name] ?? DEFAULTS[name], field(name))])),
    backend: check('backend', found.backend, among('gpu', 'cpu')),
    precision: check('precision', found.precision, among('f32', 'f16')),
    condition: found.condition === null ? null : check('condition', found.condition ?? '', words) || null,
    ...(found.begins && { begins: checked(found.begins) }),
    forkedAt: found.forkedAt === null ? null : check('forkedAt', found.forkedAt ?? 0, whole),
    step: check('step', found.step ?? 0, whole),
    view: check('view', found.view ?? 'x', among(...VIEWS)),
    image: check('image', found.image ?? 0, whole),
  };
  if (problems.length) throw new Error(`has settings in it that are not valid: ${problems.join('; ')}. Nothing was changed`);
  return recipe;
}

/** @param {unknown} value */
function short(value) {
  const text = JSON.stringify(value) ?? 'missing';
  return text.length > 40 ? `${text.slice(0, 40)}…` : text;
}

/** Whether two recipes make the same pictures. @param {Recipe} a @param {Recipe} b */
export const sameRecipe = (a, b) => makes(a) === makes(b);
/** @param {Recipe} recipe */
const makes = ({ model, settings, backend, precision, condition, forkedAt, fork, begins }) => JSON.stringify([model, settings, backend, precision, condition, forkedAt, fork ?? null, begins ?? null]);
