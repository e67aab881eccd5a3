// The worker that owns the engine. It fetches and stores models, drives runs step by step and sends what it
// gets to the page; see protocol.js for the messages.

import { removeStored, storedModels } from '../model/cache.js';
import { LocalFiles, findNetworks, openFiles, readModel } from '../model/files.js';
import { join, nameOfFolder } from '../model/networks.js';
import { listen, send } from './protocol.js';
import { Team } from './team.js';
import { tune } from './tuning.js';

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

/** How many images the page makes by itself: the most of these that the device does with ease. */
const COUNTS = [16, 9, 4, 1];
/** What that is, in parameters × pixels: a rough measure of an evaluation's work. */
const EASY = { gpu: 1e12, cpu: 1.5e11 };

listen(self, {
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
});

function nextLoading() {
  loading.abort();
  loading = new AbortController();
  return loading.signal;
}

function enqueue({ id }, job) {
  queue = queue.then(job).catch((error) => fail(id, 'engine', error));
}

function fail(id, during, error, more = {}) {
  console.warn(error);
  send(self, { type: 'failed', id, during, message: error?.message || String(error), ...more });
}

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
  await load({ id, source, options }, signal);
}

async function loadLibrary() {
  library ??= import('../pkg/denoise.js').then(async (module) => {
    await module.default();
    return module;
  });
  return library;
}

/** Finds out whether there is a model among the visitor's files, and what to call it. */
async function arrange({ id, files }) {
  const answer = { type: 'arranged', id, name: null, problem: null };
  try {
    const [{ folder }] = await findNetworks(new LocalFiles(files, new AbortController().signal), await loadLibrary());
    send(self, { ...answer, name: nameOfFolder(folder) });
  } catch (error) {
    send(self, { ...answer, problem: error.message });
  }
}

