// The worker in which a network learns. It takes steps until it is told to pause or has taken all that were asked for, and
// sends losses, samples and checkpoints to the page; see learning-protocol.js for the messages.

import { findNetworks, openFiles, readModel } from '../model/files.js';
import { messageOf } from '../words/messages.js';
import { loadLearningLibrary } from './learning-library.js';
import { send } from './learning-protocol.js';
import { macrotask } from './macrotask.js';
import { tune } from './tuning.js';

/** @typedef {import('./learning-protocol.js').LearningCommand} Command */
/** @typedef {import('./learning-protocol.js').LearningEvent} Event */
/** @typedef {import('./learning-protocol.js').BlobsByName} BlobsByName */
/** @typedef {import('../pkg/learning/denoise.js').FilesByName} FilesByName */
/** @typedef {import('../pkg/learning/denoise.js').Engine} Engine */
/** @typedef {import('../pkg/learning/denoise.js').Learner} Learner */
/** @typedef {Extract<Command, {type: 'learn'}>} Learn */
/** @typedef {(stage: import('./learning-protocol.js').LearningStage, done: number, total: number|null) => void} Progress */

/** Milliseconds between two messages about losses or how far something is, between two checkpoints, and at least between two samples. */
const TELL = 200;
const SAVE = 30_000;
const SHOW = 1000;

let paused = false;
/** Whether it was told to go on since it last paused, even if it was told to pause again; and what then resolves. */
let resumed = false;
let goOn = () => {};
/** Whether a checkpoint was asked for. */
let wanted = false;

addEventListener('message', (event) => {
  /** @type {Command} */
  const command = event.data;
  if (command.type === 'learn') {
    learn(command).catch((error) => {
      console.warn(error);
      say({ type: 'failed', id: command.id, message: messageOf(error), diverged: error instanceof Diverged });
    });
  } else if (command.type === 'pause') {
    paused = true;
  } else if (command.type === 'continue') {
    paused = false;
    resumed = true;
    goOn();
  } else {
    wanted = true;
    goOn();
  }
});

/** The numbers of a network are infinite. */
class Diverged extends Error {
  /** @param {string} when */
  constructor(when) {
    super(`${when} the network has diverged: its numbers are infinite. Begin again with a lower learning rate.`);
  }
}

/** @param {Event} event @param {Transferable[]} [transfer] */
const say = (event, transfer) => send(self, event, transfer);

/** @param {Learn} command */
async function learn({ id, backend, autotune, title, recipe, images, beginning, samples }) {
  const progress = progressOf(id);
  progress('engine', 0, 1);
  const library = await loadLearningLibrary();
  const engine = await library.Engine.create(backend);
  const about = engine.backend();
  say({ type: 'backend', id, ...about });
  if (autotune && about.kind === 'gpu') await tune(engine);

  const { Learner, learned_model: learnedModel } = library;
  const compiling = (/** @type {string} */ _, /** @type {number} */ done, /** @type {number} */ total) => progress('compile', done, total);
  let learner;
  if (beginning.kind === 'checkpoint') {
    learner = await Learner.resume(engine, await bytesOf(beginning.files), images, compiling);
  } else {
    const model = beginning.kind === 'model' ? await load(library, engine, beginning.source, progress) : null;
    const files = model && { config: model.config, scheduler: model.scheduler ?? recipe.scheduler, card: cardOf(model.card, title) };
    learner = await Learner.begin(engine, { ...recipe, ...files }, images, model !== null, compiling);
  }
  say({ type: 'begun', id, recipe: recipeOf(learner), step: learner.step_count() });
  await new Run(id, learner, samples, learnedModel, progress).go();
}

/** Of a run that has begun nothing is left open. @param {Learner} learner */
const recipeOf = (learner) => /** @type {import('./learning-protocol.js').Recipe} */ (learner.recipe());

/** What tells the page how far something is, a few times a second. @param {number} id @returns {Progress} */
function progressOf(id) {
  let told = -Infinity;
  let last = '';
  return (stage, done, total) => {
    const now = performance.now();
    if (stage === last && now - told < TELL / 2) return;
    told = now;
    last = stage;
    say({ type: 'progress', id, stage, done, total });
  };
}

/**
 * Loads the model that is to learn more, and returns its small files.
 * @param {typeof import('../pkg/learning/denoise.js')} library
 * @param {Engine} engine
 * @param {import('../model/source.js').Source} source
 * @param {Progress} progress
 */
async function load(library, engine, source, progress) {
  const files = await openFiles(source, new AbortController().signal, true);
  const networks = await findNetworks(files, library, source);
  /** @type {import('../pkg/learning/denoise.js').Loading[]} */
  const loading = [];
  const { small } = await readModel(files, networks, source, (done, total) => progress('download', done, total), (small) => {
    loading[0] = new library.Loading(engine, small, { count: 1, precision: 'f32' });
    return loading[0];
  });
  await loading[0].compile((_, done, total) => progress('compile', done, total));
  await engine.load(loading[0], () => {});
  return small;
}

/** The card of what a model becomes: what it says of its own pictures does not hold any more. @param {string|null} card @param {string} title */
function cardOf(card, title) {
  const { class_names, null_class, credits, licence } = JSON.parse(card ?? '{}');
  return JSON.stringify({ title, class_names, null_class, credits, licence }, null, 2);
}

