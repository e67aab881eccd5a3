// The worker that computes what a picture costs a model: the variational bound at ever more timesteps, then the likelihood. It
// has an engine of its own, so that the page's is not disturbed; see measuring-protocol.js for the messages.

import { findNetworks, openFiles, readModel } from '../model/files.js';
import { messageOf } from '../words/messages.js';
import { loadLearningLibrary } from './learning-library.js';
import { send } from './measuring-protocol.js';
import { tune } from './tuning.js';

/** @typedef {import('./measuring-protocol.js').Measurable} Measurable */
/** @typedef {import('./measuring-protocol.js').Measure} Measure */
/** @typedef {import('./measuring-protocol.js').MeasuringEvent} Event */
/** @typedef {import('./measuring-protocol.js').MeasuringStage} Stage */
/** @typedef {import('../pkg/learning/denoise.js').Engine} Engine */
/** @typedef {(stage: Stage, done: number, total: number|null) => void} Progress */

/** Milliseconds between two messages of a kind. */
const TELL = 100;
/** How many timesteps are evaluated at a time: a GPU is filled by more. */
const BATCH = { cpu: 2, gpu: 16 };

addEventListener('message', ({ data }) => {
  /** @type {Measure} */
  const command = data;
  measure(command).catch((error) => {
    console.warn(error);
    say({ type: 'failed', id: command.id, message: messageOf(error) });
  });
});

/** @param {Event} event @param {Transferable[]} [transfer] */
const say = (event, transfer) => send(self, event, transfer);

/** @param {Measure} command */
async function measure(command) {
  const { id, backend, autotune, source } = command;
  const progress = progressOf(id);
  progress('engine', 0, 1);
  const library = await loadLearningLibrary((done) => progress('engine', done, null));
  const engine = await library.Engine.create(backend);
  const about = engine.backend();
  say({ type: 'backend', id, ...about });
  if (autotune && about.kind === 'gpu') await tune(engine);
  const measurable = await load(library, engine, source, id, progress);
  if (measurable.bound === null && command.bound) await refusing(id, 'bound', () => bound(library, engine, command, BATCH[about.kind], progress));
  if (measurable.likelihood === null) await refusing(id, 'likelihood', () => likelihood(library, engine, command, progress));
  say({ type: 'finished', id });
}

/** Does one of the two; if it cannot be done the other may be. @param {number} id @param {keyof Measurable} what @param {() => Promise<void>} compute */
async function refusing(id, what, compute) {
  try {
    await compute();
  } catch (error) {
    console.warn(error);
    say({ type: 'refused', id, what, message: messageOf(error) });
  }
}

/** What tells the page how far something is, a few times a second. @param {number} id @returns {Progress} */
function progressOf(id) {
  let told = -Infinity;
  let last = '';
  return (stage, done, total) => {
    const now = performance.now();
    if (stage === last && now - told < TELL) return;
    told = now;
    last = stage;
    say({ type: 'progress', id, stage, done, total });
  };
}

/**
 * Loads the model, as far as something can be computed for it, and returns what that is.
 * @param {typeof import('../pkg/learning/denoise.js')} library
 * @param {Engine} engine
 * @param {import('../model/source.js').Source} source
 * @param {number} id
 * @param {Progress} progress
 * @returns {Promise<Measurable>}
 */
async function load(library, engine, source, id, progress) {
  const nothing = new AbortController();
  const files = await openFiles(source, nothing.signal, true);
  const networks = await findNetworks(files, library, source);
  /** @type {{measurable: Measurable, loading: import('../pkg/learning/denoise.js').Loading|null}[]} */
  const made = [];
  try {
    await readModel(files, networks, source, (done, total) => progress('download', done, total), (small) => {
      const measurable = library.measurable(small);
      say({ type: 'measurable', id, ...measurable });
      made[0] = { measurable, loading: null };
      if (measurable.bound !== null && measurable.likelihood !== null) nothing.abort(); // the weights are of no use
      nothing.signal.throwIfAborted();
      return made[0].loading = new library.Loading(engine, small, { count: 1, precision: 'f32' });
    });
  } catch (error) {
    if (!nothing.signal.aborted) throw error;
  }
  const [{ measurable, loading }] = made;
  if (loading) await engine.load(loading, (stage, done, total) => stage === 'compile' && progress(stage, done, total));
  return measurable;
}

/**
 * @param {typeof import('../pkg/learning/denoise.js')} library
 * @param {Engine} engine
 * @param {Measure} command
 * @param {number} batch
 * @param {Progress} progress
 */
async function bound({ BoundRun }, engine, { id, picture, labels, seed }, batch, progress) {
  progress('compile', 0, null);
  const run = await BoundRun.begin(engine, picture, Float32Array.from(labels), seed, batch);
  const total = run.total();
  let told = -Infinity;
  try {
    for (let done = 0; done < total;) {
      done = await run.advance();
      progress('bound', done, total);
      const now = performance.now();
      if (now - told < TELL && done < total) continue;
      const estimate = run.estimate();
      if (!estimate) continue;
      told = now;
      say({ type: 'estimate', id, estimate });
    }
  } finally {
    run.free(); // the likelihood needs the room
  }
}

/**
 * @param {typeof import('../pkg/learning/denoise.js')} library
 * @param {Engine} engine
 * @param {Measure} command
 * @param {Progress} progress
 */
async function likelihood({ LikelihoodRun }, engine, { id, picture, labels, seed, steps }, progress) {
  progress('compile', 0, null);
  const run = await LikelihoodRun.begin(engine, picture, Float32Array.from(labels), seed);
  const total = 2 * (steps + steps / 2);
  let done = 0;
  const evaluated = () => progress('likelihood', ++done, total);
  const half = await run.encode(steps / 2, evaluated);
  const { bits_per_dim: bits, x_t: noise } = await run.encode(steps, evaluated);
  say({ type: 'encoded', id, encoded: { steps, bits, halfBits: half.bits_per_dim, noise } }, [noise.buffer]);
  run.free();
}
