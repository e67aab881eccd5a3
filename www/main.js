// The page: wires the controls, the pictures and the scrubber to the worker that owns the engine.

import { ANY, classLabels, classNames, defaultClass, hasClass, hasClasses, showClasses } from './model/classes.js';
import { isCondition, readCondition, shortlyTaken, whatIsTaken } from './model/condition.js';
import { byId, make } from './view/dom.js';
import { alphaBar, duration, megabytes, number, short, snr, time } from './words/format.js';
import { Gallery, noiseBatch } from './view/gallery.js';
import { reportText, showReport, verdict } from './view/gpu-check.js';
import { ABOUT_SAMPLERS, HINTS, LABELS } from './words/hints.js';
import { HUB } from './model/hub.js';
import { symbol, term } from './view/maths.js';
import { ModelMenu } from './view/model-menu.js';
import { readSource, sourceOfFiles } from './model/source.js';
import { Notices } from './view/notices.js';
import { INITIAL, phaseOf, reduce } from './store/phase.js';
import { listen, send } from './engine/protocol.js';
import { Recording } from './store/recording.js';
import { Scrubber } from './view/scrubber.js';
import { DEFAULTS, SAMPLERS, defaultEta, defaultSampling, isUseful, mostSteps, randomSeed, readField, readQuery, writeQuery } from './store/settings.js';
import { openPopover, setUpPopovers, setUpTheme } from './view/shell.js';
import { setUpTooltips } from './view/tooltip.js';
import { UpdatePanel } from './view/update-panel.js';

// What is known of the shipped models beforehand, so that their controls do not appear late and push the rest down.
const SHIPPED = [{
  folder: 'models/digits',
  title: 'Digits',
  about: 'handwritten, 32 × 32',
  class_names: [...'0123456789'],
  class_kind: 'label',
  null_class: 10,
  guidance: null,
}, {
  folder: 'models/sprites',
  title: 'Sprites',
  about: 'dungeon tiles in colour, 32 × 32',
  class_names: ['humanoid', 'beast', 'undead', 'demon', 'weapon', 'armour', 'potion', 'jewellery', 'scroll', 'wand', 'spell', 'altar', 'tree', 'wall', 'floor'],
  class_kind: 'label',
  null_class: 15,
  guidance: 2,
}];
const STAGES = {
  // What the stage is called, and which part of the progress bar it fills.
  engine: { text: 'Starting the engine', from: 0, to: 0.03 },
  download: { text: 'Downloading the model', from: 0.03, to: 0.55 },
  compile: { text: 'Compiling the shaders', from: 0.55, to: 0.9 },
  parse: { text: 'Preparing the model', from: 0.9, to: 1 },
  check: { text: 'Checking the GPU', from: 0, to: 1 },
};
const FAILURES = {
  engine: 'The engine did not start',
  load: 'The model did not load',
  start: 'The run did not start',
  run: 'The run was interrupted',
  check: 'The GPU could not be checked',
};

const query = new URLSearchParams(location.search);
const { settings, given, problems } = readQuery(query);
const notices = new Notices({ errors: byId('errors'), notes: byId('notes') });

/** What is under way. @type {import('./store/phase.js').State} */
let state = INITIAL;
/** Of the last command. */
let lastId = 0;
let worker;
/** @type {{kind: string, name: string, note: string|null, half: boolean}|null} */
let backend = null;
/**
 * The loaded model, where it came from, what else it could be loaded as and what it is called.
 * @type {{id: number, source: import('./model/source.js').Source, networks: import('./model/networks.js').Choice[], network: string, variant: string, model: import('./engine/protocol.js').Model, title: string}|null}
 */
let loaded = null;
/** What is being loaded. @type {import('./model/source.js').Source} */
let wanted = firstSource();
/** The sample that came with a model, shown until the first run. */
let preview = { batch: noiseBatch(settings.count, 32, 32), caption: '', real: false };
/** The sample of the model that is being loaded. */
let nextPreview = null;
/** @type {Recording|null} */
let recording = null;
let runStarted = 0;
let view = 'x';
let classChosen = given.has('class');
let samplerChosen = given.has('sampler');
let keepSeed = given.has('seed');
let lastSeed = null;
/** What the model takes beside x_t, if it takes anything. @type {import('./model/condition.js').Condition|null} */
let condition = null;
/** Files that the worker is looking into for a model. @type {{id: number, files: import('./model/folder.js').Found[]}|null} */
let arranging = null;