async function load({ id, source, options }, signal) {
  if (signal.aborted) return;
  progress(id, 'download', 0, null);
  let settings;
  let compiled = tuned;
  /** What packs and uploads the weights while they arrive. @type {import('../pkg/denoise.js').Loading|null} */
  let arriving = null;
  const download = new AbortController();
  signal.addEventListener('abort', () => download.abort(signal.reason));
  try {
    const { Loading, ...library } = await loadLibrary();
    const files = await openFiles(source, download.signal, member);
    const networks = await findNetworks(files, library, source);
    let downloaded = false;
    const { small, network, variant } = await readModel(files, networks, source, throttled(id, 'download'), (small, folder) => {
      const fixed = { precision: options.precision, guided: isGuided(small.card, options.guidance) };
      settings = { count: countThatFits(small, options.count, fixed), ...fixed };
      arriving = new Loading(engine, small, settings);
      // What is compiled does not depend on the weights, so it need not wait for them; the page hears of the slower one.
      compiled = compile(arriving, (...done) => downloaded && progress(id, ...done));
      // What the device cannot run need not arrive.
      compiled.catch((error) => download.abort(error));
      // Not waited for: it is decoration.
      if (!member) sendPreview(id, files, folder, small);
      return arriving;
    });
    downloaded = true;
    await compiled;
    const complete = arriving;
    arriving = null; // it is the engine's now
    model = await engine.load(complete, (stage, done, total) => stage === 'parse' && progress(id, stage, done, total));
    const assumed = small.scheduler === null && small.model_index === null ? 'It has no scheduler_config.json, so DDPM’s defaults are assumed: 1000 steps, linear β from 0.0001 to 0.02, ε-prediction.' : '';
    const problem = member ? null : await files.settle();
    team?.end();
    // A team needs the files again, so they have to be stored.
    team = !member && !problem && engine.backend().kind === 'cpu' ? new Team(source, model, settings.count) : null;
    const note = [assumed, problem].filter(Boolean).join(' ');
    const choices = networks.map(({ folder, variants }) => ({ folder, variants: variants.map(({ name }) => name) }));
    send(self, { type: 'model', id, source, networks: choices, network, variant, model, count: settings.count, note: note || null });
  } catch (error) {
    if (!signal.aborted) fail(id, 'load', error, { source, fits: error?.fits });
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

async function compile(arriving, progress) {
  await tuned;
  await arriving.compile(progress);
}

/** Whether the page begins with guidance, for which the network is asked twice. @param {string|null} card @param {number|null} asked */
function isGuided(card, asked) {
  const { null_class: none = null, guidance = null } = readCard(card);
  return none !== null && (asked ?? guidance ?? 1) !== 1;
}

/** What a damaged card should have said the engine says. @param {string|null} text */
function readCard(text) {
  try {
    return JSON.parse(text ?? '{}') ?? {};
  } catch {
    return {};
  }
}

/**
 * Checks that the device has the memory, before anything large is fetched.
 * @param {string} config
 * @param {number|null} asked  null: as many as are made with ease
 * @param {{precision: string, guided: boolean}} fixed
 */
function countThatFits(small, asked, fixed) {
  const seen = new Map();
  /** Asked once for each count: with large models it takes a while. */
  const needs = (count) => {
    if (!seen.has(count)) seen.set(count, engine.requirements(small, { count, ...fixed }));
    return seen.get(count);
  };
  const problemOf = (count) => {
    try {
      return needs(count).problem;
    } catch (error) {
      return error.message; // a value of a size that no device has
    }
  };
  const roomFor = (most) => COUNTS.find((count) => count <= most && !problemOf(count));
  const count = asked ?? roomFor(easyCount(needs(1))) ?? 1;
  const problem = problemOf(count);
  if (problem) throw Object.assign(new Error(problem), { fits: roomFor(count - 1) });
  return count;
}

/** As many images as a step of is made with ease, as far as that can be told before the model is there. */
function easyCount({ parameters, width, height }) {
  return COUNTS.find((count) => parameters * height * width * count <= EASY[engine.backend().kind]) ?? 1;
}

async function check({ id }) {
  progress(id, 'check', 0, null);
  try {
    send(self, { type: 'checked', id, report: await engine.check((_, done, total) => progress(id, 'check', done, total)) });
  } catch (error) {
    fail(id, 'check', error);
  }
}

async function profile({ id }) {
  try {
    // An engine that cannot time its layers has no such method.
    send(self, { type: 'profiled', id, profile: await engine.profile?.() ?? null });
  } catch (error) {
    fail(id, 'profile', error);
  }
}

async function listStored({ id, remove }) {
  if (remove !== undefined) await removeStored(remove);
  send(self, { type: 'stored', id, ...await storedModels() });
}

async function generate({ id, settings }) {
  let run;
  try {
    // The steps of a score's SDE look at all images of a batch.
    const shared = team && settings.sampler !== 'score_sde_ve';
    run = await (shared ? team.start(engine, settings) : engine.start(settings));
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

function progress(id, stage, done, total, waiting = false) {
  send(self, { type: 'progress', id, stage, done, total, waiting });
}

/** Progress at most every 50 ms, but always the first and the last. */
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

/**
 * Sends the sample that comes with a model, if its card names one: a PNG that holds a grid of images.
 * It is decoration, so whatever is wrong with it must not keep the model from loading.
 */
async function sendPreview(id, files, folder, { config, card }) {
  try {
    const { preview } = readCard(card);
    if (!preview) return;
    const size = [JSON.parse(config).sample_size].flat();
    const [height, width] = [size[0], size.at(-1)];
    const file = await files.blob(join(folder, preview.file));
    if (!file) throw new Error(`${preview.file} is not there`);
    const picture = await createImageBitmap(file);
    const columns = picture.width / width;
    const count = columns * (picture.height / height);
    if (!Number.isInteger(count) || !Number.isInteger(columns)) throw new Error(`${preview.file} is not a grid of ${width}×${height} images`);
    const context = new OffscreenCanvas(picture.width, picture.height).getContext('2d');
    context.drawImage(picture, 0, 0);
    const pixels = new Uint8Array(count * width * height * 4);
    for (let i = 0; i < count; i++) {
      const image = context.getImageData((i % columns) * width, Math.floor(i / columns) * height, width, height);
      pixels.set(image.data, i * image.data.length);
    }
    const batch = { pixels, count, width, height };
    send(self, { type: 'preview', id, batch, caption: String(preview.caption ?? '') }, [pixels.buffer]);
  } catch (error) {
    console.warn('No preview:', error.message);
  }
}
