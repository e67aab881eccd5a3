// The results of bench/dawn/bench.mjs as tables.

import { number } from '../report.mjs';

const NONE = '–';
/** Layers that are listed one by one. */
const SLOWEST = 12;
/** Complaints that are listed. */
const COMPLAINTS = 10;

const percent = (share) => (Number.isFinite(share) ? `${Math.round(100 * share)} %` : NONE);
const oneLine = (text) => text.replaceAll('\n', ' ');
const titles = {
  'denoise gpu f32': 'Denoise', 'denoise gpu f16': 'Denoise, 16 bits', 'ort webgpu cpu': 'ONNX Runtime',
  'ort webgpu gpu': 'ONNX Runtime, ε stays on the GPU', 'ort webgpu graph': 'ONNX Runtime, graph capture',
};

/** How far off an engine is, as it says it. */
function error({ levels, relative }) {
  if (levels === undefined && relative === undefined) return NONE;
  return levels === undefined ? `${relative.toExponential(0)} of ε` : `${levels.toFixed(2)} levels of x̂0`;
}

/** What a layer takes of what the device can do: of its multiply-adds or its bytes, whichever is more. */
const shareOf = ({ macs, bytes, milliseconds }, { gflops, gigabytes }) => Math.max(2e-6 * macs / gflops, 1e-6 * bytes / gigabytes) / milliseconds;

function layerTables(title, layers, peak) {
  const total = layers.reduce((sum, { milliseconds }) => sum + milliseconds, 0);
  const row = (name, op, count, { macs, bytes, milliseconds }) => {
    const rates = [2e-6 * macs / milliseconds, 1e-6 * bytes / milliseconds].map(number);
    return `| ${name} | ${op} | ${count} | ${milliseconds.toFixed(4)} | ${percent(milliseconds / total)} | ${rates.join(' | ')} | ${percent(shareOf({ macs, bytes, milliseconds }, peak))} |`;
  };
  const head = (first) => [`| ${first} | op | dispatches | ms | of the step | GFLOP/s | GB/s | of the peak |`, '|---|---|---:|---:|---:|---:|---:|---:|'];
  const ops = new Map();
  for (const { op, macs, bytes, milliseconds } of layers) {
    const all = ops.get(op) ?? { count: 0, macs: 0, bytes: 0, milliseconds: 0 };
    ops.set(op, { count: all.count + 1, macs: all.macs + macs, bytes: all.bytes + bytes, milliseconds: all.milliseconds + milliseconds });
  }
  const slowest = (a, b) => b.milliseconds - a.milliseconds;
  return [
    '', `${title}: its layers one by one, ${number(total)} ms together`, '',
    ...head('all of'),
    ...[...ops].sort(([, a], [, b]) => slowest(a, b)).map(([op, all]) => row('', op, all.count, all)),
    '', ...head('the slowest'),
    ...[...layers].sort(slowest).slice(0, SLOWEST).map((layer) => row(layer.name, layer.op, 1, layer)),
  ];
}

/** What came of comparing layers with the CPU's. */
function checked({ skipped, worst, error }) {
  return skipped ?? `every layer as on the CPU within ${worst.error.toExponential(0)} (${worst.op}), the output within ${error.toExponential(0)}`;
}

/** What the tuning chose, and what came of comparing layers: a line for each engine, or of the short table only where there is something to tell. */
function tuningLines(cases, short) {
  const found = cases.flatMap(({ model, count, engines }) => Object.entries(engines).filter(([, { tuning }]) => tuning)
    .map(([key, { tuning, check }]) => ({ name: `${model} ×${count}, ${titles[key]}`, tuning, check })));
  if (found.length === 0) return [];
  const same = found.every(({ tuning }) => tuning === found[0].tuning);
  if (short && same) return ['', `What the tuning chose, for all: ${found[0].tuning}`];
  return ['', 'What the tuning chose:', '', ...found.map(({ name, tuning, check }) => `- ${name}: ${tuning}${check && !short ? `; ${checked(check)}` : ''}`)];
}

function variantLines(variants, short) {
  if (variants.length === 0) return [];
  const lines = ['', '| model | bits | every convolution that can be | a step, ms | dispatches | worst layer | output off by |', '|---|---:|---|---:|---:|---|---:|'];
  for (const { model, precision, variant, median: found, dispatches, check, failed, skipped } of variants) {
    if (short && skipped) continue;
    const compared = () => {
      if (!check) return `${NONE} | ${NONE}`;
      return check.skipped ? `${check.skipped} | ` : `${check.worst.name} (${check.worst.op}) ${check.worst.error.toExponential(0)} | ${check.error.toExponential(0)}`;
    };
    const rest = failed || skipped ? `${oneLine(failed ?? skipped)} | | |` : `${number(found)} | ${dispatches ?? NONE} | ${compared()}`;
    lines.push(`| ${model} | ${precision.slice(1)} | ${variant} | ${rest} |`);
  }
  if (!short) return lines;
  for (const model of new Set(variants.map((variant) => variant.model))) {
    const all = variants.filter((variant) => variant.model === model);
    const left = all.filter(({ skipped }) => skipped);
    if (left.length) lines.push(`| ${model} | | ${left.length} of ${all.length} | ${left[0].skipped} | | | |`);
  }
  return lines;
}

