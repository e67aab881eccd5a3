// What every action makes of the state.

import { cleared, drawn, labelled, undone } from './drawings.js';
import { emptyCurve, withPoints } from './curve.js';
import { withFrame } from './film.js';
import { NO_DATA, newRun } from './state.js';
import { isActive } from './select.js';

/** @typedef {import('../../engine/learning-protocol.js').LearningEvent} LearningEvent */
/** @typedef {import('../../store/strokes.js').Point} Point */
/** @typedef {import('./state.js').Notice} Notice */
/** @typedef {import('./state.js').Run} Run */
/** @typedef {import('./state.js').State} State */

/**
 * @typedef {(
 *   LearningEvent |
 *   {type: 'choose', from: import('./state.js').From} |
 *   {type: 'pictures', pictures: Partial<import('./state.js').Pictures>} |
 *   {type: 'read', images: import('./state.js').Images, skipped: readonly import('../data-worker.js').Skipped[]} |
 *   {type: 'reading', done: number, total: number} |
 *   {type: 'unreadable', message: string} |
 *   {type: 'unpacking', unpacking: State['unpacking']} |
 *   {type: 'alphabet', alphabet: import('./drawings.js').Alphabet} |
 *   {type: 'draw', box: number, line: readonly Point[], begins: boolean} |
 *   {type: 'undo', box: number} |
 *   {type: 'clear', box: number} |
 *   {type: 'label', box: number, label: number} |
 *   {type: 'drawings', kept: Pick<State, 'drawings'|'aside'>, alphabet: import('./drawings.js').Alphabet} |
 *   {type: 'begin', beginning: import('./state.js').Beginning} |
 *   {type: 'handwriting', beginning: import('./state.js').Beginning} |
 *   {type: 'set', name: keyof import('./settings.js').Settings, text: string} |
 *   {type: 'unset'} |
 *   {type: 'teach', asked: Parameters<typeof newRun>[0], curve?: import('./curve.js').Curve} |
 *   {type: 'goOn', id: number} |
 *   {type: 'pause'} | {type: 'continue'} | {type: 'stop'} | {type: 'stopped'} | {type: 'leave'} |
 *   {type: 'open', run: Run} |
 *   {type: 'opened'} |
 *   {type: 'kept', name: string, step: number} |
 *   {type: 'unkept', message: string} |
 *   {type: 'forgotten'} |
 *   {type: 'show', step: number|null} |
 *   {type: 'play', playing: boolean} |
 *   {type: 'notify', notice: Notice} |
 *   {type: 'dismiss', key: string}
 * )} Action
 */

