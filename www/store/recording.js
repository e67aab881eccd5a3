// Everything a run has shown, so that it can be scrubbed.
//
// A run that goes on from another one has shown what that had until then, and shares its pictures. Steps are counted from
// the noise on: where the other one had another table, its rows until then come before those of the run's own.

/** Longer runs keep every second, third, … state, and so do runs of large pictures. */
const MAX_STATES = 250;
const MAX_BYTES = 400e6;

/**
 * State `step` of a run: the images x_t, and the finished images x̂0 that the model predicts from
 * them. The newest state of a run has no prediction of its own yet and shows the one before
 * (`x0Step` tells whose it is).
 * @typedef {{step: number, x: Uint8Array, x0: Uint8Array|null, x0Step: number}} State
 */

/** What a run goes on from: a step of another one, along whose table it `resumes` or not. @typedef {{recording: Recording, step: number, resumes: boolean}} Before */

/** The batch that a view of a state shows: x_t where there is no x̂0 yet. @param {State} state @param {'x'|'x0'} view */
export const pictureIn = ({ x, x0 }, view) => (view === 'x' ? x : x0) ?? x;

export class Recording {
  /** In the order of their steps. @type {State[]} */
  states;

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
    // A state is two batches: x_t and x̂0.
    const most = Math.max(2, Math.min(MAX_STATES, Math.floor(MAX_BYTES / (2 * initial.length))));
    this.keepEvery = Math.ceil(this.steps / most);
    this.states = [];
    if (other) {
      // Of the other's states, it can keep only those that are there.
      this.keepEvery = other.keepEvery * Math.ceil(this.keepEvery / other.keepEvery);
      this.states = other.states.filter((state) => state.step < step && state.step % this.keepEvery === 0);
    }
    const last = this.states.at(-1);
    const shared = resumes && other?.states.find((state) => state.step === step)?.x;
    this.states.push({ step, x: shared || initial, x0: last?.x0 ?? null, x0Step: last?.x0Step ?? -1 });
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

  /** A frame that is there already changes nothing: a run that was interrupted goes on from a while before. @param {{step: number, x: Uint8Array, x0: Uint8Array}} frame  by its row in the run's own table */
  add({ step: row, x, x0 }) {
    const step = this.offset + row;
    const tail = this.states[this.newest];
    if (tail.step > step) return;
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
