// Denoise for other pages: a model that makes pictures, in a worker of its own. This is what the npm package exports; the
// engine itself, for those who drive it step by step, is its export `denoise/engine`.

import { rgba8, shownAt, shownPicture } from '../engine/numbers.js';
import { listen, send } from '../engine/protocol.js';
import { HUB } from '../model/hub.js';
import { readSource, sourceOfFiles } from '../model/source.js';

/** @typedef {import('../engine/protocol.js').Event} Event */
/** What is known of a loaded model. @typedef {import('../engine/protocol.js').Model} ModelInfo */
/** @typedef {import('../engine/protocol.js').EngineSettings} EngineSettings */

/**
 * What went wrong, by what was being done: `engine` (no device, or it was lost while it started), `load` (the model cannot be
 * had or is not supported), `start` (the settings are not possible with it), `run` (the device was lost; load the model anew).
 * @typedef {'engine'|'load'|'start'|'run'} ErrorCode
 */

/** An error with a message for people, and a code for programs. */
export class DenoiseError extends Error {
  /** @param {ErrorCode} code @param {string} message */
  constructor(code, message) {
    super(message);
    this.name = 'DenoiseError';
    this.code = code;
  }
}

/**
 * @typedef {object} LoadOptions
 * @property {'auto'|'gpu'|'cpu'} [backend]  auto, if it is not said: the GPU if there is a usable one
 * @property {'auto'|'f32'|'f16'} [precision]  auto: 16 bits for large models, where the GPU has them
 * @property {number} [count]  how many images a run will mostly have: 1
 * @property {boolean} [classifier]  whether runs are to be guided by the classifier beside the model: it is loaded too, and the engine that computes gradients
 * @property {AbortSignal} [signal]  ends the loading
 * @property {(progress: Progress) => void} [onprogress]
 * @property {() => Worker} [worker]  for bundlers that do not find `new Worker(new URL(…), …)`: makes the worker of `denoise/worker`
 * @property {string} [hub]  another server with the hub's addresses
 */

/** How far a stage of loading is; without a known size `total` is null. @typedef {{stage: string, done: number, total: number|null}} Progress */

/**
 * What a run is to make; everything but `steps` has a default.
 * @typedef {Partial<Omit<EngineSettings, 'count'|'class_labels'|'classifier'>> & {steps: number, count?: number, class?: Classes, classifier?: ClassifierSettings}} GenerateSettings
 * `class` is a label or its name, for all images or for each; without it there is no class, or the first where every image has one.
 */

/** Labels or their names, for all images or for each. @typedef {number|string|(number|string)[]} Classes */

/** What a model that was loaded with its `classifier` guides a run to, `scale` times as far as its gradient: a `class`, or `weights` of every image and class, `[N, K]`. @typedef {{scale: number, class: Classes} | {scale: number, weights: Float32Array}} ClassifierSettings */

/**
 * One step of a run: `x` is x after the step, `x0` what the model expected of the finished picture, as RGBA8, image after
 * image; `numbers` are the same as the engine has them, `[N, C, H, W]`, x in the sampler's own scale, and where a classifier guides
 * the run the gradient of log p by x_t and the logits of all classes, `[N, K]`, before the step.
 * @typedef {{step: number, steps: number, count: number, width: number, height: number, x: Uint8ClampedArray<ArrayBuffer>, x0: Uint8ClampedArray<ArrayBuffer>, numbers: {x: Float32Array<ArrayBuffer>, x0: Float32Array<ArrayBuffer>, gradient?: Float32Array<ArrayBuffer>, logits?: Float32Array<ArrayBuffer>}, milliseconds: number}} Step
 */

/**
 * Loads a model in diffusers' layout.
 * @param {string|File[]} from  `owner/name` or `owner/name@revision` on the Hugging Face hub, the address of a folder (relative ones begin with `./` or `/`), or a folder's files
 * @param {LoadOptions} [options]
 * @returns {Promise<DenoiseModel>}
 * @throws {DenoiseError}  and the signal's reason when it is aborted
 */
