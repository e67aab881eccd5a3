// The engine and its models: how they are started and loaded, and what happens when they fail.

import { isAlphabet } from '../model/classes.js';
import { megabytes, short } from '../words/format.js';
import { FAILURES, STAGES } from '../words/messages.js';
import { choose, set, withClasses, withDefaultEta, withGuide, withSampling } from './choosing.js';
import { endsOnCpu, goesOnByItself, underWay as runUnderWay } from './forking.js';
import { classesOf } from './guide.js';
import { gridLayout, layoutOf } from './layout.js';
import { withAnnouncement, withFailure, withNotice, withStatus, withoutNotices } from './messages.js';
import { phaseOf, reducePhase } from './phase.js';
import { fitted } from './picture.js';
import { restore, withKept } from './restoring.js';
import { withoutRuns } from './running.js';
import { modelDefaults } from './select.js';
import { DEFAULTS } from './settings.js';
import { noisePreview } from './state.js';

/** @typedef {import('./state.js').Intent} Intent */
/** @typedef {import('./state.js').Loaded} Loaded */
/** @typedef {import('./state.js').State} State */
/**
 * @template {import('./reduce.js').Action['type']} Type
 * @typedef {import('./reduce.js').ActionOf<Type>} ActionOf
 */

/** A fresh engine, which loads what is wanted. @param {State} state @param {ActionOf<'connect'>} action @returns {State} */
export function connect(state, action) {
  return { ...state, phase: reducePhase(state.phase, action), connection: action.id, backend: null, gradients: action.gradients, nextPreview: null, starting: null, checking: null };
}

/** Another model is wanted, whether or not there is an engine to load it. @param {State} state @param {ActionOf<'want'>} action @returns {State} */
export function want(state, { source, restoring = null }) {
  const next = { ...withoutNotices(state, 'failure'), wanted: source, nextPreview: null, restoring, shared: state.shared && source.id === state.wanted.id };
  return restoring?.preview ? withKept(next, restoring.preview) : next;
}

/** @param {State} state @param {ActionOf<'load'>} action @returns {State} */
export function load(state, action) {
  const underWay = reducePhase(state.phase, action);
  return underWay === state.phase ? state : { ...state, phase: underWay };
}

/** @param {State} state @param {ActionOf<'backend'>} event @returns {State} */
export function backend(state, { id, kind, name, note, half }) {
  if (id !== state.connection) return state;
  const next = { ...state, backend: { kind, name, note, half } };
  return note ? withNotice(next, { key: 'backend', text: note }) : withoutNotices(next, 'backend');
}

/** @param {State} state @param {ActionOf<'progress'>} event @returns {State} */
export function progress(state, { id, stage, done, total, waiting }) {
  if (id !== (state.phase.loading ?? state.phase.command)) return state;
  const { text, from, to } = STAGES[stage];
  const bytes = total ? `${megabytes(done)} of ${megabytes(total)} MB` : `${megabytes(done)} MB`;
  const count = {
    engine: '',
    parse: '',
    check: total ? `layer ${done} of ${total}` : '',
    gradients: bytes,
    download: bytes,
    classifier: bytes,
    compile: `${done} of ${total}`,
    replay: `${done} of ${total}`,
  }[stage];
  const next = stage === 'check' ? { ...state, checking: { done, total } } : state;
  return withStatus(next, waiting ? 'Reconnecting' : text, count, from + (total ? done / total : 0) * (to - from));
}

/** @param {State} state @param {ActionOf<'preview'>} event @returns {State} */
export function preview(state, { id, batch, columns, caption }) {
  const next = { batch, caption, real: true, layout: gridLayout(batch.count, columns) };
  const { phase: { loading }, loaded, runs } = state;
  // The first model's sample fills the page at once; a later one waits until its model has loaded.
  if (id === loading && loaded) return { ...state, nextPreview: next };
  if (state.preview.recipe) return state; // something that was kept is looked at
  return (id === loading || id === loaded?.id) && !runs.order.length ? withPreview(state, next) : state;
}

/** @param {State} state @param {import('./state.js').Preview} next @returns {State} */
function withPreview(state, next) {
  const image = Math.min(state.selection.image, next.batch.count - 1);
  return { ...state, preview: next, selection: { ...state.selection, image } };
}