const gallery = new Gallery({
  canvas: byId('images'),
  list: byId('options'),
  loupes: [byId('loupe-x'), byId('loupe-x0')],
  onchoose: () => {
    scrubber.paint();
    drawPictures();
  },
});
const scrubber = new Scrubber(
  { slider: byId('step'), bubble: byId('bubble'), strip: byId('strip'), play: byId('play') },
  { onmove: drawPictures, picture: (state) => (view === 'x' ? state.x : state.x0), chosen: () => gallery.chosen },
);
const updatePanel = new UpdatePanel({ title: byId('update-title'), formulas: byId('formulas'), chart: byId('chart') });
const menu = new ModelMenu({
  read: sourceOf,
  onload: load,
  onfiles: takeFiles,
  onfailed: onNoModel,
  onstored: (remove) => send(worker, { type: 'stored', remove }),
});

/** @param {string} text */
function sourceOf(text) {
  // Another server with the hub's addresses: a mirror, or the tests' own.
  const hub = query.get('hub')?.replace(/\/*$/, '/') ?? HUB;
  return readSource(text, { base: new URL('.', document.baseURI).href, hub });
}

function firstSource() {
  const { source, problem } = sourceOf(settings.model);
  if (source) return { ...source, network: settings.network || null, variant: settings.variant || null };
  problems.push(`model=${settings.model} in the address: ${problem} ${DEFAULTS.model} is used.`);
  return sourceOf(DEFAULTS.model).source;
}

// ---- The worker -------------------------------------------------------------------------------

/**
 * Takes an event into the page's state.
 * @param {import('./store/phase.js').Event} event
 * @returns {boolean}  whether it changed anything
 */
function happens(event) {
  const before = state;
  state = reduce(state, event);
  if (state !== before) showPhase();
  return state !== before;
}

/** Starts a worker with a fresh engine; an old one, whatever state it is in, goes. @param {import('./store/phase.js').Next} next */
function connect(next = null) {
  worker?.terminate();
  nextPreview = null;
  worker = new Worker(new URL('./engine/worker.js', import.meta.url), { type: 'module' });
  worker.addEventListener('error', (event) => {
    event.preventDefault();
    onFailed({ id: null, during: backend ? 'run' : 'engine', message: event.message || 'The engine’s worker could not be loaded. Reload the page.' });
  });
  listen(worker, {
    backend: onBackend,
    progress: onProgress,
    preview: onPreview,
    model: onModel,
    started: onStarted,
    frame: onFrame,
    finished: onFinished,
    checked: onChecked,
    arranged: onArranged,
    stored: (stored) => menu.showStored(stored),
    failed: onFailed,
  });
  backend = null;
  byId('backend-name').textContent = 'Starting';
  byId('backend-button').dataset.kind = '';
  const id = ++lastId;
  happens({ type: 'connect', id, next });
  send(worker, { type: 'open', id, backend: settings.backend, source: wanted, options: loadOptions(), autotune: settings.autotune === '1' });
  // The worker that was asked before has gone.
  if (arranging) send(worker, { type: 'arrange', ...arranging });
}

/** @returns {import('./engine/protocol.js').LoadOptions} */
function loadOptions() {
  // What came with the address is meant for the first model; another one brings its own.
  const known = loaded ? loaded.source.id === wanted.id : given.has('guidance');
  return { count: given.has('count') ? settings.count : null, precision: settings.precision, guidance: known ? settings.guidance : null };
}

function onBackend(message) {
  backend = message;
  const { kind, name, note } = message;
  const detail = name.match(/\((.+)\)$/)?.[1] ?? name;
  byId('backend-name').replaceChildren(kind.toUpperCase(), make('span', { class: 'wide-only' }, ` · ${detail}`));
  byId('backend-button').dataset.kind = kind;
  byId('backend-text').textContent = note ?? (kind === 'gpu'
    ? 'The model runs on this computer’s graphics processor, through WebGPU.'
    : 'The model runs on this computer’s main processor. Graphics processors are usually many times faster.');
  const other = byId('backend-switch');
  other.hidden = false;
  other.textContent = kind === 'gpu' ? 'Use the CPU' : 'Use the GPU';
  other.onclick = () => {
    byId('backend-menu').hidePopover();
    changeBackend(kind === 'gpu' ? 'cpu' : 'gpu');
  };
  if (note) notices.show({ key: 'backend', text: note });
  else notices.clear('backend');
  byId('check').hidden = kind !== 'gpu';
  document.querySelector('[name=precision][value=f16]').disabled = !message.half;
  byId('precision-hint').textContent = message.half
    ? '16 bit halves the memory; pictures differ a little. Auto takes it for large models.'
    : `16 bit is for graphics processors that calculate with it, which this ${kind === 'gpu' ? 'one does' : 'processor does'} not.`;
}

function onProgress({ id, stage, done, total, waiting }) {
  if (id !== (state.loading ?? state.command)) return;
  const { text, from, to } = STAGES[stage];
  const part = total ? done / total : 0;
  const count = {
    engine: '',
    parse: '',
    check: total ? `layer ${done} of ${total}` : '',
    download: total ? `${megabytes(done)} of ${megabytes(total)} MB` : `${megabytes(done)} MB`,
  }[stage] ?? `${done} of ${total}`;
  const says = waiting ? 'Reconnecting' : text;
  if (stage === 'check') byId('check').textContent = total ? `Checking layer ${done} of ${total}` : 'Checking';
  setStatus(says, count, from + part * (to - from));
}

function onPreview({ id, batch, caption }) {
  const next = { batch, caption, real: true };
  // The first model's sample fills the page at once; a later one waits until its model has loaded.
  if (id === state.loading && loaded) nextPreview = next;
  else if ((id === state.loading || id === loaded?.id) && !recording) showPreview(next);
}

function onModel({ id, source: asked, networks, network, variant, model, count, note }) {
  if (state.lost) return;
  const first = !loaded;
  const changed = loaded?.source.id !== asked.id || loaded.network !== network;
  const title = model.title || (asked.kind === 'files' ? asked.name : asked.id);
  // What comes first needs no naming; where a server lists nothing, the one that was named may be the only one known.
  const index = networks.findIndex(({ folder }) => folder === network);
  const source = { ...asked, network: index || networks.length === 1 ? asked.network : null, variant: variant === networks[index].variants[0] ? null : variant };
  loaded = { id, source, networks, network, variant, model, title };
  byId('model-name').textContent = title;
  notices.clear('failure');
  if (note) notices.show({ key: 'model', text: note });
  else notices.clear('model');
  setCount(count);
  if (changed && !(first && given.has('guidance'))) settings.guidance = modelDefaults().guidance;
  if (changed && !first) classChosen = false;
  chooseClass(model, first && given.has('class'));
  byId('guidance').value = settings.guidance;
  chooseSampler(first);
  if (changed) showCondition(null);
  showUseful();
  menu.showShipped(SHIPPED, source.id);
  menu.showFacts(loaded);
  if (changed) {
    byId('check-report').hidden = true; // it was about another model
    if (recording) {
      recording = null;
      scrubber.forget();
      updatePanel.forget();
    }
    showPreview(nextPreview ?? { batch: noiseBatch(settings.count, model.width, model.height), caption: '', real: false });
  }
  if (!first) writeAddress();
  const { loading, next } = state;
  happens({ type: 'model', id });
  if (id !== loading) return; // the next one is already on its way
  setStatus('Ready', `${short(model.parameters)} parameters`, 0);
  announce(`${title} is ready.`);
  if (next === 'generate') generate();
  if (next === 'check') startCheck();
}

function onStarted(message) {
  if (message.id !== state.command) return;
  runStarted = performance.now();
  recording = new Recording(message, describe(running));
  gallery.setShape(message.count, message.width, message.height);
  scrubber.begin(recording);
  updatePanel.begin(message.rows, loaded.model.prediction_type, guidanceOf(running));
  byId('caption').textContent = recording.caption;
  if (happens({ type: 'started', id: message.id })) setStatus('Sampling', `0/${recording.steps}`, 0);
  drawPictures();
}

function onFrame(frame) {
  if (frame.id !== state.command) return;
  recording.add(frame);
  scrubber.grow();
  requestDraw();
  const done = frame.step + 1;
  const left = ((performance.now() - runStarted) / done) * (recording.steps - done);
  if (phaseOf(state) === 'running') setStatus('Sampling', `${done}/${recording.steps} · ${duration(left)} left`, done / recording.steps);
}

function onFinished({ id, stopped }) {
  if (!happens({ type: 'finished', id })) return;
  if (phaseOf(state) === 'loading') return; // it was stopped to make way for another model
  const time = duration(performance.now() - runStarted);
  const { newest, states, steps, finished } = recording;
  const complete = finished || !stopped;
  drawPictures();
  setStatus(complete ? 'Done' : 'Stopped', complete ? `${steps} steps · ${time}` : `at ${states[newest].step}/${steps} · ${time}`, complete ? 1 : states[newest].step / steps);
  announce(complete ? `Done: ${steps} steps in ${time}.` : `Stopped at step ${states[newest].step} of ${steps}.`);
}

/** Files were given that hold no model: whatever is loaded, or being loaded, goes on. */
function onNoModel(message) {
  const text = loaded && !state.empty ? `${message} ${loaded.title} is still loaded and works.` : message;
  notices.show({ key: 'failure', error: true, title: FAILURES.load, text });
  announce(`${FAILURES.load}. ${message}`);
}

function onFailed({ id, during, message, source, fits }) {
  const { loading } = state;
  if (!happens({ type: 'failed', during, id })) return;
  // A run or a check that made way for another model is nobody's concern any more.
  if (phaseOf(state) === 'loading') return;
  // Nor is one that was interrupted, once another model was asked for.
  const again = during === 'run' && loading === null ? 'generate' : null;
  const onGpu = settings.backend !== 'cpu' && backend?.kind !== 'cpu';
  const cpu = { label: 'Use the CPU', act: () => changeBackend('cpu', again) };
  const restart = { label: 'Try again', act: () => connect(again) };
  const show = (actions, text = message) => notices.show({ key: 'failure', error: true, title: FAILURES[during], text, actions: actions.filter(Boolean) });
  if (during === 'load') {
    const retry = { label: 'Try again', act: () => load(source) };
    const fewer = fits && { label: fits === 1 ? 'Make one image' : `Make ${fits} images`, act: () => {
      setCount(fits);
      given.add('count');
      load(source);
    } };
    if (!state.empty) {
      wanted = loaded.source;
      menu.showFacts(loaded); // what was chosen there is not what is loaded
      show([fewer, retry, { label: 'Another model', act: () => menu.open() }], `${message} ${loaded.title} is still loaded and works.`);
      setStatus('Ready', `${short(loaded.model.parameters)} parameters`, 0);
    } else {
      const shipped = SHIPPED.find(({ folder }) => folder !== source.id);
      show([fewer, retry, { label: `Load ${shipped.title}`, act: () => load(sourceOf(shipped.folder).source) }]);
      setStatus('No model loaded', '', 0);
    }
  } else if (during === 'start' || during === 'check') {
    show([]);
    setStatus('Ready', '', 0);
  } else {
    const check = during === 'run' && { label: 'Check my GPU', act: () => connect('check') };
    show(onGpu ? [restart, cpu, check] : [restart]);
    setStatus(during === 'run' ? 'Interrupted' : 'Not running', '', 0);
  }
  announce(`${FAILURES[during]}. ${message}`);
}

function changeBackend(kind, next = null) {
  settings.backend = kind;
  if (kind === 'cpu' && settings.precision === 'f16') setPrecision('auto');
  notices.clear('failure');
  notices.clear('gpu');
  writeAddress();
  connect(next);
}

/** @param {import('./model/source.js').Source} source @param {import('./store/phase.js').Next} next */
function load(source, next = null) {
  wanted = source;
  nextPreview = null;
  notices.clear('failure');
  if (state.lost) return connect(next);
  const id = ++lastId;
  happens({ type: 'load', id, next });
  if (state.activity === 'stopping') send(worker, { type: 'stop' });
  send(worker, { type: 'load', id, source, options: loadOptions() });
}

/** @param {import('./model/folder.js').Found[]} files  of the visitor's */
function takeFiles(files) {
  if (loaded?.model.condition_channels && files.length === 1 && isCondition(files[0].file)) return takeCondition(files[0].file);
  arranging = { id: ++lastId, files };
  send(worker, { type: 'arrange', ...arranging });
}

function onArranged({ id, name, problem }) {
  if (id !== arranging?.id) return; // other files were given since
  const { files } = arranging;
  arranging = null;
  if (problem) onNoModel(problem);
  else load(sourceOfFiles(name, files));
}

// ---- Checking the GPU -------------------------------------------------------------------------

function startCheck() {
  const id = ++lastId;
  if (!happens({ type: 'check', id })) return;
  notices.clear('failure');
  announce('Checking the GPU.');
  send(worker, { type: 'check', id });
}

/** @param {{id: number, report: import('./engine/protocol.js').CheckReport}} message */
function onChecked({ id, report }) {
  if (!happens({ type: 'checked', id })) return;
  const { title, model } = loaded;
  const text = reportText(report, { model: title, precision: model.precision, backend: backend.name });
  const copy = () => copyText(text);
  showReport(byId('check-report'), report, copy);
  if (report.ok && phaseOf(state) === 'loading') return; // another model is on its way
  setStatus(report.ok ? 'The GPU is right' : 'The GPU is wrong', '', 0);
  const { title: says, text: details } = verdict(report);
  announce(`${says}. ${details}`);
  const show = () => openPopover(byId('backend-menu'));
  if (report.ok) return show();
  byId('backend-menu').hidePopover();
  changeBackend('cpu');
  notices.show({ key: 'gpu', error: true, title: says, text: `${details} The CPU takes over. Please pass the report on, so that this can be mended.`, actions: [
    { label: 'Copy report', act: copy },
    { label: 'Show report', act: show },
  ] });
}

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    announce('The report was copied.');
    setStatus('Report copied', '', null);
  } catch (error) {
    notices.show({ key: 'copy', text: `The report could not be copied (${error.message}). It is in the browser’s console.` });
    console.info(text);
  }
}

