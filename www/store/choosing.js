// What the visitor chooses, and what the page chooses where the visitor has not.

import { classNames, defaultClass, droppedFrom, hasClass, hasClasses, isAlphabet, spelled } from '../model/classes.js';
import { mixes } from './between.js';
import { layoutOf } from './layout.js';
import { usesClassifier } from './guide.js';
import { withAnnouncement, withNotice, withoutNotices } from './messages.js';
import { fieldOf, imageCount, isShown, problemOf } from './select.js';
import { DEFAULTS, FIELD_NAMES, SAMPLERS, defaultEta, defaultSampling, mostSteps } from './settings.js';
import { noisePreview } from './state.js';

/** @typedef {import('../model/classes.js').Classes} Classes */
/** @typedef {import('./settings.js').Field} Field */
/** @typedef {import('./settings.js').Settings} Settings */
/** @typedef {import('./state.js').State} State */

/** Fields that count as chosen when they are typed in: as good as in the address. @type {readonly Field[]} */
const CHOSEN_BY_TYPING = ['count', 'steps', 'eta'];

/** Sets settings, and what stands in their fields. @param {State} state @param {Partial<Settings>} changes @returns {State} */
export function set(state, changes) {
  const texts = { ...state.texts };
  for (const name of FIELD_NAMES) if (name in changes) texts[name] = String(changes[name]);
  const word = changes.class === undefined ? state.word : { text: changes.class, dropped: '' };
  return { ...state, settings: { ...state.settings, ...changes }, texts, word };
}

/** @param {State} state @param {keyof Settings} name @param {boolean} [is] @returns {State} */
export const choose = (state, name, is = true) => ({ ...state, chosen: { ...state.chosen, [name]: is } });

/** Takes the fields that are shown and valid into the settings. @param {State} state @returns {State} */
export function takeFields(state) {
  const valid = FIELD_NAMES.filter((name) => isShown(state, name) && !problemOf(state, name));
  return { ...state, settings: { ...state.settings, ...Object.fromEntries(valid.map((name) => [name, fieldOf(state, name).value])) } };
}

/** η as the sampler wants it, where nobody chose one: TCD's is another kind of number than DDIM's. @param {State} state @returns {State} */
export const withDefaultEta = (state) => (state.chosen.eta ? state : set(state, { eta: defaultEta(state.settings.sampler) }));

/**
 * A value was typed or chosen in a field. One that is not valid stays as it is, and the setting too.
 * @param {State} state
 * @param {{field: Field, text: string}} action
 * @returns {State}
 */
export function type(state, { field, text }) {
  const typed = { ...state, texts: { ...state.texts, [field]: text } };
  const { value, problem } = fieldOf(typed, field);
  if (problem) return typed;
  const taken = { ...typed, settings: { ...typed.settings, [field]: value } };
  if (CHOSEN_BY_TYPING.includes(field)) return choose(taken, field);
  if (field === 'seed' || (field === 'seedTo' && value !== '')) return { ...taken, keepSeed: true }; // who types a seed wants that seed
  if (field !== 'sampler') return taken;
  // Other fields do something now, and others are possible in them.
  return takeFields(withDefaultEta(withoutNotices(choose(taken, field), 'sampler')));
}

/** @param {State} state @param {{name: string}} action @returns {State} */
export function chooseClass(state, { name }) {
  if (state.loaded && state.classes && !hasClass(state.classes, name)) return state;
  return withoutNotices(choose(set(state, { class: name }), 'class'), 'class');
}

/** A word was typed: what of it can be spelled is taken, and nothing is no word. @param {State} state @param {{text: string}} action @returns {State} */
export function typeWord(state, { text: typed }) {
  const { classes } = state;
  if (!classes || !isAlphabet(classes)) return state;
  const text = spelled(classes, typed);
  const next = text.trim() ? chooseClass(state, { name: text.trim() }) : state;
  return { ...next, word: { text, dropped: droppedFrom(classes, typed) } };
}

/** @param {State} state @param {{name: string}} action  nothing: the images do not go to another class @returns {State} */
export function chooseClassTo(state, { name }) {
  if (name && !(state.classes && classNames(state.classes).includes(name))) return state;
  return choose(set(state, { classTo: name }), 'classTo');
}

/** @param {State} state @param {{count: number}} action @returns {State} */
export const chooseCount = (state, { count }) => choose(set(state, { count }), 'count');

/** @param {State} state @param {{kind: 'gpu'|'cpu'}} action @returns {State} */
export function chooseBackend(state, { kind }) {
  const precision = kind === 'cpu' && state.settings.precision === 'f16' ? 'auto' : state.settings.precision;
  return withoutNotices(set(state, { backend: kind, precision }), 'failure', 'gpu');
}

