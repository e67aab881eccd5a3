// What is known of what a picture costs: a reducer without a page. It has a store of its own, since the page fetches all of this
// only when it is asked for.

import { classLabels, classNames, lettersOf, spells } from '../model/classes.js';
import { numbersOf } from '../model/image.js';
import { loadedOf, weightsOf } from '../store/select.js';

/** @typedef {import('../engine/measuring-protocol.js').Encoded} Encoded */
/** @typedef {import('../engine/measuring-protocol.js').Estimate} Estimate */
/** @typedef {import('../engine/measuring-protocol.js').Measurable} Measurable */
/** @typedef {import('../engine/measuring-protocol.js').MeasuringEvent} Event */
/** @typedef {import('../engine/measuring-protocol.js').MeasuringStage} Stage */
/** @typedef {import('../model/image.js').Levels} Levels */
/** @typedef {import('../model/image.js').Shape} Shape */
/** @typedef {import('../store/state.js').State} PageState */

/**
 * What is measured, by which model.
 * @typedef {object} Subject
 * @property {Shape} shape
 * @property {Levels} levels
 * @property {string} weights
 * @property {string} words      what it is called: the picture, its class and the model
 * @property {number} timesteps  of the model
 * @property {readonly number[]} labels
 * @property {number} seed
 * @property {import('../model/source.js').Source} source
 */

/** Why it ended before its time: the visitor wanted that, or the page has another model. @typedef {'stopped'|'replaced'} End */

/**
 * @typedef {object} State
 * @property {number} id            of the last command
 * @property {boolean} open         whether the page shows it
 * @property {Subject|null} subject
 * @property {'under way'|'done'|'failed'|End} phase
 * @property {{stage: Stage, done: number, total: number|null}} progress  while it is under way
 * @property {Measurable} problems  why there is no bound, or no likelihood
 * @property {boolean} hasLikelihood  whether the model has one, so that another number of steps may help where there is none
 * @property {Estimate|null} estimate
 * @property {Encoded|null} encoded
 * @property {string} message       why it failed
 * @property {number} steps         of the likelihood's solver
 * @property {boolean} isOfPage    whether the page has the model that was measured
 * @property {number|null} shownT   t of the step that the page shows, or none of this model's
 * @property {number|null} pointed  t whose term is told
 */

/**
 * @typedef {(
 *   Event |
 *   {type: 'measure', id: number, subject: Subject, bound: boolean} |
 *   {type: 'stop'} |
 *   {type: 'close'} |
 *   {type: 'steps', steps: number} |
 *   {type: 'page', t: number|null, isOfPage: boolean} |
 *   {type: 'point', t: number|null}
 * )} Action
 * `measure` without the bound computes the likelihood anew. `page` is what the page shows.
 */

/** Steps of the solver that can be chosen, all of them even. */
export const STEPS = [20, 50, 100, 200];

const NO_PROBLEMS = { bound: null, likelihood: null };

/** @type {State['progress']} */
const BEGINNING = { stage: 'engine', done: 0, total: null };

/** @type {State} */
export const INITIAL = Object.freeze({
  id: 0, open: false, subject: null, phase: 'done', progress: BEGINNING, problems: NO_PROBLEMS, hasLikelihood: true, estimate: null, encoded: null, message: '', steps: 100, isOfPage: false, shownT: null, pointed: null,
});

/**
 * @param {State} state
 * @param {Action} action
 * @returns {State}  the very same one when the action changes nothing
 */
export function reduce(state, action) {
  switch (action.type) {
    case 'measure': {
      const { id, subject, bound } = action;
      const kept = bound ? { problems: NO_PROBLEMS, estimate: null, pointed: null } : { problems: { ...state.problems, likelihood: null } };
      return { ...state, id, subject, open: true, isOfPage: true, phase: 'under way', progress: BEGINNING, encoded: null, message: '', ...kept };
    }
    case 'stop': return state.phase === 'under way' ? { ...state, phase: 'stopped' } : state;
    case 'close': return { ...state, open: false, phase: state.phase === 'under way' ? 'stopped' : state.phase };
    case 'steps': return STEPS.includes(action.steps) ? { ...state, steps: action.steps } : state;
    case 'page': return page(state, action);
    case 'point': return action.t === state.pointed ? state : { ...state, pointed: action.t };
    default: return state.phase === 'under way' && action.id === state.id ? heard(state, action) : state;
  }
}