// ---- Running ----------------------------------------------------------------------------------

/** The settings of the run that was started last. */
let running = null;

function generate() {
  const phase = phaseOf(state);
  // The engine or its model is gone; the button does what it says by bringing them back first.
  if (phase === 'broken') return load(wanted, 'generate');
  if (phase !== 'ready') return;
  const needed = conditionProblem();
  if (needed) {
    notices.show({ key: 'failure', error: true, title: FAILURES.start, text: needed });
    announce(`${FAILURES.start}. ${needed}`);
    byId('condition').focus();
    return;
  }
  const invalid = FIELD_NAMES.find((name) => !readControl(name));
  if (invalid) {
    byId('advanced').open ||= invalid === 'spacing' || invalid === 'variance';
    byId(invalid).focus();
    return;
  }
  // The first run uses the seed in the field; a run after it draws another, unless it is to be kept.
  if (!keepSeed && settings.seed === lastSeed) setSeed(randomSeed());
  lastSeed = settings.seed;
  notices.clear('failure');
  notices.clear('backend'); // it was read; the badge still says it
  notices.clear('model');
  running = { ...settings };
  writeAddress();
  const id = ++lastId;
  happens({ type: 'generate', id });
  setStatus('Starting the run', '', 0);
  announce('Sampling.');
  send(worker, { type: 'generate', id, settings: engineSettings(running) });
}

