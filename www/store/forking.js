// The tree of runs: how a run goes on from another one, or goes on after it was interrupted, and which of them is looked at.

import { hasClasses } from '../model/classes.js';
import { stripOf } from './between.js';
import { set } from './choosing.js';
import { guidanceOf, guideWords, guidedOf, hasGuidance } from './guide.js';
import { withNotice } from './messages.js';
import { reducePhase } from './phase.js';
import { SAMPLING_SETTINGS } from './recipe.js';
import { withBegun } from './running.js';
import { engineSettings, imageCount, isSpelling, phase, runOfCommand, selectedRun, weightsOf } from './select.js';
import { SAMPLERS, isUseful } from './settings.js';

/** @typedef {import('./settings.js').Settings} Settings */
/** @typedef {import('./state.js').Begun} Begun */
/** @typedef {import('./state.js').Run} Run */
/** @typedef {import('./state.js').State} State */
/**
 * @template {import('./reduce.js').Action['type']} Type
 * @typedef {import('./reduce.js').ActionOf<Type>} ActionOf
 */

/** Losses in a row after which the page asks before it goes on with a run. */
const MOST_LOSSES = 2;

// ---- Forking ----------------------------------------------------------------------------------

/**
 * Where a fork at the step that is shown would begin: in the run that made that step, which may be one before the selected.
 * @param {State} state
 * @returns {{run: Run, step: number}|null}
 */
export function forkPoint(state) {
  let run = selectedRun(state);
  if (!run) return null;
  const { step } = run.recording.states[state.selection.index];
  while (run.parent && step <= run.parent.step) run = state.runs.byId[run.parent.run];
  return { run, step };
}

/** The run that makes the evaluation at a step of a run: itself, or one that it goes on from. @param {State} state @param {Run} run @param {number} step @returns {Run} */
export const makerOf = (state, run, step) => (run.parent && step < run.parent.step ? makerOf(state, state.runs.byId[run.parent.run], step) : run);

/** Why no run can go on from what is shown, or nothing. @param {State} state */
export function forkProblem(state) {
  const point = forkPoint(state);
  if (!point) return 'Generate first. Then you can go on from any step.';
  if (phase(state) !== 'ready') return 'Wait until nothing is under way.';
  if (!state.loaded || point.run.weights !== weightsOf(state.loaded)) return 'Another model made this run; load that one to go on from here.';
  const selected = selectedRun(state);
  if (selected && point.step >= selected.recording.steps) return 'Drag to an earlier step to go on from there.';
  const letters = imageCount(state, point.run.settings);
  if (imageCount(state, forkSettings(state, point.run)) !== letters) return `A fork keeps the number of letters: type a word of ${letters}.`;
  return isMadeAlready(state, point) ? chanceProblem(state, point.run) : '';
}

/** Whether a run has all that a fork would make with another seed: from here on nothing is left to chance, and nothing else was changed. @param {State} state @param {{run: Run, step: number}} point */
function isMadeAlready(state, { run, step }) {
  const isSameCondition = state.condition?.values === run.request.condition;
  const settings = forkSettings(state, run);
  // Who keeps the seed as it was asks for the same once more, and gets it.
  if (state.keepSeed && settings.seed === run.settings.seed && settings.typeface === run.settings.typeface) return false;
  return run.recording.finished && isSameCondition && isStraight(run, step) && !differences(state, withChanceOf(settings, run), run).length;
}

/** Whether a run's own way from a step on draws no noise. @param {Run} run @param {number} step */
function isStraight({ recording, settings, beginning }, step) {
  // What is kept of a picture has fresh noise in each step, and the corrector of this sampler adds some that no row tells of.
  if (beginning?.kind === 'part' || settings.sampler === 'score_sde_ve') return false;
  return recording.rows.slice(step).every((row) => row.prev_from_noise === 0 && !row.learned_sigma);
}

/** Settings with which a run's noise is drawn as it was. @param {Settings} settings @param {Run} run @returns {Settings} */
const withChanceOf = (settings, { settings: { seed, typeface } }) => ({ ...settings, seed, typeface });

