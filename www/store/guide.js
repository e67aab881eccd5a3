// What guides a run besides the network itself: nothing, the network's own difference that the class makes (classifier-free,
// Ho and Salimans 2022), the gradient of a classifier that lies beside the model (Dhariwal and Nichol 2021), or both.

import { ANY, classLabels, classNames, hasClasses } from '../model/classes.js';
import { isOneClass, stripOf } from './between.js';
import { DEFAULTS } from './settings.js';

/** @typedef {import('../engine/protocol.js').EngineSettings} EngineSettings */
/** @typedef {import('../engine/protocol.js').Model} Model */
/** @typedef {import('../model/classes.js').Classes} Classes */
/** @typedef {import('./settings.js').Settings} Settings */
/** @typedef {import('./state.js').State} State */
/** What guides a run. @typedef {Settings['guide']} Kind */

/** What a classifier guides the images of a run to: the names of classes, how much of each in words, and whether the network is told too. @typedef {{scale: number, names: readonly string[], words: string, both: boolean}} Guided */

/** @param {Kind} kind */
export const usesClassifier = (kind) => kind === 'classifier' || kind === 'both';

/** Whether there is a classifier beside the model, loaded or not. @param {Pick<State, 'loaded'|'shipped'|'wanted'>} state */
export const hasClassifier = ({ loaded, shipped, wanted }) => (loaded ? Boolean(loaded.classifier) : shipped.some(({ folder, has_classifier: has }) => has && folder === wanted.id));

/** Whether the engine has to be another one before a run can be guided as it is asked to be. @param {State} state */
export const needsGradients = (state) => usesClassifier(state.settings.guide) && hasClassifier(state) && !state.gradients;

/** The classes of a model; of one that knows none, those of its classifier, once that is there. @template {Classes} M @param {M & {classifier_classes?: number|null}} model @returns {M} */
export function classesOf(model) {
  const { class_kind: kind, classifier_classes: count } = model;
  return kind === null && count ? { ...model, class_kind: 'label', class_names: [], class_count: count } : model;
}

/** Classifier-free guidance leans from "no class" towards a class, so it takes both. @param {Pick<State, 'classes'|'settings'>} state @param {Settings} [settings] */
export const hasGuidance = ({ classes, settings: now }, settings = now) => classes !== null && classes.null_class !== null && settings.class !== ANY;

/**
 * Why a run cannot be guided so, or nothing.
 * @param {State} state
 * @param {Kind} kind
 * @param {Settings} [settings]
 */
export function guideProblem(state, kind, settings = state.settings) {
  const { classes, loaded } = state;
  if (kind === 'none' || !classes) return '';
  if (hasClasses(classes) && settings.class === ANY) return 'choose a class to be guided to';
  if ((kind === 'free' || kind === 'both') && classes.null_class === null) return 'the network knows no “no class”';
  if (kind === 'free') return '';
  if (!hasClassifier(state)) return 'there is no classifier/ beside this model';
  if (!loaded) return '';
  const { model, classifier } = loaded;
  if (classifier?.problem) return `it cannot be used. ${classifier.problem}`;
  if (classes.class_kind === 'number' || classes.class_kind === 'vector') return 'its class is told as numbers';
  if (!model.alphas_cumprod.length) return 'a classifier is of times with a β each, and this model has none';
  const known = model.classifier_classes;
  if (!known) return '';
  const names = classNames(classes);
  const labels = [...classLabels(classes, settings.class, 1 + names.length) ?? [], names.indexOf(settings.classAnd), names.indexOf(settings.classTo)];
  if (labels.some((label) => label >= known)) return `the classifier knows the classes 0 to ${known - 1} only`;
  return '';
}

/** What guides the runs of a model if nobody says. @param {import('./state.js').Loaded} loaded @returns {Kind} */
export const defaultGuide = ({ model, classifier }) => (classifier && model.null_class === null ? 'none' : DEFAULTS.guide);

/** What guides a run of these settings. @param {State} state @param {Settings} settings @returns {Kind} */
export const guideOf = (state, settings) => (guideProblem(state, settings.guide, settings) ? 'none' : settings.guide);

/** w of classifier-free guidance; 1 is none. @param {State} state @param {Settings} settings */
export const guidanceOf = (state, settings) => (['free', 'both'].includes(guideOf(state, settings)) ? settings.guidance : 1);

/** Whether the target may have a share of another class: where it is one for an image, and not part of a strip. @param {State} state @param {Settings} [settings] */
export const canMix = (state, settings = state.settings) => usesClassifier(guideOf(state, settings)) && state.classes !== null && isOneClass(settings) && !stripOf(state.classes, settings).classes;

/** The other class of the target and its share, if there is one. @param {State} state @param {Settings} settings */
function otherOf(state, settings) {
  const { classes } = state;
  const label = classes && canMix(state, settings) ? classNames(classes).indexOf(settings.classAnd) : -1;
  return label < 0 ? null : { label, share: settings.weightAnd / 100 };
}

/** How much of which class each image is guided to, [N, K]. @param {State} state @param {Settings} settings @param {number} count */
function weightsOf(state, settings, count) {
  const { classes, loaded } = state;
  const known = loaded?.model.classifier_classes ?? 0;
  const labels = (classes && classLabels(classes, settings.class, count)) ?? [];
  const weights = new Float32Array(count * known);
  const other = otherOf(state, settings);
  const strip = classes && stripOf(classes, settings).classes ? classNames(classes).indexOf(settings.classTo) : -1;
  labels.forEach((label, i) => {
    const [to, share] = strip >= 0 ? [strip, count > 1 ? i / (count - 1) : 0] : other ? [other.label, other.share] : [label, 0];
    weights[i * known + label] += 1 - share;
    weights[i * known + to] += share;
  });
  return weights;
}

/**
 * What the engine is told of the class and of guidance. Guided by a classifier alone the network is told no class, where it
 * knows that.
 * @param {State} state
 * @param {Settings} settings
 * @param {number} count
 * @returns {Partial<EngineSettings>}
 */
export function guideRequest(state, settings, count) {
  const model = /** @type {Model} */ (state.loaded?.model);
  const kind = guideOf(state, settings);
  const labels = classLabels(model, settings.class, count);
  const told = { class_labels: labels, guidance: guidanceOf(state, settings) };
  if (!usesClassifier(kind)) return told;
  const classifier = { scale: settings.scale, weights: weightsOf(state, settings, count) };
  if (kind === 'both' || !labels || model.null_class === null) return { ...told, classifier };
  return { ...told, class_labels: labels.map(() => /** @type {number} */ (model.null_class)), class_mix: null, classifier };
}

/** What a classifier guides a run to; null: none does. @param {State} state @param {Settings} settings @returns {Guided|null} */
export function guidedOf(state, settings) {
  const { classes } = state;
  if (!classes || !usesClassifier(guideOf(state, settings))) return null;
  const names = classNames(classes);
  const other = otherOf(state, settings);
  const share = (/** @type {number} */ of) => `${Math.round(100 * of)} %`;
  const whole = state.loaded?.model.class_kind === null ? settings.class : ''; // of a network that knows no classes nothing else says it
  const words = other ? `${share(1 - other.share)} ${settings.class} and ${share(other.share)} ${names[other.label]}` : whole;
  return { scale: settings.scale, names, words, both: guideOf(state, settings) === 'both' };
}

/** The same in a caption. @param {Guided|null} guided @returns {string[]} */
export const guideWords = (guided) => (guided ? [`classifier ${guided.scale}${guided.words && ` to ${guided.words}`}`] : []);