function stop() {
  if (!happens({ type: 'stop' })) return;
  send(worker, { type: 'stop' });
  setStatus('Stopping after this step', '', null);
}

/** @returns {import('./engine/protocol.js').EngineSettings} */
function engineSettings(settings) {
  const { sampler, steps, eta, seed, count, spacing, variance, class: name } = settings;
  return {
    sampler,
    steps,
    eta: isUseful('eta', sampler) ? eta : 0,
    seed,
    count,
    class_labels: classLabels(loaded.model, name, count),
    guidance: guidanceOf(settings),
    ...(condition && { condition: condition.values }),
    timestep_spacing: doesSomething('spacing') ? spacing : null,
    variance_type: variance === 'own' ? null : variance,
  };
}

/** Guidance leans from "no class" towards a class, so it takes both. */
const hasGuidance = ({ class: name }) => loaded !== null && loaded.model.null_class !== null && name !== ANY;
const guidanceOf = (settings) => (hasGuidance(settings) ? settings.guidance : 1);

function describe(settings) {
  const { sampler, steps, eta, seed, class: name } = settings;
  const parts = [SAMPLERS[sampler], steps === 1 ? '1 step' : `${steps} steps`];
  if (isUseful('eta', sampler) && eta > 0) parts.push(`η ${eta}`);
  if (hasClasses(loaded.model)) parts.push(`class ${name}`);
  if (guidanceOf(settings) !== 1) parts.push(`guidance ${guidanceOf(settings)}`);
  return [...parts, `seed ${seed}`].join(' · ');
}

