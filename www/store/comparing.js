// Comparisons: the same noise with several values of one setting, side by side, or of two, as a matrix. Their runs are made
// one after another, apart from the tree of runs, which is as it was when the visitor comes back to it.

import { MOST_LETTERS, classNames, hasClass, hasClasses, isAlphabet, lettersOf, spelled } from '../model/classes.js';
import { duration } from '../words/format.js';
import { choose, set, takeFields } from './choosing.js';
import { guidanceOf, guideOf, guideWords, guidedOf, hasGuidance, usesClassifier } from './guide.js';
import { layoutOf } from './layout.js';
import { failed } from './loading.js';
import { MOST_COMPARED } from './memory.js';
import { withAnnouncement, withStatus, withoutNotices } from './messages.js';
import { phaseOf, reducePhase } from './phase.js';
import { withBeginning } from './picture.js';
import { Recording } from './recording.js';
import { SAMPLING_SETTINGS } from './recipe.js';
import { describe, engineSettings, isSpelling, loadedOf, phase, weightsOf } from './select.js';
import { SAMPLERS, defaultEta, isUseful, mostSteps, readField } from './settings.js';

/** @typedef {import('./settings.js').Settings} Settings */
/** @typedef {import('./state.js').State} State */
/** @typedef {import('../engine/protocol.js').Model} Model */

/** A setting of which several values are compared. @typedef {'sampler'|'steps'|'guidance'|'scale'|'eta'|'class'|'seed'} Axis */
/** Side by side, or as a table. @typedef {'columns'|'matrix'} Kind */
/** A value of an axis. @typedef {string|number} Value */

/**
 * What the visitor has said of the next comparison; what is not said the model decides. Values of an axis are typed, separated by
 * commas, or chosen from a list; `count` is how many images each run makes.
 * @typedef {object} Wishes
 * @property {Kind} [kind]
 * @property {Axis} [axis]     of columns
 * @property {Axis} [rows]     of a matrix
 * @property {Axis} [columns]  of a matrix
 * @property {Partial<Record<Axis, string|readonly string[]>>} [values]
 * @property {Partial<Record<Kind, string>>} [count]
 */

/** What the next comparison is to be, as the form shows it. @typedef {{kind: Kind, axes: Axis[], count: string}} Plan */

/**
 * A run of a comparison.
 * @typedef {object} Trial
 * @property {string} words          what tells it from the others
 * @property {Settings} settings
 * @property {import('../engine/protocol.js').EngineSettings} request  the same as the engine has them
 * @property {import('./layout.js').Layout} layout
 * @property {string} guidance       of both kinds, in words: what leads elsewhere has another reference
 * @property {Recording|null} recording  null: it has not begun
 * @property {number} revision       of its recording, which is changed in place as that of any run
 * @property {number} startedAt      milliseconds
 * @property {number|null} milliseconds  that it took; null: it is not done
 * @property {string} problem        why it could not begin, or nothing
 */

/**
 * @typedef {object} Comparison
 * @property {Kind} kind
 * @property {readonly Axis[]} axes       one, or that of the rows and that of the columns
 * @property {readonly (readonly Value[])[]} values  of each axis
 * @property {string} caption             what its runs have in common
 * @property {string} title               of the model
 * @property {Model} model
 * @property {string} weights             that made it, by what they are loaded as
 * @property {readonly Trial[]} trials    row by row
 * @property {readonly Trial[]} references  what the others are measured by, as soon as that is asked for
 * @property {{command: number, trial: number}|null} newest  the trial that was begun last, counting through trials and references
 * @property {boolean} stopped            before all were made
 * @property {number} at                  where all of them are looked at: a part of the way from noise to picture
 * @property {'x'|'x0'} view
 */

/** @typedef {{open: boolean, shown: boolean, wishes: Wishes, comparison: Comparison|null}} Comparing  `open` is the form, `shown` the comparison */

/**
 * @typedef {(
 *   {type: 'openComparing', open: boolean} |
 *   {type: 'planComparison', wishes: Wishes} |
 *   {type: 'compare', id: number} |
 *   {type: 'compareOn', id: number} |
 *   {type: 'measure', id: number} |
 *   {type: 'showComparison', shown: boolean} |
 *   {type: 'scrubComparison', at: number} |
 *   {type: 'viewComparison', view: 'x'|'x0'} |
 *   {type: 'takeTrial', trial: number}
 * )} Action
 * `compare` begins the first run of what is planned, `compareOn` the next, `measure` the first of the references. `takeTrial` brings the settings of a run into the fields.
 */