/** @param {State} state @param {Run} run */
function chanceProblem(state, run) {
  const { sampler } = state.settings;
  const hasEta = isUseful('eta', sampler);
  const others = alternatives(state, run);
  const change = hasEta ? `Set η above 0, or change ${others}` : `Change ${others}`;
  return `With ${SAMPLERS[sampler]}${hasEta ? ' and η 0' : ''} nothing is left to chance from here: another seed changes nothing. ${change}.`;
}

/** The settings of a fork: the fields', but as many images as there are, from the same noise. @param {Pick<State, 'settings'>} state @param {Run} run  that it goes on from @returns {Settings} */
export const forkSettings = ({ settings }, run) => ({ ...settings, count: run.settings.count, seedTo: run.settings.seedTo });

/** Whether a run of these settings goes along the same table. @param {Settings} a @param {Settings} b */
export const sameTable = (a, b) => a.sampler === b.sampler && a.steps === b.steps && (a.spacing === b.spacing || !isUseful('spacing', a.sampler));

/** @param {State} state @param {ActionOf<'fork'>} action @returns {State} */
export function fork(state, action) {
  const point = forkPoint(state);
  const underWay = reducePhase(state.phase, action);
  if (!point || forkProblem(state) || underWay === state.phase) return state;
  const { run, step } = point;
  const next = drawsSeed(state, point) ? set(state, { seed: action.seed }) : state;
  const settings = honest(forkSettings(next, run), point);
  const { beginning } = run;
  const begun = { id: action.id, run: action.id, parent: { run: run.id, step }, resumes: sameTable(settings, run.settings), settings, beginning, request: engineSettings(next, settings, beginning) };
  return withBegun({ ...next, phase: underWay, losses: 0 }, begun);
}

/** A fork that draws no noise keeps the seed of the run: it is not called after one that did not make it. @param {Settings} settings @param {{run: Run, step: number}} point @returns {Settings} */
function honest(settings, { run, step }) {
  const { settings: was } = run;
  const drawsAlike = sameTable(settings, was) && settings.eta === was.eta && settings.variance === was.variance;
  return drawsAlike && isStraight(run, step) ? withChanceOf(settings, run) : settings;
}

/** Whether a fork would draw a seed by itself: where nothing else tells it from the run that it goes on from, or from its last fork, and a seed can. @param {State} state @param {{run: Run, step: number}} point */
function drawsSeed(state, { run, step }) {
  const { settings, keepSeed, lastSeed } = state;
  const isUsed = settings.seed === run.settings.seed || settings.seed === lastSeed;
  return !keepSeed && isUsed && !isStraight(run, step) && !differences(state, { ...forkSettings(state, run), seed: run.settings.seed }, run).length;
}

/**
 * What tells settings from those of a run, in words.
 * @param {State} state
 * @param {Settings} settings
 * @param {Run} run
 * @returns {string[]}
 */
function differences(state, settings, run) {
  const was = run.settings;
  const { sampler, steps, eta, seed, spacing, variance, typeface, class: name, classTo } = settings;
  const words = [];
  if (sampler !== was.sampler) words.push(SAMPLERS[sampler]);
  if (steps !== was.steps) words.push(steps === 1 ? '1 step' : `${steps} steps`);
  if (isUseful('eta', sampler) && (eta !== was.eta || !isUseful('eta', was.sampler))) words.push(`η ${eta}`);
  const to = stripOf(run.model, settings).classes ? classTo : '';
  if (hasClasses(run.model) && (name !== was.class || to !== (stripOf(run.model, was).classes ? was.classTo : ''))) words.push(isSpelling(state) ? `“${name}”` : `class ${name}${to && ` → ${to}`}`);
  if (isSpelling(state) && typeface !== was.typeface) words.push(typeface === '1' ? 'one typeface' : 'many typefaces');
  if (hasGuidance(state, settings) && guidanceOf(state, settings) !== run.guidance) words.push(`guidance ${guidanceOf(state, settings)}`);
  const told = (/** @type {import('./guide.js').Guided|null} */ guided) => [...guideWords(guided), ...(guided?.both ? ['network too'] : [])].join();
  const [now, then] = [told(guidedOf(state, settings)), told(run.guided)];
  if (now !== then) words.push(now || 'no classifier');
  if (sampler === was.sampler && isUseful('spacing', sampler) && spacing !== was.spacing) words.push(`spacing ${spacing}`);
  if (isUseful('variance', sampler) && variance !== was.variance) words.push(`variance ${variance.replace('_', ' ')}`);
  if (seed !== was.seed) words.push(`seed ${seed}`);
  return words;
}