/** @param {BlobsByName} files @returns {Promise<FilesByName>} */
async function bytesOf(files) {
  const entries = Object.entries(files).map(async ([name, blob]) => [name, new Uint8Array(await blob.arrayBuffer())]);
  return Object.fromEntries(await Promise.all(entries));
}

/** @param {FilesByName} files @returns {BlobsByName} */
const blobsOf = (files) => Object.fromEntries(Object.entries(files).map(([name, bytes]) => [name, new Blob([bytes])]));

/** A run of training on its way. */
class Run {
  #id;
  #learner;
  #samples;
  #modelOf;
  #progress;
  /** Losses that the page has not heard of. @type {import('./learning-protocol.js').Point[]} */
  #points = [];
  /** Steps since the page last heard of any, and what they took in milliseconds: what else is done meanwhile is not learning. */
  #steps = 0;
  #learning = 0;
  #told = performance.now();
  #saved = performance.now();
  /** When samples are due, which what they took decides; and the step of the last ones. */
  #due = 0;
  #shown = -1;

  /**
   * @param {number} id  of the command
   * @param {Learner} learner
   * @param {import('./learning-protocol.js').Samples} samples
   * @param {(checkpoint: FilesByName) => FilesByName} modelOf
   * @param {Progress} progress
   */
  constructor(id, learner, samples, modelOf, progress) {
    this.#id = id;
    this.#learner = learner;
    this.#samples = samples;
    this.#modelOf = modelOf;
    this.#progress = progress;
  }

  async go() {
    const { steps, batch } = recipeOf(this.#learner);
    let step = this.#learner.step_count();
    await this.#keep(step);
    await this.#sample(step);
    while (step < steps) {
      if (paused || wanted) await this.#wait(step, batch);
      const begun = performance.now();
      const learned = await this.#learner.step();
      if (learned.loss !== null) this.#note(step, learned.loss);
      ({ step } = learned);
      const now = performance.now();
      this.#steps++;
      this.#learning += now - begun;
      if (now - this.#told >= TELL) this.#tell(batch);
      if (now >= this.#due && step < steps) await this.#sample(step);
      if (now - this.#saved >= SAVE) await this.#keep(step);
      // A promise that is ready at once never lets go of the thread, so a `pause` would wait.
      await macrotask();
    }
    await this.#settle(step);
    this.#tell(batch);
    // The last samples are what it was all for.
    await this.#sample(step, () => false);
    await this.#keep(step);
    say({ type: 'finished', id: this.#id, step });
  }

  /** Pauses, or makes the checkpoint that was asked for. @param {number} step @param {number} batch */
  async #wait(step, batch) {
    await this.#settle(step);
    this.#tell(batch);
    do {
      wanted = resumed = false;
      await this.#keep(step);
      if (!paused) return;
      say({ type: 'paused', id: this.#id, step });
      // There is time to show what it has come to; what it began with is shown in any case.
      if (step !== this.#shown) await this.#sample(step, () => this.#shown >= 0 && (resumed || wanted));
      if (!resumed && !wanted) {
        await new Promise((resolve) => {
          goOn = () => resolve(undefined);
        });
      }
    } while (wanted && !resumed);
  }

  /** The loss of the last step. @param {number} step  how many were taken */
  async #settle(step) {
    const loss = await this.#learner.finish();
    if (loss !== undefined) this.#note(step, loss);
  }

  /** @param {number} step @param {number} loss */
  #note(step, loss) {
    if (!Number.isFinite(loss)) throw new Diverged(`At step ${step}`);
    this.#points.push({ step, loss });
  }

  /** @param {number} batch */
  #tell(batch) {
    if (!this.#points.length) return;
    say({ type: 'learned', id: this.#id, points: this.#points, imagesPerSecond: this.#learning ? 1000 * this.#steps * batch / this.#learning : 0 });
    this.#points = [];
    this.#steps = 0;
    this.#learning = 0;
    this.#told = performance.now();
  }

  /** Shows what was learned so far, if nothing ends it on the way. @param {number} step @param {() => boolean} [ends] */
  async #sample(step, ends = () => paused) {
    const { settings, share } = this.#samples;
    const begun = performance.now();
    const run = await this.#learner.start(settings).catch(async (/** @type {unknown} */ error) => {
      // What has infinite numbers samples nothing.
      if (!await this.#learner.checkpoint()) throw new Diverged(`By step ${step}`);
      throw error;
    });
    try {
      const rows = run.rows().length;
      let frame;
      for (let next; !ends() && (next = await run.next());) {
        frame = next;
        this.#progress('samples', frame.step + 1, rows);
        await macrotask();
      }
      if (!frame || frame.step + 1 < rows) return; // ended on the way
      const size = this.#learner.size();
      const levels = Uint8ClampedArray.from(frame.x, (x) => (x / 2 + 0.5) * 255);
      say({ type: 'samples', id: this.#id, step, levels, count: settings.count, ...size }, [levels.buffer]);
    } finally {
      run.free();
    }
    this.#shown = step;
    const now = performance.now();
    this.#due = now + Math.max(SHOW, (now - begun) * (1 / share - 1));
  }

  /** @param {number} step */
  async #keep(step) {
    const files = await this.#learner.checkpoint();
    if (!files) throw new Diverged(`By step ${step}`);
    say({ type: 'checkpoint', id: this.#id, step, files: blobsOf(files), model: blobsOf(this.#modelOf(files)) });
    this.#saved = performance.now();
  }
}