const MOST_VALUES = { columns: 4, matrix: 6 };
const MOST_IMAGES = { columns: 64, matrix: 9 };

/** @type {Record<Kind, readonly Axis[]>} */
const AXES = { columns: ['sampler', 'steps', 'guidance', 'scale', 'eta'], matrix: ['sampler', 'steps', 'guidance', 'scale', 'eta', 'class', 'seed'] };
/** Those that are worth being seen first, in this order. */
const TELLING_SAMPLERS = ['ddim', 'dpm_solver', 'unipc', 'ddpm', 'flow_euler', 'flow_heun', 'edm_euler', 'edm_dpm_solver'];
/**
 * Samplers that go from noise to picture without chance, where η is 0, the best first: Euler's way is DDIM's, but nothing is
 * clipped on it. DDIM clips x̂0 where the model's scheduler says so, and what that takes away adds up in many small steps.
 */
const WITHOUT_CHANCE = ['euler', 'ddim', 'flow_euler', 'edm_euler', 'ipndm'];
/** More classes than these are typed. */
const MOST_CHOICES = 24;

// ---- What is planned --------------------------------------------------------------------------

/** Which settings can be varied with the loaded model, beside another one: those that change what it makes. @param {State} state @param {Kind} kind @param {Axis|null} [other] @returns {Axis[]} */
export function axesOf(state, kind, other = null) {
  const { loaded, settings } = state;
  if (!loaded) return [];
  const { model } = loaded;
  const varies = {
    sampler: other !== 'eta' && model.samplers.length > 1,
    steps: mostSteps(model, settings.sampler) > 1,
    guidance: ['free', 'both'].includes(settings.guide) && (hasGuidance(state) || (other === 'class' && model.null_class !== null)),
    scale: usesClassifier(guideOf(state, settings)),
    eta: other !== 'sampler' && isUseful('eta', settings.sampler),
    class: hasClasses(model) && (model.class_kind === 'number' || classNames(model).length > 1),
    seed: true,
  };
  return AXES[kind].filter((axis) => axis !== other && varies[axis]);
}

/** @param {State} state @returns {Plan|null} null without a model */
export function planOf(state) {
  const { kind = 'columns', axis, rows, columns, count = {} } = state.comparing.wishes;
  const first = among(axesOf(state, kind), kind === 'columns' ? axis : rows);
  if (!first) return null;
  const second = kind === 'matrix' ? among(axesOf(state, kind, first), columns) : null;
  return { kind, axes: second ? [first, second] : [first], count: count[kind] ?? String(kind === 'columns' ? Math.min(4, state.settings.count) : 1) };
}

/** @param {Axis[]} axes @param {Axis|undefined} wanted @returns {Axis|null} */
const among = (axes, wanted) => (wanted && axes.includes(wanted) ? wanted : axes[0] ?? null);

/** What can be chosen for an axis; null where values are typed. @param {State} state @param {Axis} axis @returns {readonly string[]|null} */
export function choicesOf({ loaded }, axis) {
  if (!loaded) return null;
  const { model } = loaded;
  if (axis === 'sampler') return model.samplers;
  const names = classNames(model);
  return axis === 'class' && names.length > 0 && names.length <= MOST_CHOICES && !isAlphabet(model) ? names : null;
}

/** What stands in the field of an axis, or is chosen there. @param {State} state @param {Axis} axis @returns {string|readonly string[]} */
export const givenOf = (state, axis) => state.comparing.wishes.values?.[axis] ?? defaultValues(state, axis);

/** @param {State} state @param {Axis} axis @returns {string|readonly string[]} */
function defaultValues(state, axis) {
  const { settings, loaded } = state;
  const choices = choicesOf(state, axis);
  if (axis === 'sampler') {
    const telling = TELLING_SAMPLERS.filter((name) => choices?.includes(name));
    return [...new Set([settings.sampler, ...telling, ...choices ?? []])].slice(0, 3);
  }
  if (axis === 'steps' && loaded) {
    const most = mostSteps(loaded.model, settings.sampler);
    const usual = [5, 10, 25, 50].filter((steps) => steps <= most);
    return (usual.length > 1 ? usual : [1, Math.min(4, most)]).join(', ');
  }
  if (axis === 'class') return choices?.slice(0, 3) ?? (loaded?.model.class_kind === 'number' ? '0, 1, 2' : classNames(/** @type {Model} */ (loaded?.model)).slice(0, 3).join(', '));
  if (axis === 'seed') return [0, 1, 2].map((more) => settings.seed + more).join(', ');
  return axis === 'eta' ? '0, 0.5, 1' : '1, 2, 4';
}

