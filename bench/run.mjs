// Compares Denoise with ONNX Runtime in the browser and with PyTorch natively: the same weights, the same inputs, by
// turns, on this machine. Prints one table, and leaves it with all numbers in target/bench/.
//
//   ./build.sh bench [--model digits ...] [--part paired ...] [--budget 40] [--hardware]
//
// It needs what `./build.sh bench` builds. Without --hardware the browser's GPU is SwiftShader, a processor in disguise,
// whose figures say nothing of a graphics card.

import { execFile } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { exists, folderOf, MODELS as FOLDERS, ONNX, OUT, prepare as prepareModel, python } from './dawn/models.mjs';
import { launch, ready, servePage } from '../tests/e2e/harness.mjs';
import { watchMemory } from './memory.mjs';
import { markdown, median } from './report.mjs';

const run = promisify(execFile);

const PYTHON = process.env.PYTHON || 'python3';

/** The engines in the browser, those that are compared side by side. */
const PAIRS = [['denoise gpu', 'ort webgpu'], ['denoise cpu', 'ort wasm']];

/** Where each model is; the convolution is none. */
const MODELS = {
  ...Object.fromEntries(['digits', 'sprites', 'cifar10'].map((model) => [model, FOLDERS.get(model)])),
  convolution: null,
};
/** Those that are timed natively too. */
const NATIVE = ['digits', 'cifar10'];
const THREADS = [1, 2];

const PARTS = ['alone', 'page', 'paired', 'native'];

const { values: options } = parseArgs({
  options: {
    model: { type: 'string', multiple: true, default: Object.keys(MODELS) },
    part: { type: 'string', multiple: true, default: PARTS },
    budget: { type: 'string', default: '40' },
    hardware: { type: 'boolean', default: false },
  },
});
/** Ends with what is wrong with the command. */
function refuse(problem) {
  console.error(problem);
  process.exit(2);
}
for (const [name, given, known] of [['model', options.model, Object.keys(MODELS)], ['part', options.part, PARTS]]) {
  const unknown = given.find((value) => !known.includes(value));
  if (unknown) refuse(`There is no ${name} ${unknown}; choose ${known.join(', ')}.`);
}
const budget = 1000 * Number(options.budget);
if (!(budget > 0)) refuse('--budget is the seconds that a pair of engines may take for a model.');

/** Turns of a pair after the first, where they fit the budget; one, where it is not exceeded by far. */
const MOST_TURNS = 10;
/** Milliseconds. What is quicker is repeated within a turn, after an evaluation that is not timed. */
const QUICK = 500;
const MOST_IN_A_TURN = 10;
/** Milliseconds of evaluations before those that are timed. */
const WARM_UP = 2000;

const say = (text) => console.error(`${new Date().toISOString().slice(11, 19)} ${text}`);

/** Makes what the engines are given, unless it is there. */
async function prepare() {
  await mkdir(OUT, { recursive: true });
  for (const model of options.model) {
    if (MODELS[model]) await prepareModel(model, 1);
    else if (!await exists(join(ONNX, model, 'inputs.json'))) await python(folderOf('bench/export_onnx.py'), model, join(ONNX, model));
  }
}

const browserOptions = { software: !options.hardware };

/** A new page of the benchmark. Failures in it are ours. */
async function openBench(browser) {
  const page = await browser.newPage();
  page.setDefaultTimeout(0);
  await page.goto(`${server.url}bench/page/`);
  await page.waitForSelector('html[data-ready]', { state: 'attached' });
  return page;
}

/** The runtime's files among those that were fetched, with their sizes as they are and gzipped. */
async function runtimeFiles(paths) {
  const folders = { pkg: folderOf('pkg'), ort: folderOf('node_modules/onnxruntime-web/dist') };
  const files = [];
  for (const path of new Set(paths)) {
    const [, mount, file] = path.match(/^\/(\w+)\/(.+)$/) ?? [];
    if (!folders[mount]) continue;
    const content = await readFile(join(folders[mount], file));
    files.push({ file, bytes: content.length, gzipped: gzipSync(content, { level: 9 }).length });
  }
  return files;
}

/** An engine in a browser of its own, from nothing to its first evaluation. */
async function alone(name, model) {
  const own = await launch(browserOptions);
  try {
    const page = await openBench(own);
    const paths = [];
    page.on('request', (request) => paths.push(new URL(request.url()).pathname));
    const memory = await watchMemory();
    const loaded = await page.evaluate(([n, m]) => globalThis.bench.load(n, m), [name, model]);
    const bytes = await memory.stop();
    const { peak_buffer_bytes: buffers } = await page.evaluate(() => globalThis.bench.counts());
    say(`${model}, ${name} alone: ${(loaded.open + loaded.load + loaded.first).toFixed(0)} ms to the first evaluation`);
    return { ...loaded, memory: bytes, buffers, files: await runtimeFiles(paths) };
  } finally {
    await own.close();
  }
}

