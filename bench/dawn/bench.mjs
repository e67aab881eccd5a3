// Compares Denoise's WebGPU with onnxruntime-web's without a browser: both in Dawn, Chrome's own WebGPU, in one Node, by
// turns, with the same weights and input. Prints a table and leaves it with all numbers in target/bench/dawn/.
//
//   ./build.sh bench --dawn [--hardware] [--model digits ...] [--count 1 ...] [--engine NAME ...] [--part PART ...]
//                           [--seconds 1] [--turns 5] [--budget 150] [--limit SECONDS] [--tuning TEXT]
//
// The budget is of seconds, for a case, for comparing its layers with the CPU's, and for a model's variants. After the
// limit, counted from the beginning, no case and no variant is begun: all models come with the first count before any has the
// next, and variants in between, for which a part of the limit is kept. What is left out is said to be. --tuning takes the
// kernels that the text of an earlier tuning names, in place of asking the device which are fastest.
//
// It fails if Denoise breaks off, if its device rejects a command or is lost, if it computes anything else than its CPU does,
// or if the same seed gives other bits another time. What befalls onnxruntime-web is told and fails nothing. Whatever fails,
// the rest goes on, and the results are saved as they come.

import { mkdir, writeFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { openAdapter, problems, workOf } from './device.mjs';
import { measurePeak } from './peak.mjs';
import { markdown } from './report.mjs';
import { median } from '../report.mjs';

// Its methods are wrapped when it is imported, so after the device.
const { counts } = await import('../counts.js');
const { engine: make } = await import('../engines.js');

/** The names of the engines; see bench/engines.js. */
const ENGINES = ['denoise gpu f32', 'denoise gpu f16', 'ort webgpu cpu', 'ort webgpu gpu', 'ort webgpu graph'];
/**
 * check: every layer against the CPU's, and the same bits twice; paired: times by turns; layers: each by itself, with the
 * first count; variants: every kind of kernel by itself, checked and timed.
 */
const PARTS = ['check', 'paired', 'layers', 'variants'];
/** Kinds of convolutions, as src/tuning.rs calls them; quads need subgroups. */
const VARIANTS = ['counted', 'halo', 'gemm', 'large-gemm', 'direct', 'quads'];

const isOurs = (engine) => !engine.startsWith('ort');

/**
 * @param {string[]} given  the command's arguments
 * @param {object} place
 * @param {string} place.out  the folder of the results
 * @param {string[]} place.models
 * @param {import('../engines.js').Files} place.files
 * @param {(model: string, count: number) => Promise<void>} [place.prepare]  makes what is not there yet
 * @param {boolean} [place.hardware]  whether a device in software is a failure
 */
export async function bench(given, { out, models, files, prepare = async () => {}, hardware = false }) {
  const options = parse(given, models);
  const adapter = await openAdapter();
  const half = adapter.features.has('shader-f16');
  const kinds = VARIANTS.filter((variant) => variant !== 'quads' || adapter.features.has('subgroups'));
  const { vendor, architecture, device, description, subgroupMinSize, subgroupMaxSize } = adapter.info;
  const software = adapter.info.isFallbackAdapter || architecture === 'software';
  const parts = options.part ?? PARTS.filter((part) => part !== 'variants' || !software);
  const results = {
    date: new Date().toISOString(), node: process.version, cpu: cpus()[0].model.trim(),
    adapter: { vendor, architecture, device, description, subgroupMinSize, subgroupMaxSize, half },
    software, cases: [], variants: [], failures: [], problems,
  };
  const name = [vendor, architecture, device, description].filter(Boolean).join(' ');
  say(`${name}, ${half ? 'with' : 'without'} 16 bits${software ? ', in software' : ''}`);
  const fail = (what) => {
    results.failures.push(what);
    say(what);
  };
  if (software && hardware) fail(`a GPU was asked for, and Dawn took a driver in software, ${name}`);
  await mkdir(out, { recursive: true });
  const save = async () => {
    await writeFile(join(out, 'results.json'), `${JSON.stringify(results, null, 1)}\n`);
    await writeFile(join(out, 'results.md'), markdown(results));
  };
  try {
    results.peak = await measurePeak(adapter, software);
    say(`${results.peak.gflops.toFixed(0)} GFLOP/s in a matrix product, ${results.peak.gigabytes.toFixed(1)} GB/s in a copy, ${results.peak.dispatch.toFixed(1)} µs a dispatch`);
  } catch (error) {
    fail(`what the device can do at most: ${error?.message ?? error}`);
  }
  await save();

  const names = options.engine.filter((engine) => half || !engine.endsWith('f16'));
  const work = { options, parts, files, prepare, results, fail, save, names, rates: new Map() };
  const [first, ...more] = options.count;
  const withVariants = parts.includes('variants');
  for (const model of options.model) await tryCase(model, first, withVariants ? FIRST_SHARE * options.limit : options.limit, work);
  if (withVariants) {
    const begin = performance.now() / 1000;
    for (const [i, model] of options.model.entries()) {
      const share = VARIANTS_SHARE * options.limit * (i + 1) / options.model.length;
      await tryVariants(model, half ? ['f32', 'f16'] : ['f32'], kinds, Math.min(options.limit, begin + share), work);
    }
  }
  for (const count of more) {
    for (const model of options.model) await tryCase(model, count, options.limit, work);
  }
  workOf('the benchmark');
  await save();
  console.log(markdown(results));
  return results.failures.length + problems.filter(({ engine }) => isOurs(engine)).length;
}

/** How much of the limit there is for all models with the first count, and then for variants. */
const FIRST_SHARE = 0.5;
const VARIANTS_SHARE = 0.2;
/** Evaluations of an engine that a case has at least. */
const LEAST_EVALUATIONS = 7;
/** Multiply-adds. What has fewer may take as long as its dispatches take to begin, which says nothing of what has more. */
const LEAST_MACS = 1e9;
/** Steps of a block that is timed, unless one takes longer than these milliseconds: the first and the last step wait for each other. */
const LEAST_STEPS = 4;
const LONG = 1000;
/** Milliseconds of evaluations before those that are timed. */
const WARM_UP = 500;
/** The largest difference of x̂0 that Denoise may have, of 255 levels: half of one is rounding. */
const LEVELS = 1;
/** Steps of the runs whose bits are compared. */
const STEPS = 3;

/** Whether so many seconds have passed since the beginning. */
const isOver = (seconds) => performance.now() > 1000 * seconds;

const messageOf = (error) => String(error?.message ?? error).slice(0, 400);

/** Says why a case is left out: "it …". */
function leaveOut(found, why) {
  found.skipped = why;
  say(`${found.model} ×${found.count}: left out, it ${why}`);
}

const say = (text) => console.error(`${(performance.now() / 1000).toFixed(1).padStart(6)} s  ${text}`);

function parse(given, models) {
  const { values } = parseArgs({
    args: given,
    options: {
      model: { type: 'string', multiple: true, default: models },
      count: { type: 'string', multiple: true, default: ['1', '16'] },
      engine: { type: 'string', multiple: true, default: ENGINES },
      part: { type: 'string', multiple: true },
      tuning: { type: 'string' },
      seconds: { type: 'string', default: '1' },
      turns: { type: 'string', default: '5' },
      budget: { type: 'string', default: '150' },
      limit: { type: 'string', default: 'Infinity' },
    },
  });
  for (const [name, chosen, known] of [['model', values.model, models], ['engine', values.engine, ENGINES], ['part', values.part ?? [], PARTS]]) {
    const unknown = chosen.find((value) => !known.includes(value));
    if (unknown) throw new Error(`There is no ${name} ${unknown}; choose ${known.join(', ')}.`);
  }
  const number = (name, whole) => (value) => {
    const read = Number(value);
    if (!(read > 0) || whole && !Number.isInteger(read)) throw new Error(`--${name} is ${whole ? 'a whole number' : 'a number of seconds'} above 0, not ${value}.`);
    return read;
  };
  return {
    ...values,
    count: values.count.map(number('count', true)),
    turns: number('turns', true)(values.turns),
    seconds: number('seconds')(values.seconds),
    budget: number('budget')(values.budget),
    limit: number('limit')(values.limit),
  };
}

/** Steps of a block that takes some so many milliseconds. */
function blockOf(milliseconds, step) {
  const least = step > LONG ? 1 : LEAST_STEPS;
  return Math.max(least, Math.min(MOST, Math.round(milliseconds / step)));
}

/** A model with a number of images, unless it would begin too late or take too long. */
async function tryCase(model, count, until, work) {
  const { options, files, prepare, results, fail, save, names, rates } = work;
  const found = { model, count, engines: {} };
  results.cases.push(found);
  workOf('the benchmark');
  try {
    if (isOver(until)) {
      leaveOut(found, `would begin after ${Math.round(until)} s`);
      return;
    }
    await prepare(model, count);
    const { macs, ...inputs } = JSON.parse(new TextDecoder().decode(await files.read(`onnx/${model}/inputs.json`)));
    Object.assign(found, { macs: macs * count, parameters: inputs.parameters, shape: inputs.shape });
    const expected = names.reduce((sum, name) => sum + LEAST_EVALUATIONS * (rates.get(name) ?? 0) * found.macs, 0);
    if (expected > 1000 * options.budget) {
      leaveOut(found, `would take some ${Math.round(expected / 1000)} s, more than the budget of ${options.budget}`);
      return;
    }
    await measure(found, work);
    if (found.macs < LEAST_MACS) return;
    for (const [name, result] of Object.entries(found.engines)) {
      if (result.median) rates.set(name, result.median / found.macs);
    }
  } catch (error) {
    fail(`${model} ×${count}: ${messageOf(error)}`);
  } finally {
    await save();
  }
}

/** A case: every engine, one after another and then by turns. */
async function measure(found, { options, parts, files, save, names, fail: failIn }) {
  const { model, count } = found;
  const begin = performance.now();
  const engines = {};
  const fail = (name, what) => failIn(`${model} ×${count}, ${name}: ${what}`);
  /** What onnxruntime-web cannot do is its own affair. */
  const tell = (name, what) => (isOurs(name) ? fail(name, what) : say(`${model} ×${count}, ${name}: ${what}`));
  /** An engine that broke off is asked nothing more. */
  const breakOff = (name, error) => {
    found.engines[name].failed = messageOf(error);
    tell(name, found.engines[name].failed);
  };
  /** What an engine last made against PyTorch's. */
  const compare = (name, engine) => {
    const result = Object.assign(found.engines[name], engine.error());
    if (!isOurs(name)) return;
    // In 16 bits an ε that is off by a thousandth is as good as can be expected.
    const most = name.endsWith('f32') ? LEVELS : LEVELS + result.levels_of_a_thousandth;
    if (!(result.levels <= most)) fail(name, `x̂0 is ${result.levels.toFixed(2)} levels off, more than ${most.toFixed(2)}`);
  };
  for (const name of names) {
    const result = { blocks: [] };
    found.engines[name] = result;
    workOf(name);
    try {
      const start = performance.now();
      const engine = make(name, model, files);
      await engine.open(options.tuning);
      await engine.load(model, count);
      await engine.block(1);
      result.load = performance.now() - start;
      compare(name, engine);
      if (isOurs(name)) {
        Object.assign(result, { tuning: engine.tuning, dispatches: engine.model.dispatches });
        if (parts.includes('check')) await check(engine, result, count, options.budget, (what) => fail(name, what));
      }
      // What is done for the first time, such as compiling, tells nothing of a step.
      let last = await engine.block(1);
      for (let warm = last, evaluations; warm < WARM_UP; warm += last * evaluations) {
        evaluations = Math.max(1, Math.min(MOST, Math.round(WARM_UP / 2 / last)));
        last = await engine.block(evaluations) / evaluations;
      }
      result.block = blockOf(1000 * options.seconds, last);
      result.counts = await countsOfAStep(engine, Math.min(result.block, 8));
      engines[name] = engine;
      say(`${model} ×${count}, ${name}: ready in ${(result.load / 1000).toFixed(1)} s, ${last.toFixed(1)} ms a step`);
    } catch (error) {
      breakOff(name, error);
    }
    await save();
  }
  const open = Object.keys(engines);
  const spent = () => (performance.now() - begin) / 1000;
  for (let turn = 0; parts.includes('paired') && turn < options.turns && (turn < 2 || spent() < options.budget); turn++) {
    for (const name of turn % 2 ? [...open].reverse() : open) {
      const { block, blocks, failed } = found.engines[name];
      if (failed) continue;
      workOf(name);
      try {
        blocks.push(await engines[name].block(block) / block);
      } catch (error) {
        breakOff(name, error);
      }
    }
  }
  for (const name of open) {
    const { blocks, failed } = found.engines[name];
    if (blocks.length > 0 && !failed) found.engines[name].median = median(blocks);
  }
  await save();
  for (const name of open) {
    const result = found.engines[name];
    workOf(name);
    try {
      // Once more, of the last turn: what is recorded once and replayed may be wrong then only.
      if (result.median) compare(name, engines[name]);
      if (isOurs(name) && !result.failed && parts.includes('layers') && count === options.count[0]) {
        const { layers } = await engines[name].engine.profile();
        result.layers = layers.map((layer) => ({ ...layer, macs: Number(layer.macs), bytes: Number(layer.bytes) }));
      }
      await engines[name].free();
    } catch (error) {
      tell(name, `afterwards: ${messageOf(error)}`);
    }
  }
  say(`${model} ×${count}: ${spent().toFixed(0)} s in all`);
}

/** The most evaluations of a block: a run has no more. */
const MOST = 999;

/** Milliseconds that comparing layers last took for a multiply-add: the CPU's are wasm's, on one thread. */
let pace = 0;

/** Whether Denoise computes what its CPU does, unless that would take more seconds than `budget`, and the same bits from the same seed. */
async function check(engine, result, count, budget, fail) {
  const [first, second] = [await engine.frames(STEPS), await engine.frames(STEPS)];
  const bytes = ({ buffer, byteOffset, byteLength }) => new Uint8Array(buffer, byteOffset, byteLength);
  const alike = (a, b) => Buffer.compare(bytes(a), bytes(b)) === 0;
  const same = first.every(({ x, x0 }, step) => alike(x, second[step].x) && alike(x0, second[step].x0));
  if (!same) fail('the same seed gave other pictures');
  // Layers are compared for one image, whatever the count.
  if (count > 1) return;
  const { macs } = engine.example;
  const expected = pace * macs / 1000;
  if (expected > budget) {
    result.check = { skipped: `its layers are not compared with the CPU's, which would take some ${Math.round(expected)} s` };
    return;
  }
  const begin = performance.now();
  const { ok, output_error: error, worst } = await engine.engine.check(() => {});
  pace = (performance.now() - begin) / macs;
  result.check = { ok, error, worst: { name: worst.name, op: worst.op, error: worst.error } };
  if (!ok) fail(`not what the CPU computes: off by ${error.toExponential(1)}; the worst layer is ${worst.name} (${worst.op}), off by ${worst.error.toExponential(1)}`);
}

/** What is asked of WebGPU for a step: what a run of more steps asks beyond one of one. */
async function countsOfAStep(engine, more) {
  const asked = async (steps) => {
    const before = { ...counts };
    await engine.block(steps);
    return Object.fromEntries(['dispatches', 'submissions', 'buffers', 'bind_groups', 'writes', 'reads'].map((what) => [what, counts[what] - before[what]]));
  };
  const [one, many] = [await asked(1), await asked(1 + more)];
  return Object.fromEntries(Object.entries(many).map(([what, value]) => [what, (value - one[what]) / more]));
}

/** Every kind of kernel wherever it can be used: right, and how quick. */
async function tryVariants(model, precisions, variants, until, { options, files, prepare, results, fail, save }) {
  const begin = performance.now();
  for (const precision of precisions) {
    for (const variant of variants) {
      const name = `denoise gpu ${precision}`;
      const result = { model, precision, variant };
      results.variants.push(result);
      const tooLong = performance.now() - begin > 1000 * options.budget;
      if (isOver(until) || tooLong) {
        result.skipped = `left out, after ${tooLong ? `the budget of ${options.budget}` : Math.round(until)} s`;
        continue;
      }
      workOf(name);
      try {
        await prepare(model, 1);
        const engine = make(name, model, files);
        const memory = ['direct', 'quads'].includes(variant) ? 'serial' : 'shared';
        await engine.open(`2 ${memory}${` ${variant}`.repeat(8)}`);
        await engine.load(model);
        const once = await engine.block(1);
        const share = options.budget / (precisions.length * variants.length);
        await check(engine, result, 1, share, (what) => fail(`${model}, ${name}, ${variant}: ${what}`));
        const block = blockOf(500 * options.seconds, once);
        const warm = await engine.block(block) / block;
        const timed = blockOf(500 * options.seconds, warm);
        const blocks = [];
        for (let i = 0; i < 3; i++) blocks.push(await engine.block(timed) / timed);
        Object.assign(result, { median: median(blocks), dispatches: engine.model.dispatches });
        engine.free();
        say(`${model}, ${precision}, ${variant}: ${result.median.toFixed(3)} ms`);
      } catch (error) {
        result.failed = messageOf(error);
        fail(`${model}, ${name}, ${variant}: ${result.failed}`);
      }
      await save();
    }
  }
  const skipped = results.variants.filter((result) => result.model === model && result.skipped);
  if (skipped.length) say(`${model}: ${skipped.length} of its variants ${skipped[0].skipped}`);
}

/** Ends the process: Dawn goes on waiting for its device otherwise. */
export function end(failures) {
  process.exit(failures > 0 ? 1 : 0);
}
