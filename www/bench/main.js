// The benchmark: times evaluations of the shipped models, or of the one in the address, on the visitor's own device.

import { readerOf } from '../model/source.js';
import { SHIPPED } from '../models/catalogue.js';
import { defaultSampling, isUseful, mostSteps, readField, readQuery } from '../store/settings.js';
import { byId } from '../view/dom.js';
import { Notices } from '../view/notices.js';
import { setUpTheme } from '../view/shell.js';
import { megabytes } from '../words/format.js';
import { EngineWorker } from './engine-worker.js';
import { card, median, reportText, time } from './results.js';

/** @typedef {import('../engine/protocol.js').BackendInfo} BackendInfo */
/** @typedef {import('../model/source.js').Source} Source */
/** @typedef {import('../store/state.js').Notice} Notice */
/** @typedef {import('./results.js').Result} Result */

/** Evaluations before those that are timed: the first has to wait for what is done once a run. */
const WARM_UP = 2;
const SEED = 1234;

/** @type {Record<import('../engine/protocol.js').LoadingStage, string>} */
const STAGES = {
  engine: 'Starting the engine',
  gradients: 'Downloading',
  download: 'Downloading',
  classifier: 'Downloading',
  parse: 'Checking',
  compile: 'Compiling',
  check: 'Checking the GPU',
  replay: 'Going back',
};

const query = new URLSearchParams(location.search);
const { settings, given, problems } = readQuery(query);
if (!given.has('count')) settings.count = 1;
const read = readerOf(query, new URL('.', document.baseURI).href);

/** @type {Notice[]} */
let shown = [];
const notices = new Notices({
  dismiss: (key) => clear(key),
  act: (intent) => {
    if (intent.do === 'changeBackend') choose('backend', intent.kind);
    run();
  },
});

/** The engine that runs, while one does. @type {EngineWorker|null} */
let engine = null;
let stopped = false;

// ---- Running ----------------------------------------------------------------------------------

async function run() {
  if (!readControls()) return;
  clear('failure');
  byId('results').replaceChildren();
  byId('report').hidden = true;
  stopped = false;
  setPhase('running');
  announce('Running.');
  /** @type {Result[]} */
  const results = [];
  /** @type {BackendInfo|null} */
  let backend = null;
  try {
    const sources = (given.has('model') ? [settings.model] : SHIPPED.map(({ folder }) => folder)).map(sourceOf);
    const asked = engine = new EngineWorker();
    for (const [index, source] of sources.entries()) {
      const part = (/** @type {number} */ fraction) => (index + fraction) / sources.length;
      const result = await measure(asked, source, index === 0, part, (message) => {
        backend = message;
        showBackend(message);
      });
      results.push(result);
      byId('results').append(card(result));
    }
    if (backend) showReport(results, backend);
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
      showFailure(error instanceof Error ? error.message : String(error), backend);
    }
  } finally {
    engine?.end();
    engine = null;
  }
}

/**
 * Loads a model, makes a run of it and times its frames.
 * @param {EngineWorker} engine
 * @param {Source} source
 * @param {boolean} first  whether the engine is still to be started
 * @param {(fraction: number) => number} part  of the progress bar
 * @param {(backend: BackendInfo) => void} onbackend
 * @returns {Promise<Result>}
 */
async function measure(engine, source, first, part, onbackend) {
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
  /** @type {number[]} */
  const times = [];
  const class_labels = model.class_kind === 'label' ? Array.from({ length: count }, () => 0) : null;
  /** @type {import('../engine/protocol.js').EngineSettings} */
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

/** @param {string} text @returns {Source} */
function sourceOf(text) {
  const { source, problem } = read(text);
  if (!source) throw new Error(`model=${text} in the address: ${problem}`);
  return { ...source, network: settings.network || null, variant: settings.variant || null };
}

// ---- What is shown ----------------------------------------------------------------------------

/** @param {Result[]} results @param {BackendInfo} backend */
async function showReport(results, backend) {
  byId('report-text').textContent = await reportText(results, backend);
  byId('report').hidden = false;
}

async function copyReport() {
  try {
    await navigator.clipboard.writeText(byId('report-text').textContent);
    setStatus('Report copied', '', null);
    announce('The report was copied.');
  } catch (error) {
    // It stands on the page: it can be copied by hand.
    show({ key: 'copy', text: `The report could not be copied (${error instanceof Error ? error.message : error}). Select it and copy it yourself.` });
  }
}

/** @param {Notice} notice */
function show(notice) {
  shown = [...shown.filter(({ key }) => key !== notice.key), notice];
  notices.render({ notices: shown });
}

/** @param {string} notice  its key */
function clear(notice) {
  shown = shown.filter(({ key }) => key !== notice);
  notices.render({ notices: shown });
}

/** @param {BackendInfo} backend */
function showBackend({ kind, name, note }) {
  byId('backend-name').textContent = `${kind.toUpperCase()} · ${name.match(/\((.+)\)$/)?.[1] ?? name}`;
  byId('backend-badge').dataset.kind = kind;
  if (note) show({ key: 'backend', text: note });
}

/** @param {string} message @param {BackendInfo|null} backend */
function showFailure(message, backend) {
  /** @type {NonNullable<Notice['actions']>[number]} */
  const again = { label: 'Try again', intent: { do: 'connect', next: null } };
  /** @type {typeof again} */
  const cpu = { label: 'Use the CPU', intent: { do: 'changeBackend', kind: 'cpu', next: null } };
  const onGpu = backend ? backend.kind === 'gpu' : settings.backend !== 'cpu';
  show({ key: 'failure', error: true, title: 'The benchmark did not finish', text: message, actions: onGpu ? [again, cpu] : [again] });
  setStatus('Not finished', '', 0);
  announce(`The benchmark did not finish. ${message}`);
}

/** @param {'ready'|'running'} phase */
function setPhase(phase) {
  document.body.dataset.phase = phase;
  const running = phase === 'running';
  byId('run').classList.toggle('stop', running);
  byId('run-label').textContent = running ? 'Stop' : 'Run';
  for (const input of byId('settings').querySelectorAll('input')) input.disabled = running;
}

/** @param {string} text @param {string} number @param {number|null} fraction  null leaves the bar as it is */
function setStatus(text, number, fraction) {
  byId('status-text').textContent = text;
  byId('status-number').textContent = number;
  if (fraction !== null) byId('progress').value = fraction;
}

/** @param {string} text */
const announce = (text) => {
  byId('announcer').textContent = text;
};

// ---- Settings ---------------------------------------------------------------------------------

/** @param {'backend'|'precision'} name @param {string} value */
function choose(name, value) {
  Object.assign(settings, { [name]: value });
  byId('settings').querySelector(`[name=${name}][value=${value}]`).checked = true;
}

/** Reads the controls into the settings, and says what is wrong with one. */
function readControls() {
  for (const name of ['backend', 'precision']) Object.assign(settings, { [name]: byId('settings').querySelector(`[name=${name}]:checked`).value });
  /** @type {{name: string, problem: string}|null} */
  let wrong = null;
  for (const name of /** @type {('count'|'steps')[]} */ (['count', 'steps'])) {
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
byId('steps').value = settings.steps;
byId('count').value = settings.count;
for (const text of problems) show({ key: text, text });
byId('run').addEventListener('click', () => (engine ? stop() : run()));
byId('copy').addEventListener('click', copyReport);
byId('settings').addEventListener('submit', (/** @type {Event} */ event) => {
  event.preventDefault();
  if (!engine) run();
});