/** @param {State} state @param {{condition: import('../model/condition.js').Condition}} action @returns {State} */
export function takeCondition(state, { condition }) {
  return withAnnouncement({ ...withoutNotices(state, 'failure'), condition }, `${condition.name} is the condition.`);
}

// ---- What the page chooses --------------------------------------------------------------------

/**
 * The page opens: what is known of the first model gives it its controls before it is there.
 * @param {State} state
 * @param {{problems: string[]}} action  with the address
 * @returns {State}
 */
export function open(state, { problems }) {
  let next = withDefaultEta(problems.length ? withNotice(state, { key: 'address', text: problems.join(' ') }) : state);
  const first = state.shipped.find(({ folder }) => folder === state.wanted.id);
  if (!first) return next;
  next = withClasses(next, first, Boolean(state.chosen.class));
  // What comes has its room already.
  if (isAlphabet(first)) next = { ...next, preview: noisePreview(imageCount(next), 32, 32, layoutOf(first, next.settings.class, imageCount(next))) };
  return state.chosen.guidance ? next : set(next, { guidance: first.guidance ?? DEFAULTS.guidance });
}

/**
 * @param {State} state
 * @param {Classes} classes
 * @param {boolean} asked  whether somebody chose the class that is set for these
 * @returns {State}
 */
export function withClasses(state, classes, asked) {
  const { classTo } = state.settings;
  if (classTo && !(mixes(classes) && classNames(classes).includes(classTo))) {
    const text = `The images cannot go to the class “${classTo}”, which this model ${mixes(classes) ? 'has not' : 'cannot mix'}.`;
    const told = asked || state.chosen.classTo ? withNotice(state, { key: 'classTo', text }) : state;
    return withClasses(choose(set(told, { classTo: '' }), 'classTo', false), classes, asked);
  }
  const next = { ...state, classes };
  const wanted = asked || state.chosen.class ? state.settings.class : defaultClass(classes);
  // A word may be written as it is typed.
  const word = isAlphabet(classes) ? spelled(classes, wanted).trim() : '';
  const name = word.length === wanted.trim().length ? word || wanted : wanted;
  if (!hasClasses(classes) || hasClass(classes, name)) return set(next, { class: name });
  const fallback = defaultClass(classes);
  const text = `This model has no class “${name}”; ${fallback} is used. It has: ${classNames(classes).slice(0, 30).join(', ')}.`;
  return set(asked ? withNotice(next, { key: 'class', text }) : next, { class: fallback });
}

/**
 * What guides the runs of a model that was loaded: what asks for a classifier that is not there, or cannot be used, is told so.
 * @param {State} state
 * @param {import('../engine/protocol.js').Classifier|null} classifier
 * @returns {State}
 */
export function withGuide(state, classifier) {
  const { guide, classAnd } = state.settings;
  const isKnown = classAnd === '' || (state.classes !== null && classNames(state.classes).includes(classAnd));
  const next = isKnown ? state : set(state, { classAnd: '' });
  // Where there is nothing to choose, no guidance is a guidance of 1.
  if (!classifier && guide === 'none') return withoutNotices(set(next, { guide: DEFAULTS.guide, guidance: 1 }), 'classifier');
  if (!usesClassifier(guide) || (classifier && !classifier.problem)) return withoutNotices(next, 'classifier');
  const told = set(next, { guide: DEFAULTS.guide });
  if (!classifier) return withNotice(told, { key: 'classifier', text: 'There is no classifier/ beside this model, so no classifier guides its runs.' });
  return withNotice(told, { key: 'classifier', text: `The classifier beside this model cannot be used: ${classifier.problem}`, actions: [{ label: 'Try again', intent: { do: 'load', source: state.wanted } }] });
}

/**
 * What a model is sampled with, if nobody else has chosen that.
 * @param {State} state
 * @param {import('../engine/protocol.js').Model} model
 * @param {boolean} first  whether it is the model that the page was opened for
 * @returns {State}
 */
export function withSampling(state, model, first) {
  const { sampler } = state.settings;
  const { sampler: own, steps } = defaultSampling(model);
  const changes = state.chosen.sampler ? !model.samplers.includes(sampler) : sampler !== own;
  let next = state;
  // An address leaves out what is the model's default.
  if (first ? !state.chosen.steps : changes) next = set(next, { steps: Math.min(steps, mostSteps(model, own)) });
  if (!changes) return takeFields(next);
  next = choose(set(next, { sampler: own }), 'sampler', false);
  if (first && state.chosen.sampler) next = withNotice(next, { key: 'sampler', text: `${SAMPLERS[sampler]} cannot sample this model, so ${SAMPLERS[own] ?? own} does.` });
  return takeFields(next);
}
