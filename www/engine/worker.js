// The worker that owns the engine. It fetches and stores models, drives runs step by step and sends what it
// gets to the page; see protocol.js for the messages.

import { removeStored, storedModels } from '../model/cache.js';
import { findNetworks, openFiles, readClassifier, readModel } from '../model/files.js';
import { LocalFiles } from '../model/local-files.js';
import { nameOfFolder } from '../model/networks.js';
import { messageOf } from '../words/messages.js';
import { isGuided, readPreview } from './card.js';
import { TooLarge, countThatFits } from './count.js';
import { loadLearningLibrary } from './learning-library.js';
import { macrotask } from './macrotask.js';
import { listen, send } from './protocol.js';
import { Snapshots, expectedBytes, forked, isKept, isTold, resumed } from './snapshots.js';
import { Team } from './team.js';
import { tune } from './tuning.js';

/** @typedef {import('../model/files.js').Files} Files */
/** @typedef {import('../model/files.js').ModelFiles} ModelFiles */
/** @typedef {import('./protocol.js').Command} Command */
/** @typedef {import('./protocol.js').LoadingStage} LoadingStage */
/** @typedef {import('../pkg/denoise.js').Loading} Loading */
/**
 * @template {Command['type']} Type
 * @typedef {Extract<Command, {type: Type}>} CommandOf
 */

/** The engine's library, be it the one with gradients or not. @typedef {Omit<typeof import('../pkg/denoise.js'), 'default'|'initSync'>} Library */
/** Once somebody has asked for it. @type {Promise<Library>|null} */
let library = null;
/** Whether it is the one that computes gradients too. */
let gradients = false;
/** @type {import('../pkg/denoise.js').Engine} */
let engine;
/** Settles once the engine knows the fastest kernels of its GPU. */
let tuned = Promise.resolve();
/** The loaded model. @type {import('./protocol.js').Model} */
let model;
/** Whether this worker is itself one of a team's. */
let member = false;
/** Those who make shares of a batch, on the CPU. @type {Team|null} */
let team = null;
/** Where runs of the loaded model stood on their way. */
const kept = new Snapshots();
let stopRequested = false;
let queue = Promise.resolve();
/** Ends the loading that is under way, when another is asked for. */
let loading = new AbortController();

/** @type {import('./protocol.js').Handlers<Command>} */
const handlers = {
  open: (command) => {
    const signal = nextLoading();
    enqueue(command, () => open(command, signal));
  },
  load: (command) => {
    const signal = nextLoading();
    enqueue(command, () => load(command, signal));
  },
  generate: (command) => {
    stopRequested = false;
    enqueue(command, () => generate(command));
  },
  // Not queued: it has to overtake the run that it ends.
  stop: () => {
    stopRequested = true;
    team?.stop();
  },
  check: (command) => enqueue(command, () => check(command)),
  // Not queued either: files that hold no model are no reason to wait for anything.
  arrange,
  profile: (command) => enqueue(command, () => profile(command)),
  stored: (command) => listStored(command).catch((error) => console.warn(error)),
};
listen(self, handlers);

function nextLoading() {
  loading.abort();
  loading = new AbortController();
  return loading.signal;
}

/** @param {import('./protocol.js').Asking} command @param {() => Promise<void>} job */
function enqueue({ id }, job) {
  queue = queue.then(job).catch((error) => fail(id, 'engine', error));
}

/** @param {number} id  of the command @param {Exclude<import('./protocol.js').Stage, 'load'>} during @param {unknown} error */
function fail(id, during, error) {
  console.warn(error);
  send(self, { type: 'failed', id, during, message: messageOf(error) });
}

/** @param {CommandOf<'open'>} command @param {AbortSignal} signal */
async function open({ id, backend, source, options, autotune, gradients: withGradients = false, member: ofTeam = false }, signal) {
  member = ofTeam;
  progress(id, 'engine', 0, 1);
  try {
    if (withGradients) library = loadLearningLibrary(throttled(id, 'gradients'));
    gradients = withGradients;
    engine = await (await loadLibrary()).Engine.create(backend);
  } catch (error) {
    return fail(id, 'engine', error);
  }
  const about = engine.backend();
  send(self, { type: 'backend', id, ...about });
  // Waited for before anything is compiled; meanwhile the download begins.
  if (autotune && about.kind === 'gpu') tuned = tune(engine);
  tuned.catch(() => {}); // whoever waits for it hears of it
  await load({ type: 'load', id, source, options }, signal);
}

