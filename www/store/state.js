// Everything the page knows, as one object. It is never changed in place: what is the very same object as before has not
// changed, so a view can tell by that what it has to draw anew.

import { gridLayout } from './layout.js';
import { noiseBatch } from './noise.js';
import { INITIAL } from './phase.js';
import { NO_PICTURE } from './picture-state.js';
import { FIELD_NAMES } from './settings.js';

/** @typedef {import('../engine/protocol.js').Batch} Batch */
/** @typedef {import('../engine/protocol.js').BackendInfo} BackendInfo */
/** @typedef {import('../engine/protocol.js').Model} Model */
/** @typedef {import('../model/classes.js').Classes} Classes */
/** @typedef {import('../model/source.js').Source} Source */
/** @typedef {import('./layout.js').Layout} Layout */
/** @typedef {import('./phase.js').Next} Next */
/** @typedef {import('./settings.js').Field} Field */
/** @typedef {import('./settings.js').Settings} Settings */

/** A model that comes with the page, and what is known of it before it is loaded. @typedef {Classes & {folder: string, title: string, about: string, has_classifier: boolean}} Shipped */

/**
 * The model that the engine has, where it came from, what else it could be loaded as and what it is called; `id` is the
 * command that loaded it, and `count` how many images are made of it if nobody says.
 * @typedef {{id: number, source: Source, networks: import('../model/networks.js').Choice[], network: string, variant: string, model: Model, classifier: import('../engine/protocol.js').Classifier|null, count: number, title: string}} Loaded
 */

/** What is shown before there is a run: the sample that came with a model, or noise, which is not `real`. @typedef {{batch: Batch, caption: string, real: boolean, layout: Layout, recipe?: import('./recipe.js').Recipe}} Preview  with how it was made, if it is kept from an earlier run */

/** A run that is to be made again once its model is there, its pictures if they were kept, and what it is called. @typedef {{recipe: import('./recipe.js').Recipe, preview: Preview|null, name: string}} Restoring */

/** A run that was finished: `picture` has its images as a PNG, unless they are too large to be kept. @typedef {{key: number, caption: string, recipe: import('./recipe.js').Recipe, shape: {count: number, width: number, height: number}, layout: Layout, thumbnail: Uint8Array<ArrayBuffer>, picture: Uint8Array<ArrayBuffer>|null}} Entry  `key` is when, in milliseconds */

/**
 * @typedef {object} Run
 * @property {number} id            of the command that began it
 * @property {number} command       that it grows by, or grew by last: another one than began it, if it was interrupted
 * @property {{run: number, step: number}|null} parent  which run it goes on from, and from where; null: it began with noise
 * @property {boolean} resumes      whether it goes on along its parent's table, from its very state
 * @property {Settings} settings    it was begun with
 * @property {import('../engine/protocol.js').EngineSettings} request  the same as the engine has them
 * @property {import('./beginning.js').Beginning|null} beginning  what its tree begins with in place of noise
 * @property {string} caption       the same in words
 * @property {number} guidance
 * @property {import('./guide.js').Guided|null} guided  by a classifier
 * @property {Model} model          that made it
 * @property {string} weights       that made it, by what they are loaded as
 * @property {'gpu'|'cpu'|null} backend  that it began on
 * @property {import('./recipe.js').Setup} setup
 * @property {boolean} strip        whether its images go from one noise or class to another
 * @property {Layout} layout        of its images
 * @property {import('./recording.js').Recording} recording  everything it has shown
 * @property {number} revision      of its recording
 * @property {number} first         the step at which what it made itself begins
 * @property {number} startedAt     milliseconds, as performance.now() counts them
 *
 * A recording is the one thing in the state that is changed in place. It holds up to 400 MB of pictures, of which each
 * frame adds a few: copying even the list of them at every frame would be work for nobody, since what was recorded never
 * changes. `revision` grows with it, so that a run which has got a frame is another object than before, as everything else
 * that has changed.
 */

