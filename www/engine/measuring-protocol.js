// The protocol between the page and the worker that computes what a picture costs. Its engine is the one that computes
// gradients (pkg/learning), which is fetched when it is first needed.

/** @typedef {import('../pkg/learning/denoise.js').Estimate} Estimate */
/** Why a model has no bound or no likelihood, in the engine's words. @typedef {import('../pkg/learning/denoise.js').Measurable} Measurable */

/** @typedef {'engine'|'download'|'compile'|'bound'|'likelihood'} MeasuringStage */

/**
 * Page → worker, the only command: a worker ends by being terminated.
 * @typedef {object} Measure
 * @property {number} id
 * @property {'auto'|'gpu'|'cpu'} backend
 * @property {boolean} autotune
 * @property {import('../model/source.js').Source} source  of the model
 * @property {Float32Array<ArrayBuffer>} picture  x_0, [C, H, W], from −1 to 1
 * @property {readonly number[]} labels  its class, or nothing
 * @property {number} seed
 * @property {boolean} bound       whether the bound is computed
 * @property {number} steps        of the likelihood's solver, an even number
 */

/**
 * Worker → page.
 * @typedef {(
 *   {type: 'backend', id: number} & import('../pkg/learning/denoise.js').BackendInfo |
 *   {type: 'progress', id: number, stage: MeasuringStage, done: number, total: number|null} |
 *   {type: 'measurable', id: number} & Measurable |
 *   {type: 'refused', id: number, what: keyof Measurable, message: string} |
 *   {type: 'estimate', id: number, estimate: Estimate} |
 *   {type: 'encoded', id: number, encoded: Encoded} |
 *   {type: 'finished', id: number} |
 *   {type: 'failed', id: number, message: string}
 * )} MeasuringEvent
 * `measurable` comes before the weights are asked for; where there is neither bound nor likelihood, `finished` follows.
 * `refused` says that one of the two is not computed after all. `estimate` comes several times a second, each better than
 * the one before.
 */

/**
 * Where the ODE leads the picture to, and what that costs: with so many steps, and with half as many.
 * @typedef {{steps: number, bits: number, halfBits: number, noise: Float32Array<ArrayBuffer>}} Encoded
 */

/**
 * Sends a message; `transfer` lists the buffers that are handed over rather than copied.
 * @param {{postMessage: (message: any, transfer: Transferable[]) => void}} target  a Worker, or the worker's own global scope
 * @param {Measure|MeasuringEvent} message
 * @param {Transferable[]} [transfer]
 */
export function send(target, message, transfer = []) {
  target.postMessage(message, transfer);
}