async function loadLibrary() {
  library ??= import('../pkg/denoise.js').then(async (module) => {
    await module.default();
    return module;
  });
  return library;
}

/** Finds out whether there is a model among the visitor's files, and what to call it. @param {CommandOf<'arrange'>} command */
async function arrange({ id, files }) {
  try {
    const [{ folder }] = await findNetworks(new LocalFiles(files, new AbortController().signal), await loadLibrary());
    send(self, { type: 'arranged', id, name: nameOfFolder(folder), problem: null });
  } catch (error) {
    send(self, { type: 'arranged', id, name: null, problem: messageOf(error) });
  }
}

/** @param {CommandOf<'load'>} command @param {AbortSignal} signal */
async function load({ id, source, options }, signal) {
  if (signal.aborted) return;
  progress(id, 'download', 0, null);
  let count = 0;
  let compiled = tuned;
  /** What packs and uploads the weights while they arrive. */
  let arriving = /** @type {Loading|null} */ (null);
  const download = new AbortController();
  signal.addEventListener('abort', () => download.abort(signal.reason));
  try {
    const { Loading, ...library } = await loadLibrary();
    const files = await openFiles(source, download.signal, member);
    const networks = await findNetworks(files, library, source);
    let downloaded = false;
    const { small, network, variant, classifier: found } = await readModel(files, networks, source, throttled(id, 'download'), (small, folder) => {
      const fixed = { precision: options.precision, guided: isGuided(small.card, options.guidance) };
      count = countThatFits(engine, small, options.count, fixed);
      const begun = new Loading(engine, small, { count, ...fixed });
      arriving = begun;
      // What is compiled does not depend on the weights, so it need not wait for them; the page hears of the slower one.
      compiled = compile(begun, (stage, done, total) => {
        if (downloaded) progress(id, stage, done, total);
      });
      // What the device cannot run need not arrive.
      compiled.catch((error) => download.abort(error));
      // Not waited for: it is decoration.
      if (!member) sendPreview(id, files, folder, small);
      return begun;
    });
    const complete = /** @type {Loading|null} */ (arriving);
    if (!complete) throw new Error('The weights went nowhere.');
    /** @type {string[]} */
    const notes = [];
    const classifier = found && { problem: gradients ? await guideBy(id, complete, files, found, notes, download.signal) : null };
    downloaded = true;
    await compiled;
    arriving = null; // it is the engine's now
    model = await engine.load(complete, (stage, done, total) => {
      if (stage === 'parse') progress(id, stage, done, total);
    });
    model.notes.push(...notes);
    const assumed = small.scheduler === null && small.model_index === null ? 'It has no scheduler_config.json, so DDPM’s defaults are assumed: 1000 steps, linear β from 0.0001 to 0.02, ε-prediction.' : '';
    const problem = member ? null : await files.settle();
    team?.end();
    // A team needs the files again, so they have to be stored.
    team = !member && !problem && engine.backend().kind === 'cpu' ? new Team(source, model, count, library.join_snapshots, gradients) : null;
    kept.clear();
    const note = [assumed, problem].filter(Boolean).join(' ');
    const choices = networks.map(({ folder, variants }) => ({ folder, variants: variants.map(({ name }) => name) }));
    send(self, { type: 'model', id, source, networks: choices, network, variant, model, count, note: note || null, classifier });
  } catch (error) {
    if (signal.aborted) return;
    console.warn(error);
    send(self, { type: 'failed', id, during: 'load', message: messageOf(error), source, fits: error instanceof TooLarge ? error.fits : undefined });
  } finally {
    // Until then the engine can do nothing else.
    await Promise.allSettled([compiled]);
    try {
      arriving?.free();
    } catch (error) {
      console.warn(error); // an engine that ran out of memory cannot even free it
    }
  }
}

/**
 * Has a model be guided by the classifier beside it. What is wrong with that is no reason not to load the model.
 * @param {number} id  of the command
 * @param {Loading} arriving
 * @param {Files} files
 * @param {import('../model/files.js').ClassifierFiles} found
 * @param {string[]} notes  which get what was passed over in its files
 * @param {AbortSignal} signal
 * @returns {Promise<string|null>}  why it cannot be used
 */
