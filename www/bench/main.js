// The benchmark: times evaluations of the shipped models, or of the one in the address, on the visitor's own device.

import { byId, make } from '../view/dom.js';
import { duration, megabytes, short } from '../words/format.js';
import { HUB } from '../model/hub.js';
import { readSource } from '../model/source.js';
import { Notices } from '../view/notices.js';
import { listen, send } from '../engine/protocol.js';
import { defaultSampling, isUseful, mostSteps, readField, readQuery } from '../store/settings.js';
import { setUpTheme } from '../view/shell.js';

const SHIPPED = ['models/digits', 'models/sprites'];
/** Evaluations before those that are timed: the first has to wait for what is done once a run. */
const WARM_UP = 2;
/** How many evaluations a picture takes, where pictures are counted. */
const PICTURE = 50;
const SEED = 1234;

const STAGES = {
  engine: 'Starting the engine',
  download: 'Downloading',
  parse: 'Checking',
  compile: 'Compiling',
  check: 'Checking the GPU',
};

const query = new URLSearchParams(location.search);
const { settings, given, problems } = readQuery(query);
if (!given.has('count')) settings.count = 1;
const notices = new Notices({ errors: byId('errors'), notes: byId('notes') });

/** The engine that runs, while one does. @type {EngineWorker|null} */
let engine = null;
let stopped = false;

/** A worker with an engine, of which one thing is asked at a time. */
class EngineWorker {
  #worker;
  #asked = null;
  #id = 0;

  constructor() {
    this.#worker = new Worker(new URL('../engine/worker.js', import.meta.url), { type: 'module' });
    this.#worker.addEventListener('error', (event) => {
      event.preventDefault();
      this.#fail(event.message || 'The engine’s worker could not be loaded. Reload the page.');
    });
    const types = ['backend', 'progress', 'preview', 'model', 'started', 'frame', 'finished', 'profiled'];
    const handlers = types.map((type) => [type, (message) => this.#receive(message)]);
    listen(this.#worker, { ...Object.fromEntries(handlers), failed: ({ message }) => this.#fail(message) });
  }

  /**
   * Sends a command and waits for the event that ends it.
   * @param {Omit<import('../engine/protocol.js').Command, 'id'>} command
   * @param {string} last
   * @param {Record<string, (message: any) => void>} [handlers]  of the events before
   */
  ask(command, last, handlers = {}) {
    return new Promise((resolve, reject) => {
      this.#asked = { last, handlers, resolve, reject };
      send(this.#worker, { ...command, id: ++this.#id });
    });
  }

  /** Ends it, whatever it does. */
  end() {
    this.#worker.terminate();
    this.#asked?.reject(new Error('stopped'));
  }

  #receive(message) {
    const { last, handlers, resolve } = this.#asked;
    handlers[message.type]?.(message);
    if (message.type === last) resolve(message);
  }

  #fail(message) {
    this.#asked?.reject(new Error(message));
  }
}

// ---- Running ----------------------------------------------------------------------------------

/** What was measured of a model. @typedef {{title: string, model: import('../engine/protocol.js').Model, count: number, milliseconds: number[], loading: number, profile: import('../engine/protocol.js').Profile|null}} Result */

async function run() {
  if (!readControls()) return;
  notices.clear('failure');
  byId('results').replaceChildren();
  byId('report').hidden = true;
  stopped = false;
  setPhase('running');
  announce('Running.');
  const results = [];
  let backend;
  try {
    const sources = (given.has('model') ? [settings.model] : SHIPPED).map(sourceOf);
    engine = new EngineWorker();
    for (const [index, source] of sources.entries()) {
      const part = (fraction) => (index + fraction) / sources.length;
      results.push(await measure(source, index === 0, part, (message) => {
        backend = message;
        showBackend(message);
      }));
      byId('results').append(card(results.at(-1)));
    }
    showReport(results, backend);
    setPhase('ready');
    setStatus('Done', '', 1);
    const spoken = results.map(({ title, milliseconds }) => `${title}: ${time(median(milliseconds))} an evaluation.`);
    announce(`Done. ${spoken.join(' ')}`);
  } catch (error) {
    setPhase('ready');
    if (stopped) {
      setStatus('Stopped', '', 0);
      announce('Stopped.');
    } else {
      showFailure(error.message, backend);
    }
  } finally {
    engine?.end();
    engine = null;
  }
}