/** @param {State} state @param {Action} action @returns {State} */
export function reduce(state, action) {
  switch (action.type) {
    case 'choose': return chosen(state, action.from);
    case 'pictures': return { ...chosen(state, 'files'), pictures: { ...state.pictures, ...action.pictures }, data: NO_DATA };
    case 'reading': return { ...state, data: { ...state.data, reading: { done: action.done, total: action.total }, problem: null } };
    case 'read': return read(state, action);
    case 'unreadable': return unreadable(state, action.message);
    case 'unpacking': return { ...state, unpacking: action.unpacking };
    case 'alphabet': return withAlphabet(state, action.alphabet);
    case 'draw': return { ...state, drawings: drawn(state.drawings, action.box, action.line, action.begins) };
    case 'undo': return { ...state, drawings: undone(state.drawings, action.box) };
    case 'clear': return { ...state, drawings: cleared(state.drawings, action.box) };
    case 'label': return { ...state, drawings: labelled(state.drawings, action.box, action.label) };
    case 'drawings': return withAlphabet({ ...state, ...action.kept }, action.alphabet);
    case 'begin': return { ...withoutNotice(state, 'beginning'), beginning: action.beginning };
    case 'handwriting': return { ...withAlphabet(chosen(state, 'drawings'), 'digits'), beginning: action.beginning, texts: state.texts.backend ? { backend: state.texts.backend } : {} };
    case 'set': return { ...state, texts: withText(state.texts, action.name, action.text) };
    case 'unset': return { ...state, texts: {} };
    case 'teach': return announced({ ...withoutNotice(state, 'failure', 'ask', 'unkept', 'kept'), run: { ...newRun(action.asked), curve: action.curve ?? emptyCurve() }, shown: null, playing: false }, 'Starting.');
    case 'goOn': return announced({ ...withoutNotice(state, 'failure', 'ask', 'kept'), run: state.run && { ...state.run, id: action.id, activity: 'starting', progress: null, speed: null, step: state.run.checkpoint?.step ?? 0 }, shown: null, playing: false }, 'Going on.');
    case 'pause': return withActivity(state, 'learning', 'pausing');
    case 'continue': return withActivity(state, 'paused', 'learning');
    case 'stop': return isActive(state) ? withRun(state, { activity: 'stopping' }) : state;
    case 'stopped': return announced(withRun(state, { activity: 'stopped', progress: null }), `Stopped after ${state.run?.step ?? 0} steps.`);
    // It had learned nothing yet.
    case 'leave': return announced({ ...state, run: null }, 'Stopped.');
    case 'open': return { ...withoutNotice(state, 'kept', 'ask'), run: action.run, shown: null, playing: false };
    case 'opened': return state.opened ? state : { ...state, opened: true };
    case 'kept': return kept(state, action.name, action.step);
    case 'unkept': return withNotice(withRun(state, { unkept: true }), { key: 'unkept', title: 'It is not kept', text: `${action.message} ${isActive(state) && state.run?.activity !== 'paused' ? 'It goes on learning. Pause it and download' : 'Download'} it, or it is gone when this page is closed.` });
    case 'forgotten': return forgotten(state);
    case 'show': return { ...state, shown: action.step, playing: state.playing && action.step !== null };
    case 'play': return { ...state, playing: action.playing };
    case 'notify': return withNotice(state, action.notice);
    case 'dismiss': return withoutNotice(state, action.key);
    default: return heard(state, action);
  }
}

/** What the worker says of a run; of one that has gone it is passed over. @param {State} state @param {LearningEvent} event @returns {State} */
function heard(state, event) {
  const { run } = state;
  if (!run || event.id !== run.id) return state;
  switch (event.type) {
    case 'backend': return withRun(event.note ? withNotice(state, { key: 'backend', text: event.note }) : state, { backend: event });
    case 'progress': return withRun(state, { progress: event });
    case 'begun': return announced(withRun(state, { recipe: event.recipe, step: event.step, activity: run.activity === 'starting' ? 'learning' : run.activity, progress: null }), 'It learns.');
    case 'learned': return withRun(state, { curve: withPoints(run.curve, event.points), step: event.points[event.points.length - 1].step, speed: event.imagesPerSecond || run.speed, progress: null });
    case 'samples': {
      const { step, levels, count, channels, width, height } = event;
      return withRun(state, { frames: withFrame(run.frames, { step, levels }), shape: { count, channels, width, height }, progress: null });
    }
    case 'checkpoint': return withRun(state, { checkpoint: { step: event.step, files: event.files, model: event.model }, step: event.step });
    case 'paused': return run.activity === 'stopping' ? withRun(state, { progress: null }) : announced(withRun(state, { activity: 'paused', progress: null }), `Paused after ${event.step} steps.`);
    case 'finished': return announced(withRun(state, { activity: 'finished', step: event.step, progress: null }), `Done: ${event.step} steps.`);
    case 'failed': return failed(state, run, event);
  }
}

/** A model that was taught here before is gone now; what has replaced it is to learn more in its place. @param {State} state @param {string} name @param {number} step @returns {State} */
function kept(state, name, step) {
  const { run, beginning } = state;
  if (run?.name !== name) return state;
  const next = withRun(withoutNotice(state, 'unkept'), { kept: step, unkept: false });
  if (beginning.kind !== 'model' || beginning.source.kind !== 'taught' || beginning.source.name === name) return next;
  return { ...next, beginning: { ...beginning, source: { ...beginning.source, id: `taught:${name}`, name } } };
}

/** No network begins with what is deleted. @param {State} state @returns {State} */
function forgotten(state) {
  const { run, beginning } = state;
  const isGone = beginning.kind === 'model' && beginning.source.kind === 'taught' && beginning.source.name === run?.name;
  return announced({ ...withoutNotice(state, 'kept', 'ask', 'failure'), run: isActive(state) ? run : null, beginning: isGone ? { kind: 'nothing' } : beginning }, 'It is deleted.');
}

