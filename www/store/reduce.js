// What every action makes of the state: a reducer without a page. Everything that happens is an action, what the visitor
// does as well as what the worker answers. An answer to what is over, or was replaced, changes nothing.

import { chooseBackend, chooseClass, chooseClassTo, chooseCount, open, set, takeCondition, type, typeWord } from './choosing.js';
import { besideComparison, reduceComparing } from './comparing.js';
import { chooseRun, fork, pin, resume, snapshot } from './forking.js';
import { arrange, arranged, backend, check, checked, connect, failed, load, model, noModel, preview, progress, stored, want } from './loading.js';
import { withAnnouncement, withFailure, withNotice, withStatus, withoutNotices } from './messages.js';
import { invert, isOfInversion, picture } from './picture.js';
import { reset, restore } from './restoring.js';
import { chooseImage, chooseView, finished, frame, generate, inspect, leafOn, playOn, scrub, setPlayback, started, stop, toggleLeafing, togglePlay } from './running.js';

/** @typedef {import('./phase.js').Next} Next */
/** @typedef {import('./settings.js').Settings} Settings */
/** @typedef {import('./state.js').State} State */

/**
 * What the worker says, with the time when it was heard, in milliseconds.
 * @typedef {import('../engine/protocol.js').Event & {at: number}} Heard
 */

/**
 * What the visitor does, and what the page does for them; an `id` is that of the command that goes to the worker.
 * @typedef {(
 *   {type: 'open', problems: string[]} |
 *   {type: 'connect', id: number, next: Next, gradients: boolean} |
 *   {type: 'want', source: import('../model/source.js').Source, restoring?: import('./state.js').Restoring|null} |
 *   {type: 'load', id: number, next: Next} |
 *   {type: 'generate', id: number, seed: number} |
 *   {type: 'fork', id: number, seed: number} |
 *   {type: 'resume', id: number} |
 *   {type: 'stop'} |
 *   {type: 'check', id: number} |
 *   {type: 'arrange', id: number, files: import('../model/source.js').Found[]} |
 *   {type: 'list', id: number} |
 *   {type: 'type', field: import('./settings.js').Field, text: string} |
 *   {type: 'chooseClass', name: string} |
 *   {type: 'typeWord', text: string} |
 *   {type: 'chooseClassTo', name: string} |
 *   {type: 'chooseTypeface', one: boolean} |
 *   {type: 'chooseCount', count: number} |
 *   {type: 'chooseBackend', kind: 'gpu'|'cpu'} |
 *   {type: 'choosePrecision', precision: Settings['precision']} |
 *   {type: 'takeCondition', condition: import('../model/condition.js').Condition} |
 *   {type: 'drawSeed', seed: number} |
 *   {type: 'keepSeed', keep: boolean} |
 *   {type: 'chooseRun', run: number} |
 *   {type: 'pin', run: number|null} |
 *   {type: 'restore'} & import('./state.js').Restoring |
 *   {type: 'reset'} |
 *   {type: 'history', entries: readonly import('./state.js').Entry[], kept: boolean} |
 *   {type: 'chooseImage', image: number} |
 *   {type: 'chooseView', view: import('./recording.js').View} |
 *   {type: 'scrub', index: number} |
 *   {type: 'inspect', pixel: import('./state.js').Selection['pixel']} |
 *   {type: 'togglePlay'} |
 *   {type: 'setPlayback', speed?: number, loop?: boolean} |
 *   {type: 'playOn'} |
 *   {type: 'toggleLeafing'} |
 *   {type: 'leafOn'} |
 *   {type: 'picture', change: import('./picture.js').Change} |
 *   {type: 'noModel', message: string} |
 *   {type: 'refuse', title: string, text: string} |
 *   {type: 'notify', notice: import('./state.js').Notice} |
 *   {type: 'dismiss', key: string} |
 *   {type: 'announce', text: string, status?: string}
 * )} Done
 * `open` comes first. `connect` starts an engine, `load` has it load what is wanted. `generate` and `fork` bring a seed in
 * case one is to be drawn. `resume` goes on with the run that was interrupted, `pin` says what the selected run is compared with. `announce` says something aloud, and in the status line if that is to say something else.
 */

