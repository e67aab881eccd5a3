// Runs: how they come into being, grow and end, and checks, which take turns with them.

import { duration } from '../words/format.js';
import { set } from './choosing.js';
import { alongStrip, isStrip, stripLayout, stripOf } from './between.js';
import { guidanceOf, guidedOf } from './guide.js';
import { layoutOf } from './layout.js';
import { bounded } from './memory.js';
import { withAnnouncement, withStatus, withoutNotices } from './messages.js';
import { phaseOf, reducePhase } from './phase.js';
import { beginningOf } from './picture-state.js';
import { Recording } from './recording.js';
import { setupOf } from './recipe.js';
import { describe, engineSettings, isSpelling, loadedOf, phase, runOfCommand, selectedRun, weightsOf } from './select.js';
import { NOTHING_COMPARED, NOTHING_SELECTED, NO_RUNS } from './state.js';

/** @typedef {import('./state.js').State} State */
/**
 * @template {import('./reduce.js').Action['type']} Type
 * @typedef {import('./reduce.js').ActionOf<Type>} ActionOf
 */

/** @param {State} state @param {ActionOf<'generate'>} action @returns {State} */
export function generate(state, action) {
  const underWay = reducePhase(state.phase, action);
  if (underWay === state.phase) return state;
  // The first run uses the seed in the field; a run after it draws another, unless it is to be kept.
  const drawn = !state.keepSeed && state.settings.seed === state.lastSeed;
  const next = drawn ? set(state, { seed: action.seed }) : state;
  const { settings } = next;
  const beginning = beginningOf(next.picture, loadedOf(next).model);
  const begun = { id: action.id, run: action.id, parent: null, resumes: false, settings, beginning, request: engineSettings(next, settings, beginning) };
  return withBegun({ ...next, phase: underWay, losses: 0 }, begun);
}

/** A run is asked for. @param {State} state @param {import('./state.js').Begun} starting @returns {State} */
export function withBegun(state, starting) {
  const snapshot = state.snapshot?.run === starting.run ? state.snapshot : null;
  const begun = { ...state, lastSeed: starting.settings.seed, starting, snapshot, interrupted: null };
  // Notes were read; the badge still says what the backend is.
  const next = withoutNotices(begun, 'failure', 'backend', 'model');
  return withAnnouncement(withStatus(next, 'Starting the run', '', 0), 'Sampling.');
}

/** @param {State} state @param {ActionOf<'stop'>} action @returns {State} */
export function stop(state, action) {
  const underWay = reducePhase(state.phase, action);
  return underWay === state.phase ? state : withStatus({ ...state, phase: underWay }, 'Stopping after this step', '', null);
}

/** @param {State} state @param {ActionOf<'started'>} event @returns {State} */
export function started(state, event) {
  const { id, at } = event;
  if (id !== state.phase.command || state.starting?.id !== id) return state;
  const { run: number, parent, resumes, settings, beginning, request } = state.starting;
  const underWay = reducePhase(state.phase, event);
  const interrupted = state.runs.byId[number];
  if (interrupted) return goOn({ ...state, phase: underWay, starting: null }, { ...interrupted, command: id });
  const before = parent && { recording: state.runs.byId[parent.run].recording, step: parent.step, resumes };
  const recording = new Recording(event, before);
  const strip = isStrip(stripOf(state.classes, settings, beginning?.kind)) && recording.count > 1;
  const run = {
    id: number,
    command: id,
    parent,
    resumes,
    settings,
    request,
    beginning,
    // Its first step may be a little further than where the slider stood.
    caption: describe(state, settings, beginning?.kind === 'picture' ? { ...beginning, t: Math.round(event.rows[0].timestep) } : beginning),
    guidance: guidanceOf(state, settings),
    guided: guidedOf(state, settings),
    model: loadedOf(state).model,
    weights: weightsOf(loadedOf(state)),
    backend: state.backend?.kind ?? null,
    setup: setupOf(state),
    strip,
    layout: strip && !isSpelling(state) ? stripLayout(recording.count) : layoutOf(state.classes, settings.class, recording.count),
    recording,
    revision: 0,
    first: parent?.step ?? 0,
    startedAt: at,
  };
  const image = Math.min(state.selection.image, recording.count - 1);
  /** @type {State} */
  const next = {
    ...state,
    phase: underWay,
    starting: null,
    shared: false,
    // A run that begins with noise begins a tree, and the one before goes: recordings are large.
    runs: parent ? { byId: { ...state.runs.byId, [number]: run }, order: [...state.runs.order, number] } : { byId: { [number]: run }, order: [number] },
    pinned: parent ? state.pinned : null,
    selection: { ...state.selection, run: number, index: recording.newest, following: true, playing: false, leafing: 0, image },
  };
  return underWay === state.phase ? next : withStatus(next, 'Sampling', `${run.first}/${recording.steps}`, run.first / recording.steps);
}

/** A run that was interrupted grows again. @param {State} state @param {import('./state.js').Run} run @returns {State} */
function goOn(state, run) {
  const { newest, states, steps } = run.recording;
  const next = { ...state, runs: { ...state.runs, byId: { ...state.runs.byId, [run.id]: run } } };
  return phase(next) === 'running' ? withStatus(next, 'Sampling', `${states[newest].step}/${steps}`, states[newest].step / steps) : next;
}