/**
 * Loads a model, makes a run of it and times its frames.
 * @param {import('../model/source.js').Source} source
 * @param {boolean} first  whether the engine is still to be started
 * @param {(fraction: number) => number} part  of the progress bar
 * @param {(message: object) => void} onbackend
 * @returns {Promise<Result>}
 */
async function measure(source, first, part, onbackend) {
  const { count, precision, backend } = settings;
  const begin = performance.now();
  const loading = { source, options: { count, precision, guidance: 1 } };
  const { model } = await engine.ask(first ? { type: 'open', backend, autotune: settings.autotune === '1', ...loading } : { type: 'load', ...loading }, 'model', {
    backend: onbackend,
    progress: ({ stage, done, total }) => {
      const number = stage === 'download' ? `${megabytes(done)} MB` : stage === 'compile' ? `${done} of ${total}` : '';
      setStatus(`${STAGES[stage]} ${source.id.split('/').at(-1)}`, number, part(0.4 * (total ? done / total : 0)));
    },
  });
  const loaded = performance.now() - begin;
  const title = model.title || source.id;

  const { sampler } = defaultSampling(model);
  const evaluations = Math.min(settings.steps, mostSteps(model, sampler) - WARM_UP);
  const steps = evaluations + WARM_UP;
  const times = [];
  const class_labels = model.class_kind === 'label' ? Array.from({ length: count }, () => 0) : null;
  const run = {
    sampler,
    steps,
    eta: 0,
    seed: SEED,
    class_labels,
    guidance: 1,
    count,
    timestep_spacing: isUseful('spacing', sampler, model.prediction_type) ? 'trailing' : null,
    variance_type: null,
    // Nothing is the same work as something.
    ...(model.condition_channels && { condition: new Float32Array(model.condition_channels * model.height * model.width) }),
  };
  await engine.ask({ type: 'generate', settings: run }, 'finished', {
    // Not when they arrive: several may come at once.
    frame: ({ milliseconds }) => {
      times.push(milliseconds);
      setStatus(`Timing ${title}`, `${times.length} of ${steps}`, part(0.4 + 0.5 * times.length / steps));
    },
  });
  const milliseconds = times.slice(WARM_UP);
  setStatus(`Timing the layers of ${title}`, '', part(0.9));
  const { profile } = await engine.ask({ type: 'profile' }, 'profiled');
  return { title, model, count, milliseconds, loading: loaded, profile };
}

function stop() {
  stopped = true;
  engine?.end();
}