/** The page itself, in a browser that has seen nothing, from its address to the first picture. */
async function firstPicture(backend, model) {
  const own = await launch(browserOptions);
  try {
    const page = await own.newPage({ viewport: { width: 1440, height: 900 } });
    page.setDefaultTimeout(0);
    await page.addInitScript(() => {
      // Everything that happens comes to the page as a message of its worker; see www/engine/protocol.js.
      const events = [];
      globalThis.benchEvents = events;
      globalThis.Worker = class extends globalThis.Worker {
        constructor(...given) {
          super(...given);
          events.push({ type: 'worker', time: performance.now() });
          this.addEventListener('message', ({ data: { type, stage } }) => events.push({ type, stage, time: performance.now() }));
        }
      };
    });
    const sizes = [];
    page.on('response', (response) => {
      if (new URL(response.url()).pathname.startsWith('/models/')) return;
      sizes.push(response.body().then((body) => gzipSync(body, { level: 9 }).length));
    });
    await page.goto(`${server.url}?model=./models/${model}&backend=${backend}&sampler=ddim&steps=3&count=1&seed=0`);
    await ready(page, 0);
    const clicked = await page.evaluate(() => {
      document.getElementById('generate').click();
      return performance.now();
    });
    await page.waitForFunction(() => globalThis.benchEvents.some(({ type }) => ['frame', 'failed'].includes(type)));
    const events = await page.evaluate(() => globalThis.benchEvents);
    const at = (type) => {
      const event = events.find((candidate) => candidate.type === type);
      if (!event) throw new Error(`The page never came to ${type}: ${events.at(-1).type}`);
      return event.time;
    };
    const downloaded = events.findLast(({ type, stage }) => type === 'progress' && stage === 'download').time;
    const parts = {
      page: at('worker'),
      engine: at('backend') - at('worker'),
      download: downloaded - at('backend'),
      // What is left of it then: shaders are compiled and weights uploaded meanwhile.
      compile: at('model') - downloaded,
      first: at('frame') - clicked,
    };
    parts.total = Object.values(parts).reduce((sum, part) => sum + part, 0);
    say(`${model}, the page on ${backend}: ${parts.total.toFixed(0)} ms to the first picture`);
    return { ...parts, bytes: (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0) };
  } finally {
    await own.close();
  }
}

/** What is asked of WebGPU for one evaluation more. */
const difference = (more, less) => Object.fromEntries(Object.entries(more).map(([what, value]) => [what, value - less[what]]));

/**
 * Two engines in one page, by turns.
 * @param {import('playwright-core').Page} page
 * @param {[string, string]} names  ours and theirs
 * @param {string} model
 */
async function pair(page, names, model) {
  const [ours, theirs] = names;
  const evaluate = (name, count, lead) => page.evaluate(([n, c, l]) => globalThis.bench.evaluate(n, c, l), [name, count, lead]);
  const results = {};
  for (const name of names) {
    // Wasm is compiled once more while it runs, and shaders when they are first used.
    let { first: warm } = await page.evaluate(([n, m]) => globalThis.bench.load(n, m), [name, model]);
    while (warm < WARM_UP) {
      const begin = performance.now();
      await evaluate(name, 0, true);
      warm += performance.now() - begin;
    }
    results[name] = { milliseconds: [] };
  }
  // A run of ours does some things once, so an evaluation is what one of two does beyond one of one.
  const once = { [ours]: (await evaluate(ours, 0)).counts, [theirs]: null };

  const block = { [ours]: 1, [theirs]: 1 };
  const ratios = [];
  /** One turn: a block of evaluations of each. Who begins, changes. */
  const turn = async () => {
    const medians = {};
    for (const name of ratios.length % 2 ? [theirs, ours] : names) {
      const { milliseconds, counts } = await evaluate(name, block[name], block[name] > 1);
      medians[name] = median(milliseconds);
      results[name].milliseconds.push(...milliseconds);
      results[name].counts ??= once[name] ? difference(counts, once[name]) : counts;
    }
    ratios.push(medians[theirs] / medians[ours]);
  };
  await turn();
  for (const name of names) block[name] = Math.min(MOST_IN_A_TURN, Math.ceil(QUICK / results[name].milliseconds[0]));
  const expected = names.reduce((sum, name) => sum + (block[name] + 1) * results[name].milliseconds[0], 0);
  const more = Math.min(MOST_TURNS, Math.max(expected < 2 * budget ? 1 : 0, Math.floor(budget / expected)));
  for (let i = 0; i < more; i++) await turn();
  for (const name of names) {
    const { milliseconds } = results[name];
    say(`${model}, ${name}: ${median(milliseconds).toFixed(1)} ms (${Math.min(...milliseconds).toFixed(1)}–${Math.max(...milliseconds).toFixed(1)}, ${milliseconds.length})`);
  }
  return { ...results, ratio: median(ratios), turns: ratios.length };
}

