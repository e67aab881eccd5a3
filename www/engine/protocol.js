// The protocol between the page and the worker that owns the engine.
//
// Every message is an object with a `type`. The page sends commands and the worker answers with
// events; nothing else crosses the border. Pictures travel as transferred RGBA8 buffers, all images
// of a batch one after another.

/** @typedef {import('../model/source.js').Source} Source */

/** How a model is loaded; a count of null leaves it to the worker, a guidance of null is the model's own. @typedef {{count: number|null, precision: 'auto'|'f32'|'f16', guidance: number|null}} LoadOptions */

/**
 * Page → worker. Commands are handled one after another, except `stop`, which takes effect before
 * the next step of the run, and `stored`. A `load` also ends a download that is under way.
 * The `id` of a command, which no other has, comes again with every event that answers it.
 * @typedef {(
 *   {type: 'open', id: number, backend: 'auto'|'gpu'|'cpu', source: Source, options: LoadOptions, autotune: boolean, member?: boolean} |
 *   {type: 'load', id: number, source: Source, options: LoadOptions} |
 *   {type: 'generate', id: number, settings: EngineSettings} |
 *   {type: 'stop'} |
 *   {type: 'check', id: number} |
 *   {type: 'arrange', id: number, files: import('../model/folder.js').Found[]} |
 *   {type: 'profile'} |
 *   {type: 'stored', remove?: string|null}
 * )} Command
 * `open` creates the engine, with `autotune` looks for the fastest kernels of its GPU, and loads the first model (for a `member` of a team, from what is stored of it); `load` changes the model. `check` compares the
 * GPU with the CPU, layer by layer; `arrange` asks at any time whether there is a model among the visitor's files; `profile` times the layers of an evaluation. `stored` asks which models are stored, after removing one of them
 * or, with null, all.
 */

/**
 * Worker → page.
 * @typedef {(
 *   {type: 'backend', kind: 'gpu'|'cpu', name: string, note: string|null, half: boolean} |
 *   {type: 'progress', id: number, stage: 'engine'|'download'|'parse'|'compile'|'check', done: number, total: number|null, waiting?: boolean} |
 *   {type: 'preview', id: number, batch: Batch, caption: string} |
 *   {type: 'model', id: number, source: Source, networks: import('../model/networks.js').Choice[], network: string, variant: string, model: Model, count: number, note: string|null} |
 *   {type: 'started', id: number, rows: Row[], initial: Uint8Array, count: number, width: number, height: number} |
 *   {type: 'frame', id: number, step: number, x: Uint8Array, x0: Uint8Array, milliseconds: number} |
 *   {type: 'finished', id: number, stopped: boolean} |
 *   {type: 'checked', id: number, report: CheckReport} |
 *   {type: 'arranged', id: number, name: string|null, problem: string|null} |
 *   {type: 'profiled', profile: Profile|null} |
 *   {type: 'stored', models: {id: string, bytes: number, total: number}[], quota: number|null} |
 *   {type: 'failed', id: number|null, during: Stage, message: string, source?: Source, fits?: number}
 * )} Event
 * `progress.total` is null when a server does not tell a size; `waiting` means that the connection is
 * lost and tried again. `fits` is a number of images that the device has room for. `preview` may come before or after the `model`
 * it belongs to, whose `network` and `variant` are among its `networks`. A `load` that another replaced may be answered by nothing at all. `profiled` has null where the device cannot time its layers. A `generate` is answered by `started`, frames, then `finished`, or by `failed`.
 */

/** What the worker was doing when it failed. @typedef {'engine'|'load'|'start'|'run'|'check'|'profile'} Stage */

/** Images of one size, as RGBA8. @typedef {{pixels: Uint8Array, count: number, width: number, height: number}} Batch */

/**
 * @typedef {object} EngineSettings
 * @property {string} sampler        one of SAMPLERS in settings.js
 * @property {number} steps
 * @property {number} eta              0…1, DDIM and TCD only
 * @property {number} seed
 * @property {number[]|null} class_labels  one an image; null for a model without classes
 * @property {number} guidance         1 for none
 * @property {number} count
 * @property {{total: number, first: number}} [share]  which part of a larger batch the images are
 * @property {Float32Array} [condition]  for a model that takes one: [1 or count, channels, height, width]
 * @property {'leading'|'trailing'|'linspace'|null} timestep_spacing  null: the model's own
 * @property {'fixed_small'|'fixed_large'|null} variance_type  null: the model's own
 */

/**
 * @typedef {object} Model
 * @property {string} title
 * @property {string} description
 * @property {string} credits
 * @property {string} licence
 * @property {string[]} class_names    empty when the model has no classes
 * @property {number} class_count
 * @property {'label'|'number'|'vector'|null} class_kind  whether a class is one of a list, any number, or more; null without classes
 * @property {number|null} null_class  the label that means "no class"
 * @property {number|null} guidance    what the model's card recommends
 * @property {number} width
 * @property {number} height
 * @property {number} channels
 * @property {number} parameters
 * @property {'epsilon'|'sample'|'v_prediction'|'flow_prediction'} prediction_type
 * @property {number} num_train_timesteps
 * @property {string|null} own_sampler  as settings have it; null if it cannot be used
 * @property {string|null} scheduler_problem  why it cannot be used
 * @property {string[]} samplers       what the model can be sampled with, its own first
 * @property {number} default_steps    what its own sampler wants
 * @property {number} original_inference_steps  how many LCM and TCD can take at most
 * @property {number} condition_channels  of what it takes beside x_t; 0: nothing
 * @property {string[]} notes          what of its files was passed over
 * @property {number} dispatches
 * @property {number} macs
 * @property {'f32'|'f16'} precision
 * @property {number} bytes            what it takes on the device
 */

/**
 * What a comparison of the GPU with the CPU found: relative errors.
 * @typedef {object} CheckReport
 * @property {string} device
 * @property {number} tolerance
 * @property {boolean} ok
 * @property {number} output_error
 * @property {LayerError[]} layers
 * @property {LayerError} worst
 */

/** @typedef {{name: string, op: string, error: number}} LayerError */

/** How long the layers of an evaluation take, in their order. @typedef {{layers: LayerTime[]}} Profile */

/** @typedef {{name: string, op: string, milliseconds: number}} LayerTime */

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
 * @property {boolean} thresholded    x̂0 is clipped to a quantile of itself
 * @property {boolean} learned_sigma  the model's output scales the noise
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
