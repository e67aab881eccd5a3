// The protocol between the page and the worker that owns the engine.
//
// Every message is an object with a `type`. The page sends commands and the worker answers with
// events; nothing else crosses the border. What a run makes travels as transferred Float32Arrays [N, C, H, W], x in the
// sampler's own scale; numbers.js makes pictures of it. What the engine's library makes or takes is of the types that it declares itself.

/** @typedef {import('../model/source.js').Source} Source */
/** A loaded model. @typedef {import('../pkg/denoise.js').Model} Model */
/** One evaluation of the model. @typedef {import('../pkg/denoise.js').Row} Row */
/** @typedef {import('../pkg/denoise.js').CheckReport} CheckReport */
/** @typedef {import('../pkg/denoise.js').LayerError} LayerError */
/** How long the layers of an evaluation take, in their order. @typedef {import('../pkg/denoise.js').Profile} Profile */
/** @typedef {import('../pkg/denoise.js').LayerTime} LayerTime */
/** The device, and why it is the CPU if nobody asked for that. @typedef {import('../pkg/denoise.js').BackendInfo} BackendInfo */
/** What a run is asked for. @typedef {import('../pkg/denoise.js').RunRequest} EngineSettings */
/** Where a run stands between two evaluations. @typedef {import('../pkg/denoise.js').Snapshot} Snapshot */

/**
 * Where a run begins that goes on from another one, and all that it takes to get there again.
 * @typedef {object} Origin
 * @property {number} run       the other one
 * @property {EngineSettings} settings  of the other one
 * @property {number} row       of the other one's table: the evaluation before which it stood
 * @property {{alpha_cumprod: number, signal: number}} level  of the x there, as that row has it
 * @property {boolean} resumes  whether it goes on along the same table, from the very state of the other; if not, it begins a table of its own with x
 * @property {Origin|null} origin  of the other one
 */

/** How a model is loaded; a count of null leaves it to the worker, a guidance of null is the model's own. @typedef {{count: number|null, precision: 'auto'|'f32'|'f16', guidance: number|null}} LoadOptions */

/**
 * Page → worker. Commands are handled one after another, except `stop`, which takes effect before
 * the next step of the run, `arrange` and `stored`. A `load` also ends a download that is under way.
 * The `id` of a command, which no other has, comes again with every event that answers it.
 * @typedef {(
 *   {type: 'open', id: number, backend: 'auto'|'gpu'|'cpu', source: Source, options: LoadOptions, autotune: boolean, gradients?: boolean, member?: boolean} |
 *   {type: 'load', id: number, source: Source, options: LoadOptions} |
 *   {type: 'generate', id: number, settings: EngineSettings, run?: number, origin?: Origin|null, snapshot?: Snapshot|null, end?: number|null} |
 *   {type: 'stop'} |
 *   {type: 'check', id: number} |
 *   {type: 'arrange', id: number, files: import('../model/source.js').Found[]} |
 *   {type: 'profile', id: number} |
 *   {type: 'stored', id: number, remove?: string|null}
 * )} Command
 * `open` creates the engine, with `gradients` the one that computes them too and so loads the classifier beside a model, with `autotune` looks for the fastest kernels of its GPU, and loads the first model (for a
 * `member` of a team, from what is stored of it); `load` changes the model. `check` compares the GPU with the CPU, layer by
 * layer; `arrange` asks at any time whether there is a model among the visitor's files; `profile` times the layers of an
 * evaluation. `generate` begins run `run`, of which snapshots are kept and told of, where `origin` says, or goes on with it
 * from a `snapshot`; `end` is the evaluation before which it ends. `stored` asks which models are stored, after removing one of them or, with null, all.
 */

/**
 * Worker → page.
 * @typedef {(
 *   {type: 'backend', id: number} & BackendInfo |
 *   {type: 'progress', id: number, stage: LoadingStage, done: number, total: number|null, waiting?: boolean} |
 *   {type: 'preview', id: number, batch: Batch, columns: number, caption: string} |
 *   {type: 'model', id: number, source: Source, networks: import('../model/networks.js').Choice[], network: string, variant: string, model: Model, count: number, note: string|null, classifier: Classifier|null} |
 *   {type: 'started', id: number, rows: Row[], initial: Float32Array<ArrayBuffer>, count: number, width: number, height: number} |
 *   {type: 'frame', id: number, snapshot?: Snapshot} & import('../pkg/denoise.js').Frame |
 *   {type: 'snapshot', id: number, snapshot: Snapshot} |
 *   {type: 'finished', id: number, stopped: boolean} |
 *   {type: 'checked', id: number, report: CheckReport} |
 *   {type: 'arranged', id: number, name: string, problem: null} |
 *   {type: 'arranged', id: number, name: null, problem: string} |
 *   {type: 'profiled', id: number, profile: Profile|null} |
 *   {type: 'stored', id: number} & import('../model/cache.js').StoredModels |
 *   {type: 'failed', id: number|null, during: 'load', message: string, source: Source, fits?: number} |
 *   {type: 'failed', id: number|null, during: Exclude<Stage, 'load'>, message: string}
 * )} Event
 * `progress.total` is null when a server does not tell a size; `waiting` means that the connection is lost and tried
 * again. `fits` is a number of images that the device has room for. `preview` may come before or after the `model` it
 * belongs to, whose `network` and `variant` are among its `networks`. A `load` that another replaced may be answered by
 * nothing at all. `profiled` has null where the device cannot time its layers. A `generate` is answered by `started`,
 * frames, then `finished`, or by `failed`; if it is stopped on its way to where it begins, by `finished` alone. A `snapshot`
 * is of a state whose frame has been sent; a member of a team sends its share of one with the frame. The id of `failed` is null if the page says it of a worker that is gone.
 */

/** The classifier that lies beside a model, of which an engine with gradients has read how many classes it tells apart (`Model.classifier_classes`), or why it cannot be used. @typedef {{problem: string|null}} Classifier */

/** @typedef {Extract<Command, {id: number}>} Asking  a command that is answered */

/** What is done of a command. @typedef {'engine'|'gradients'|'download'|'classifier'|'parse'|'compile'|'check'|'replay'} LoadingStage */

/** What the worker was doing when it failed. @typedef {'engine'|'load'|'start'|'run'|'check'|'profile'} Stage */

/** Images of one size, as RGBA8. @typedef {{pixels: Uint8Array, count: number, width: number, height: number}} Batch */

/**
 * Sends a message; `transfer` lists the buffers that are handed over rather than copied.
 * @param {{postMessage: (message: any, transfer: Transferable[]) => void}} target  a Worker, or the worker's own global scope
 * @param {Command|Event} message
 * @param {Transferable[]} [transfer]
 */
export function send(target, message, transfer = []) {
  target.postMessage(message, transfer);
}

/**
 * A handler for each type of message.
 * @template {Command|Event} Message
 * @typedef {{[Type in Message['type']]?: (message: Extract<Message, {type: Type}>) => void}} Handlers
 */

/**
 * Calls the handler that is named after each message's type.
 * @param {EventTarget} target
 * @param {Handlers<Command>|Handlers<Event>} handlers
 */
export function listen(target, handlers) {
  target.addEventListener('message', (event) => {
    const { data } = /** @type {MessageEvent} */ (event);
    const handle = /** @type {Record<string, (message: any) => void>} */ (handlers)[data?.type];
    if (!handle) throw new Error(`No handler for the message "${data?.type}".`);
    handle(data);
  });
}