function showPhase() {
  const phase = phaseOf(state);
  document.body.dataset.phase = phase;
  const active = phase === 'starting' || phase === 'running' || phase === 'stopping';
  const button = byId('generate');
  byId('generate-label').textContent = active ? 'Stop' : 'Generate';
  button.classList.toggle('stop', active);
  button.disabled = phase === 'loading' || phase === 'stopping' || phase === 'checking';
  byId('check').disabled = phase !== 'ready';
  if (phase !== 'checking') byId('check').textContent = 'Check my GPU';
}

/** @param {string} text @param {string} count @param {number|null} fraction  null leaves the bar as it is */
function setStatus(text, count, fraction) {
  byId('status-text').textContent = text;
  byId('status-number').textContent = count;
  if (fraction !== null) byId('progress').value = fraction;
}

function announce(text) {
  byId('announcer').textContent = text;
}

// ---- Drawing ----------------------------------------------------------------------------------

let drawRequested = false;

/** Frames may come faster than the screen shows them. */
function requestDraw() {
  if (drawRequested) return;
  drawRequested = true;
  requestAnimationFrame(() => {
    drawRequested = false;
    drawPictures();
  });
}

function drawPictures() {
  if (!recording) {
    const { batch } = preview;
    gallery.draw(batch.pixels);
    gallery.drawLoupes(noiseBatch(batch.count, batch.width, batch.height).pixels, batch.pixels);
    byId('loupe-note').textContent = 'what it expects';
    for (const readout of document.querySelectorAll('.readouts dd')) readout.textContent = '–';
    return;
  }
  const { step, x, x0, x0Step } = recording.states[scrubber.index];
  gallery.draw((view === 'x' ? x : x0) ?? x);
  gallery.drawLoupes(x, x0 ?? x);
  gallery.describe(`${recording.count} images, ${view === 'x' ? 'x_t' : 'x̂0'} at step ${step} of ${recording.steps}`);
  // The newest step of a run has no prediction of its own yet.
  byId('loupe-note').textContent = x0 && x0Step !== step ? `expected at step ${x0Step}` : 'what it expects';

  const row = recording.rows[step];
  const alpha = row?.alpha_cumprod ?? 1;
  byId('at-step').textContent = `${step} of ${recording.steps}`;
  byId('at-t').textContent = row ? time(row.timestep) : 'done';
  byId('at-alpha').textContent = alphaBar(alpha);
  byId('at-sigma').textContent = number(Math.sqrt(1 - alpha));
  byId('at-snr').textContent = snr(alpha);
  updatePanel.show(step);
}