/** @typedef {Heard | Done | import('./comparing.js').Action} Action */

/**
 * @template {Action['type']} Type
 * @typedef {Extract<Action, {type: Type}>} ActionOf
 */

/**
 * @param {State} state
 * @param {Action} action
 * @returns {State}  the very same one when the action changes nothing
 */
export function reduce(state, action) {
  return reduceComparing(state, action) ?? reduceRest(besideComparison(unshared(state, action), action), action);
}

/** What makes the settings of an address the visitor's own. @type {Action['type'][]} */
const OWN = ['type', 'typeWord', 'chooseClass', 'chooseClassTo', 'chooseTypeface', 'drawSeed'];

/** @param {State} state @param {Action} action @returns {State} */
const unshared = (state, { type }) => (state.shared && OWN.includes(type) ? { ...state, shared: false } : state);

/** What has nothing to do with comparisons. @param {State} state @param {Action} action @returns {State} */
function reduceRest(state, action) {
  switch (action.type) {
    case 'open': return open(state, action);
    case 'connect': return connect(state, action);
    case 'want': return want(state, action);
    case 'load': return load(state, action);
    case 'backend': return backend(state, action);
    case 'progress': return progress(state, action);
    case 'preview': return preview(state, action);
    case 'model': return model(state, action);
    case 'arrange': return arrange(state, action);
    case 'arranged': return arranged(state, action);
    case 'noModel': return noModel(state, action);
    case 'list': return { ...state, listing: action.id };
    case 'stored': return stored(state, action);
    case 'failed': return failed(state, action);

    case 'generate': return generate(state, action);
    case 'fork': return fork(state, action);
    case 'resume': return resume(state, action);
    case 'snapshot': return snapshot(state, action);
    case 'started': return isOfInversion(state, action) ? invert(state, action) : started(state, action);
    case 'frame': return isOfInversion(state, action) ? invert(state, action) : frame(state, action);
    case 'stop': return stop(state, action);
    case 'finished': return isOfInversion(state, action) ? invert(state, action) : finished(state, action);
    case 'check': return check(state, action);
    case 'checked': return checked(state, action);

    case 'type': return type(state, action);
    case 'chooseClass': return chooseClass(state, action);
    case 'typeWord': return typeWord(state, action);
    case 'chooseClassTo': return chooseClassTo(state, action);
    case 'chooseTypeface': return set(state, { typeface: action.one ? '1' : '0' });
    case 'chooseCount': return chooseCount(state, action);
    case 'chooseBackend': return chooseBackend(state, action);
    case 'choosePrecision': return set(state, { precision: action.precision });
    case 'takeCondition': return takeCondition(state, action);
    case 'drawSeed': return set(state, { seed: action.seed });
    case 'keepSeed': return { ...state, keepSeed: action.keep };

    case 'chooseRun': return chooseRun(state, action);
    case 'pin': return pin(state, action);
    case 'restore': return restore(state, action);
    case 'reset': return reset(state);
    case 'history': return { ...state, history: { entries: action.entries, kept: action.kept } };

    case 'chooseImage': return chooseImage(state, action);
    case 'chooseView': return chooseView(state, action);
    case 'scrub': return scrub(state, action);
    case 'inspect': return inspect(state, action);
    case 'togglePlay': return togglePlay(state);
    case 'setPlayback': return setPlayback(state, action);
    case 'playOn': return playOn(state);
    case 'toggleLeafing': return toggleLeafing(state);
    case 'leafOn': return leafOn(state);

    case 'picture': return picture(state, action.change);

    case 'refuse': return withFailure(state, action.title, action.text);
    case 'notify': return withNotice(state, action.notice);
    case 'dismiss': return withoutNotices(state, action.key);
    case 'announce': {
      const said = withAnnouncement(state, action.text);
      return action.status === undefined ? said : withStatus(said, action.status, '', null);
    }
    default: return state;
  }
}