async function guideBy(id, arriving, files, found, notes, signal) {
  const { ClassifierLoading } = await import('../pkg/learning/denoise.js');
  /** @type {import('../pkg/learning/denoise.js').ClassifierLoading|null} */
  let begun = null;
  try {
    const complete = await readClassifier(files, found, throttled(id, 'classifier'), (config) => (begun = new ClassifierLoading(config)));
    notes.push(...complete.notes());
    begun = null; // it is the model's now
    /** @type {import('../pkg/learning/denoise.js').Loading} */ (arriving).set_classifier(complete);
    return null;
  } catch (error) {
    signal.throwIfAborted();
    console.warn(error);
    return messageOf(error);
  } finally {
    /** @type {import('../pkg/learning/denoise.js').ClassifierLoading|null} */ (begun)?.free();
  }
}

/** @param {Loading} arriving @param {import('../pkg/denoise.js').Progress} progress */
async function compile(arriving, progress) {
  await tuned;
  await arriving.compile(progress);
}

/** @param {number} id @param {Files} files @param {string} folder @param {ModelFiles} small */
async function sendPreview(id, files, folder, small) {
  const preview = await readPreview(files, folder, small);
  if (preview) send(self, { type: 'preview', id, ...preview }, [/** @type {ArrayBuffer} */ (preview.batch.pixels.buffer)]);
}

/** @param {CommandOf<'check'>} command */
async function check({ id }) {
  progress(id, 'check', 0, null);
  try {
    send(self, { type: 'checked', id, report: await engine.check((_, done, total) => progress(id, 'check', done, total)) });
  } catch (error) {
    fail(id, 'check', error);
  }
}

/** @param {CommandOf<'profile'>} command */
async function profile({ id }) {
  try {
    // An engine that cannot time its layers has no such method.
    send(self, { type: 'profiled', id, profile: await engine.profile?.() ?? null });
  } catch (error) {
    fail(id, 'profile', error);
  }
}

/** @param {CommandOf<'stored'>} command */
async function listStored({ id, remove }) {
  if (remove !== undefined) await removeStored(remove);
  send(self, { type: 'stored', id, ...await storedModels() });
}

/** @param {CommandOf<'generate'>} command */
async function generate({ id, settings, run: of, origin = null, snapshot = null, end = null }) {
  let run;
  let rows;
  try {
    const beginning = await beginningOf(id, settings, origin, snapshot);
    if (!beginning) return send(self, { type: 'finished', id, stopped: true });
    run = await begin(beginning, end);
    const initial = run.initial();
    rows = run.rows();
    const { width, height } = model;
    send(self, { type: 'started', id, rows, initial, count: settings.count, width, height }, [initial.buffer]);
  } catch (error) {
    team?.restart(); // some of it may have begun
    return fail(id, error instanceof Interrupted ? 'run' : 'start', error);
  }
  try {
    const watch = of === undefined ? null : watchOf(id, of, settings.count);
    while (!stopRequested) {
      const frame = await run.next();
      if (!frame) break;
      const { step, x, x0, gradient, logits, milliseconds } = frame;
      const said = gradient && logits && { gradient, logits };
      const told = member && isTold(step + 1, rows.length, end) ? await run.snapshot() : null;
      send(self, { type: 'frame', id, step, x, x0, ...said, milliseconds, ...(told && { snapshot: told }) }, [x, x0, ...Object.values(said ?? {})].map(({ buffer }) => buffer));
      await watch?.(run, step + 1);
      // A promise that is ready at once never lets go of the thread, so a `stop` would wait.
      await macrotask();
    }
    send(self, { type: 'finished', id, stopped: stopRequested });
  } catch (error) {
    fail(id, 'run', error);
  } finally {
    await free(run);
  }
}

/** @typedef {import('./snapshots.js').Beginning} Beginning */
/** @typedef {import('./protocol.js').EngineSettings} EngineSettings */
/** @typedef {import('./protocol.js').Origin} Origin */
/** @typedef {import('./protocol.js').Snapshot} Snapshot */
/** What a run is here, be it shared out or not. @typedef {Awaited<ReturnType<typeof begin>>} AnyRun */