function showPreview(next) {
  preview = next;
  const { batch, caption, real } = preview;
  gallery.setShape(batch.count, batch.width, batch.height);
  gallery.describe(real ? `${batch.count} images made by this model` : 'Noise: nothing was generated yet');
  byId('caption').textContent = caption;
  drawPictures();
  scrubber.showPlaceholder(noiseBatch(1, batch.width, batch.height), real ? batch : null);
}

function setView(next) {
  view = next;
  scrubber.paint();
  if (recording) drawPictures();
}

// ---- Controls ---------------------------------------------------------------------------------

const FIELD_NAMES = ['sampler', 'steps', 'count', 'guidance', 'eta', 'seed', 'spacing', 'variance'];
const most = () => (loaded ? mostSteps(loaded.model, settings.sampler) : 1000);

/** Takes one control's value into the settings; an invalid one stays as typed and says what is allowed. */
function readControl(name) {
  const control = byId(name);
  const { value, problem: unreadable } = readField(name, control.value);
  const problem = unreadable || (name === 'steps' && value > most() ? `a whole number from 1 to ${most()}, the times this model was trained on` : '');
  const hidden = control.parentElement.hidden;
  const valid = !problem || hidden;
  control.setAttribute('aria-invalid', !valid);
  control.dataset.problem = valid ? '' : `${LABELS[name]}: ${problem}.`;
  if (valid && !hidden) settings[name] = value;
  showHint();
  return valid;
}

/** A line or two under the fields: what is wrong, or what the field in use does. */
function showHint() {
  const wrong = FIELD_NAMES.map((name) => byId(name).dataset.problem).find(Boolean);
  const hint = byId('hint');
  hint.classList.toggle('problem', Boolean(wrong));
  hint.textContent = wrong || (HINTS[document.activeElement?.id] ?? ABOUT_SAMPLERS[settings.sampler]);
}

/** @param {'eta'|'variance'|'spacing'} name */
const doesSomething = (name) => isUseful(name, settings.sampler, loaded?.model.prediction_type);

