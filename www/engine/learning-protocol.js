// The protocol between the page and the worker in which a network learns. Its engine is the one that computes gradients
// (pkg/learning), which is fetched when it is first needed.

/** @typedef {import('../model/source.js').Source} Source */
/** What a run of training is asked to be. @typedef {Required<import('../pkg/learning/denoise.js').Recipe>} Recipe */
/** What a network learns from. @typedef {import('../pkg/learning/denoise.js').Images} Images */
/** What samples are asked for. @typedef {import('../pkg/learning/denoise.js').RunRequest} EngineSettings */

/** A checkpoint, or a model, as files by their names. Blobs, since the page keeps and hands out bytes that it never reads. @typedef {Record<string, Blob>} BlobsByName */

/** What a network has before it learns: nothing, what a model has learned, or what a run of training had at a checkpoint. @typedef {{kind: 'nothing'} | {kind: 'model', source: Source} | {kind: 'checkpoint', files: BlobsByName}} Beginning */

/**
 * Page → worker. `learn` is the first, and there is one of it; the others take effect before the next step.
 * @typedef {(
 *   {type: 'learn', id: number, backend: 'auto'|'gpu'|'cpu', autotune: boolean, title: string, recipe: Partial<Recipe>, images: Images, beginning: Beginning, samples: Samples} |
 *   {type: 'pause'} |
 *   {type: 'continue'} |
 *   {type: 'keep', id: number}
 * )} LearningCommand
 * `title` is what the card of the result says. `pause` is answered by a checkpoint and `paused`, `keep` by a checkpoint.
 */

/**
 * Samples of the moving average, with these settings, from the same noise: before the first step and then so often that they take
 * about this share of the time.
 * @typedef {object} Samples
 * @property {EngineSettings} settings
 * @property {number} share
 */

/**
 * Worker → page.
 * @typedef {(
 *   {type: 'backend', id: number} & import('../pkg/learning/denoise.js').BackendInfo |
 *   {type: 'progress', id: number, stage: LearningStage, done: number, total: number|null} |
 *   {type: 'begun', id: number, recipe: Recipe, step: number} |
 *   {type: 'learned', id: number, points: Point[], imagesPerSecond: number} |
 *   {type: 'samples', id: number, step: number, levels: Uint8ClampedArray<ArrayBuffer>, count: number, channels: number, width: number, height: number} |
 *   {type: 'checkpoint', id: number, step: number, files: BlobsByName, model: BlobsByName} |
 *   {type: 'paused', id: number, step: number} |
 *   {type: 'finished', id: number, step: number} |
 *   {type: 'failed', id: number, message: string, diverged?: boolean}
 * )} LearningEvent
 * `learned` comes several times a second with the losses since. A `checkpoint` comes at the beginning, every half a minute, and last
 * before `finished`; its `model` is the folder that diffusers loads. `levels` are the samples as a screen has them, [N, C, H, W];
 * those of where it paused come after `paused`.
 * After `failed` the worker is of no more use; a run that has `diverged` fails again wherever it goes on.
 */

/** @typedef {'engine'|'download'|'compile'|'samples'} LearningStage */

/** The loss of a step: the mean over its batch. @typedef {{step: number, loss: number}} Point */

/**
 * Sends a message; `transfer` lists the buffers that are handed over rather than copied.
 * @param {{postMessage: (message: any, transfer: Transferable[]) => void}} target  a Worker, or the worker's own global scope
 * @param {LearningCommand|LearningEvent} message
 * @param {Transferable[]} [transfer]
 */
export function send(target, message, transfer = []) {
  target.postMessage(message, transfer);
}