/** bench/native.rs: the times of evaluations, and what there is to compute. */
async function denoiseNatively(model, threads, evaluations) {
  const cargo = ['run', '--release', '--quiet', '--example', 'native', '--', MODELS[model], '--evaluations', `${evaluations}`, '--json'];
  const { stdout } = await run('cargo', cargo, { cwd: folderOf(''), env: { ...process.env, RAYON_NUM_THREADS: `${threads}` } });
  return JSON.parse(stdout);
}

/** Denoise and PyTorch natively, by turns. */
async function native(model, threads) {
  const theirs = async (evaluations) => {
    const command = [folderOf('bench/pytorch.py'), MODELS[model], '--threads', `${threads}`, '--evaluations', `${evaluations}`];
    return JSON.parse((await run(PYTHON, command)).stdout);
  };
  const result = { denoise: { milliseconds: [] }, pytorch: { milliseconds: [] } };
  const turns = [];
  for (let round = 0; round < 3; round++) {
    const [mine, other] = [await denoiseNatively(model, threads, 10), await theirs(10)];
    result.denoise.milliseconds.push(...mine.milliseconds);
    result.pytorch.milliseconds.push(...other.milliseconds);
    turns.push(median(other.milliseconds) / median(mine.milliseconds));
    result.versions = other.versions;
  }
  say(`${model}, natively on ${threads}: ${median(result.denoise.milliseconds).toFixed(1)} ms, PyTorch ${median(result.pytorch.milliseconds).toFixed(1)} ms`);
  return { ...result, ratio: median(turns), turns: turns.length };
}

await prepare();
const server = await servePage({
  '/bench/': folderOf('bench'),
  '/ort/': folderOf('node_modules/onnxruntime-web/dist'),
  '/onnx/': ONNX,
  '/convolution/': join(OUT, 'convolution'),
  ...Object.fromEntries(options.model.filter((model) => MODELS[model]).map((model) => [`/models/${model}/`, MODELS[model]])),
});
const browser = await launch(browserOptions);
const results = { date: new Date().toISOString(), models: {} };
try {
  results.machine = await describeMachine();
  results.versions = await describeVersions();
  for (const model of options.model) {
    results.models[model] = await measure(model);
    // What is there is kept, should a later model fail.
    await writeFile(join(OUT, 'results.json'), `${JSON.stringify(results, null, 2)}\n`);
    await writeFile(join(OUT, 'results.md'), markdown(results));
  }
} finally {
  await browser.close();
  await server.close();
}
console.log(markdown(results));

async function describeMachine() {
  const page = await openBench(browser);
  const adapter = await page.evaluate(() => globalThis.bench.adapter());
  await page.close();
  return { cpu: cpus()[0].model.trim(), threads: cpus().length, adapter };
}

async function describeVersions() {
  const { version } = JSON.parse(await readFile(folderOf('node_modules/onnxruntime-web/package.json'), 'utf8'));
  return { browser: `Chromium ${browser.version()}`, 'onnxruntime-web': version };
}

/** Everything that was asked for, of one model. @param {string} model */
async function measure(model) {
  const does = (part) => options.part.includes(part);
  const network = MODELS[model] !== null;
  const example = JSON.parse(await readFile(join(ONNX, model, 'inputs.json'), 'utf8'));
  Object.assign(results.versions, example.versions);
  const { macs, plans } = network ? await denoiseNatively(model, 1, 1) : example;
  const result = { example, plan: { macs, plans }, alone: {}, page: {}, paired: {}, native: {} };
  if (does('alone')) {
    for (const name of PAIRS.flat()) result.alone[name] = await alone(name, model);
  }
  if (does('page') && network) {
    for (const backend of ['gpu', 'cpu']) result.page[backend] = await firstPicture(backend, model);
  }
  if (does('paired')) {
    for (const names of PAIRS) {
      const page = await openBench(browser);
      result.paired[names[0]] = await pair(page, names, model);
      await page.close();
    }
  }
  if (does('native') && NATIVE.includes(model)) {
    for (const threads of THREADS) result.native[threads] = await native(model, threads);
  }
  return result;
}