/** Shows the controls that do something for this model, class and sampler, and hides the others. */
function showUseful() {
  const show = (name, useful) => {
    byId(name).parentElement.hidden = !useful;
  };
  byId('steps').max = most();
  // TCD's η is another kind of number than DDIM's.
  if (!given.has('eta')) byId('eta').value = settings.eta = defaultEta(settings.sampler);
  for (const name of ['eta', 'variance', 'spacing']) show(name, doesSomething(name));
  byId('advanced').hidden = !doesSomething('variance') && !doesSomething('spacing');
  show('guidance', hasGuidance(settings));
}

function showSamplers(names) {
  byId('sampler').replaceChildren(...names.map((name) => make('option', { value: name, selected: name === settings.sampler }, SAMPLERS[name] ?? name)));
}

/** Lists what the model can be sampled with, and sets what it is sampled with if nobody else has. @param {boolean} first */
function chooseSampler(first) {
  const { samplers } = loaded.model;
  const { sampler } = settings;
  const { sampler: own, steps } = defaultSampling(loaded.model);
  const changes = samplerChosen ? !samplers.includes(sampler) : sampler !== own;
  // An address leaves out what is the model's default.
  if (first ? !given.has('steps') : changes) byId('steps').value = settings.steps = Math.min(steps, mostSteps(loaded.model, own));
  readControl('steps');
  if (changes) {
    settings.sampler = own;
    samplerChosen = false;
    if (first && given.has('sampler')) notices.show({ key: 'sampler', text: `${SAMPLERS[sampler]} cannot sample this model, so ${SAMPLERS[settings.sampler] ?? settings.sampler} does.` });
  }
  showSamplers(samplers);
  showHint();
}

// ---- What some models take beside x_t ---

/** @returns {import('./model/condition.js').Shape} */
function conditionShape() {
  const { condition_channels: channels, width, height } = loaded.model;
  return { channels, width, height };
}

/** @param {import('./model/condition.js').Condition|null} given */
function showCondition(given) {
  condition = given;
  const shape = conditionShape();
  const takes = shape.channels > 0;
  byId('condition-row').hidden = !takes;
  byId('drop-text').textContent = takes ? 'Drop an image, or a model’s folder' : 'Drop a model’s folder to load it';
  if (!takes) return;
  byId('condition').accept = shape.channels === 1 || shape.channels === 3 ? '.png,.jpg,.jpeg,.webp,.safetensors' : '.safetensors';
  byId('condition-text').textContent = given ? `${given.name}${given.images > 1 ? `, for ${given.images} images` : ''}` : shortlyTaken(shape);
  const canvas = byId('condition-picture');
  canvas.hidden = !given?.picture;
  if (canvas.hidden) return;
  Object.assign(canvas, { width: shape.width, height: shape.height });
  canvas.getContext('2d').putImageData(given.picture, 0, 0);
}

/** @param {File} file */
async function takeCondition(file) {
  const { id } = loaded;
  try {
    const given = await readCondition(file, conditionShape());
    if (loaded.id !== id) return; // it was for another model
    notices.clear('failure');
    showCondition(given);
    announce(`${file.name} is the condition.`);
  } catch (error) {
    notices.show({ key: 'failure', error: true, title: 'The condition is not taken', text: error.message });
    announce(`The condition is not taken. ${error.message}`);
  }
}

/** Why a run cannot begin with what is there, or nothing. */
function conditionProblem() {
  const shape = conditionShape();
  if (!shape.channels) return '';
  if (!condition) return `This model takes more than noise. Choose ${whatIsTaken(shape)} under Condition, or drop it on the page.`;
  const { images, name } = condition;
  return images === 1 || images === settings.count ? '' : `${name} has ${images} conditions and there are ${settings.count} images. Make ${images}, or give one for all.`;
}

/** What the page takes by itself with the loaded model. */
function modelDefaults() {
  const { model } = loaded;
  return { ...DEFAULTS, ...defaultSampling(model), eta: defaultEta(settings.sampler), guidance: model.guidance ?? DEFAULTS.guidance, class: defaultClass(model) };
}

function setCount(count) {
  settings.count = count;
  byId('count').value = count;
}

function setPrecision(precision) {
  settings.precision = precision;
  document.querySelector(`[name=precision][value=${precision}]`).checked = true;
}

function setSeed(seed) {
  byId('seed').value = seed;
  readControl('seed');
}

function setKeepSeed(keep) {
  keepSeed = keep;
  byId('lock').setAttribute('aria-pressed', keep);
}

