// Everything a run has shown, so that it can be scrubbed.
//
// A run that goes on from another one has shown what that had until then, and shares its pictures. Steps are counted from
// the noise on: where the other one had another table, its rows until then come before those of the run's own.

import { changeOf, gainOf, largestOf, noiseIn, rgba8, shownAt, shownPicture } from '../engine/numbers.js';

/** Longer runs keep every second, third, … state, and so do runs of large pictures. */
const MAX_STATES = 250;
const MAX_BYTES = 400e6;
/** As many numbers tell how large the others are. */
const ENOUGH = 2 ** 16;

/** @typedef {import('../engine/numbers.js').Numbers} Numbers */
/** What of a state is looked at: x_t, x̂0, ε̂, how x changed in the last step, or the gradient of the classifier by x_t. @typedef {'x'|'x0'|'eps'|'change'|'gradient'} View */
/** An evaluation: the x that the model was given before step `step`, the x̂0 that it made of it, and what a classifier that guides the run said of it. @typedef {{step: number, x: Numbers, x0: Numbers, gradient: Numbers|null}} Evaluation */

/**
 * State `step` of a run: the images x_t, and the finished images x̂0 that the model predicts from them, both [N, C, H, W], with
 * the gradient of the classifier, if one guides the run.
 * The newest state of a run has no prediction of its own yet and shows the one before (`x0Step` tells whose it is); `made` is
 * the evaluation that made it.
 * @typedef {{step: number, x: Numbers, x0: Numbers|null, x0Step: number, gradient: Numbers|null, made: Evaluation|null}} State
 */

/** What a run goes on from: a step of another one, along whose table it `resumes` or not. @typedef {{recording: Recording, step: number, resumes: boolean}} Before */

export class Recording {
  /** In the order of their steps. @type {State[]} */
  states;
  /** By the x of a state, and the one before that a change was counted from. @type {WeakMap<Numbers, {before: Numbers|null, gain: number}>} */
  #gains = new WeakMap();
  /** What a classifier said of x before each step, [N, K]. @type {(Numbers|undefined)[]} */
  logits = [];

  /**
   * @param {Pick<Extract<import('../engine/protocol.js').Event, {type: 'started'}>, 'rows'|'initial'|'count'|'width'|'height'>} started
   * @param {Before|null} [before]
   */
  constructor({ rows, initial, count, width, height }, before = null) {
    const { recording: other, resumes, step = 0 } = before ?? {};
    const offset = resumes && other ? other.offset : step;
    /** How many of the rows are another table's. @type {number} */
    this.offset = offset;
    /** @type {import('../engine/protocol.js').Row[]} */
    this.rows = [...other?.rows.slice(0, offset) ?? [], ...rows];
    this.steps = this.rows.length;
    this.count = count;
    this.width = width;
    this.height = height;
    this.channels = initial.length / (count * width * height);
    // A state is two batches: x_t and x̂0.
    const most = Math.max(2, Math.min(MAX_STATES, Math.floor(MAX_BYTES / (2 * initial.byteLength))));
    this.keepEvery = Math.ceil(this.steps / most);
    this.states = [];
    if (other) {
      // Of the other's states, it can keep only those that are there.
      this.keepEvery = other.keepEvery * Math.ceil(this.keepEvery / other.keepEvery);
      this.logits = other.logits.slice(0, step);
      this.states = other.states.filter((state) => state.step < step && state.step % this.keepEvery === 0);
    }
    const last = this.states.at(-1);
    const shared = resumes && other?.states.find((state) => state.step === step)?.x;
    const made = last?.x0 && last.x0Step === last.step ? { step: last.step, x: last.x, x0: last.x0, gradient: last.gradient } : null;
    this.states.push({ step, x: shared || initial, x0: last?.x0 ?? null, x0Step: last?.x0Step ?? -1, gradient: null, made });
  }

  /** Index of the newest state. */
  get newest() {
    return this.states.length - 1;
  }

  /** Index that the last state has, or will have once the run is done. */
  get end() {
    return Math.ceil(this.steps / this.keepEvery);
  }

  get finished() {
    return this.states[this.newest].step === this.steps;
  }

  /** Index of the last state that is not beyond a step. @param {number} step */
  indexOf(step) {
    return Math.max(0, this.states.findLastIndex((state) => state.step <= step));
  }

  /** Keeps every second of the states it has, and will have. */
  thin() {
    const newest = this.newest;
    this.keepEvery *= 2;
    this.states = this.states.filter(({ step }, i) => step % this.keepEvery === 0 || i === newest);
  }

