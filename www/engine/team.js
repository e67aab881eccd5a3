// Shares the images of a batch out among workers, so that every core of the processor makes some of them.
//
// Each has an engine of its own that loads what is stored of the model. Noise is drawn as for the whole batch, so the
// pictures are the same, bit for bit, however many there are.

import { listen, send } from './protocol.js';

/** @typedef {import('../model/source.js').Source} Source */
/** @typedef {import('../pkg/denoise.js').Run} Run */
/** @typedef {import('./protocol.js').EngineSettings} EngineSettings */
/** @typedef {import('./protocol.js').Event} Event */
/** What the runs of members say. @typedef {Extract<Event, {type: 'model'|'started'|'frame'|'finished'}>} Told */
/** @typedef {import('./protocol.js').Snapshot} Snapshot */
/** Makes one snapshot of those of all shares. @typedef {typeof import('../pkg/denoise.js').join_snapshots} Join */
/** A run of a member that has begun. @typedef {{initial: Float32Array<ArrayBuffer>, member: Member}} Begun */

/** Bytes that the copies of a model may take together. */
const MOST_BYTES = 2 ** 30;

export class Team {
  #gather;
  /** @type {Member[]} */
  #members;
  /** Numbers of an image, of an image's condition, and of a mask. */
  #planes;
  #join;

  /**
   * @param {Source} source  of the loaded model, whose files are stored
   * @param {import('./protocol.js').Model} model
   * @param {number} count  how many images a batch is expected to have
   * @param {Join} join
   * @param {boolean} gradients  whether their engines compute gradients too
   */
  constructor(source, model, count, join, gradients) {
    // One core is for the worker that has the team.
    const size = Math.min(navigator.hardwareConcurrency, count, Math.floor(MOST_BYTES / model.bytes)) - 1;
    const options = { count: Math.ceil(count / (size + 1)), precision: model.precision, guidance: null };
    const pixels = model.height * model.width;
    this.#planes = { image: model.channels * pixels, condition: model.condition_channels * pixels, pixels };
    this.#join = join;
    this.#gather = () => Array.from({ length: Math.max(size, 0) }, () => new Member(source, options, gradients));
    this.#members = this.#gather();
  }

