// The protocol between the page and the worker that owns the engine.
//
// Every message is an object with a `type`. The page sends commands and the worker answers with
// events; nothing else crosses the border. Pictures travel as transferred RGBA8 buffers, all images
// of a batch one after another.

/**
 * Page → worker. Commands are handled one after another, except `stop`, which takes effect before
 * the next step of the run.
 * @typedef {(
 *   {type: 'open', backend: 'auto'|'gpu'|'cpu', folder: string, count: number} |
 *   {type: 'load', folder: string, count: number} |
 *   {type: 'generate', settings: EngineSettings} |
 *   {type: 'stop'}
 * )} Command
 * `open` creates the engine and loads the first model; `load` changes the model; `folder` is the
 * absolute address of a model folder, ending in a slash.
 */

/**
 * Worker → page.
 * @typedef {(
 *   {type: 'backend', kind: 'gpu'|'cpu', name: string, note: string|null} |
 *   {type: 'progress', stage: 'engine'|'download'|'parse'|'compile', done: number, total: number|null} |
 *   {type: 'preview', batch: Batch, caption: string} |
 *   {type: 'model', folder: string, model: Model} |
 *   {type: 'started', rows: Row[], initial: Uint8Array, count: number, width: number, height: number} |
 *   {type: 'frame', step: number, x: Uint8Array, x0: Uint8Array, milliseconds: number} |
 *   {type: 'finished', stopped: boolean} |
 *   {type: 'failed', during: Stage, message: string}
 * )} Event
 * `progress.total` is null when a server does not tell a size. `preview` comes before the `model`
 * it belongs to. A `generate` is answered by `started`, frames, then `finished`, or by `failed`.
 */

/** What the worker was doing when it failed. @typedef {'engine'|'load'|'start'|'run'} Stage */

/** Images of one size, as RGBA8. @typedef {{pixels: Uint8Array, count: number, width: number, height: number}} Batch */

/**
 * @typedef {object} EngineSettings
 * @property {string} sampler        one of SAMPLERS in settings.js
 * @property {number} steps
 * @property {number} eta              0…1, DDIM only
 * @property {number} seed
 * @property {number[]|null} class_labels  one an image; null for a model without classes
 * @property {number} count
 * @property {'leading'|'trailing'|'linspace'} timestep_spacing
 * @property {'fixed_small'|'fixed_large'} variance_type
 */

/**
 * @typedef {object} Model
 * @property {string} title
 * @property {string} description
 * @property {string} credits
 * @property {string} licence
 * @property {string[]} class_names    empty when the model has no classes
 * @property {number|null} null_class  the label that means "no class"
 * @property {number} width
 * @property {number} height
 * @property {number} channels
 * @property {number} parameters
 * @property {'epsilon'|'sample'|'v_prediction'} prediction_type
 * @property {number} num_train_timesteps
 * @property {string} default_sampler  the class of the model's own scheduler in diffusers
 * @property {number} dispatches
 * @property {number} macs
 */

/**
 * One evaluation of the model: x̂0 = clip(x0_from_x·x_t + x0_from_model·output) and
 * x_prev = prev_from_x·x_t + prev_from_model·output + prev_from_x0·x̂0 + prev_from_noise·z
 * + Σ prev_from_kept[i]·(what earlier evaluations kept).
 * @typedef {object} Row
 * @property {number} timestep
 * @property {number} alpha_cumprod
 * @property {number} x0_from_x
 * @property {number} x0_from_model
 * @property {number|null} clip
 * @property {number} prev_from_x
 * @property {number} prev_from_model
 * @property {number} prev_from_x0
 * @property {number} prev_from_noise
 * @property {number[]} prev_from_kept
 */

/**
 * Sends a message; `transfer` lists the buffers that are handed over rather than copied.
 * @param {{postMessage: Function}} target  a Worker, or the worker's own global scope
 * @param {Command|Event} message
 * @param {Transferable[]} [transfer]
 */
export function send(target, message, transfer = []) {
  target.postMessage(message, transfer);
}

/**
 * Calls the handler that is named after each message's type.
 * @param {EventTarget} target
 * @param {Record<string, (message: any) => void>} handlers
 */
export function listen(target, handlers) {
  target.addEventListener('message', ({ data }) => {
    const handle = handlers[data?.type];
    if (!handle) throw new Error(`No handler for the message "${data?.type}".`);
    handle(data);
  });
}