/** @param {string} text */
function sourceOf(text) {
  const hub = query.get('hub')?.replace(/\/*$/, '/') ?? HUB;
  const { source, problem } = readSource(text, { base: new URL('.', document.baseURI).href, hub });
  if (!source) throw new Error(`model=${text} in the address: ${problem}`);
  return { ...source, network: settings.network || null, variant: settings.variant || null };
}

// ---- Numbers ----------------------------------------------------------------------------------

const median = (values) => {
  const sorted = [...values].sort((a, b) => a - b);
  return (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;
};
/** Three digits that count. */
const digits = (value) => value.toFixed(Math.min(3, Math.max(0, 2 - Math.floor(Math.log10(Math.max(value, 1e-3))))));
const time = (milliseconds) => `${digits(milliseconds)} ms`;

/** What follows from the times of a model. @param {Result} result */
function derived({ model, count, milliseconds }) {
  const middle = median(milliseconds);
  return {
    middle,
    fastest: Math.min(...milliseconds),
    slowest: Math.max(...milliseconds),
    pictures: count * 1000 / (PICTURE * middle),
    gigamacs: count * model.macs / middle * 1e-6,
  };
}

// ---- What is shown ----------------------------------------------------------------------------

/** @param {Result} result */
function card(result) {
  const { title, model, count, milliseconds, loading, profile } = result;
  const { middle, fastest, slowest, pictures, gigamacs } = derived(result);
  const fact = (name, value) => make('div', {}, make('dt', {}, name), make('dd', { class: 'number' }, value));
  const about = `${model.width} × ${model.height}, ${short(model.parameters)} parameters, ${model.precision === 'f16' ? 16 : 32} bit`;
  return make('section', { class: 'card', 'aria-label': title },
    make('h2', {}, title, make('small', {}, about)),
    make('p', { class: 'median' }, time(middle), make('small', {}, ` an evaluation${count > 1 ? ` of ${count} images` : ''}`)),
    chart(milliseconds),
    make('dl', { class: 'facts' },
      fact('fastest, slowest', `${digits(fastest)}, ${time(slowest)}`),
      fact('timed', `${milliseconds.length} evaluations`),
      fact(`images of ${PICTURE} steps`, `${digits(pictures)} a second`),
      fact('multiply-adds', `${digits(gigamacs)} G a second`),
      fact('work', `${short(count * model.macs)} multiply-adds in ${model.dispatches} dispatches`),
      fact('loading', duration(loading))),
    ...(profile ? [layerTable(profile.layers)] : []),
  );
}

/** A bar for each evaluation, in their order. @param {number[]} milliseconds */
function chart(milliseconds) {
  const svg = (tag, attributes) => {
    const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  };
  const slowest = Math.max(...milliseconds);
  const picture = svg('svg', { class: 'times', viewBox: `0 0 ${milliseconds.length} 1`, preserveAspectRatio: 'none', 'aria-hidden': 'true' });
  picture.append(...milliseconds.map((value, i) => {
    const height = 0.9 * value / slowest;
    return svg('rect', { x: i + 0.1, width: 0.8, y: 1 - height, height });
  }));
  return picture;
}

/** @param {import('../engine/protocol.js').LayerTime[]} layers */
function layerTable(layers) {
  const total = layers.reduce((sum, { milliseconds }) => sum + milliseconds, 0);
  const rows = slowestFirst(layers).map(({ name, op, milliseconds }) => make('tr', {},
    make('th', { scope: 'row' }, ...name.split(/(?<=\.)/).flatMap((part) => [part, make('wbr')])),
    make('td', {}, op),
    make('td', { class: 'number' }, digits(milliseconds)),
    make('td', { class: 'number' }, `${Math.round(100 * milliseconds / total)} %`)));
  const heads = [['layer'], ['op'], ['ms', 'number'], ['share', 'number']];
  return make('details', { class: 'layers' },
    make('summary', {}, `${layers.length} layers, slowest first`),
    make('div', { tabindex: 0, role: 'region', 'aria-label': 'Layers' }, make('table', {},
      make('thead', {}, make('tr', {}, ...heads.map(([text, kind]) => make('th', { scope: 'col', ...(kind && { class: kind }) }, text)))),
      make('tbody', {}, ...rows))));
}

const slowestFirst = (layers) => [...layers].sort((a, b) => b.milliseconds - a.milliseconds);

/** The adapter by the name that the browser gives it, if it gives any. */
async function adapterName() {
  const adapter = await navigator.gpu?.requestAdapter({ powerPreference: 'high-performance' });
  if (!adapter) return 'none';
  const { vendor, architecture, device, description } = adapter.info;
  return [vendor, architecture, device, description].filter(Boolean).join(' ') || 'not named by the browser';
}

/** @param {Result[]} results @param {object} backend */
async function showReport(results, { kind, name }) {
  const line = (result) => {
    const { title, model, count, milliseconds } = result;
    const { middle, fastest, slowest, pictures, gigamacs } = derived(result);
    return `| ${[title, model.precision, count, digits(middle), digits(fastest), digits(slowest), milliseconds.length, digits(pictures), digits(gigamacs), model.dispatches].join(' | ')} |`;
  };
  const layers = ({ title, profile }) => (profile ? [
    '',
    `| slowest layers of ${title} | op | ms |`,
    '|---|---|---|',
    ...slowestFirst(profile.layers).slice(0, 10).map((layer) => `| ${layer.name} | ${layer.op} | ${digits(layer.milliseconds)} |`),
  ] : []);
  byId('report-text').textContent = [
    '## Denoise: benchmark',
    '',
    `- Device: ${kind.toUpperCase()}, ${name}`,
    `- Adapter: ${await adapterName().catch(({ message }) => message)}`,
    `- Browser: ${navigator.userAgent}`,
    `- Processor threads: ${navigator.hardwareConcurrency}`,
    '',
    `| model | precision | images | median ms | fastest | slowest | evaluations | images/s at ${PICTURE} steps | GMAC/s | dispatches |`,
    '|---|---|---|---|---|---|---|---|---|---|',
    ...results.map(line),
    ...results.flatMap(layers),
    '',
  ].join('\n');
  byId('report').hidden = false;
}

async function copyReport() {
  try {
    await navigator.clipboard.writeText(byId('report-text').textContent);
    setStatus('Report copied', '', null);
    announce('The report was copied.');
  } catch (error) {
    // It stands on the page: it can be copied by hand.
    notices.show({ key: 'copy', text: `The report could not be copied (${error.message}). Select it and copy it yourself.` });
  }
}

function showBackend({ kind, name, note }) {
  byId('backend-name').textContent = `${kind.toUpperCase()} · ${name.match(/\((.+)\)$/)?.[1] ?? name}`;
  byId('backend-badge').dataset.kind = kind;
  if (note) notices.show({ key: 'backend', text: note });
}

function showFailure(message, backend) {
  const again = { label: 'Try again', act: run };
  const cpu = { label: 'Use the CPU', act: () => {
    choose('backend', 'cpu');
    run();
  } };
  const onGpu = backend ? backend.kind === 'gpu' : settings.backend !== 'cpu';
  notices.show({ key: 'failure', error: true, title: 'The benchmark did not finish', text: message, actions: onGpu ? [again, cpu] : [again] });
  setStatus('Not finished', '', 0);
  announce(`The benchmark did not finish. ${message}`);
}

function setPhase(phase) {
  document.body.dataset.phase = phase;
  const running = phase === 'running';
  byId('run').classList.toggle('stop', running);
  byId('run-label').textContent = running ? 'Stop' : 'Run';
  for (const input of byId('settings').querySelectorAll('input')) input.disabled = running;
}

/** @param {number|null} fraction  null leaves the bar as it is */
function setStatus(text, number, fraction) {
  byId('status-text').textContent = text;
  byId('status-number').textContent = number;
  if (fraction !== null) byId('progress').value = fraction;
}

const announce = (text) => {
  byId('announcer').textContent = text;
};

// ---- Settings ---------------------------------------------------------------------------------

function choose(name, value) {
  settings[name] = value;
  byId('settings').querySelector(`[name=${name}][value=${value}]`).checked = true;
}

/** Reads the controls into the settings, and says what is wrong with one. */
function readControls() {
  for (const name of ['backend', 'precision']) {
    settings[name] = byId('settings').querySelector(`[name=${name}]:checked`).value;
  }
  let wrong = null;
  for (const name of ['count', 'steps']) {
    const { value, problem } = readField(name, byId(name).value);
    byId(name).setAttribute('aria-invalid', String(Boolean(problem)));
    if (problem) wrong = { name, problem };
    else settings[name] = value;
  }
  byId('hint').classList.toggle('problem', Boolean(wrong));
  byId('hint').textContent = wrong ? `${byId(wrong.name).labels[0].textContent} has to be ${wrong.problem}.` : '';
  if (wrong) byId(wrong.name).focus();
  return !wrong;
}

setUpTheme();
choose('backend', settings.backend);
choose('precision', settings.precision);
for (const name of ['steps', 'count']) byId(name).value = settings[name];
for (const text of problems) notices.show({ key: text, text });
byId('run').addEventListener('click', () => (engine ? stop() : run()));
byId('copy').addEventListener('click', copyReport);
byId('settings').addEventListener('submit', (event) => {
  event.preventDefault();
  if (!engine) run();
});
