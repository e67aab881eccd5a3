// The results of bench/run.mjs as one table.

const COLUMNS = [
  ['Denoise', 'WebGPU', 'denoise gpu'],
  ['ONNX Runtime', 'WebGPU', 'ort webgpu'],
  ['Denoise', 'wasm', 'denoise cpu'],
  ['ONNX Runtime', 'wasm, 1 thread', 'ort wasm'],
  ['Denoise', 'native, 1 thread', 'denoise 1'],
  ['PyTorch', 'native, 1 thread', 'pytorch 1'],
  ['Denoise', 'native, 2 threads', 'denoise 2'],
  ['PyTorch', 'native, 2 threads', 'pytorch 2'],
];
const NONE = '–';

/** Three digits that count. @param {number|null|undefined} value */
export function number(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return NONE;
  const digits = value === 0 ? 0 : Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  return value.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

const megabytes = (bytes) => number(bytes === null || bytes === undefined ? null : bytes / 1e6);
const seconds = (milliseconds) => number(milliseconds / 1000);
const sum = (values) => values.reduce((total, value) => total + value, 0);

/** @param {number[]} values */
export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;
}

/** Median, smallest, largest and number. */
function spread(values) {
  if (!values) return NONE;
  return `${number(median(values))} (${number(Math.min(...values))}–${number(Math.max(...values))}; ${values.length})`;
}

/** The times of a column for a model. */
function milliseconds({ paired, native }, key) {
  const [runtime, device] = key.split(' ');
  return paired['denoise gpu']?.[key]?.milliseconds ?? paired['denoise cpu']?.[key]?.milliseconds ?? native[device]?.[runtime]?.milliseconds;
}

/** How many times quicker Denoise is than what it was compared with. */
function ratio({ paired, native }, key) {
  const found = paired[key] ?? (key.startsWith('denoise') ? native[key.split(' ')[1]] : undefined);
  return found ? `${number(found.ratio)}×` : '';
}

function counts({ paired }, key) {
  const found = (paired['denoise gpu'] ?? {})[key]?.counts;
  if (!found) return NONE;
  return ['dispatches', 'submissions', 'buffers', 'bind_groups', 'writes', 'reads'].map((what) => found[what]).join(' / ');
}

/** Which of its plans Denoise runs: on a GPU it is told by its dispatches. */
function planOf({ plan: { plans }, paired }, key) {
  if (!key.startsWith('denoise')) return undefined;
  if (key !== 'denoise gpu') return plans.cpu;
  const dispatches = paired[key]?.[key]?.counts.dispatches;
  return [plans.staged, plans.direct].find((plan) => plan.dispatches === dispatches);
}

function error({ alone }, key) {
  const found = alone[key];
  if (!found) return NONE;
  return found.levels === undefined ? found.relative.toExponential(0) : `${number(found.levels)} of 255`;
}

/** @param {object} results  as bench/run.mjs leaves them in results.json @returns {string} */
export function markdown(results) {
  const lines = [];
  const row = (name, cell) => lines.push(`| ${name} | ${COLUMNS.map(([, , key]) => cell(key)).join(' | ')} |`);
  const column = (index) => new Map(COLUMNS.map((names) => [names[2], names[index]]));
  const { machine, versions } = results;
  const { vendor, architecture, device, description } = machine.adapter;
  const adapter = [vendor, architecture, device, description].filter(Boolean).join(' ');
  lines.push(
    `${results.date.slice(0, 10)}; ${machine.cpu}, ${machine.threads} threads; WebGPU on ${adapter}; ${Object.entries(versions).map(([name, version]) => (name === 'browser' ? version : `${name} ${version}`)).join(', ')}.`,
    '',
    'Batch 1, 32 bits. Times are medians (smallest–largest; how many) of turns in which both engines had the same weights and the same input on the same machine.',
    '',
  );
  row('', (key) => `${column(0).get(key)}, ${column(1).get(key)}`);
  lines.push(`|---|${COLUMNS.map(() => '---:').join('|')}|`);
  for (const [model, result] of Object.entries(results.models)) {
    const { example, plan, alone, page } = result;
    const [, channels, height, width] = example.shape;
    const gigamacs = plan.macs / 1e9;
    row(`**${model}**, ${channels}×${height}×${width}, ${number(example.parameters / 1e6)} M parameters, ${number(gigamacs)} GMAC`, () => '');
    row('a step, ms', (key) => spread(milliseconds(result, key)));
    row('… the other’s time ÷ Denoise’s', (key) => ratio(result, key));
    row('… GFLOP/s', (key) => number(2 * gigamacs / median(milliseconds(result, key) ?? [NaN]) * 1000));
    if (plan.plans) row('… MB read and written by its plan', (key) => megabytes(planOf(result, key)?.bytes));
    row('… dispatches / submissions / buffers / bind groups / writes / reads', (key) => counts(result, key));
    row('nothing to first result, s: runtime + load + step', (key) => {
      const found = alone[key];
      return found ? `${seconds(found.open + found.load + found.first)}: ${[found.open, found.load, found.first].map(seconds).join(' + ')}` : NONE;
    });
    if (Object.keys(page).length > 0) {
      row('the page to its first picture, s: page + engine + download + what is left of compiling + step', (key) => {
        const [runtime, backend] = key.split(' ');
        const found = runtime === 'denoise' ? page[backend] : undefined;
        return found ? `${seconds(found.total)}: ${['page', 'engine', 'download', 'compile', 'first'].map((part) => seconds(found[part])).join(' + ')}` : NONE;
      });
    }
    row('peak memory of the browser, MB', (key) => megabytes(alone[key]?.memory));
    row('… of GPU buffers, MB', (key) => megabytes(alone[key]?.buffers || null));
    row('off from PyTorch', (key) => error(result, key));
  }
  const files = (key) => Object.values(results.models).map(({ alone }) => alone[key]?.files).find((found) => found?.length);
  row('**runtime**, MB fetched (gzipped)', (key) => {
    const found = files(key);
    return found ? `${megabytes(sum(found.map((file) => file.bytes)))} (${megabytes(sum(found.map((file) => file.gzipped)))})` : NONE;
  });
  const pages = Object.values(results.models).map(({ page }) => page).find((page) => page.gpu);
  if (pages) row('**the page** with it, without a model, MB gzipped', (key) => (key.startsWith('denoise') ? megabytes(pages[key.split(' ')[1]]?.bytes) : NONE));
  lines.push(
    '',
    'Denoise’s step includes the sampler’s update, noise and pictures, others’ the network alone; Denoise computes what depends on time and class alone once a run. “Off” is the largest difference of x̂0 in levels of 255, or ‖ε − PyTorch’s‖/‖PyTorch’s‖. Peak memory is what all processes of a browser of its own held more than with an empty page: their proportional set sizes, sampled from before the runtime was fetched to the first result. Buffers and counts are taken by wrapping WebGPU’s own methods, in the same way for both; counts are of a step after the first.',
    '',
  );
  return lines.join('\n');
}