/** What failed, and what devices complained of. */
function troubles(failures, problems) {
  const lines = [];
  if (failures.length) lines.push('**Failed:**', '', ...failures.map((failure) => `- ${oneLine(failure)}`), '');
  if (problems.length) {
    const shown = problems.slice(0, COMPLAINTS).map(({ engine, message, count }) => `- ${engine}${count > 1 ? `, ${count} times` : ''}: ${oneLine(message.slice(0, 600))}`);
    if (problems.length > COMPLAINTS) shown.push(`- and ${problems.length - COMPLAINTS} others, which results.json has`);
    lines.push('**What went wrong outside any call:**', '', ...shown, '');
  }
  return lines;
}

/**
 * @param {object} results  as bench.mjs leaves them in results.json, as far as it came
 * @param {{ short?: boolean }} [what]  short leaves out layers, which are most of it, and what says the same again and again
 * @returns {string}
 */
export function markdown(results, { short = false } = {}) {
  const { adapter, peak = {}, software, cases, variants, failures, problems } = results;
  const name = [adapter.vendor, adapter.architecture, adapter.device, adapter.description].filter(Boolean).join(' ');
  const lines = [
    `${results.date.slice(0, 10)}; ${name}${software ? ' (in software)' : ''}, ${adapter.half ? 'with' : 'without'} 16 bits; ${results.cpu}; Dawn in Node ${results.node}.`, '',
    ...troubles(failures, problems),
    `At most: ${number(peak.gflops)} GFLOP/s in a plain matrix product in 32 bits, ${number(peak.gigabytes)} GB/s in a copy, ${number(peak.dispatch)} µs from one dispatch to the next. “Of the peak” is of these.`, '',
    '| model | images | engine | a step, ms | fastest–slowest (blocks × steps) | GFLOP/s | of the peak | dispatches / submissions / writes / reads | its time ÷ Denoise’s | off from PyTorch |',
    '|---|---:|---|---:|---|---:|---:|---|---:|---|',
  ];
  for (const { model, count, engines, macs, skipped } of cases) {
    if (skipped) lines.push(`| ${model} | ${count} | | | left out: it ${skipped} | | | | | |`);
    for (const [key, result] of Object.entries(engines)) {
      const start = `| ${model} | ${count} | ${titles[key]}`;
      if (result.failed) {
        lines.push(`${start} | | ${oneLine(result.failed)} | | | | | |`);
        continue;
      }
      const ours = engines['denoise gpu f32']?.median;
      const gflops = 2e-6 * macs / result.median;
      const asked = ['dispatches', 'submissions', 'writes', 'reads'].map((what) => number(result.counts?.[what])).join(' / ');
      const timed = result.median
        ? `${number(result.median)} | ${number(Math.min(...result.blocks))}–${number(Math.max(...result.blocks))} (${result.blocks.length} × ${result.block}) | ${number(gflops)} | ${percent(gflops / peak.gflops)}`
        : `${NONE} | ${NONE} | ${NONE} | ${NONE}`;
      const ratio = ours && result.median ? `${number(result.median / ours)}×` : NONE;
      lines.push(`${start} | ${timed} | ${asked} | ${ratio} | ${error(result)} |`);
    }
  }
  lines.push(
    '', 'Medians of blocks of steps, by turns in one process. Denoise’s step has the network, the sampler’s update, pictures, and reading these back; others’ is the network alone, with ε read back, left on the GPU, or that with its dispatches recorded once (graph capture). Counts are of a step after the first; slow devices get large dispatches in pieces. “Off” is the largest difference of x̂0 at the noisiest step in levels of 255 (at most 0.5 is rounding; there an error of ε is multiplied by √(1/ᾱ − 1)), or ‖ε − PyTorch’s‖/‖PyTorch’s‖.',
    ...tuningLines(cases, short), ...variantLines(variants, short),
  );
  for (const { model, count, engines } of cases) {
    for (const [key, { layers }] of Object.entries(engines)) {
      if (layers && !short) lines.push(...layerTables(`${model} ×${count}, ${titles[key]}`, layers, peak));
    }
  }
  return `${lines.join('\n').trimEnd()}\n`;
}