/**
 * A run that is asked for, by a command: a new one, or one that was interrupted and goes on.
 * @typedef {Pick<Run, 'parent'|'resumes'|'settings'|'request'|'beginning'> & {id: number, run: number}} Begun
 */

/** All runs there are, in the order they were begun: one that began with noise, and those that go on from it or from one another. A run never goes before those that go on from it. @typedef {{byId: Readonly<Record<number, Run>>, order: readonly number[]}} Runs */

/**
 * What of the runs is looked at.
 * @typedef {object} Selection
 * @property {number|null} run
 * @property {number} index       among the states of its recording
 * @property {boolean} following  whether it moves along with the newest one
 * @property {boolean} playing
 * @property {1|-1|0} leafing      which way the images are looked through one after another; 0: they are not
 * @property {number} image       of the batch
 * @property {import('./recording.js').View} view
 * @property {{x: number, y: number}|null} pixel  of the chosen image whose numbers are shown
 */

/** What a button of a notice asks for. @typedef {(
 *   {do: 'connect', next: Next} |
 *   {do: 'withoutClassifier', next: Next} |
 *   {do: 'load', source: Source} |
 *   {do: 'loadNamed', name: string} |
 *   {do: 'loadFewer', source: Source, count: number} |
 *   {do: 'changeBackend', kind: 'gpu'|'cpu', next: Next} |
 *   {do: 'openModelMenu'} |
 *   {do: 'showReport'} |
 *   {do: 'copyReport'} |
 *   {do: 'makeAgain', recipe: import('./recipe.js').Recipe, name: string} |
 *   {do: 'bringBack', entries: readonly Entry[]} |
 *   {do: 'update'}
 * )} Intent */

/** @typedef {import('../view/notices.js').NoticeOf<Intent>} Notice */

/** @typedef {{text: string, count: string, fraction: number}} Status  of which the progress bar shows the fraction */

/** What a check of the GPU found, and in which circumstances. @typedef {{report: import('../engine/protocol.js').CheckReport, model: string, precision: string, backend: string}} Checked */

/**
 * @typedef {object} State
 * @property {import('./phase.js').State} phase  what is under way
 * @property {number|null} connection  the command that opened the engine
 * @property {BackendInfo|null} backend  null: the engine is starting
 * @property {boolean} gradients       whether the engine is the one that computes them too
 * @property {Settings} settings       valid ones
 * @property {Readonly<Record<Field, string>>} texts  what stands in the fields, which may be wrong
 * @property {{text: string, dropped: string}} word  what is typed where classes are letters, which may be nothing, and what of it cannot be spelled
 * @property {Readonly<Partial<Record<keyof Settings, boolean>>>} chosen  what somebody chose, here or in the address: a model's defaults do not replace it
 * @property {boolean} keepSeed        otherwise each run draws another one
 * @property {boolean} shared          whether the settings are those of an address, whose run was not made yet
 * @property {number|null} lastSeed    of the run that was begun last
 * @property {readonly Shipped[]} shipped
 * @property {Source} wanted           what is loaded, or being loaded
 * @property {Loaded|null} loaded
 * @property {Classes|null} classes    of the loaded model, or of a shipped one that is on its way
 * @property {import('../model/condition.js').Condition|null} condition  what the model takes beside x_t, if it takes anything
 * @property {import('./picture-state.js').Picture} picture  of the visitor's, which a run can begin with
 * @property {Preview} preview
 * @property {Preview|null} nextPreview  of the model that is being loaded
 * @property {Restoring|null} restoring
 * @property {{entries: readonly Entry[], kept: boolean}} history  the newest first; `kept`: also when the page is closed
 * @property {{id: number, files: import('../model/source.js').Found[]}|null} arranging  files that the worker is looking into for a model
 * @property {Begun|null} starting  the run that was asked for, until it has started
 * @property {Runs} runs
 * @property {{run: number, snapshot: import('../engine/protocol.js').Snapshot}|null} snapshot  where the run that is under way stood, as far as the page knows
 * @property {Begun|null} interrupted  the run that was under way when the engine was lost
 * @property {number} losses           of the engine, since a run came to its end
 * @property {number|null} pinned      the run that the selected one is compared with
 * @property {Selection} selection
 * @property {{speed: number, loop: boolean}} playback  how runs are played
 * @property {import('./comparing.js').Comparing} comparing
 * @property {{done: number, total: number|null}|null} checking  layers
 * @property {Checked|null} checked
 * @property {number|null} listing     the command that asks what is stored
 * @property {import('../model/cache.js').StoredModels|null} stored
 * @property {Status} status
 * @property {{text: string}} announcement  for those who cannot see it; another object says it again
 * @property {readonly Notice[]} notices   in the order they came
 */

