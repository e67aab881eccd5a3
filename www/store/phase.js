// What is under way, and so what may be begun: a reducer without a page.
//
// That a model is loaded and what the engine does with it are separate facts, since another model may be asked for
// meanwhile. Every command has an id, and every event of the worker that of the command it answers: an answer to what
// is over, or was replaced, changes nothing.

/**
 * @typedef {object} State
 * @property {boolean} lost          the engine is gone, and has to be started anew
 * @property {boolean} empty         the engine has no model
 * @property {number|null} loading   the command that loads a model
 * @property {Next} next             what to do once it is loaded
 * @property {'idle'|'starting'|'running'|'stopping'|'checking'} activity
 * @property {number|null} command   the command of the activity
 */

/** `resume` goes on with the run that was interrupted. @typedef {'generate'|'check'|'resume'|null} Next */

/**
 * What the page asks for, and what the worker answers.
 * @typedef {(
 *   {type: 'connect', id: number, next?: Next} |
 *   {type: 'load', id: number, next?: Next} |
 *   {type: 'generate'|'fork'|'resume', id: number} |
 *   {type: 'check', id: number} |
 *   {type: 'stop'} |
 *   {type: 'model'|'started'|'finished'|'checked', id: number} |
 *   {type: 'failed', during: import('../engine/protocol.js').Stage, id: number|null}
 * )} Event
 */

/** @type {State} */
export const INITIAL = Object.freeze({ lost: false, empty: true, loading: null, next: null, activity: 'idle', command: null });

/** @type {Pick<State, 'activity'|'command'>} */
const REST = { activity: 'idle', command: null };
const LOADED = { loading: null, next: null };

/**
 * @param {State} state
 * @param {Event} event
 * @returns {State}  the very same one when the event changes nothing
 */
export function reducePhase(state, event) {
  const id = 'id' in event ? event.id : null;
  // A new engine is the only way out.
  if (state.lost && event.type !== 'connect') return state;
  const answers = isAnswer(id, state.command);
  switch (event.type) {
    case 'connect': return { ...INITIAL, loading: event.id, next: event.next ?? null };
    case 'load': return { ...state, loading: event.id, next: event.next ?? null, activity: isRun(state) ? 'stopping' : state.activity };
    case 'generate':
    case 'fork':
    case 'resume': return phaseOf(state) === 'ready' ? { ...state, activity: 'starting', command: event.id } : state;
    case 'check': return phaseOf(state) === 'ready' ? { ...state, activity: 'checking', command: event.id } : state;
    case 'stop': return isRun(state) && state.activity !== 'stopping' ? { ...state, activity: 'stopping' } : state;
    case 'model':
      if (isAnswer(id, state.loading)) return { ...state, ...LOADED, empty: false };
      // The engine has it all the same, until the next one arrives.
      return state.empty && state.loading !== null ? { ...state, empty: false } : state;
    case 'started': return answers && state.activity === 'starting' ? { ...state, activity: 'running' } : state;
    case 'finished': return answers && isRun(state) ? { ...state, ...REST } : state;
    case 'checked': return answers && state.activity === 'checking' ? { ...state, ...REST } : state;
    case 'failed': return failed(state, event, answers);
    default: return state;
  }
}

/** @param {State} state @param {Extract<Event, {type: 'failed'}>} event @param {boolean} answers  what is under way @returns {State} */
function failed(state, { during, id }, answers) {
  switch (during) {
    case 'load': return isAnswer(id, state.loading) ? { ...state, ...LOADED } : state;
    case 'start': return answers && isRun(state) ? { ...state, ...REST } : state;
    case 'check': return answers && state.activity === 'checking' ? { ...state, ...REST } : state;
    case 'profile': return state;
    // What an engine that is lost was to load does not come either.
    default: return { ...state, ...LOADED, ...REST, lost: true };
  }
}

/** @param {number|null|undefined} id @param {number|null} command */
const isAnswer = (id, command) => command !== null && id === command;
/** @param {State} state */
const isRun = ({ activity }) => activity === 'starting' || activity === 'running' || activity === 'stopping';

/**
 * What the visitor sees of it.
 * @param {State} state
 * @returns {'loading'|'ready'|'starting'|'running'|'stopping'|'checking'|'broken'}
 */
export function phaseOf({ lost, empty, loading, activity }) {
  if (lost) return 'broken';
  if (loading !== null) return 'loading';
  if (activity !== 'idle') return activity;
  return empty ? 'broken' : 'ready';
}