/**
 * The values of an axis of the plan, and what is wrong with them, or nothing.
 * @param {State} state
 * @param {Plan} plan
 * @param {Axis} axis
 * @returns {{values: Value[], problem: string}}
 */
export function valuesOf(state, { kind, axes }, axis) {
  const given = givenOf(state, axis);
  const isTyped = typeof given === 'string';
  const texts = isTyped ? given.split(axis === 'class' ? /,/ : /[\s,]+/).map((text) => text.trim()).filter(Boolean) : given;
  /** @type {Value[]} */
  const values = [];
  const wrong = (/** @type {string} */ problem) => ({ values, problem });
  for (const text of texts) {
    const { value, problem } = readValue(state, axis, text);
    if (problem) return wrong(problem);
    if (values.includes(value)) return wrong(`${text} is there twice.`);
    values.push(value);
  }
  const most = MOST_VALUES[kind];
  if (values.length < 2 || values.length > most) return wrong(isTyped ? `Give 2 to ${most} values, with commas between them.` : `Choose 2 to ${most}.`);
  // The fewest steps that any of the samplers takes at most.
  const { loaded, settings } = state;
  if (!loaded || (axis !== 'sampler' && axis !== 'steps')) return { values, problem: '' };
  const samplers = axis === 'sampler' ? values.map(String) : axes.includes('sampler') ? [] : [settings.sampler];
  const steps = Math.max(...(axis === 'steps' ? values.map(Number) : axes.includes('steps') ? valuesOf(state, { kind, axes: ['steps'], count: '' }, 'steps').values.map(Number) : [settings.steps]));
  const strict = samplers.find((sampler) => mostSteps(loaded.model, sampler) < steps);
  return { values, problem: strict ? `${SAMPLERS[strict]} takes at most ${mostSteps(loaded.model, strict)} steps with this model.` : '' };
}

/** @param {State} state @param {Axis} axis @param {string} text @returns {{value: any, problem: string|null}} */
function readValue(state, axis, text) {
  const { model } = state.loaded ?? {};
  if (axis === 'class' && model && isAlphabet(model)) {
    const word = spelled(model, text).trim();
    const isWhole = word.length > 0 && lettersOf(word).length === [...text.replace(/\s/g, '')].length;
    return isWhole ? { value: word, problem: null } : { value: text, problem: `“${text}” cannot be spelled with this model’s letters.` };
  }
  if (axis === 'class') return model && hasClass(model, text) ? { value: text, problem: null } : { value: text, problem: `This model has no class “${text}”.` };
  const { value, problem } = readField(axis, text);
  return { value, problem: problem && `“${text}” is not ${problem}.` };
}

/** @param {State} state @param {Plan} plan  the problem with its number of images, or nothing */
export function countProblem(state, { kind, count }) {
  const { value, problem } = readField('count', count);
  return isSpelling(state) || (!problem && value <= MOST_IMAGES[kind]) ? '' : `Images each: a whole number from 1 to ${MOST_IMAGES[kind]}.`;
}

/** What is wrong with the plan, or nothing. @param {State} state */
export function planProblem(state) {
  const plan = planOf(state);
  if (!plan) return 'No model is loaded.';
  if (plan.kind === 'matrix' && plan.axes.length < 2) return 'This model has only one setting to vary: put its values side by side.';
  const wrong = plan.axes.map((axis) => valuesOf(state, plan, axis).problem).find(Boolean) || countProblem(state, plan);
  if (wrong) return wrong;
  // Their ends, as RGBA in 32 bits.
  const { width, height } = loadedOf(state).model;
  const pictures = trialCount(state, plan) * (isSpelling(state) ? MOST_LETTERS : Number(plan.count));
  return pictures * width * height * 16 > 4 * MOST_COMPARED ? 'So many pictures of this size take too much memory. Give fewer values, or make fewer images.' : '';
}