/** @param {State} state @param {Run} run @param {Extract<LearningEvent, {type: 'failed'}>} event @returns {State} */
function failed(state, run, { message, diverged = false }) {
  const { checkpoint, backend } = run;
  const onGpu = backend?.kind === 'gpu';
  /** @type {NonNullable<Notice['actions']>} */
  const actions = [];
  if (checkpoint && !diverged) {
    actions.push({ label: `Go on from step ${checkpoint.step}`, intent: { do: 'goOn' } });
    if (onGpu) actions.push({ label: 'Go on, on the CPU', intent: { do: 'goOn', cpu: true } });
  }
  const title = diverged ? 'The run has diverged' : checkpoint ? 'The run was interrupted' : 'The run did not start';
  const next = withNotice(state, { key: 'failure', error: true, title, text: message, actions });
  return announced({ ...next, run: checkpoint ? { ...run, activity: 'failed', diverged, progress: null } : null }, `${title}. ${message}`);
}

/** An empty field is what is taken by itself. @param {State['texts']} texts @param {keyof import('./settings.js').Settings} name @param {string} text @returns {State['texts']} */
function withText(texts, name, text) {
  if (text.trim()) return { ...texts, [name]: text };
  return Object.fromEntries(Object.entries(texts).filter(([other]) => other !== name));
}

/** @param {State} state @param {import('./drawings.js').Alphabet} alphabet @returns {State} */
const withAlphabet = (state, alphabet) => (state.drawings.alphabet === alphabet ? state : { ...state, drawings: state.aside, aside: state.drawings });

/** @param {State} state @param {import('./state.js').From} from @returns {State} */
function chosen(state, from) {
  // A checkpoint has images of its own.
  const beginning = state.beginning.kind === 'checkpoint' && state.beginning.images ? { kind: /** @type {const} */ ('nothing') } : state.beginning;
  return from === state.from && beginning === state.beginning ? state : { ...withoutNotice(state, 'images'), from, beginning, data: NO_DATA };
}

/** @param {State} state @param {Extract<Action, {type: 'read'}>} action @returns {State} */
function read(state, { images, skipped }) {
  const next = { ...withoutNotice(state, 'images'), data: { images, skipped, reading: null, problem: null } };
  if (!skipped.length) return next;
  const [{ problem }] = skipped;
  const rest = skipped.length === 1 ? '' : ` And ${skipped.length - 1} more, such as ${skipped[1].path}.`;
  return withNotice(next, { key: 'images', title: `${skipped.length} ${skipped.length === 1 ? 'file was' : 'files were'} left out`, text: `${problem}${rest}` });
}

/** @param {State} state @param {string} message @returns {State} */
function unreadable(state, message) {
  const next = { ...state, data: { ...NO_DATA, problem: message } };
  /** @type {Notice['actions']} */
  const actions = state.from === 'files' ? [] : [{ label: 'Try again', intent: { do: 'readAgain' } }];
  return announced(withNotice(next, { key: 'images', error: true, title: 'The images could not be read', text: message, actions }), message);
}

/** @param {State} state @param {Run['activity']} before @param {Run['activity']} after @returns {State} */
const withActivity = (state, before, after) => (state.run?.activity === before ? withRun(state, { activity: after }) : state);

/** @param {State} state @param {Partial<Run>} change @returns {State} */
const withRun = (state, change) => (state.run ? { ...state, run: { ...state.run, ...change } } : state);

/** @param {State} state @param {string} text @returns {State} */
const announced = (state, text) => ({ ...state, announcement: { text } });

/** @param {State} state @param {Notice} notice @returns {State} */
const withNotice = (state, notice) => ({ ...state, notices: [...state.notices.filter(({ key }) => key !== notice.key), notice] });

/** @param {State} state @param {...string} keys @returns {State} */
function withoutNotice(state, ...keys) {
  const notices = state.notices.filter(({ key }) => !keys.includes(key));
  return notices.length === state.notices.length ? state : { ...state, notices };
}
