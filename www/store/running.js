// Runs: how they come into being, grow and end, and checks, which take turns with them.

import { duration } from '../words/format.js';
import { set } from './choosing.js';
import { layoutOf } from './layout.js';
import { withAnnouncement, withStatus, withoutNotices } from './messages.js';
import { phaseOf, reducePhase } from './phase.js';
import { Recording } from './recording.js';
import { originOf } from './recipe.js';
import { describe, guidanceOf, loadedOf, phase, selectedRun } from './select.js';
import { NOTHING_SELECTED, NO_RUNS } from './state.js';

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
  const { settings, texts } = drawn ? set(state, { seed: action.seed }) : state;
  const begun = { ...state, phase: underWay, settings, texts, lastSeed: settings.seed, starting: { id: action.id, settings } };
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
  const { settings } = state.starting;
  const recording = new Recording(event);
  const run = {
    id,
    parent: null,
    settings,
    caption: describe(state, settings),
    guidance: guidanceOf(state, settings),
    model: loadedOf(state).model,
    origin: originOf(state),
    layout: layoutOf(state.classes, settings.class, recording.count),
    recording,
    revision: 0,
    startedAt: at,
  };
  const underWay = reducePhase(state.phase, event);
  const image = Math.min(state.selection.image, recording.count - 1);
  const next = {
    ...state,
    phase: underWay,
    starting: null,
    // The newest only: a recording may hold 400 MB.
    runs: { byId: { [id]: run }, order: [id] },
    selection: { ...state.selection, run: id, index: 0, following: true, playing: false, image },
  };
  return underWay === state.phase ? next : withStatus(next, 'Sampling', `0/${recording.steps}`, 0);
}

/** @param {State} state @param {ActionOf<'frame'>} event @returns {State} */
export function frame(state, event) {
  const { id, step, at } = event;
  const run = state.runs.byId[id];
  if (id !== state.phase.command || !run) return state;
  const { recording } = run;
  recording.add(event);
  const { selection } = state;
  const next = {
    ...state,
    runs: { ...state.runs, byId: { ...state.runs.byId, [id]: { ...run, revision: run.revision + 1 } } },
    selection: selection.run === id && selection.following ? { ...selection, index: recording.newest } : selection,
  };
  if (phase(state) !== 'running') return next;
  const done = step + 1;
  const left = ((at - run.startedAt) / done) * (recording.steps - done);
  return withStatus(next, 'Sampling', `${done}/${recording.steps} · ${duration(left)} left`, done / recording.steps);
}

/** @param {State} state @param {ActionOf<'finished'>} event @returns {State} */
export function finished(state, event) {
  const underWay = reducePhase(state.phase, event);
  if (underWay === state.phase) return state;
  const next = { ...state, phase: underWay, starting: null };
  const run = state.runs.byId[event.id];
  // It was stopped to make way for another model.
  if (phaseOf(underWay) === 'loading' || !run) return next;
  const time = duration(event.at - run.startedAt);
  const { newest, states, steps, finished: whole } = run.recording;
  if (whole || !event.stopped) return withAnnouncement(withStatus(next, 'Done', `${steps} steps · ${time}`, 1), `Done: ${steps} steps in ${time}.`);
  const { step } = states[newest];
  return withAnnouncement(withStatus(next, 'Stopped', `at ${step}/${steps} · ${time}`, step / steps), `Stopped at step ${step} of ${steps}.`);
}

/** All runs go, because their model does. @param {State} state @returns {State} */
export function withoutRuns(state) {
  const { image, view } = state.selection;
  return { ...state, runs: NO_RUNS, selection: { ...NOTHING_SELECTED, image, view } };
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
  const newest = selectedRun(state)?.recording.newest;
  if (!newest) return state;
  return selection.index >= newest ? moveTo(state, 0, true) : { ...state, selection: { ...selection, playing: true } };
}

/** The next step while a run is played. @param {State} state @returns {State} */
export function playOn(state) {
  const { playing, index } = state.selection;
  const newest = selectedRun(state)?.recording.newest ?? 0;
  return playing ? moveTo(state, index + 1, index + 1 < newest) : state;
}

/** @param {State} state @param {ActionOf<'chooseImage'>} action @returns {State} */
export const chooseImage = (state, { image }) => ({ ...state, selection: { ...state.selection, image } });

/** @param {State} state @param {ActionOf<'chooseView'>} action @returns {State} */
export const chooseView = (state, { view }) => ({ ...state, selection: { ...state.selection, view } });