/** @param {State} state @param {ActionOf<'frame'>} event @returns {State} */
export function frame(state, event) {
  const { id, at } = event;
  const run = runOfCommand(state, id);
  if (id !== state.phase.command || !run) return state;
  const { recording } = run;
  recording.add(event);
  const { selection } = state;
  const next = bounded({
    ...state,
    runs: { ...state.runs, byId: { ...state.runs.byId, [run.id]: { ...run, revision: run.revision + 1 } } },
    selection: selection.run === run.id && selection.following ? { ...selection, index: recording.newest } : selection,
  });
  if (phase(state) !== 'running') return next;
  const done = recording.offset + event.step + 1;
  const left = ((at - run.startedAt) / (done - run.first)) * (recording.steps - done);
  return withStatus(next, 'Sampling', `${done}/${recording.steps} · ${duration(left)} left`, done / recording.steps);
}

/** @param {State} state @param {ActionOf<'finished'>} event @returns {State} */
export function finished(state, event) {
  const underWay = reducePhase(state.phase, event);
  if (underWay === state.phase) return state;
  const next = { ...state, phase: underWay, starting: null, snapshot: null, losses: 0 };
  // It was stopped to make way for another model.
  if (phaseOf(underWay) === 'loading') return next;
  const run = runOfCommand(state, event.id);
  if (!run) return withStatus(next, 'Stopped', 'before it began', 0);
  const time = duration(event.at - run.startedAt);
  const { newest, states, steps, finished: whole } = run.recording;
  if (whole || !event.stopped) {
    const made = steps - run.first === 1 ? '1 step' : `${steps - run.first} steps`;
    return withAnnouncement(withStatus(next, 'Done', `${made} · ${time}`, 1), `Done: ${made} in ${time}.`);
  }
  const { step } = states[newest];
  return withAnnouncement(withStatus(next, 'Stopped', `at ${step}/${steps} · ${time}`, step / steps), `Stopped at step ${step} of ${steps}.`);
}

/** All runs go, because their model does. @param {State} state @returns {State} */
export function withoutRuns(state) {
  const { image, view } = state.selection;
  return { ...state, comparing: { ...NOTHING_COMPARED, open: state.comparing.open }, runs: NO_RUNS, snapshot: null, interrupted: null, pinned: null, selection: { ...NOTHING_SELECTED, image, view } };
}

// ---- Looking at them --------------------------------------------------------------------------

/**
 * What is not made yet cannot be shown.
 * @param {State} state
 * @param {number} index
 * @param {boolean} playing
 * @returns {State}
 */
function moveTo(state, index, playing) {
  const run = selectedRun(state);
  if (!run) return state;
  const { newest } = run.recording;
  const reached = Math.min(index, newest);
  return { ...state, selection: { ...state.selection, index: reached, following: reached === newest, playing } };
}

/** @param {State} state @param {ActionOf<'scrub'>} action @returns {State} */
export const scrub = (state, { index }) => moveTo(state, index, false);

/**
 * Plays or pauses: from the beginning if the slider is at the end; also during a run, which it may catch up with.
 * @param {State} state
 * @returns {State}
 */
export function togglePlay(state) {
  const { selection } = state;
  if (selection.playing) return { ...state, selection: { ...selection, playing: false } };
  if (selection.leafing) return togglePlay(toggleLeafing(state));
  const newest = selectedRun(state)?.recording.newest;
  if (!newest) return state;
  return selection.index >= newest ? moveTo(state, 0, true) : { ...state, selection: { ...selection, playing: true } };
}

/** The next step while a run is played. @param {State} state @returns {State} */
export function playOn(state) {
  const { playing, index } = state.selection;
  const run = selectedRun(state);
  const newest = run?.recording.newest ?? 0;
  if (!playing) return state;
  // A run that is still under way is waited for before it begins again.
  if (state.playback.loop && index >= newest) return run?.command === state.phase.command ? state : moveTo(state, 0, true);
  return moveTo(state, index + 1, state.playback.loop || index + 1 < newest);
}

/** @param {State} state @param {ActionOf<'setPlayback'>} action @returns {State} */
export function setPlayback(state, { speed = state.playback.speed, loop = state.playback.loop }) {
  return { ...state, playback: { speed, loop } };
}

/** @param {State} state @param {ActionOf<'inspect'>} action @returns {State} */
export const inspect = (state, { pixel }) => ({ ...state, selection: { ...state.selection, pixel } });

/** @param {State} state @param {ActionOf<'chooseImage'>} action @returns {State} */
export const chooseImage = (state, { image }) => ({ ...state, selection: { ...state.selection, image } });

/** Looks through the images one after another, or no longer. @param {State} state @returns {State} */
export function toggleLeafing(state) {
  const { selection } = state;
  return { ...state, selection: { ...selection, leafing: selection.leafing ? 0 : 1, playing: false } };
}

/** The next image while they are looked through. @param {State} state @returns {State} */
export function leafOn(state) {
  const { leafing, image } = state.selection;
  const run = selectedRun(state);
  if (!leafing || !run?.strip) return leafing ? { ...state, selection: { ...state.selection, leafing: 0 } } : state;
  const next = alongStrip(image, leafing, run.recording.count);
  return { ...state, selection: { ...state.selection, image: next.image, leafing: next.way } };
}

/** @param {State} state @param {ActionOf<'chooseView'>} action @returns {State} */
export const chooseView = (state, { view }) => ({ ...state, selection: { ...state.selection, view } });