/** How many runs the plan has. @param {State} state @param {Plan} plan */
export const trialCount = (state, plan) => plan.axes.reduce((product, axis) => product * valuesOf(state, plan, axis).values.length, 1);

/** A value in words. @param {Axis} axis @param {Value} value @returns {string} */
export function wordsOf(axis, value) {
  switch (axis) {
    case 'sampler': return SAMPLERS[value] ?? String(value);
    case 'steps': return value === 1 ? '1 step' : `${value} steps`;
    case 'eta': return `η ${value}`;
    case 'class': return String(value);
    default: return `${axis} ${value}`;
  }
}

// ---- Making it --------------------------------------------------------------------------------

/** @param {State} state @param {Settings} settings @param {string} words @returns {Trial} */
function trialOf(state, settings, words) {
  const request = engineSettings(state, settings);
  const layout = layoutOf(state.classes, settings.class, request.count);
  return { words, settings, request, layout, guidance: [guidanceOf(state, settings), ...guideWords(guidedOf(state, settings))].join(), recording: null, revision: 0, startedAt: 0, milliseconds: null, problem: '' };
}

/** @param {State} state @param {Extract<Action, {type: 'compare'}>} action @returns {State} */
function compare(state, { id }) {
  const plan = planOf(state);
  const { loaded } = state;
  if (!plan || !loaded || planProblem(state) || phase(state) !== 'ready') return state;
  const { kind, axes } = plan;
  const values = axes.map((axis) => valuesOf(state, plan, axis).values);
  const count = isSpelling(state) ? state.settings.count : Number(plan.count);
  const choices = values[0].flatMap((row) => (values[1] ? values[1].map((column) => [row, column]) : [[row]]));
  const trials = choices.map((chosen) => {
    const settings = { ...state.settings, ...Object.fromEntries(axes.map((axis, i) => [axis, chosen[i]])), count };
    // η is another kind of number for another sampler.
    if (settings.sampler !== state.settings.sampler) settings.eta = defaultEta(settings.sampler);
    return trialOf(state, settings, axes.map((axis, i) => wordsOf(axis, chosen[i])).join(' · '));
  });
  const described = trials.map(({ settings }) => describe(state, settings).split(' · '));
  const caption = described[0].filter((part) => described.every((parts) => parts.includes(part))).join(' · ');
  /** @type {Comparison} */
  const comparison = { kind, axes, values, caption, title: loaded.title, model: loaded.model, weights: weightsOf(loaded), trials, references: [], newest: null, stopped: false, at: 1, view: 'x' };
  return begin({ ...resting(state), comparing: { ...state.comparing, shown: true, comparison } }, id);
}

/** The runs that the references need: one for each guidance, which leads elsewhere. @param {State} state @param {Extract<Action, {type: 'measure'}>} action @returns {State} */
function measure(state, { id }) {
  const { comparison } = state.comparing;
  if (!comparison || measureProblem(state) || phase(state) !== 'ready') return state;
  // Those that were stopped are made again, the others are there.
  if (comparison.references.some(isLeft)) return begin(state, id);
  const references = referenceSettings(comparison).map((settings) => trialOf(state, settings, 'the reference'));
  return begin(withComparison(state, { references }), id);
}

/** The settings of the references; none where the model has no sampler without chance. @param {Comparison} comparison @returns {Settings[]} */
export function referenceSettings({ trials, model }) {
  const sampler = WITHOUT_CHANCE.find((name) => model.samplers.includes(name));
  if (!sampler) return [];
  const different = trials.filter(({ guidance }, i) => trials.findIndex((other) => other.guidance === guidance) === i);
  return different.map(({ settings }) => ({ ...settings, sampler, steps: mostSteps(model, sampler), eta: 0 }));
}

/** Why distances cannot be measured, or nothing. @param {State} state */
export function measureProblem({ comparing: { comparison }, loaded }) {
  if (!comparison || comparison.kind !== 'columns' || comparison.trials.some(isLeft)) return 'Distances can be measured once all runs are made.';
  if (!isLoaded(comparison, loaded)) return 'Another model made these runs; load that one to measure them.';
  return referenceSettings(comparison).length ? '' : 'This model has no sampler without chance to measure by.';
}

/** Whether what made a comparison is loaded. @param {Comparison} comparison @param {import('./state.js').Loaded|null} loaded */
const isLoaded = ({ weights }, loaded) => loaded !== null && weights === weightsOf(loaded);

