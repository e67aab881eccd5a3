// Compares Denoise with ONNX Runtime in the browser and with PyTorch natively: the same weights, the same inputs, by
// turns, on this machine. Prints one table, and leaves it with all numbers in target/bench/.
//
//   ./build.sh bench [--model digits ...] [--part paired ...] [--budget 40] [--hardware]
//
// It needs what `./build.sh bench` builds. Without --hardware the browser's GPU is SwiftShader, a processor in disguise,
// whose figures say nothing of a graphics card.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { access, mkdir, readFile, writeFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { folderOf, launch, ready, servePage } from '../tests/e2e/harness.mjs';
import { watchMemory } from './memory.mjs';
import { markdown, median } from './report.mjs';

const run = promisify(execFile);

const OUT = folderOf('target/bench');
const PYTHON = process.env.PYTHON || 'python3';

/** The engines in the browser, those that are compared side by side. */
const PAIRS = [['denoise gpu', 'ort webgpu'], ['denoise cpu', 'ort wasm']];

/** Where each model is; the convolution is none. */
const MODELS = {
  digits: folderOf('www/models/digits'),
  sprites: folderOf('www/models/sprites'),
  cifar10: join(OUT, 'models/cifar10'),
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
for (const model of options.model) assert.ok(model in MODELS, `There is no model ${model}; choose ${Object.keys(MODELS).join(', ')}.`);
for (const part of options.part) assert.ok(PARTS.includes(part), `There is no part ${part}; choose ${PARTS.join(', ')}.`);
const budget = 1000 * Number(options.budget);
assert.ok(budget > 0, '--budget is the seconds that a pair of engines may take for a model.');

/** At most so many turns of a pair, and at least so many where they fit the budget twice over. */
const MOST_ROUNDS = 10;
/** An evaluation that is quicker than this is repeated within a turn, and comes after one that is not timed. */
const QUICK = 500;

const say = (text) => console.error(`${new Date().toISOString().slice(11, 19)} ${text}`);
const exists = (path) => access(path).then(() => true, () => false);

/** Makes what the engines are given, unless it is there. */
async function prepare() {
  await mkdir(OUT, { recursive: true });
  const python = async (...command) => {
    say(command.join(' ').replaceAll(folderOf(''), ''));
    await run(PYTHON, command);
  };
  if (options.model.includes('cifar10') && !await exists(join(MODELS.cifar10, 'expected.safetensors'))) {
    await python(folderOf('tests/golden/full_size.py'), 'cifar10', MODELS.cifar10);
  }
  for (const model of options.model) {
    const folder = join(OUT, 'onnx', model);
    if (await exists(join(folder, 'inputs.json'))) continue;
    await python(folderOf('bench/export_onnx.py'), MODELS[model] ?? model, folder);
  }
}

const browserOptions = { software: !options.hardware };

/** A new page of the benchmark. Failures in it are ours. */
async function openBench(browser, server) {
  const page = await browser.newPage();
  page.setDefaultTimeout(0);
  await page.goto(`${server.url}bench/`);
  await page.waitForSelector('html[data-ready]', { state: 'attached' });
  return page;
}

/** The runtime's files among those that were fetched, with their sizes as they are and gzipped. */
async function runtimeFiles(paths) {
  const folders = { pkg: folderOf('pkg'), ort: folderOf('node_modules/onnxruntime-web/dist'), convolution: join(OUT, 'convolution') };
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
async function alone(server, name, model) {
  const browser = await launch(browserOptions);
  try {
    const page = await openBench(browser, server);
    const paths = [];
    page.on('request', (request) => paths.push(new URL(request.url()).pathname));
    const memory = await watchMemory();
    const loaded = await page.evaluate(([n, m]) => globalThis.bench.load(n, m), [name, model]);
    const bytes = await memory.stop();
    const { peak_buffer_bytes: buffers } = await page.evaluate(() => globalThis.bench.counts());
    say(`${model}, ${name} alone: ${(loaded.open + loaded.load + loaded.first).toFixed(0)} ms to the first evaluation`);
    return { ...loaded, memory: bytes, buffers, files: await runtimeFiles(paths) };
  } finally {
    await browser.close();
  }
}

/** The page itself, in a browser that has seen nothing, from its address to the first picture. */
async function firstPicture(server, backend, model) {
  const browser = await launch(browserOptions);
  try {
    const page = await browser.newPage({ viewport: { width: 1440, height: 900 } });
    page.setDefaultTimeout(0);
    await page.addInitScript(() => {
      // Everything that happens comes to the page as a message of its worker; see www/protocol.js.
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
    let bytes = 0;
    page.on('response', async (response) => {
      if (!new URL(response.url()).pathname.startsWith('/models/')) bytes += gzipSync(await response.body().catch(() => Buffer.alloc(0)), { level: 9 }).length;
    });
    await page.goto(`${server.url}?model=./models/${model}&backend=${backend}&sampler=ddim&steps=3&count=1&seed=0`);
    await ready(page, 0);
    const clicked = await page.evaluate(() => {
      document.getElementById('generate').click();
      return performance.now();
    });
    await page.waitForFunction(() => globalThis.benchEvents.some(({ type }) => ['frame', 'failed'].includes(type)));
    const events = await page.evaluate(() => globalThis.benchEvents);
    const at = (type, stage) => {
      const event = events.find((candidate) => candidate.type === type && (!stage || candidate.stage === stage));
      if (!event) throw new Error(`The page never came to ${stage ?? type}: ${events.at(-1).type}`);
      return event.time;
    };
    const parts = {
      page: at('worker'),
      engine: at('backend') - at('worker'),
      download: at('progress', 'parse') - at('backend'),
      compile: at('model') - at('progress', 'parse'),
      first: at('frame') - clicked,
    };
    parts.total = Object.values(parts).reduce((sum, part) => sum + part, 0);
    say(`${model}, the page on ${backend}: ${parts.total.toFixed(0)} ms to the first picture`);
    return { ...parts, bytes };
  } finally {
    await browser.close();
  }
}

/** Two engines in one page, by turns. */
async function pair(page, [ours, theirs], model) {
  const load = (name) => page.evaluate(([n, m]) => globalThis.bench.load(n, m), [name, model]);
  const evaluate = (name, count, lead) => page.evaluate(([n, c, l]) => globalThis.bench.evaluate(n, c, l), [name, count, lead]);
  const results = {};
  for (const name of [ours, theirs]) {
    const { relative, levels } = await load(name);
    results[name] = { milliseconds: [], error: { relative, levels } };
    // Wasm is compiled once more while it runs, and shaders when they are first used.
    for (const begin = performance.now(); performance.now() - begin < 2000;) await evaluate(name, 0, true);
  }

  // Of our runs, what one of two evaluations does beyond one of one is what an evaluation does.
  const perEvaluation = (more, less) => Object.fromEntries(Object.entries(more).map(([what, value]) => [what, value - (less?.[what] ?? 0)]));
  const short = await evaluate(ours, 0);
  const block = {};
  let turn = 0;
  const turns = [];
  const take = async (counts) => {
    const blocks = {};
    for (const name of [ours, theirs]) {
      const count = block[name] ?? 1;
      const begin = performance.now();
      const result = await evaluate(name, count, block[name] > 1);
      turn += performance.now() - begin;
      blocks[name] = median(result.milliseconds);
      results[name].milliseconds.push(...result.milliseconds);
      if (counts) results[name].counts = perEvaluation(result.counts, name === ours ? short.counts : undefined);
    }
    turns.push(blocks[theirs] / blocks[ours]);
  };
  await take(true);
  for (const name of [ours, theirs]) {
    const [once] = results[name].milliseconds;
    block[name] = once < QUICK ? Math.min(10, Math.ceil(QUICK / once)) : 1;
  }
  const repeated = [ours, theirs].reduce((sum, name) => sum + (block[name] + 1) * results[name].milliseconds[0], 0);
  const rounds = Math.min(MOST_ROUNDS, Math.max(1, Math.floor((budget - turn) / repeated)));
  for (let round = 0; round < rounds; round++) await take(false);
  for (const name of [ours, theirs]) {
    const { milliseconds } = results[name];
    say(`${model}, ${name}: ${median(milliseconds).toFixed(1)} ms (${Math.min(...milliseconds).toFixed(1)}–${Math.max(...milliseconds).toFixed(1)}, ${milliseconds.length})`);
  }
  return { ...results, ratio: median(turns), turns: turns.length };
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
  '/bench/': folderOf('bench/page'),
  '/ort/': folderOf('node_modules/onnxruntime-web/dist'),
  '/onnx/': join(OUT, 'onnx'),
  '/convolution/': join(OUT, 'convolution'),
  ...Object.fromEntries(options.model.filter((model) => MODELS[model]).map((model) => [`/models/${model}/`, MODELS[model]])),
});
const does = (part) => options.part.includes(part);
const results = { date: new Date().toISOString(), models: {} };
try {
  const browser = await launch(browserOptions);
  const page = await openBench(browser, server);
  const onnxruntime = JSON.parse(await readFile(folderOf('node_modules/onnxruntime-web/package.json'), 'utf8')).version;
  results.machine = { cpu: cpus()[0].model.trim(), threads: cpus().length, adapter: await page.evaluate(() => globalThis.bench.adapter()) };
  results.versions = { browser: `Chromium ${browser.version()}`, 'onnxruntime-web': onnxruntime };
  await page.close();
  for (const model of options.model) {
    const result = { example: JSON.parse(await readFile(join(OUT, 'onnx', model, 'inputs.json'), 'utf8')), alone: {}, page: {}, paired: {}, native: {} };
    results.models[model] = result;
    Object.assign(results.versions, result.example.versions);
    const { macs, plans } = MODELS[model] ? await denoiseNatively(model, 1, 1) : result.example;
    result.plan = { macs, plans };
    if (does('alone')) {
      for (const name of PAIRS.flat()) result.alone[name] = await alone(server, name, model);
    }
    if (does('page') && MODELS[model]) {
      for (const backend of ['gpu', 'cpu']) result.page[backend] = await firstPicture(server, backend, model);
    }
    if (does('paired')) {
      for (const names of PAIRS) {
        const together = await openBench(browser, server);
        result.paired[names[0]] = await pair(together, names, model);
        await together.close();
      }
    }
    if (does('native') && NATIVE.includes(model)) {
      for (const threads of THREADS) result.native[threads] = await native(model, threads);
    }
  }
  await browser.close();
} finally {
  await server.close();
}
const table = markdown(results);
await writeFile(join(OUT, 'results.json'), `${JSON.stringify(results, null, 2)}\n`);
await writeFile(join(OUT, 'results.md'), table);
console.log(table);