export async function loadModel(from, { backend = 'auto', precision = 'auto', count = 1, classifier = false, signal, onprogress, worker, hub = HUB } = {}) {
  signal?.throwIfAborted();
  const source = sourceOf(from, hub);
  const client = new Client(worker?.() ?? new Worker(new URL('../engine/worker.js', import.meta.url), { type: 'module' }));
  const abort = () => client.end(signal?.reason);
  signal?.addEventListener('abort', abort, { once: true });
  try {
    const id = client.ask({ type: 'open', id: 0, backend, source, options: { count, precision, guidance: 1 }, autotune: true, gradients: classifier });
    for (;;) {
      const event = await client.next(id);
      if (event.type === 'progress') onprogress?.({ stage: event.stage, done: event.done, total: event.total });
      if (event.type !== 'model') continue;
      client.forget(id);
      if (classifier && !event.classifier) throw new DenoiseError('load', 'There is no classifier/ beside this model; leave classifier out.');
      if (classifier && event.classifier?.problem) throw new DenoiseError('load', `The classifier beside this model cannot be used: ${event.classifier.problem}`);
      return new DenoiseModel(client, event.model, count);
    }
  } catch (error) {
    client.end(error);
    throw error;
  } finally {
    signal?.removeEventListener('abort', abort);
  }
}

/** @param {string|File[]} from @param {string} hub */
function sourceOf(from, hub) {
  if (typeof from !== 'string') {
    const files = Array.from(from, (file) => ({ path: file.webkitRelativePath || file.name, file }));
    return sourceOfFiles(files[0]?.path.split('/')[0] ?? 'files', files);
  }
  const { source, problem } = readSource(from, { base: new URL('.', document.baseURI).href, hub });
  if (!source) throw new DenoiseError('load', problem);
  return source;
}

/** A loaded model. It makes one run at a time. */
export class DenoiseModel {
  #client;
  #count;
  /** The run that is under way. @type {number|null} */
  #running = null;

  /** @param {Client} client @param {ModelInfo} info @param {number} count  @internal */
  constructor(client, info, count) {
    this.#client = client;
    this.#count = count;
    /** Its title, classes, size and what it can be sampled with. */
    this.info = info;
  }