/** How long the references will take, as far as the other runs tell. @param {Comparison} comparison  milliseconds */
export function referenceTime(comparison) {
  const done = comparison.trials.filter(({ milliseconds }) => milliseconds !== null);
  const spent = done.reduce((sum, { milliseconds }) => sum + (milliseconds ?? 0), 0);
  const evaluations = done.reduce((sum, { recording }) => sum + (recording?.steps ?? 0), 0);
  return (spent / Math.max(1, evaluations)) * referenceSettings(comparison).reduce((sum, { steps }) => sum + steps, 0);
}

/** All runs of a comparison. @param {Comparison} comparison */
export const allOf = ({ trials, references }) => [...trials, ...references];

/** Whether a run is still to be made. @param {Trial} trial */
export const isLeft = ({ milliseconds, problem }) => milliseconds === null && !problem;

/** The first run that is not made yet, or null. @param {Comparison} comparison */
export function nextTrial(comparison) {
  const index = allOf(comparison).findIndex(isLeft);
  return index < 0 ? null : index;
}

/** The run that is under way, or null. @param {State} state */
export function trialUnderWay({ comparing: { comparison }, phase: { command } }) {
  return comparison?.newest && comparison.newest.command === command ? comparison.newest.trial : null;
}

/** What was begun last, and by which command. @param {State} state */
export function newestTrial({ comparing: { comparison } }) {
  const { newest } = comparison ?? {};
  return comparison && newest ? { command: newest.command, request: allOf(comparison)[newest.trial].request } : null;
}

/** Whether the next run by itself. @param {State} state */
export function goesOn(state) {
  const { comparison } = state.comparing;
  return comparison !== null && !comparison.stopped && nextTrial(comparison) !== null && phase(state) === 'ready';
}

/** Begins the next run. @param {State} state @param {number} id @returns {State} */
function begin(state, id) {
  const { comparison } = state.comparing;
  const trial = comparison && nextTrial(comparison);
  const underWay = reducePhase(state.phase, { type: 'generate', id });
  if (!comparison || trial === null || underWay === state.phase || !isLoaded(comparison, state.loaded)) return state;
  const next = withComparison({ ...withoutNotices(state, 'failure', 'backend', 'model'), phase: underWay }, { newest: { command: id, trial }, stopped: false });
  const said = trial === 0 ? withAnnouncement(next, `Comparing: ${comparison.trials.length} runs.`) : next;
  return withProgress(trial === comparison.trials.length ? withAnnouncement(said, 'Making the reference.') : said);
}

/** @param {State} state @param {Partial<Comparison>} changes @returns {State} */
function withComparison(state, changes) {
  const { comparison } = state.comparing;
  return comparison ? { ...state, comparing: { ...state.comparing, comparison: { ...comparison, ...changes } } } : state;
}

/** @param {State} state @param {number} index @param {Partial<Trial>} changes @returns {State} */
function withTrial(state, index, changes) {
  const { comparison } = state.comparing;
  if (!comparison) return state;
  const all = allOf(comparison).map((trial, i) => (i === index ? { ...trial, ...changes } : trial));
  return withComparison(state, { trials: all.slice(0, comparison.trials.length), references: all.slice(comparison.trials.length) });
}

/** Says how far it is. @param {State} state @returns {State} */
function withProgress(state) {
  const { comparison } = state.comparing;
  const index = trialUnderWay(state);
  if (!comparison || index === null) return state;
  const { trials, references } = comparison;
  const { recording } = allOf(comparison)[index];
  const [text, at, total] = index < trials.length ? ['Comparing', index, trials.length] : ['Reference', index - trials.length, references.length];
  const step = recording ? recording.states[recording.newest].step : 0;
  const part = recording ? step / recording.steps : 0;
  return withStatus(state, text, `${at + 1} of ${total}${recording ? ` · ${step}/${recording.steps}` : ''}`, (at + part) / total);
}

/** Whether all of a run is shown: of a matrix and of references it is the end. @param {Comparison} comparison @param {number} index  of the run */
const isScrubbed = ({ kind, trials }, index) => kind === 'columns' && index < trials.length;