function writeAddress() {
  if (!loaded) return;
  // The visitor's own files have no address.
  const { kind, id, network, variant } = loaded.source;
  const named = kind === 'files' ? { model: DEFAULTS.model, network: '', variant: '' } : { model: id, network: network ?? '', variant: variant ?? '' };
  Object.assign(settings, named);
  history.replaceState(null, '', `?${writeQuery(settings, new URLSearchParams(location.search), modelDefaults())}`);
}

/** @param {import('./model/classes.js').Classes} model @param {boolean} asked  whether somebody chose the class that is set */
function chooseClass(model, asked) {
  byId('class-row').hidden = !hasClasses(model);
  if (!asked && !classChosen) settings.class = defaultClass(model);
  if (hasClasses(model) && !hasClass(model, settings.class)) {
    const fallback = defaultClass(model);
    if (asked) notices.show({ key: 'class', text: `This model has no class “${settings.class}”; ${fallback} is used. It has: ${classNames(model).slice(0, 30).join(', ')}.` });
    settings.class = fallback;
  }
  showClasses(byId('classes'), model, settings.class);
}

function setUpControls() {
  showSamplers(Object.keys(SAMPLERS));
  for (const name of FIELD_NAMES) {
    byId(name).value = settings[name];
    byId(name).addEventListener('focus', showHint);
    byId(name).addEventListener('blur', showHint);
    byId(name).addEventListener('input', () => {
      if (!readControl(name)) return;
      if (name === 'sampler') {
        samplerChosen = true;
        notices.clear('sampler');
        showUseful();
        FIELD_NAMES.forEach(readControl);
      }
      if (['count', 'steps', 'eta'].includes(name)) given.add(name); // as good as in the address
      if (name === 'seed') setKeepSeed(true); // who types a seed wants that seed
      writeAddress();
    });
  }
  byId('advanced').open = settings.spacing !== DEFAULTS.spacing || settings.variance !== DEFAULTS.variance;
  setKeepSeed(keepSeed);
  showUseful();
  showHint();

  byId('classes').addEventListener('input', ({ target }) => {
    if (loaded && !hasClass(loaded.model, target.value)) return;
    settings.class = target.value;
    classChosen = true;
    notices.clear('class');
    showUseful();
    writeAddress();
  });
  setPrecision(settings.precision);
  for (const input of document.querySelectorAll('input[name=precision]')) {
    input.addEventListener('change', () => {
      settings.precision = input.value;
      load(wanted);
      writeAddress();
    });
  }
  byId('check').addEventListener('click', startCheck);
  byId('condition').addEventListener('change', ({ target }) => {
    const [file] = target.files;
    if (file) takeCondition(file);
    target.value = ''; // so that the same choice is a change again
  });
  for (const input of document.querySelectorAll('input[name=view]')) {
    input.addEventListener('change', () => setView(input.value));
  }
  byId('dice').addEventListener('click', () => {
    setSeed(randomSeed());
    writeAddress();
  });
  byId('lock').addEventListener('click', () => setKeepSeed(!keepSeed));
  byId('generate').addEventListener('click', () => (['starting', 'running'].includes(state.activity) ? stop() : generate()));
  byId('settings').addEventListener('submit', (event) => event.preventDefault());
  document.addEventListener('keydown', onKey);
}

function onKey(event) {
  if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    generate();
  } else if (event.key === ' ' && !event.target.closest('input:not([type=range], [type=radio]), select, textarea, button, summary, [popover]')) {
    event.preventDefault();
    scrubber.togglePlay();
  }
}

// ---- Start ------------------------------------------------------------------------------------

for (const place of document.querySelectorAll('[data-symbol]')) place.append(symbol(place.dataset.symbol));
for (const place of document.querySelectorAll('[data-term]')) place.append(term(place.dataset.term));
setUpTheme();
setUpPopovers();
setUpTooltips();
setUpControls();
if (problems.length) notices.show({ key: 'address', text: problems.join(' ') });
byId('backend-text').textContent = 'The engine is starting.';
showPreview(preview);
menu.showShipped(SHIPPED, wanted.id);
const first = SHIPPED.find(({ folder }) => folder === wanted.id);
if (first) {
  chooseClass({ ...first, class_count: first.class_names.length }, given.has('class'));
  if (!given.has('guidance')) byId('guidance').value = settings.guidance = first.guidance ?? DEFAULTS.guidance;
  byId('guidance').parentElement.hidden = settings.class === ANY;
}
connect();