/** Noise, where there is nothing better to show. @param {number} count @param {number} width @param {number} height @param {Layout} [layout] @returns {Preview} */
export function noisePreview(count, width, height, layout = gridLayout(count)) {
  return { batch: noiseBatch(count, width, height), caption: '', real: false, layout };
}

/** Settings in an address that make it one of a run. @type {(keyof Settings)[]} */
const OF_A_RUN = ['sampler', 'steps', 'eta', 'seed', 'seedTo', 'class', 'classTo', 'typeface', 'guide', 'guidance', 'scale', 'classAnd', 'weightAnd', 'spacing', 'variance', 'count'];

/** @type {Runs} */
export const NO_RUNS = Object.freeze({ byId: {}, order: [] });

/** @type {Selection} */
export const NOTHING_SELECTED = Object.freeze({ run: null, index: 0, following: true, playing: false, leafing: 0, image: 0, view: 'x', pixel: null });

/** @type {import('./comparing.js').Comparing} */
export const NOTHING_COMPARED = Object.freeze({ open: false, shown: false, wishes: {}, comparison: null });

/**
 * The state in which the page opens.
 * @param {object} from
 * @param {Settings} from.settings
 * @param {Iterable<keyof Settings>} from.given  the settings that the address has
 * @param {Source} from.wanted     the first model
 * @param {readonly Shipped[]} from.shipped
 * @param {boolean|null} [from.shared]  whether the address is somebody's link; null: it tells by itself
 * @returns {State}
 */
export function initialState({ settings, given, wanted, shipped, shared = null }) {
  const chosen = Object.fromEntries([...given].map((name) => [name, true]));
  const texts = Object.fromEntries(FIELD_NAMES.map((name) => [name, String(settings[name])]));
  return {
    phase: INITIAL,
    connection: null,
    backend: null,
    gradients: false,
    settings,
    texts: /** @type {Record<Field, string>} */ (texts),
    word: { text: settings.class, dropped: '' },
    chosen,
    keepSeed: settings.lock === '1' && Boolean(chosen.seed || chosen.lock),
    shared: shared ?? OF_A_RUN.some((name) => chosen[name]),
    lastSeed: null,
    shipped,
    wanted,
    loaded: null,
    classes: null,
    condition: null,
    picture: NO_PICTURE,
    preview: noisePreview(settings.count, 32, 32),
    nextPreview: null,
    restoring: null,
    history: { entries: [], kept: true },
    arranging: null,
    starting: null,
    runs: NO_RUNS,
    snapshot: null,
    interrupted: null,
    losses: 0,
    pinned: null,
    selection: { ...NOTHING_SELECTED, view: settings.view },
    playback: { speed: 1, loop: false },
    comparing: NOTHING_COMPARED,
    checking: null,
    checked: null,
    listing: null,
    stored: null,
    status: { text: 'Starting', count: '', fraction: 0 },
    announcement: { text: '' },
    notices: [],
  };
}