/** @param {State} state @param {number} index  of the run @param {import('./reduce.js').ActionOf<'started'>} event @returns {State} */
function started(state, index, event) {
  const { comparison } = state.comparing;
  if (!comparison) return state;
  const recording = new Recording(event);
  // A state is two batches: x_t and x̂0.
  const states = isScrubbed(comparison, index) ? Math.max(2, Math.floor(MOST_COMPARED / comparison.trials.length / (2 * event.initial.byteLength))) : 1;
  recording.keepEvery = Math.max(recording.keepEvery, Math.ceil(recording.steps / states));
  return withProgress(withTrial({ ...state, phase: reducePhase(state.phase, event) }, index, { recording, startedAt: event.at }));
}

/** @param {State} state @param {number} index @param {import('./reduce.js').ActionOf<'frame'>} event @returns {State} */
function frame(state, index, event) {
  const trial = state.comparing.comparison && allOf(state.comparing.comparison)[index];
  if (!trial?.recording) return state;
  trial.recording.add(event);
  const next = withTrial(state, index, { revision: trial.revision + 1 });
  return phase(state) === 'running' ? withProgress(next) : next;
}

/** @param {State} state @param {number} index @param {import('./reduce.js').ActionOf<'finished'>} event @returns {State} */
function finished(state, index, event) {
  const underWay = reducePhase(state.phase, event);
  const trial = state.comparing.comparison && allOf(state.comparing.comparison)[index];
  if (!trial || underWay === state.phase) return state;
  const { recording } = trial;
  const isWhole = recording?.finished ?? false;
  const { comparison } = state.comparing;
  if (isWhole && recording && comparison && !isScrubbed(comparison, index)) recording.states = recording.states.slice(-1).map((last) => ({ ...last, made: null }));
  const next = withComparison(withTrial({ ...state, phase: underWay }, index, { milliseconds: isWhole ? event.at - trial.startedAt : null }), { stopped: event.stopped });
  return phaseOf(underWay) === 'loading' ? next : withEnd(next);
}

/** Says that all is made, or that it was stopped. @param {State} state @returns {State} */
function withEnd(state) {
  const { comparison } = state.comparing;
  if (!comparison) return state;
  const { trials, references, stopped } = comparison;
  const left = nextTrial(comparison);
  if (left !== null && !stopped) return state;
  const [runs, name] = references.length ? [references, 'reference'] : [trials, 'run'];
  const made = runs.filter(({ milliseconds }) => milliseconds !== null);
  const words = `${made.length} ${name}${made.length === 1 ? '' : 's'}`;
  if (left !== null) return withAnnouncement(withStatus(state, 'Stopped', `${made.length} of ${runs.length} made`, made.length / runs.length), `Stopped: ${made.length} of ${runs.length} are made.`);
  const time = duration(made.reduce((sum, { milliseconds }) => sum + (milliseconds ?? 0), 0));
  return withAnnouncement(withStatus(state, 'Done', `${words} · ${time}`, 1), `Done: ${words} in ${time}.`);
}

/** A run that cannot begin does not keep the others from it; without an engine none can. @param {State} state @param {number} index @param {import('./reduce.js').ActionOf<'failed'>} event @returns {State} */
function failedToRun(state, index, event) {
  if (event.during !== 'start') return failed(withComparison(state, { stopped: true }), event);
  const underWay = reducePhase(state.phase, event);
  if (underWay === state.phase) return state;
  const next = withTrial({ ...state, phase: underWay }, index, { problem: event.message });
  return phaseOf(underWay) === 'loading' ? next : withEnd(next);
}

// ---- Looking at it ----------------------------------------------------------------------------

/** The state of a recording that is looked at. @param {Recording} recording @param {number} at  a part of its way */
export const indexAt = (recording, at) => Math.min(recording.newest, Math.round(at * recording.end));

/** How many stops the way of the longest run has. @param {Comparison} comparison */
export const stopsOf = ({ trials }) => Math.max(1, ...trials.map(({ recording }) => recording?.end ?? 0));

/** The images of a run as they are shown: RGBA8, one after another. @param {Recording} recording @param {number} index @param {'x'|'x0'} view */
export const batchOf = (recording, index, view) => recording.batch(index, view);

/**
 * How far the finished pictures of a run are from its reference's: the root of the mean squared difference of their pixels, from
 * 0 to 255. Null as long as one of them is not made.
 * @param {Comparison} comparison
 * @param {Trial} trial
 * @returns {number|null}
 */
