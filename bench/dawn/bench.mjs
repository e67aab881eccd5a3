// Compares Denoise's WebGPU with onnxruntime-web's without a browser: both in Dawn, Chrome's own WebGPU, in one Node, by
// turns, with the same weights and input. Prints a table and leaves it with all numbers in target/bench/dawn/.
//
//   ./build.sh bench --dawn [--hardware] [--model digits ...] [--count 1 ...] [--engine NAME ...] [--part PART ...]
//                           [--seconds 1] [--turns 5] [--budget 150] [--limit SECONDS] [--tuning TEXT]
//
// The budget is of seconds, for a case, for comparing its layers with the CPU's, and for a model's variants. After the
// limit, counted from the beginning, no case and no variant is begun. What is left out is said to be. --tuning takes the
// kernels that the text of an earlier tuning names, in place of asking the device which are fastest.
//
// It fails if a device rejects a command or is lost, if Denoise computes anything else than its CPU does, or if the same
// seed gives other bits another time.

import { mkdir, writeFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { openAdapter, problems } from './device.mjs';
import { measurePeak } from './peak.mjs';
import { markdown } from './report.mjs';
import { median } from '../report.mjs';

// Its methods are wrapped when it is imported, so after the device.
const { counts } = await import('../counts.js');
const { engine: make } = await import('../engines.js');

/** The names of the engines; see bench/engines.js. */
const ENGINES = ['denoise gpu f32', 'denoise gpu f16', 'ort webgpu cpu', 'ort webgpu gpu', 'ort webgpu graph'];
/**
 * check: every layer against the CPU's, and the same bits twice; paired: times by turns; layers: each by itself; variants:
 * every kind of kernel by itself, checked and timed.
 */
const PARTS = ['check', 'paired', 'layers', 'variants'];
/** Kinds of convolutions, as src/tuning.rs calls them; quads need subgroups. */
const VARIANTS = ['counted', 'halo', 'gemm', 'large-gemm', 'direct', 'quads'];

/**
 * @param {string[]} given  the command's arguments
 * @param {object} place
 * @param {string} place.out  the folder of the results
 * @param {string[]} place.models
 * @param {import('../engines.js').Files} place.files
 * @param {(model: string, count: number) => Promise<void>} [place.prepare]  makes what is not there yet
 */
export async function bench(given, { out, models, files, prepare = async () => {} }) {
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
  say(`${[vendor, architecture, device, description].filter(Boolean).join(' ')}${half ? '' : ', without 16 bits'}`);
  await mkdir(out, { recursive: true });
  const save = async () => {
    await writeFile(join(out, 'results.json'), `${JSON.stringify(results, null, 1)}\n`);
    await writeFile(join(out, 'results.md'), markdown(results));
  };
  results.peak = await measurePeak(adapter);
  say(`${results.peak.gflops.toFixed(0)} GFLOP/s in a matrix product, ${results.peak.gigabytes.toFixed(1)} GB/s in a copy, ${results.peak.dispatch.toFixed(1)} µs a dispatch`);

  /** Milliseconds for a multiply-add, as the slowest case of an engine had it. */
  const rates = new Map();
  for (const model of options.model) {
    for (const count of options.count) {
      const found = { model, count, engines: {} };
      results.cases.push(found);
      if (isOver(options)) {
        leaveOut(found, `would begin after the limit of ${options.limit} s`);
        continue;
      }
      const names = options.engine.filter((name) => half || !name.endsWith('f16'));
      const { macs, ...inputs } = JSON.parse(new TextDecoder().decode(await (await prepare(model, count), files.read(`onnx/${model}/inputs.json`))));
      Object.assign(found, { macs: macs * count, parameters: inputs.parameters, shape: inputs.shape });
      const expected = names.reduce((sum, name) => sum + LEAST_EVALUATIONS * (rates.get(name) ?? 0) * found.macs, 0);
      if (expected > 1000 * options.budget) {
        leaveOut(found, `would take some ${Math.round(expected / 1000)} s, more than the budget of ${options.budget}`);
        continue;
      }
      await measure(found, names, { options, parts, files, results });
      for (const [name, result] of Object.entries(found.engines)) {
        if (result.median) rates.set(name, result.median / found.macs);
      }
      await save();
    }
  }
  if (parts.includes('variants')) {
    for (const model of options.model) await tryVariants(model, half ? ['f32', 'f16'] : ['f32'], kinds, { options, files, results, save });
  }
  await save();
  console.log(markdown(results));
  return results.failures.length + problems.length;
}

/** Evaluations of an engine that a case has at least. */
const LEAST_EVALUATIONS = 7;
/** Milliseconds of evaluations before those that are timed. */
const WARM_UP = 500;
/** The largest difference of x̂0 that Denoise may have, of 255 levels: half of one is rounding. */
const LEVELS = 1;
/** Steps of the runs whose bits are compared. */
const STEPS = 3;

const isOver = ({ limit }) => performance.now() > 1000 * limit;

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

/** A case: every engine, one after another and then by turns. */
async function measure(found, names, { options, parts, files, results }) {
  const { model, count } = found;
  const begin = performance.now();
  const engines = {};
  const fail = (name, what) => {
    results.failures.push(`${model} ×${count}, ${name}: ${what}`);
    say(`${model} ×${count}, ${name}: ${what}`);
  };
  for (const name of names) {
    const result = { blocks: [] };
    found.engines[name] = result;
    const ours = name.startsWith('denoise');
    try {
      const start = performance.now();
      const engine = make(name, model, files);
      await engine.open(options.tuning);
      await engine.load(model, count);
      await engine.block(1);
      result.load = performance.now() - start;
      Object.assign(result, engine.error());
      if (ours) {
        Object.assign(result, { tuning: engine.tuning, dispatches: engine.model.dispatches });
        // In 16 bits an ε that is off by a thousandth is as good as can be expected.
        const most = name.endsWith('f32') ? LEVELS : LEVELS + result.levels_of_a_thousandth;
        if (result.levels > most) fail(name, `x̂0 is ${result.levels.toFixed(2)} levels off, more than ${most.toFixed(2)}`);
        if (parts.includes('check')) await check(engine, result, count, options.budget, (what) => fail(name, what));
      }
      // What is done for the first time, such as compiling, tells nothing of a step.
      let last = await engine.block(1);
      for (let warm = last, evaluations; warm < WARM_UP; warm += last * evaluations) {
        evaluations = Math.max(1, Math.min(MOST, Math.round(WARM_UP / 2 / last)));
        last = await engine.block(evaluations) / evaluations;
      }
      result.block = Math.max(1, Math.min(MOST, Math.round(1000 * options.seconds / last)));
      result.counts = await countsOfAStep(engine, Math.min(result.block, 8));
      engines[name] = engine;
      say(`${model} ×${count}, ${name}: ready in ${(result.load / 1000).toFixed(1)} s, ${last.toFixed(1)} ms a step`);
    } catch (error) {
      result.failed = String(error?.message ?? error).slice(0, 400);
      // What onnxruntime-web cannot do is its own affair.
      if (ours) fail(name, result.failed);
      else say(`${model} ×${count}, ${name}: ${result.failed}`);
    }
  }
  const open = Object.keys(engines);
  const spent = () => (performance.now() - begin) / 1000;
  for (let turn = 0; parts.includes('paired') && turn < options.turns && (turn < 2 || spent() < options.budget); turn++) {
    for (const name of turn % 2 ? [...open].reverse() : open) {
      const { block, blocks } = found.engines[name];
      blocks.push(await engines[name].block(block) / block);
    }
  }
  for (const name of open) {
    const result = found.engines[name];
    if (result.blocks.length > 0) result.median = median(result.blocks);
    try {
      if (name.startsWith('denoise') && parts.includes('layers')) {
        const { layers } = await engines[name].engine.profile();
        result.layers = layers.map((layer) => ({ ...layer, macs: Number(layer.macs), bytes: Number(layer.bytes) }));
      }
      await engines[name].free();
    } catch (error) {
      fail(name, `afterwards: ${error?.message ?? error}`);
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
async function tryVariants(model, precisions, variants, { options, files, results, save }) {
  const begin = performance.now();
  for (const precision of precisions) {
    for (const variant of variants) {
      const name = `denoise gpu ${precision}`;
      const result = { model, precision, variant };
      results.variants.push(result);
      if (isOver(options) || performance.now() - begin > 1000 * options.budget) {
        result.skipped = `left out, after ${isOver(options) ? `the limit of ${options.limit}` : `the budget of ${options.budget}`} s`;
        say(`${model}, ${precision}, ${variant}: ${result.skipped}`);
        continue;
      }
      try {
        const engine = make(name, model, files);
        const memory = ['direct', 'quads'].includes(variant) ? 'serial' : 'shared';
        await engine.open(`2 ${memory}${` ${variant}`.repeat(8)}`);
        await engine.load(model);
        const once = await engine.block(1);
        const share = options.budget / (precisions.length * variants.length);
        await check(engine, result, 1, share, (what) => results.failures.push(`${model}, ${name}, ${variant}: ${what}`));
        const block = Math.max(1, Math.min(MOST, Math.round(500 * options.seconds / once)));
        const warm = await engine.block(block) / block;
        const timed = Math.max(1, Math.min(MOST, Math.round(500 * options.seconds / warm)));
        const blocks = [];
        for (let i = 0; i < 3; i++) blocks.push(await engine.block(timed) / timed);
        Object.assign(result, { median: median(blocks), dispatches: engine.model.dispatches });
        engine.free();
      } catch (error) {
        result.failed = String(error?.message ?? error).slice(0, 400);
        results.failures.push(`${model}, ${name}, ${variant}: ${result.failed}`);
      }
      say(`${model}, ${precision}, ${variant}: ${result.failed ?? `${result.median.toFixed(3)} ms`}`);
      await save();
    }
  }
}

/** Ends the process: Dawn goes on waiting for its device otherwise. */
export function end(failures) {
  process.exit(failures > 0 ? 1 : 0);
}