  /** A frame that is there already changes nothing: a run that was interrupted goes on from a while before. @param {{step: number, x: Numbers, x0: Numbers, gradient?: Numbers, logits?: Numbers}} frame  by its row in the run's own table */
  add({ step: row, x, x0, gradient = undefined, logits = undefined }) {
    const step = this.offset + row;
    const tail = this.states[this.newest];
    if (tail.step > step) return;
    if (tail.step !== step) throw new Error(`Frame ${step} came after state ${tail.step}.`);
    if (logits) this.logits[step] = logits;
    const said = gradient ?? null;
    Object.assign(tail, { x0, x0Step: step, gradient: said, made: null });
    const next = { step: step + 1, x, x0, x0Step: step, gradient: null, made: { step, x: tail.x, x0, gradient: said } };
    if (next.step === this.steps) Object.assign(next, { x0: x, x0Step: next.step }); // x̂0 of x_0 is x_0
    // The newest state is always shown; once a newer one is there it stays only if its turn says so.
    if (tail.step % this.keepEvery === 0) this.states.push(next);
    else this.states[this.newest] = next;
  }

  // ---- What there is to see -------------------------------------------------------------------

  /** The evaluation whose ε̂ a state shows: its own, or the one that made it. @param {number} index @returns {Evaluation|null} */
  evaluation(index) {
    const { step, x, x0, x0Step, gradient, made } = this.states[index];
    return made ?? (x0 && x0Step === step ? { step, x, x0, gradient } : null);
  }

  /** Before which state a change is counted: the one that is kept before it. @param {number} index @returns {{step: number, x: Numbers}|null} */
  before(index) {
    return this.states[index].made ?? this.states[index - 1] ?? null;
  }

  /** The numbers that a view shows of some images, by default all, as far as the run has them yet. @param {number} index @param {View} view @param {number} [first] @param {number} [count] @returns {Numbers|null} */
  numbers(index, view, first = 0, count = this.count) {
    const { step, x, x0 } = this.states[index];
    const each = this.channels * this.width * this.height;
    const of = (/** @type {Numbers} */ batch) => batch.subarray(first * each, (first + count) * each);
    if (view === 'x') return of(x);
    if (view === 'x0') return x0 && of(x0);
    if (view === 'gradient') {
      const gradient = this.evaluation(index)?.gradient;
      return gradient ? of(gradient) : null;
    }
    if (view === 'eps') {
      const evaluation = this.evaluation(index);
      return evaluation && noiseIn(this.rows[evaluation.step], of(evaluation.x), of(evaluation.x0));
    }
    const before = this.before(index);
    return before && changeOf(of(before.x), shownAt(this.rows, before.step), of(x), shownAt(this.rows, step));
  }

  /** How often a change is enlarged to be seen: the same for all images, as many of them as tell enough. @param {number} index */
  gain(index) {
    const { x } = this.states[index];
    const before = this.before(index)?.x ?? null;
    const known = this.#gains.get(x);
    if (known && known.before === before) return known.gain;
    const some = Math.max(1, Math.min(this.count, Math.floor(ENOUGH / (x.length / this.count))));
    const change = this.numbers(index, 'change', 0, some);
    const gain = change ? gainOf(change) : 1;
    this.#gains.set(x, { before, gain });
    return gain;
  }

  /** The largest number of the gradient by an image; 0: there is none. @param {number} index @param {number} image */
  peak(index, image) {
    const gradient = this.numbers(index, 'gradient', Math.min(image, this.count - 1), 1);
    return gradient ? largestOf(gradient) : 0;
  }

  /** Whether a classifier guides any of it. */
  get isClassified() {
    return this.logits.length > 0;
  }

  /** Some images in a view, as RGBA8, image after image; what is not there yet is x_t. @param {number} index @param {View} view @param {number} first @param {number} count @returns {Uint8ClampedArray<ArrayBuffer>} */
  #pixels(index, view, first, count) {
    const numbers = this.numbers(index, view, first, count);
    const size = this.width * this.height;
    if (numbers && view === 'gradient') return this.#gradients(numbers, size);
    const is = numbers && view !== 'gradient' ? view : 'x';
    const { step } = this.states[index];
    const shown = { x: () => shownAt(this.rows, step), x0: () => shownPicture(this.rows), eps: () => ({ scale: 1, offset: 0 }), change: () => ({ scale: this.gain(index), offset: 0 }) };
    return rgba8(numbers ?? /** @type {Numbers} */ (this.numbers(index, 'x', first, count)), this.channels, shown[is](), size);
  }

  /** Gradients, each scaled by its own largest number: an image that the classifier is sure of has a small one. @param {Numbers} numbers @param {number} size */
  #gradients(numbers, size) {
    const each = this.channels * size;
    const pixels = new Uint8ClampedArray(4 * (numbers.length / this.channels));
    for (let at = 0; at < numbers.length; at += each) {
      const one = numbers.subarray(at, at + each);
      pixels.set(rgba8(one, this.channels, { scale: 1 / (largestOf(one) || 1), offset: 0 }, size), 4 * at / this.channels);
    }
    return pixels;
  }

  /** All images as RGBA8, one after another. @param {number} index @param {View} view */
  batch(index, view) {
    return this.#pixels(index, view, 0, this.count);
  }

  /** One of them. @param {number} index @param {View} view @param {number} image */
  image(index, view, image) {
    return this.#pixels(index, view, Math.min(image, this.count - 1), 1);
  }
}