export function distanceOf({ references }, trial) {
  const reference = references.find(({ guidance }) => guidance === trial.guidance);
  if (!trial.recording || trial.milliseconds === null || !reference?.recording || reference.milliseconds === null) return null;
  const [a, b] = [trial.recording, reference.recording].map((recording) => batchOf(recording, recording.newest, 'x'));
  let sum = 0;
  for (let i = 0; i < a.length; i += 4) sum += (a[i] - b[i]) ** 2 + (a[i + 1] - b[i + 1]) ** 2 + (a[i + 2] - b[i + 2]) ** 2;
  return Math.sqrt(sum / (0.75 * a.length));
}

/** Settings that a run of a comparison brings into the fields: all but how many images. */
const TAKEN = SAMPLING_SETTINGS.filter((name) => name !== 'count');

/** Whether the fields have the settings of a run. @param {State} state @param {Trial} trial */
export const isTaken = ({ settings }, trial) => TAKEN.every((name) => settings[name] === trial.settings[name]);

/** @param {State} state @param {Extract<Action, {type: 'takeTrial'}>} action @returns {State} */
function takeTrial(state, { trial: index }) {
  const { comparison } = state.comparing;
  const trial = comparison?.trials[index];
  if (!comparison || !trial || !isLoaded(comparison, state.loaded)) return state;
  let next = withoutNotices(set(state, Object.fromEntries(TAKEN.map((name) => [name, trial.settings[name]]))), 'sampler', 'class');
  for (const axis of comparison.axes) next = choose(next, axis);
  // The runs of a comparison begin with noise.
  next = withBeginning(next, null);
  // The next run has this seed too, kept or not.
  return withAnnouncement(takeFields({ ...next, lastSeed: null }), `The settings have ${trial.words} now.`);
}

// ---- Actions ----------------------------------------------------------------------------------

/** What would change the run behind a comparison. */
const BEHIND = ['fork', 'pin', 'scrub', 'togglePlay'];
/** What shows something else. */
const ELSEWHERE = ['generate', 'restore', 'chooseRun'];
/** After which a comparison goes on only when it is asked to. */
const ENDS = ['generate', 'fork', 'resume', 'connect'];

/** What is behind a comparison does not go on playing. @param {State} state @returns {State} */
const resting = (state) => ({ ...state, selection: { ...state.selection, playing: false, leafing: 0 } });

/** @param {State} state @param {Partial<Comparing>} changes @returns {State} */
const withComparing = (state, changes) => ({ ...state, comparing: { ...state.comparing, ...changes } });

/**
 * What an action makes of the state, if it has to do with comparisons.
 * @param {State} state
 * @param {import('./reduce.js').Action} action
 * @returns {State|null}  null: it has not
 */
export function reduceComparing(state, action) {
  const { comparing } = state;
  switch (action.type) {
    case 'openComparing': return withComparing(state, { open: action.open });
    case 'planComparison': {
      const { wishes } = comparing;
      return withComparing(state, { wishes: { ...wishes, ...action.wishes, values: { ...wishes.values, ...action.wishes.values }, count: { ...wishes.count, ...action.wishes.count } } });
    }
    case 'compare': return compare(state, action);
    case 'compareOn': return begin(state, action.id);
    case 'measure': return measure(state, action);
    case 'showComparison': return withComparing(action.shown ? resting(state) : state, { shown: action.shown && comparing.comparison !== null });
    case 'scrubComparison': return withComparison(state, { at: action.at });
    case 'viewComparison': return withComparison(state, { view: action.view });
    case 'takeTrial': return takeTrial(state, action);
    default:
  }
  const index = trialUnderWay(state);
  if (index !== null && 'id' in action && action.id === state.phase.command) {
    if (action.type === 'started') return started(state, index, action);
    if (action.type === 'frame') return frame(state, index, action);
    if (action.type === 'finished') return finished(state, index, action);
    if (action.type === 'failed') return failedToRun(state, index, action);
  }
  return comparing.shown && BEHIND.includes(action.type) ? state : null;
}

/** The state in which any other action is taken: some show something else than the comparison, some end it. @param {State} state @param {import('./reduce.js').Action} action @returns {State} */
export function besideComparison(state, { type }) {
  const { shown, comparison } = state.comparing;
  const next = shown && ELSEWHERE.includes(type) ? withComparing(state, { shown: false }) : state;
  return comparison && !comparison.stopped && ENDS.includes(type) ? withComparison(next, { stopped: true }) : next;
}
