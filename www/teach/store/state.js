// What the Teach page knows.

import { emptyCurve } from './curve.js';
import { emptyDrawings } from './drawings.js';

/** @typedef {import('../../engine/learning-protocol.js').BlobsByName} BlobsByName */
/** @typedef {import('../../engine/learning-protocol.js').Images} Images */
/** @typedef {import('../../engine/learning-protocol.js').LearningStage} LearningStage */
/** @typedef {import('../../engine/learning-protocol.js').Recipe} Recipe */
/** @typedef {import('../../engine/learning-protocol.js').Samples} Samples */
/** @typedef {import('../../model/source.js').Found} Found */
/** @typedef {import('../../model/source.js').Source} Source */
/** @typedef {import('../../pkg/learning/denoise.js').BackendInfo} BackendInfo */
/** @typedef {import('./film.js').FilmShape} FilmShape */
/** @typedef {import('./film.js').Frame} Frame */
/** @typedef {import('./settings.js').Known} Known */
/** @typedef {import('./settings.js').Settings} Settings */

/** Where what a network learns from comes from. @typedef {'digits'|'letters'|'files'|'drawings'} From */

/**
 * The visitor's files, and how they are read.
 * @typedef {{found: readonly Found[], side: number, channels: 1|3}} Pictures
 */

/**
 * What was read, or is being read, unless it is drawings.
 * @typedef {object} Data
 * @property {Images|null} images
 * @property {readonly import('../data-worker.js').Skipped[]} skipped
 * @property {{done: number, total: number}|null} reading
 * @property {string|null} problem
 */

/**
 * What a network has before it learns. Of a model it is `pending` what can be known beforehand, which may be nothing. A checkpoint comes with the images it goes on with, or without if they have to be chosen.
 * @typedef {(
 *   {kind: 'nothing'} |
 *   {kind: 'model', source: Source, title: string, known: Known|null, pending?: true} |
 *   {kind: 'checkpoint', title: string, files: BlobsByName, images: Images|null, recipe: Recipe, step: number, losses: Losses|null}
 * )} Beginning
 */

/** @typedef {{steps: Uint32Array, losses: Float32Array}} Losses */

/** What a run is doing. @typedef {'starting'|'learning'|'pausing'|'paused'|'stopping'|'stopped'|'finished'|'failed'} Activity */

/**
 * A run of training.
 * @typedef {object} Run
 * @property {number} id        of the command that began it, or had it go on
 * @property {string} name      what the address of the page that samples it calls it
 * @property {string} title
 * @property {Activity} activity
 * @property {{stage: LearningStage, done: number, total: number|null}|null} progress
 * @property {BackendInfo|null} backend
 * @property {Images} images
 * @property {Samples} samples
 * @property {Recipe|null} recipe  once it has begun
 * @property {number} step      how many were taken
 * @property {boolean} diverged  so that it would fail again if it went on
 * @property {number|null} speed  images a second
 * @property {import('./curve.js').Curve} curve
 * @property {readonly Frame[]} frames
 * @property {FilmShape|null} shape
 * @property {Checkpoint|null} checkpoint  the newest
 * @property {number|null} kept  the step that the browser has kept it at
 * @property {boolean} unkept   for the browser did not keep the newest checkpoint
 */

/** @typedef {{step: number, files: BlobsByName, model: BlobsByName}} Checkpoint */

/** What a button of a notice asks for. @typedef {(
 *   {do: 'teach', replace: string} |
 *   {do: 'goOn', cpu?: boolean} |
 *   {do: 'forget', sure: true} |
 *   {do: 'readAgain'}
 * )} Intent */

/** @typedef {import('../../view/notices.js').NoticeOf<Intent>} Notice */

/**
 * @typedef {object} State
 * @property {From} from
 * @property {Data} data
 * @property {Pictures} pictures
 * @property {import('./drawings.js').Drawings} drawings
 * @property {import('./drawings.js').Drawings} aside  those of the other alphabet
 * @property {{done: number, total: number}|null} unpacking  files of an archive that was dropped
 * @property {Beginning} beginning
 * @property {Readonly<Partial<Record<keyof Settings, string>>>} texts  what was typed or chosen, which may be wrong
 * @property {Run|null} run
 * @property {number|null} shown    the step whose samples are looked at; null: the newest
 * @property {boolean} playing
 * @property {boolean} opened   what the browser has kept was looked for
 * @property {readonly Notice[]} notices
 * @property {{text: string}} announcement
 */

/** @type {Data} */
export const NO_DATA = Object.freeze({ images: null, skipped: [], reading: null, problem: null });

/** @returns {State} */
export const initialState = () => ({
  from: 'digits',
  data: NO_DATA,
  pictures: { found: [], side: 32, channels: 1 },
  drawings: emptyDrawings('digits'),
  aside: emptyDrawings('letters'),
  unpacking: null,
  beginning: { kind: 'nothing' },
  texts: {},
  run: null,
  shown: null,
  playing: false,
  opened: false,
  notices: [],
  announcement: { text: '' },
});

/** @param {Pick<Run, 'id'|'name'|'title'|'images'|'samples'>} asked @returns {Run} */
export const newRun = (asked) => ({
  ...asked, activity: 'starting', progress: null, backend: null, recipe: null, step: 0, diverged: false, speed: null, curve: emptyCurve(), frames: [], shape: null, checkpoint: null, kept: null, unkept: false,
});
