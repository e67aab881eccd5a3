// Everything a run has shown, so that it can be scrubbed.

/** Longer runs keep every second, third, … state, and so do runs of large pictures. */
const MAX_STATES = 250;
const MAX_BYTES = 400e6;

/**
 * State `step` of a run: the images x_t, and the finished images x̂0 that the model predicts from
 * them. The newest state of a run has no prediction of its own yet and shows the one before
 * (`x0Step` tells whose it is).
 * @typedef {{step: number, x: Uint8Array, x0: Uint8Array|null, x0Step: number}} State
 */

export class Recording {
  /** @type {State[]} */
  states;

  /**
   * @param {Pick<Extract<import('../engine/protocol.js').Event, {type: 'started'}>, 'rows'|'initial'|'count'|'width'|'height'>} started
   */
  constructor({ rows, initial, count, width, height }) {
    this.rows = rows;
    this.steps = rows.length;
    this.count = count;
    this.width = width;
    this.height = height;
    // A state is two batches: x_t and x̂0.
    const most = Math.max(2, Math.min(MAX_STATES, Math.floor(MAX_BYTES / (2 * initial.length))));
    this.keepEvery = Math.ceil(this.steps / most);
    this.states = [{ step: 0, x: initial, x0: null, x0Step: -1 }];
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

  /** @param {{step: number, x: Uint8Array, x0: Uint8Array}} frame */
  add({ step, x, x0 }) {
    const tail = this.states[this.newest];
    if (tail.step !== step) throw new Error(`Frame ${step} came after state ${tail.step}.`);
    tail.x0 = x0;
    tail.x0Step = step;
    const next = { step: step + 1, x, x0, x0Step: step };
    if (next.step === this.steps) Object.assign(next, { x0: x, x0Step: next.step }); // x̂0 of x_0 is x_0
    // The newest state is always shown; once a newer one is there it stays only if its turn says so.
    if (tail.step % this.keepEvery === 0) this.states.push(next);
    else this.states[this.newest] = next;
  }
}