/** What was begun with another model than the page has now ends. @param {State} state @param {Extract<Action, {type: 'page'}>} action @returns {State} */
function page(state, { t, isOfPage }) {
  if (t === state.shownT && isOfPage === state.isOfPage) return state;
  return { ...state, shownT: t, isOfPage, phase: state.phase === 'under way' && !isOfPage ? 'replaced' : state.phase };
}

/** @param {State} state @param {Event} event @returns {State} */
function heard(state, event) {
  switch (event.type) {
    case 'progress': {
      const { stage, done, total } = event;
      return { ...state, progress: { stage, done, total } };
    }
    case 'measurable': {
      const { bound, likelihood } = event;
      return { ...state, problems: { bound: bound ?? state.problems.bound, likelihood }, hasLikelihood: likelihood === null };
    }
    case 'refused': return { ...state, problems: { ...state.problems, [event.what]: event.message } };
    case 'estimate': return { ...state, estimate: event.estimate };
    case 'encoded': return { ...state, encoded: event.encoded };
    case 'finished': return { ...state, phase: 'done' };
    case 'failed': return { ...state, phase: 'failed', message: event.message };
    default: return state;
  }
}

// ---- What follows -----------------------------------------------------------------------------

/** The picture of the page, for its model and class; null if there is none. @param {PageState} page @returns {Subject|null} */
export function subjectOf(page) {
  const { picture: { shape, levels, name }, loaded, settings, selection } = page;
  if (!loaded || !shape || !levels) return null;
  const { model, source, network, variant, title } = loadedOf(page);
  const count = spells(model, settings.class) ? lettersOf(settings.class).length : settings.count;
  const all = classLabels(model, settings.class, count);
  const at = Math.min(selection.image, count - 1);
  const labels = all ? all.slice(at, at + 1) : [];
  return {
    shape, levels, labels,
    weights: weightsOf(loaded),
    words: [name, ...classWords(model, labels), title].filter(Boolean).join(' · '),
    timesteps: model.num_train_timesteps,
    seed: settings.seed,
    source: { ...source, network, variant },
  };
}

/** @param {import('../model/classes.js').Classes} model @param {readonly number[]} labels */
const classWords = (model, labels) => labels.map((label) => (label === model.null_class ? 'no class' : `class ${classNames(model)[label] ?? label}`));

/** t of the step that the page shows, if it is one of the measured model's. @param {PageState} page @param {Subject|null} subject @returns {number|null} */
export function shownTime({ loaded, runs, selection }, subject) {
  const run = selection.run === null ? null : runs.byId[selection.run];
  if (!subject || !loaded || !run || run.weights !== subject.weights) return null;
  const { recording } = run;
  const { step } = recording.states[selection.index];
  return recording.rows[step]?.timestep ?? null;
}

/** The picture as numbers. @param {Subject} subject */
export const pictureOf = ({ levels }) => numbersOf(levels);

/** The part of the curve that says the term of a timestep. @param {Estimate} estimate @param {number} t */
export const pointAt = ({ curve }, t) => curve.find(({ first, last }) => first <= t && t <= last) ?? null;

/** What a number of bits/dim is for the whole picture, in bytes. @param {Subject} subject @param {number} bits */
export const bytesOf = ({ levels }, bits) => (bits * levels.length) / 8;

/** Powers of ten around the terms, for an axis: the least and the most. @param {Estimate} estimate @returns {[number, number]} */
export function decades({ curve }) {
  const terms = curve.map(({ term }) => term.mean).filter((mean) => mean > 0);
  if (!terms.length) return [-1, 0];
  const [least, most] = [Math.floor(Math.log10(Math.min(...terms))), Math.ceil(Math.log10(Math.max(...terms)))];
  return [least, Math.max(most, least + 1)];
}