/** @param {State} state @param {ActionOf<'model'>} event @returns {State} */
export function model(state, event) {
  const { lost, loading } = state.phase;
  // One that another has replaced is the engine's all the same, until the other arrives.
  if (lost || loading === null) return state;
  const { id, model, count, note, classifier } = event;
  const before = state.loaded;
  const first = !before;
  const changed = before?.source.id !== event.source.id || before.network !== event.network;
  const byItself = state.chosen.count || state.restoring ? DEFAULTS.count : count;
  const loaded = { ...loadedFrom(event), count: changed ? byItself : before.count };

  let next = withoutNotices({ ...state, loaded, phase: reducePhase(state.phase, event) }, 'failure', 'model');
  if (note) next = withNotice(next, { key: 'model', text: note });
  next = fitted(next);
  if (!isAlphabet(model)) next = set(next, { count });
  if (changed && !(first && state.chosen.guidance)) next = set(next, { guidance: modelDefaults(next).guidance });
  if (changed && !(first && state.chosen.guide)) next = set(next, { guide: modelDefaults(next).guide });
  if (changed && !first) next = choose(next, 'class', false);
  next = withClasses(next, classesOf(model), first && Boolean(state.chosen.class));
  next = withGuide(next, classifier);
  next = withDefaultEta(withSampling(next, model, first));
  if (changed) {
    next = withoutRuns({ ...next, condition: null, checked: null });
    // The first model's sample is there already.
    const sample = state.nextPreview ?? (first && state.preview.real ? state.preview : null);
    next = withPreview(next, sample ?? noisePreview(count, model.width, model.height, layoutOf(next.classes, next.settings.class, count)));
  }
  if (id !== loading) return next; // the next one is already on its way
  if (next.restoring) next = restore(next, next.restoring);
  return withAnnouncement(withStatus(next, 'Ready', `${short(model.parameters)} parameters`, 0), `${loaded.title} is ready.`);
}

/** @param {ActionOf<'model'>} event @returns {Omit<Loaded, 'count'>} */
function loadedFrom({ id, source: asked, networks, network, variant, model, classifier }) {
  // What comes first needs no naming; where a server lists nothing, the one that was named may be the only one known.
  const index = networks.findIndex(({ folder }) => folder === network);
  const source = { ...asked, network: index || networks.length === 1 ? asked.network : null, variant: variant === networks[index].variants[0] ? null : variant };
  const title = model.title || (asked.kind === 'files' ? asked.name : asked.id);
  return { id, source, networks, network, variant, model, classifier, title };
}

// ---- The visitor's files, and what is stored ----------------------------------------------------

/** @param {State} state @param {ActionOf<'arrange'>} action @returns {State} */
export const arrange = (state, { id, files }) => ({ ...state, arranging: { id, files } });

/** Where there is a model among the files it is loaded next, which is another action. @param {State} state @param {ActionOf<'arranged'>} event @returns {State} */
export function arranged(state, { id, problem }) {
  if (id !== state.arranging?.id) return state; // other files were given since
  const next = { ...state, arranging: null };
  return problem === null ? next : noModel(next, { message: problem });
}

/** Files were given that hold no model: whatever is loaded, or being loaded, goes on. @param {State} state @param {{message: string}} action @returns {State} */
export function noModel(state, { message }) {
  const { loaded, phase: { empty } } = state;
  const text = loaded && !empty ? stillThere(loaded, message) : message;
  return withFailure(state, FAILURES.load, text, [], message);
}

/** @param {Loaded} loaded @param {string} message */
const stillThere = ({ title }, message) => `${message} ${title} is still loaded and works.`;

/** @param {State} state @param {ActionOf<'stored'>} event @returns {State} */
export const stored = (state, { id, models, quota }) => (id === state.listing ? { ...state, stored: { models, quota } } : state);

// ---- Checking the GPU -------------------------------------------------------------------------

/** @param {State} state @param {ActionOf<'check'>} action @returns {State} */
export function check(state, action) {
  const underWay = reducePhase(state.phase, action);
  if (underWay === state.phase) return state;
  return withAnnouncement(withoutNotices({ ...state, phase: underWay, checking: null }, 'failure'), 'Checking the GPU.');
}