/** What tells a run from the one that it goes on from, in words. @param {State} state @param {Run} run */
export function branchWords(state, { settings, parent }) {
  if (!parent) return `seed ${settings.seed}`;
  return differences(state, settings, state.runs.byId[parent.run]).join(' · ') || 'nothing changed';
}

/** What a fork of what is shown would do, or why there can be none. @param {State} state */
export function forkHint(state) {
  const problem = forkProblem(state);
  const point = forkPoint(state);
  if (problem || !point) return phase(state) === 'ready' || !point ? problem : '';
  const { run, step } = point;
  const { settings } = state;
  const changed = differences(state, honest(forkSettings(state, run), point), run);
  const images = isSpelling(state) || settings.count === run.settings.count ? '' : ` It makes ${run.settings.count === 1 ? 'one image' : `${run.settings.count} images`}, as many as there are.`;
  const words = drawsSeed(state, point) ? 'another seed' : changed.join(' · ');
  return `Goes on from step ${step}${words ? ` with ${words}` : ' with nothing changed'}.${images}`;
}

/** What can be changed in place of chance. @param {State} state @param {Run} run */
function alternatives(state, run) {
  const names = [...(hasClasses(run.model) ? [isSpelling(state) ? 'word' : 'class'] : []), ...(hasGuidance(state) ? ['guidance'] : []), 'sampler'];
  return `the ${names.slice(0, -1).join(', ')}${names.length > 1 ? ' or ' : ''}${names.at(-1)}`;
}

/**
 * Where a run begins, as the engine is told.
 * @param {State} state
 * @param {Pick<Run, 'parent'|'resumes'>} run
 * @returns {import('../engine/protocol.js').Origin|null}
 */
export function originOf(state, { parent, resumes }) {
  if (!parent) return null;
  const run = state.runs.byId[parent.run];
  const { rows, offset } = run.recording;
  const { alpha_cumprod, signal } = rows[parent.step];
  return { run: run.id, settings: run.request, row: parent.step - offset, level: { alpha_cumprod, signal }, resumes, origin: originOf(state, run) };
}

// ---- Going on after a loss --------------------------------------------------------------------

/** Where the run that is under way stood. @param {State} state @param {ActionOf<'snapshot'>} event @returns {State} */
export function snapshot(state, { id, snapshot: stood }) {
  const run = runOfCommand(state, id);
  return run && id === state.phase.command ? { ...state, snapshot: { run: run.id, snapshot: stood } } : state;
}

/** The run that is lost with the engine, unless it was to end anyway. @param {State} state @returns {Begun|null} */
export function underWay(state) {
  const { activity, command, loading } = state.phase;
  if (command === null || loading !== null || (activity !== 'starting' && activity !== 'running')) return null;
  if (state.starting) return state.starting;
  const run = runOfCommand(state, command);
  return run ? { id: command, run: run.id, parent: run.parent, resumes: run.resumes, settings: run.settings, beginning: run.beginning, request: run.request } : null;
}

/** Whether the page brings the engine back by itself, to go on with what was interrupted. @param {State} state */
export const goesOnByItself = ({ phase: { lost }, interrupted, losses }) => lost && interrupted !== null && losses <= MOST_LOSSES;

/** Whether it brings the CPU instead: a GPU that was lost so often in one run will be lost again. @param {State} state */
export const endsOnCpu = ({ phase: { lost }, interrupted, losses, settings, backend }) => lost && interrupted !== null && losses === MOST_LOSSES + 1 && settings.backend !== 'cpu' && backend?.kind !== 'cpu';

