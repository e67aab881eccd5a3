// What follows from the state: nothing here is kept.

import { defaultClass, hasClasses, isAlphabet, lettersOf, spells } from '../model/classes.js';
import { whatIsTaken } from '../model/condition.js';
import { beginningRequest, beginningWords, withMissing } from './beginning.js';
import { drawsNoise, stripOf, stripRequest } from './between.js';
import { canMix, classesOf, defaultGuide, guidanceOf, guideOf, guideProblem, guideRequest, guideWords, guidedOf, hasClassifier, hasGuidance, usesClassifier } from './guide.js';
import { phaseOf } from './phase.js';
import { DEFAULTS, SAMPLERS, defaultEta, defaultSampling, isUseful, mostSteps, readField, writeQuery } from './settings.js';

/** @typedef {import('./settings.js').Field} Field */
/** @typedef {import('./settings.js').Settings} Settings */
/** @typedef {import('./state.js').Loaded} Loaded */
/** @typedef {import('./state.js').State} State */

/** @param {State} state */
export const phase = (state) => phaseOf(state.phase);

/** What can be used as long as a model is loaded. @param {State} state @returns {Loaded} */
export function loadedOf({ loaded }) {
  if (!loaded) throw new Error('No model is loaded yet.');
  return loaded;
}

// ---- Settings ---------------------------------------------------------------------------------

/** Whether a word is typed in place of a class. @param {State} state */
export const isSpelling = ({ classes }) => classes !== null && isAlphabet(classes);

/** How many images a run makes: of a word, one a letter. @param {State} state @param {Settings} [settings] */
export function imageCount({ classes, settings: now }, settings = now) {
  return classes && spells(classes, settings.class) ? lettersOf(settings.class).length : settings.count;
}

/** Whether a setting changes what this model makes with this sampler. @param {State} state @param {'eta'|'variance'|'spacing'} name */
export const doesSomething = ({ settings, loaded }, name) => isUseful(name, settings.sampler, loaded?.model.prediction_type);

/** A field that does nothing for this model, class and sampler is hidden. @param {State} state @param {Field} name */
export function isShown(state, name) {
  if (name === 'guide') return hasClassifier(state);
  if (name === 'guidance') return hasGuidance(state) && (!hasClassifier(state) || ['free', 'both'].includes(guideOf(state, state.settings)));
  if (name === 'scale') return usesClassifier(guideOf(state, state.settings));
  if (name === 'classAnd' || name === 'weightAnd') return canMix(state);
  if (name === 'count') return !isSpelling(state);
  if (name === 'seedTo') return drawsNoise(state.picture.begins);
  return name === 'eta' || name === 'variance' || name === 'spacing' ? doesSomething(state, name) : true;
}

/** @param {State} state */
export const mostStepsNow = ({ loaded, settings }) => (loaded ? mostSteps(loaded.model, settings.sampler) : 1000);

/**
 * What stands in a field.
 * @param {State} state
 * @param {Field} name
 * @returns {{value: any, problem: string}}  the problem with it, or nothing
 */
export function fieldOf(state, name) {
  const { value, problem } = readField(name, state.texts[name]);
  const most = mostStepsNow(state);
  if (!problem && name === 'steps' && value > most) return { value, problem: `a whole number from 1 to ${most}, the times this model was trained on` };
  if (name === 'guide' && usesClassifier(value)) return { value, problem: guideProblem(state, value) };
  return { value, problem: problem ?? '' };
}

/** What is wrong with a field that is shown, or nothing. @param {State} state @param {Field} name */
export const problemOf = (state, name) => (isShown(state, name) ? fieldOf(state, name).problem : '');

/** What the page takes by itself with the loaded model. @param {State} state @returns {Settings} */
export function modelDefaults(state) {
  const loaded = loadedOf(state);
  const { model } = loaded;
  return { ...DEFAULTS, ...defaultSampling(model), eta: defaultEta(state.settings.sampler), guide: defaultGuide(loaded), guidance: model.guidance ?? DEFAULTS.guidance, class: defaultClass(classesOf(model)) };
}

/** The query of an address that leads here. @param {State} state @param {string} search  the query as it is */
export function queryOf(state, search) {
  const { kind, id, network, variant } = loadedOf(state).source;
  // The visitor's own files have no address.
  const named = kind === 'files' ? { model: DEFAULTS.model, network: '', variant: '' } : { model: id, network: network ?? '', variant: variant ?? '' };
  const lock = state.keepSeed ? '1' : '0';
  // A word has as many images as letters.
  const count = isSpelling(state) ? DEFAULTS.count : state.settings.count;
  const isForked = Boolean((state.starting ?? selectedRun(state))?.parent);
  return writeQuery({ ...state.settings, ...named, count, lock, view: state.selection.view }, withMissing(new URLSearchParams(search), state.picture.begins, isForked), modelDefaults(state));
}