/** @param {State} state @param {ActionOf<'checked'>} event @returns {State} */
export function checked(state, event) {
  const underWay = reducePhase(state.phase, event);
  const { loaded } = state;
  if (underWay === state.phase || !loaded) return state;
  const { report } = event;
  const next = { ...state, phase: underWay, checking: null, checked: { report, model: loaded.title, precision: loaded.model.precision, backend: state.backend?.name ?? '' } };
  if (report.ok && phaseOf(underWay) === 'loading') return next; // another model is on its way
  return withStatus(next, report.ok ? 'The GPU is right' : 'The GPU is wrong', '', 0);
}

// ---- Failing ----------------------------------------------------------------------------------

/** @param {State} state @param {ActionOf<'failed'>} event @returns {State} */
export function failed(state, event) {
  const { during, message } = event;
  const underWay = reducePhase(state.phase, event);
  // Nobody sees a profile here.
  if (underWay === state.phase || during === 'profile') return state;
  const next = { ...state, phase: underWay };
  if (during === 'start' || during === 'run') next.starting = null;
  // A run or a check that made way for another model is nobody's concern any more.
  if (phaseOf(underWay) === 'loading') return next;
  if (during === 'load') return failedToLoad(next, event);
  const title = FAILURES[during];
  if (during === 'start' || during === 'check') return withFailure(withStatus(next, 'Ready', '', 0), title, message);

  // Nor is a run that was interrupted, once another model was asked for, or that was to end.
  const run = during === 'run' ? runUnderWay(state) : null;
  if (run) next.interrupted = run;
  // An engine that does not come back counts as one that is lost again, or the page would try for ever.
  const isLost = underWay.lost && next.interrupted !== null;
  if (isLost) next.losses = state.losses + 1;
  if (isLost && goesOnByItself(next)) return withAnnouncement(withStatus(next, 'Interrupted, going on', '', 0), 'The run was interrupted. It goes on by itself.');
  if (isLost && endsOnCpu(next)) return withNotice(withAnnouncement(withStatus(next, 'Interrupted, going on', '', 0), 'The GPU was lost again. The CPU goes on.'), { key: 'lost', title: 'The CPU takes over', text: `${message} That happened ${next.losses} times in a row.` });
  /** @type {import('./phase.js').Next} */
  const again = next.interrupted ? 'resume' : null;
  const onGpu = state.settings.backend !== 'cpu' && state.backend?.kind !== 'cpu';
  const actions = [button('Try again', { do: 'connect', next: again })];
  // What computes gradients did not come, for whatever device; what was there before needs none.
  const without = during === 'engine' && state.gradients;
  if (without) actions.push(button('Go on without the classifier', { do: 'withoutClassifier', next: again }));
  if (onGpu && !without) actions.push(button('Use the CPU', { do: 'changeBackend', kind: 'cpu', next: again }));
  if (onGpu && during === 'run') actions.push(button('Check my GPU', { do: 'connect', next: 'check' }));
  const text = isLost ? `${message} That happened ${next.losses} times in a row. The run can go on from where it was${onGpu ? '; on the CPU the last digits differ' : ''}.` : message;
  return withFailure(withStatus(next, during === 'run' ? 'Interrupted' : 'Not running', '', 0), title, text, actions, message);
}

/** @param {State} state @param {Extract<ActionOf<'failed'>, {during: 'load'}>} event @returns {State} */
function failedToLoad(state, { message, source, fits }) {
  const actions = [button('Try again', { do: 'load', source })];
  if (fits) actions.unshift(button(fits === 1 ? 'Make one image' : `Make ${fits} images`, { do: 'loadFewer', source, count: fits }));
  const { loaded } = state;
  if (loaded && !state.phase.empty) {
    actions.push(button('Another model', { do: 'openModelMenu' }));
    const ready = withStatus({ ...state, wanted: loaded.source, restoring: null }, 'Ready', `${short(loaded.model.parameters)} parameters`, 0);
    return withFailure(ready, FAILURES.load, stillThere(loaded, message), actions, message);
  }
  const other = state.shipped.find(({ folder }) => folder !== source.id);
  if (other) actions.push(button(`Load ${other.title}`, { do: 'loadNamed', name: other.folder }));
  return withFailure(withStatus(state, 'No model loaded', '', 0), FAILURES.load, message, actions);
}

/** @param {string} label @param {Intent} intent */
const button = (label, intent) => ({ label, intent });