/** @param {State} state @param {ActionOf<'resume'>} action @returns {State} */
export function resume(state, action) {
  const { interrupted } = state;
  const now = reducePhase(state.phase, action);
  if (!interrupted || now === state.phase) return state;
  const isNew = !state.runs.byId[interrupted.run];
  const next = withBegun({ ...state, phase: now }, { ...interrupted, id: action.id, run: isNew ? action.id : interrupted.run });
  const began = state.runs.byId[interrupted.run]?.backend;
  if (began !== 'gpu' || state.backend?.kind !== 'cpu') return next;
  return withNotice(next, { key: 'resumed', text: 'The run goes on on the CPU. What it makes differs in the last digits from what the GPU would have made.' });
}

// ---- Looking at them --------------------------------------------------------------------------

/** Shows another run at the same step, or its end instead of an end; its settings return to the fields. @param {State} state @param {ActionOf<'chooseRun'>} action @returns {State} */
export function chooseRun(state, { run: id }) {
  const run = state.runs.byId[id];
  const before = selectedRun(state);
  if (!run || before === run) return state;
  const { recording } = run;
  const { index, image } = state.selection;
  const isEnd = !before || index === before.recording.newest;
  const shown = isEnd ? recording.newest : recording.indexOf(before.recording.states[index].step);
  const changes = Object.fromEntries(SAMPLING_SETTINGS.map((name) => [name, run.settings[name]]));
  return {
    ...set(state, changes),
    // Who looks at the one that is compared with sees the two the other way round.
    pinned: before && state.pinned === id ? before.id : state.pinned,
    selection: { ...state.selection, run: id, index: shown, following: shown === recording.newest, playing: false, image: Math.min(image, recording.count - 1) },
  };
}

/** @param {State} state @param {ActionOf<'pin'>} action @returns {State} */
export const pin = (state, { run }) => (run !== null && !state.runs.byId[run] ? state : { ...state, pinned: run });

/** What the selected run is compared with at first: the one that it goes on from, or else the last other one; null: there is none. @param {State} state */
export function rivalOf(state) {
  const run = selectedRun(state);
  return run?.parent?.run ?? state.runs.order.findLast((id) => id !== run?.id) ?? null;
}

/**
 * The pinned run, and which of its states is beside the one that is shown: the same step, or where its noise is nearest.
 * @param {State} state
 * @returns {{run: Run, index: number}|null}
 */
export function compared(state) {
  const run = state.pinned === null ? undefined : state.runs.byId[state.pinned];
  const selected = selectedRun(state);
  if (!run || !selected) return null;
  const { step } = selected.recording.states[state.selection.index];
  const { recording } = run;
  if (sameTable(run.settings, selected.settings) && recording.offset === selected.recording.offset) return { run, index: recording.indexOf(step) };
  const noise = (/** @type {import('./recording.js').Recording} */ { rows }, /** @type {number} */ at) => Math.sqrt(1 - (rows.at(at)?.alpha_cumprod ?? 1));
  const here = noise(selected.recording, step);
  const distances = recording.states.map((state) => Math.abs(noise(recording, state.step) - here));
  // Of several as near, the last: a run may go back to more noise where it begins a table of its own.
  return { run, index: distances.lastIndexOf(Math.min(...distances)) };
}

/**
 * A lane of the tree.
 * @typedef {{run: Run, from: number|null, lane: number}} Lane  `from` is the lane that it leaves
 */

/** The lanes in their order: a run, then those that leave it, the last to leave first, so that no lane crosses another. @param {import('./state.js').Runs} runs @returns {Lane[]} */
export function lanesOf(runs) {
  /** @type {Lane[]} */
  const lanes = [];
  const all = runs.order.map((id) => runs.byId[id]);
  const add = (/** @type {Run} */ run, /** @type {number|null} */ from) => {
    const lane = lanes.push({ run, from, lane: lanes.length }) - 1;
    const children = all.filter(({ parent }) => parent?.run === run.id);
    const steps = (/** @type {Run} */ child) => child.parent?.step ?? 0;
    children.sort((a, b) => steps(b) - steps(a) || a.id - b.id).forEach((child) => add(child, lane));
  };
  all.filter(({ parent }) => !parent).forEach((run) => add(run, null));
  return lanes;
}