  /**
   * Makes images, step by step. Whoever leaves the loop early, or aborts, ends the run.
   * @param {GenerateSettings} settings
   * @param {{signal?: AbortSignal}} [options]
   * @returns {AsyncGenerator<Step, void, void>}
   * @throws {DenoiseError}  and the signal's reason when it is aborted
   */
  async* generate(settings, { signal } = {}) {
    signal?.throwIfAborted();
    if (this.#running !== null) throw new DenoiseError('start', 'Another run of this model is under way; leave its loop, or load the model once more.');
    const client = this.#client;
    const { class: chosen, count = this.#count, classifier: guide, ...rest } = settings;
    const class_labels = labelsOf(this.info, chosen, count);
    const classifier = guide ? { scale: guide.scale, weights: weightsOf(this.info, guide, count) } : null;
    const id = client.ask({ type: 'generate', id: 0, settings: { seed: 0, guidance: 1, ...rest, count, class_labels, classifier } });
    this.#running = id;
    const stop = () => client.send({ type: 'stop' });
    signal?.addEventListener('abort', stop, { once: true });
    /** @type {import('../engine/protocol.js').Row[]} */
    let rows = [];
    let ended = false;
    try {
      while (!ended) {
        const event = await client.next(id).catch((error) => {
          ended = true; // the worker has said that there is no such run any more
          throw error;
        });
        if (event.type === 'started') ({ rows } = event);
        if (event.type === 'finished') ended = true;
        if (event.type !== 'frame') continue;
        signal?.throwIfAborted();
        const { step, x, x0, gradient, logits, milliseconds } = event;
        const { width, height, channels } = this.info;
        const picture = (/** @type {import('../engine/numbers.js').Numbers} */ numbers, /** @type {import('../pkg/denoise.js').Shown} */ shown) => rgba8(numbers, channels, shown, width * height);
        yield { step, steps: rows.length, count, width, height, x: picture(x, shownAt(rows, step + 1)), x0: picture(x0, shownPicture(rows)), numbers: { x, x0, ...(gradient && { gradient, logits }) }, milliseconds };
      }
      signal?.throwIfAborted();
    } finally {
      signal?.removeEventListener('abort', stop);
      if (!ended) {
        stop();
        await client.ended(id);
      }
      client.forget(id);
      this.#running = null;
    }
  }

  /** Gives the device back. More than once is as good as once. */
  free() {
    this.#client.end(new DenoiseError('run', 'The model was freed.'));
  }

  /** As {@link free}, for `using`. */
  [Symbol.dispose]() {
    this.free();
  }
}

/**
 * @param {ModelInfo} info
 * @param {GenerateSettings['class']} chosen
 * @param {number} count
 */
function labelsOf({ class_kind: kind, class_names: names, null_class: none }, chosen, count) {
  if (kind === null) {
    if (chosen !== undefined) throw new DenoiseError('start', 'This model has no classes; leave class out.');
    return null;
  }
  if (chosen === undefined) return Array(count).fill(none ?? 0);
  return labels(names, chosen, count);
}

/** @param {string[]} names @param {Classes} chosen @param {number} count @returns {number[]} one an image */
function labels(names, chosen, count) {
  const label = (/** @type {number|string} */ of) => {
    if (typeof of === 'number') return of;
    const index = names.indexOf(of);
    if (index < 0) throw new DenoiseError('start', `This model has no class “${of}”. It has: ${names.slice(0, 30).join(', ')}.`);
    return index;
  };
  return Array.isArray(chosen) ? chosen.map(label) : Array(count).fill(label(chosen));
}

/** How much of which class a classifier guides each image to. @param {ModelInfo} info @param {ClassifierSettings} guide @param {number} count */
function weightsOf({ classifier_classes: known, class_names: names }, guide, count) {
  if (known === null) throw new DenoiseError('start', 'This model was loaded without its classifier; load it with { classifier: true }.');
  if ('weights' in guide) return guide.weights;
  const all = labels(names, guide.class, count);
  if (all.length !== count) throw new DenoiseError('start', `There are ${all.length} classes for ${count} images.`);
  const wrong = all.find((label) => !Number.isInteger(label) || label < 0 || label >= known);
  if (wrong !== undefined) throw new DenoiseError('start', `Class ${wrong} does not exist; this classifier has 0 to ${known - 1}.`);
  const weights = new Float32Array(count * known);
  all.forEach((label, i) => {
    weights[i * known + label] = 1;
  });
  return weights;
}

/** The worker, and what it says to each command. */
class Client {
  #worker;
  #id = 0;
  /** What was said to a command and not yet asked for. @type {Map<number, Event[]>} */
  #said = new Map();
  /** Who waits for what is said to a command. @type {Map<number, {resolve: (event: Event) => void, reject: (error: unknown) => void}>} */
  #waiting = new Map();
  /** Why nothing will be said any more. @type {{reason: unknown}|null} */
  #over = null;

  /** @param {Worker} worker */
  constructor(worker) {
    this.#worker = worker;
    worker.addEventListener('error', (event) => {
      event.preventDefault();
      this.end(new DenoiseError('engine', event.message || 'The engine’s worker could not be loaded.'));
    });
    // Whatever the worker says, known here or not.
    const heard = new Proxy({}, { get: () => (/** @type {Event} */ event) => this.#hear(event) });
    listen(worker, heard);
  }

  /** @param {import('../engine/protocol.js').Command} command */
  send(command) {
    if (!this.#over) send(this.#worker, command);
  }

  /** Sends a command under a number of its own. @param {import('../engine/protocol.js').Asking} command */
  ask(command) {
    const id = ++this.#id;
    this.#said.set(id, []);
    this.send({ ...command, id });
    return id;
  }

  /** The next that is said to a command. @param {number} id @returns {Promise<Event>} @throws {DenoiseError} */
  async next(id) {
    /** @type {Event} */
    const event = this.#said.get(id)?.shift() ?? await new Promise((resolve, reject) => {
      if (this.#over) reject(this.#over.reason);
      else this.#waiting.set(id, { resolve, reject });
    });
    if (event.type === 'failed') {
      const code = event.during === 'check' || event.during === 'profile' ? 'run' : event.during;
      throw new DenoiseError(code, event.message);
    }
    return event;
  }

  /** Nothing that is said to a command is asked for any more. @param {number} id */
  forget(id) {
    this.#said.delete(id);
  }

  /** Waits until a run is over, whatever is still said of it. @param {number} id */
  async ended(id) {
    try {
      while ((await this.next(id)).type !== 'finished');
    } catch {
      // Then it is over all the same.
    }
  }

  /** @param {unknown} reason  that those who wait are given */
  end(reason) {
    if (this.#over) return;
    this.#over = { reason };
    this.#worker.terminate();
    for (const { reject } of this.#waiting.values()) reject(reason);
    this.#waiting.clear();
  }

  /** @param {Event} event */
  #hear(event) {
    // What is said to no command in particular concerns whatever is under way.
    const ids = event.id === null ? [...this.#waiting.keys()] : [event.id];
    for (const id of ids) {
      const waiting = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (waiting) waiting.resolve(event);
      else this.#said.get(id)?.push(event);
    }
  }
}