  /**
   * Begins a run of which this worker makes the first share.
   * @param {import('../pkg/denoise.js').Engine} engine
   * @param {import('./snapshots.js').Beginning} beginning
   * @param {number|null} end  the evaluation before which it ends
   */
  async start(engine, { settings, snapshot }, end) {
    const [ours, ...theirs] = shares(settings, this.#members.length + 1, this.#planes);
    const begun = snapshot ? engine.resume(ours, snapshot) : engine.start(ours);
    const [own, ...others] = await Promise.all([begun, ...theirs.map((share, i) => this.#members[i].start(share, snapshot, end))]);
    if (end !== null) own.end_at(end);
    return others.length ? new SharedRun(own, others, this.#join) : own;
  }

  stop() {
    for (const member of this.#members) member.stop();
  }

  /** Ends the workers, whatever they are doing. */
  end() {
    for (const member of this.#members) member.end();
  }

  /** Begins anew with other workers. */
  restart() {
    this.end();
    this.#members = this.#gather();
  }
}

/**
 * The settings of each share, which are of the same size or one smaller.
 * @param {EngineSettings} settings
 * @param {number} workers
 * @param {{image?: number, condition?: number, pixels?: number}} planes  numbers of an image, of an image's condition, and of a mask
 */
export function shares(settings, workers, { image = 0, condition: plane = 0, pixels = 0 } = {}) {
  const { count, class_labels: labels, condition, noise, start, inpaint, slerp, class_mix: mix, classifier } = settings;
  const size = Math.min(workers, count);
  if (size === 1) return [settings];
  // A class may be several numbers.
  const width = (labels?.length ?? 0) / count;
  const edges = Array.from({ length: size + 1 }, (_, i) => Math.ceil((i * count) / size));
  return edges.slice(1).map((end, i) => {
    const first = edges[i];
    const share = { ...settings, count: end - first, class_labels: labels && labels.slice(first * width, end * width), share: { total: count, first } };
    // Seeds stay those of the whole batch, be it one or one an image: the engine takes its share of them.
    if (condition?.length === count * plane) share.condition = condition.slice(first * plane, end * plane);
    if (noise) share.noise = noise.slice(first * image, end * image);
    if (start) share.start = { ...start, sample: start.sample.slice(first * image, end * image) };
    if (inpaint) {
      // A picture and a mask are for all images, or one for each.
      const own = (/** @type {Float32Array} */ all, /** @type {number} */ size) => (all.length === count * size ? all.slice(first * size, end * size) : all);
      share.inpaint = { ...inpaint, original: own(inpaint.original, image), mask: own(inpaint.mask, pixels) };
    }
    if (slerp) share.slerp = { ...slerp, weights: slerp.weights.slice(first, end) };
    if (mix) share.class_mix = { labels: mix.labels.slice(first, end), weights: mix.weights.slice(first, end) };
    if (classifier) {
      const classes = classifier.weights.length / count;
      share.classifier = { ...classifier, weights: classifier.weights.slice(first * classes, end * classes) };
    }
    return share;
  });
}

/** A worker that makes a share. */
class Member {
  // Another of the worker that has the team, whatever a bundler calls its file.
  #worker = new Worker(self.location.href, { type: 'module' });
  /** The events that nobody has asked for yet, and those who wait for one. @type {Told[]} */
  #events = [];
  /** @type {{done: (event: Told) => void, failed: (error: Error) => void}[]} */
  #waiting = [];
  /** @type {Error|null} */
  #failure = null;
  #ready;
  #running = false;
  /** Of its last command: they are answered one by one. */
  #id = 0;

  /** @param {Source} source @param {import('./protocol.js').LoadOptions} options @param {boolean} gradients */
  constructor(source, options, gradients) {
    this.#worker.addEventListener('error', (event) => this.#fail(event.message || 'A worker could not be started.'));
    const take = (/** @type {Told} */ event) => this.#take(event);
    const ignore = () => {};
    /** @type {import('./protocol.js').Handlers<Event>} */
    const handlers = { backend: ignore, progress: ignore, model: take, started: take, frame: take, finished: take, failed: ({ message }) => this.#fail(message) };
    listen(this.#worker, handlers);
    send(this.#worker, { type: 'open', id: this.#id, backend: 'cpu', source, options, autotune: false, gradients, member: true });
    this.#ready = this.#next();
    this.#ready.catch(() => {}); // whoever starts a run hears of it
  }

  /** @param {EngineSettings} settings @param {Snapshot|null} snapshot  of the whole batch @param {number|null} end @returns {Promise<Begun>} */
  async start(settings, snapshot, end) {
    await this.#ready;
    this.#running = true;
    send(this.#worker, { type: 'generate', id: ++this.#id, settings, snapshot, end });
    const event = await this.#next();
    if (event.type !== 'started') throw new Error(`A member began with “${event.type}”.`);
    return { initial: event.initial, member: this };
  }

  /** The next frame of the run, or undefined after the last. */
  async next() {
    const event = await this.#next();
    if (event.type === 'frame') return event;
    this.#running = false;
    return undefined;
  }

  /** Ends the run, however far it is, so that another can begin. */
  async finish() {
    if (this.#running) this.stop();
    while (this.#running) await this.next();
  }

  stop() {
    send(this.#worker, { type: 'stop' });
  }

  end() {
    this.#worker.terminate();
    this.#fail('The worker was ended.');
  }

  /** @returns {Promise<Told>} */
  #next() {
    const event = this.#events.shift();
    if (event) return Promise.resolve(event);
    if (this.#failure) return Promise.reject(this.#failure);
    return new Promise((done, failed) => this.#waiting.push({ done, failed }));
  }

  /** @param {Told} event */
  #take(event) {
    const first = this.#waiting.shift();
    if (first) first.done(event);
    else this.#events.push(event);
  }

  /** @param {string} message */
  #fail(message) {
    const failure = this.#failure ??= new Error(message);
    for (const { failed } of this.#waiting.splice(0)) failed(failure);
  }
}

/** Runs of shares as one run of the whole batch: what worker.js uses of the engine's `Run`. */
class SharedRun {
  #own;
  #others;
  #join;
  /** Where the others stand, if they have told. @type {Snapshot[]} */
  #told = [];

  /** @param {Run} own @param {Begun[]} others @param {Join} join */
  constructor(own, others, join) {
    this.#own = own;
    this.#others = others;
    this.#join = join;
  }

  rows() {
    return this.#own.rows();
  }

  initial() {
    return joined([this.#own.initial(), ...this.#others.map(({ initial }) => initial)]);
  }

  async next() {
    const [own, ...theirs] = await Promise.all([this.#own.next(), ...this.#others.map(({ member }) => member.next())]);
    // They end together, unless they are stopped.
    const others = theirs.flatMap((frame) => frame ?? []);
    if (!own || others.length < theirs.length) return undefined;
    this.#told = others.flatMap(({ snapshot }) => snapshot ?? []);
    const made = [own, ...others];
    const [{ step }] = made;
    const milliseconds = Math.max(...made.map((frame) => frame.milliseconds));
    const all = (/** @type {'gradient'|'logits'} */ name) => joined(made.flatMap((frame) => frame[name] ?? []));
    const said = own.gradient && { gradient: all('gradient'), logits: all('logits') };
    return { step, x: joined(made.map(({ x }) => x)), x0: joined(made.map(({ x0 }) => x0)), ...said, milliseconds };
  }

  /** Where all of them stand after the last frame, if they tell after that one. */
  async snapshot() {
    if (this.#told.length < this.#others.length) return null;
    return this.#join([await this.#own.snapshot(), ...this.#told]);
  }

  async free() {
    this.#own.free();
    await Promise.all(this.#others.map(({ member }) => member.finish()));
  }
}

/** @param {Float32Array<ArrayBuffer>[]} parts */
function joined(parts) {
  const whole = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
