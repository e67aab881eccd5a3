// The worker that owns the engine. It fetches and stores models, drives runs step by step and sends what it
// gets to the page; see protocol.js for the messages.

import { removeStored, storedModels } from '../model/cache.js';
import { findNetworks, openFiles, readModel } from '../model/files.js';
import { LocalFiles } from '../model/local-files.js';
import { nameOfFolder } from '../model/networks.js';
import { messageOf } from '../words/messages.js';
import { isGuided, readPreview } from './card.js';
import { TooLarge, countThatFits } from './count.js';
import { listen, send } from './protocol.js';
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

/** The engine's library, once somebody has asked for it. @type {Promise<typeof import('../pkg/denoise.js')>|null} */
let library = null;
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
async function open({ id, backend, source, options, autotune, member: ofTeam = false }, signal) {
  member = ofTeam;
  progress(id, 'engine', 0, 1);
  try {
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
    const { small, network, variant } = await readModel(files, networks, source, throttled(id, 'download'), (small, folder) => {
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
    downloaded = true;
    await compiled;
    const complete = arriving;
    if (!complete) throw new Error('The weights went nowhere.');
    arriving = null; // it is the engine's now
    model = await engine.load(complete, (stage, done, total) => {
      if (stage === 'parse') progress(id, stage, done, total);
    });
    const assumed = small.scheduler === null && small.model_index === null ? 'It has no scheduler_config.json, so DDPM’s defaults are assumed: 1000 steps, linear β from 0.0001 to 0.02, ε-prediction.' : '';
    const problem = member ? null : await files.settle();
    team?.end();
    // A team needs the files again, so they have to be stored.
    team = !member && !problem && engine.backend().kind === 'cpu' ? new Team(source, model, count) : null;
    const note = [assumed, problem].filter(Boolean).join(' ');
    const choices = networks.map(({ folder, variants }) => ({ folder, variants: variants.map(({ name }) => name) }));
    send(self, { type: 'model', id, source, networks: choices, network, variant, model, count, note: note || null });
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
async function generate({ id, settings }) {
  let run;
  try {
    // The steps of a score's SDE look at all images of a batch.
    const shared = settings.sampler === 'score_sde_ve' ? null : team;
    run = await (shared ? shared.start(engine, settings) : engine.start(settings));
    const initial = run.initial();
    const { width, height } = model;
    send(self, { type: 'started', id, rows: run.rows(), initial, count: settings.count, width, height }, [initial.buffer]);
  } catch (error) {
    team?.restart(); // some of it may have begun
    return fail(id, 'start', error);
  }
  try {
    while (!stopRequested) {
      const frame = await run.next();
      if (!frame) break;
      const { step, x, x0, milliseconds } = frame;
      send(self, { type: 'frame', id, step, x, x0, milliseconds }, [x.buffer, x0.buffer]);
      // A promise that is ready at once never lets go of the thread, so a `stop` would wait.
      await macrotask();
    }
    send(self, { type: 'finished', id, stopped: stopRequested });
  } catch (error) {
    fail(id, 'run', error);
  } finally {
    try {
      await run.free();
    } catch (error) {
      console.warn(error); // after a lost device there may be nothing left to free
    }
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

const { port1, port2 } = new MessageChannel();

/** Resolves after the messages that are waiting now; setTimeout would cost 4 ms each time. */
function macrotask() {
  return new Promise((resolve) => {
    port1.onmessage = resolve;
    port2.postMessage(null);
  });
}
