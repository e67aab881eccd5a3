// Where runs stood on their way: what is kept of that, and how a run begins with it.

/** @typedef {import('../pkg/denoise.js').Snapshot} Snapshot */
/** @typedef {import('./protocol.js').EngineSettings} EngineSettings */
/** @typedef {import('./protocol.js').Origin} Origin */
/** What the engine begins a run with: settings, and where it stands unless that is at their beginning. @typedef {{settings: EngineSettings, snapshot: Snapshot|null}} Beginning */

/** Bytes that the snapshots of a run may take, and those of all runs. */
const MOST = { run: 64e6, all: 192e6 };
/** Batches in a snapshot: x, and what samplers keep for later evaluations. */
const BATCHES = 6;
/** A team's members take about so many of a run. */
const OF_A_TEAM = 50;

/** @param {Snapshot} snapshot */
const bytesOf = ({ sample, kept, generators }) => sample.byteLength + kept.byteLength + generators.reduce((sum, state) => sum + state.byteLength, 0);

/** How many bytes a snapshot will take. @param {import('./protocol.js').Model} model @param {number} count  of images */
export const expectedBytes = ({ channels, width, height }, count) => BATCHES * 4 * count * channels * width * height;

/** Whether as many as one of this size are kept. @param {number} bytes */
export const isKept = (bytes) => bytes <= MOST.run;

/**
 * Whether the members of a team tell where they stand before evaluation `row`. They run ahead of one another, so it has to
 * follow from the row.
 * @param {number} row
 * @param {number} rows  of the run
 * @param {number|null} end  the row at which it is to end
 */
export const isTold = (row, rows, end) => row === end || row % Math.ceil(rows / OF_A_TEAM) === 0;

/** Snapshots of runs, by run and row. */
export class Snapshots {
  /** In the order in which the runs began. @type {Map<number, Snapshot[]>} */
  #runs = new Map();

  /** @param {number} run @param {Snapshot} snapshot */
  add(run, snapshot) {
    if (!isKept(bytesOf(snapshot))) return;
    let kept = [...this.#of(run).filter(({ row }) => row !== snapshot.row), snapshot].sort((a, b) => a.row - b.row);
    // Every second one goes, so that what is left lies all along the run.
    while (sum(kept) > MOST.run) kept = kept.filter((_, i) => i % 2 === 0);
    this.#runs.set(run, kept);
    for (const oldest of this.#runs.keys()) {
      if (sum([...this.#runs.values()].flat()) <= MOST.all) break;
      if (oldest !== run) this.#runs.delete(oldest);
    }
  }

  /** The last one before evaluation `row` or an earlier one. @param {number} run @param {number} row @returns {Snapshot|null} */
  nearest(run, row) {
    return this.#of(run).findLast((snapshot) => snapshot.row <= row) ?? null;
  }

  /** They were another model's. */
  clear() {
    this.#runs.clear();
  }

  /** @param {number} run */
  #of(run) {
    return this.#runs.get(run) ?? [];
  }
}

/** @param {Snapshot[]} snapshots */
const sum = (snapshots) => snapshots.reduce((total, snapshot) => total + bytesOf(snapshot), 0);

/**
 * Goes on with a run from where it stood.
 * @param {EngineSettings} settings  of the run
 * @param {Origin|null} origin  of the run
 * @param {Snapshot} snapshot  of the run
 * @returns {Beginning}
 */
export function resumed(settings, origin, snapshot) {
  const alpha = alphaAtBeginning(origin);
  if (alpha === null) return { settings, snapshot };
  // Its table begins at that noise. What it began with does not matter any more, but for its size.
  return { settings: startedAt(settings, snapshot.sample, alpha), snapshot };
}

/**
 * Begins a run where another one stood.
 * @param {EngineSettings} settings
 * @param {Origin} origin
 * @param {Snapshot} snapshot  of the other, before the evaluation that `origin` names
 * @returns {Beginning}
 */
export function forked(settings, origin, snapshot) {
  if (origin.resumes) {
    // Another seed is that of the noise from here on.
    const generators = sameSeeds(settings, origin.settings) ? snapshot.generators : [];
    return resumed(settings, origin, { ...snapshot, generators });
  }
  const { alpha_cumprod: alpha, signal } = origin.level;
  // x with a variance of 1, whatever scale the other's sampler keeps it in.
  const scale = signal > 0 ? Math.sqrt(alpha) / signal : 1;
  return { settings: startedAt(settings, snapshot.sample.map((x) => x * scale), alpha), snapshot: null };
}

/** Begins with x in place of any noise. @param {EngineSettings} settings @param {Float32Array} sample @param {number} alpha  ᾱ @returns {EngineSettings} */
const startedAt = (settings, sample, alpha) => ({ ...settings, ...otherSeeds(settings), noise: null, start: { sample, alpha_cumprod: alpha } });

/**
 * Seeds in place of a run's own. What those draw first is what x began with, and much of it is in x still: added once more it
 * would not be noise that x has nothing of.
 * @param {EngineSettings} settings
 * @returns {Pick<EngineSettings, 'seed'|'seeds'|'slerp'>}
 */
function otherSeeds({ seed, seeds, slerp }) {
  // PyTorch's generator takes the lower 32 bits.
  const other = (/** @type {number} */ one) => one - (one % 2 ** 32) + (((one % 2 ** 32) ^ 0x5bd1e995) >>> 0);
  return {
    ...(typeof seed === 'number' && { seed: other(seed) }),
    ...(seeds && { seeds: seeds.map(other) }),
    ...(slerp && { slerp: { ...slerp, seed: other(slerp.seed) } }),
  };
}

/** @param {EngineSettings} a @param {EngineSettings} b */
const sameSeeds = (a, b) => a.seed === b.seed && String(a.seeds ?? '') === String(b.seeds ?? '');

/** ᾱ of the x that a run's table begins with; null: it begins with noise. @param {Origin|null} origin @returns {number|null} */
function alphaAtBeginning(origin) {
  if (!origin) return null;
  return origin.resumes ? alphaAtBeginning(origin.origin) : origin.level.alpha_cumprod;
}