/** @param {State} state @returns {import('../engine/protocol.js').LoadOptions} */
export function loadOptions(state) {
  const { chosen, loaded, wanted, shipped, restoring } = state;
  const settings = { ...state.settings, ...restoring?.recipe.settings };
  // What came with the address is meant for the first model; another one brings its own.
  const known = restoring || (loaded ? loaded.source.id === wanted.id : chosen.guidance);
  // What is known of a shipped model's classes tells how many letters its first word has.
  const coming = shipped.find(({ folder }) => folder === wanted.id) ?? null;
  const word = coming && isAlphabet(coming) ? (spells(coming, settings.class) ? settings.class : defaultClass(coming)) : null;
  const count = word ? lettersOf(word).length : chosen.count || restoring ? settings.count : null;
  // A picture may come from a GPU that had 16 bits.
  const precision = restoring && settings.precision === 'f16' && !state.backend?.half ? 'auto' : settings.precision;
  return { count, precision, guidance: known ? settings.guidance : null };
}

/**
 * @param {State} state
 * @param {Settings} settings
 * @param {import('./beginning.js').Beginning|null} [beginning]  in place of noise
 * @returns {import('../engine/protocol.js').EngineSettings}
 */
export function engineSettings(state, settings, beginning = null) {
  const { sampler, steps, eta, seed, spacing, variance } = settings;
  const count = imageCount(state, settings);
  const { model } = loadedOf(state);
  const strip = stripRequest(model, settings, count, beginning?.kind);
  // Both ends of a strip are one image's noise already.
  const alike = isSpelling(state) && settings.typeface === '1' && !strip.slerp;
  return {
    sampler,
    steps,
    eta: isUseful('eta', sampler) ? eta : 0,
    ...(alike ? { seeds: Array(count).fill(seed) } : { seed }),
    count,
    ...(state.condition && { condition: state.condition.values }),
    timestep_spacing: doesSomething(state, 'spacing') ? spacing : null,
    variance_type: variance === 'own' ? null : variance,
    ...strip,
    ...guideRequest(state, settings, count),
    ...beginningRequest(beginning, steps, count),
  };
}

/** The settings of a run in words. @param {State} state @param {Settings} settings @param {import('./beginning.js').Beginning|null} [beginning]  in place of noise */
export function describe(state, settings, beginning = null) {
  const { sampler, steps, eta, seed, seedTo, class: name, classTo } = settings;
  const strip = stripOf(state.classes, settings, beginning?.kind);
  const parts = [SAMPLERS[sampler], steps === 1 ? '1 step' : `${steps} steps`];
  if (isUseful('eta', sampler) && eta > 0) parts.push(`η ${eta}`);
  if (isSpelling(state)) parts.unshift(`“${name}”${settings.typeface === '1' && !strip.seeds ? ' in one typeface' : ''}`);
  else if (hasClasses(loadedOf(state).model)) parts.push(`class ${name}${strip.classes ? ` → ${classTo}` : ''}`);
  if (guidanceOf(state, settings) !== 1) parts.push(`guidance ${guidanceOf(state, settings)}`);
  parts.push(...guideWords(guidedOf(state, settings)));
  parts.push(`seed ${seed}${strip.seeds ? ` → ${seedTo}` : ''}`);
  if (beginning) parts.push(beginningWords(beginning));
  return parts.join(' · ');
}

/** What is wrong with the word that is typed, or nothing. @param {State} state */
export const wordProblem = (state) => (isSpelling(state) && !state.word.text.trim() ? 'Word: type at least one letter.' : '');

// ---- What some models take beside x_t ---------------------------------------------------------

/** Null without a model, or for one that takes nothing. @param {State} state @returns {import('../model/condition.js').Shape|null} */
export function conditionShape({ loaded }) {
  if (!loaded?.model.condition_channels) return null;
  const { condition_channels: channels, width, height } = loaded.model;
  return { channels, width, height };
}

/** Why a run of so many images cannot begin with what is there, or nothing. @param {State} state @param {number} [count] */
export function conditionProblem(state, count = imageCount(state)) {
  const shape = conditionShape(state);
  if (!shape) return '';
  if (!state.condition) return `This model takes more than noise. Choose ${whatIsTaken(shape)} under Condition, or drop it on the page.`;
  const { images, name } = state.condition;
  return images === 1 || images === count ? '' : `${name} has ${images} conditions and there are ${count} images. Make ${images}, or give one for all.`;
}

/** What weights are loaded as: others cannot go on with a run. @param {Loaded} loaded */
export const weightsOf = ({ source: { id }, network, variant }) => JSON.stringify([id, network, variant]);

// ---- What is looked at ------------------------------------------------------------------------

/** @param {State} state @returns {import('./state.js').Run|null} */
export const selectedRun = ({ runs, selection }) => (selection.run === null ? null : runs.byId[selection.run]);

/** The run that a command makes grow. @param {State} state @param {number} id @returns {import('./state.js').Run|undefined} */
export const runOfCommand = ({ runs }, id) => Object.values(runs.byId).find(({ command }) => command === id);

/** The shape of the pictures that are shown. @param {State} state @returns {{count: number, width: number, height: number}} */
export const shownShape = (state) => selectedRun(state)?.recording ?? state.preview.batch;

/** What is said under them. @param {State} state */
export function captionOf(state) {
  const { preview, shared } = state;
  return selectedRun(state)?.caption ?? (shared && !preview.recipe ? 'The settings of a shared run. Generate makes it.' : preview.caption);
}

/** Where they are shown. @param {State} state @returns {import('./layout.js').Layout} */
export const shownLayout = (state) => selectedRun(state)?.layout ?? state.preview.layout;