/** Something went wrong while another run was made once more, as it may in any run. */
class Interrupted extends Error {}

/** @param {Beginning} beginning @param {number|null} end  the evaluation before which it ends */
async function begin({ settings, snapshot }, end) {
  // The steps of a score's SDE look at all images of a batch; and what ends where it begins is not worth sharing.
  const alone = settings.sampler === 'score_sde_ve' || end === (snapshot?.row ?? 0);
  if (team && !alone) return team.start(engine, { settings, snapshot }, end);
  const run = await (snapshot ? engine.resume(settings, snapshot) : engine.start(settings));
  if (end !== null) run.end_at(end);
  return run;
}

/**
 * What a run begins with, or goes on with from a snapshot of its own. Nothing, if it is stopped before that is found.
 * @param {number} id  of the command
 * @param {EngineSettings} settings
 * @param {Origin|null} origin
 * @param {Snapshot|null} snapshot
 * @returns {Promise<Beginning|null>}
 */
async function beginningOf(id, settings, origin, snapshot) {
  if (snapshot) return resumed(settings, origin, snapshot);
  if (!origin) return { settings, snapshot: null };
  const state = await stateAt(id, origin);
  return state && forked(settings, origin, state);
}

/**
 * Where a run stood before an evaluation: as it was kept, or made once more from what is known before that.
 * @param {number} id  of the command
 * @param {Origin} at
 * @returns {Promise<Snapshot|null>}
 */
async function stateAt(id, { run: of, settings, row, origin }) {
  const near = kept.nearest(of, row);
  if (near?.row === row) return near;
  const beginning = await beginningOf(id, settings, origin, near);
  if (!beginning) return null;
  const run = await begin(beginning, row);
  try {
    const first = beginning.snapshot?.row ?? 0;
    for (let at = first; at < row; at++) {
      if (stopRequested || !await run.next()) return null;
      progress(id, 'replay', at + 1 - first, row - first);
      await macrotask();
    }
    const state = await run.snapshot();
    if (state) kept.add(of, state);
    return state;
  } catch (error) {
    throw new Interrupted(messageOf(error), { cause: error });
  } finally {
    await free(run);
  }
}

/** Milliseconds: how often a snapshot is taken, which waits for the GPU, and how often the page gets one. */
const TAKE = 250;
const TELL = 2000;
/** Bytes in a millisecond that snapshots may be. */
const RATE = 3e4;

/**
 * Keeps where a run stands now and then, and has the page know it, in case this worker should end.
 * @param {number} id  of the command
 * @param {number} of  the run
 * @param {number} count
 */
function watchOf(id, of, count) {
  const bytes = expectedBytes(model, count);
  const pause = Math.max(TAKE, bytes / RATE, isKept(bytes) ? 0 : TELL);
  let taken = performance.now();
  let told = taken;
  /** @type {Snapshot|null} */
  let newest = null;
  return async (/** @type {AnyRun} */ run, /** @type {number} */ row) => {
    if (performance.now() - taken >= pause) {
      const snapshot = await run.snapshot();
      if (snapshot) {
        kept.add(of, snapshot);
        newest = snapshot;
        taken = performance.now();
      }
    }
    // Evaluations are submitted ahead: the page gets it when it has all the frames before.
    if (!newest || row < newest.row || performance.now() - told < TELL) return;
    send(self, { type: 'snapshot', id, snapshot: newest });
    newest = null;
    told = performance.now();
  };
}

/** @param {AnyRun} run */
async function free(run) {
  try {
    await run.free();
  } catch (error) {
    console.warn(error); // after a lost device there may be nothing left to free
  }
}

/** @param {number} id @param {LoadingStage} stage @param {number} done @param {number|null} total */
function progress(id, stage, done, total, waiting = false) {
  send(self, { type: 'progress', id, stage, done, total, waiting });
}

/** Progress at most every 50 ms, but always the first and the last. @param {number} id @param {LoadingStage} stage @returns {import('../model/files.js').OnBytes} */
function throttled(id, stage) {
  let last = -Infinity;
  return (done, total, waiting = false) => {
    const now = performance.now();
    if (now - last < 50 && done !== total && !waiting) return;
    last = now;
    progress(id, stage, done, total, waiting);
  };
}
