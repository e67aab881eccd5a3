// The page: wires the controls, the pictures and the scrubber to the worker that owns the engine.

import { byId, make } from './dom.js';
import { alphaBar, duration, megabytes, number, short, snr, time } from './format.js';
import { Gallery, noiseBatch } from './gallery.js';
import { symbol, term } from './maths.js';
import { Notices } from './notices.js';
import { listen, send } from './protocol.js';
import { Recording } from './recording.js';
import { Scrubber } from './scrubber.js';
import { DEFAULTS, SAMPLERS, randomSeed, readField, readQuery, writeQuery } from './settings.js';
import { setUpPopovers, setUpTheme } from './shell.js';
import { setUpTooltips } from './tooltip.js';
import { UpdatePanel } from './update-panel.js';

const SHIPPED = [{
  folder: 'models/digits',
  title: 'Digits',
  about: 'handwritten, 32 × 32',
  // Known beforehand, so that the chips do not appear late and push the rest down.
  class_names: [...'0123456789'],
  null_class: 10,
}];
const STAGES = {
  // What the stage is called, and which part of the progress bar it fills.
  engine: { text: 'Starting the engine', from: 0, to: 0.03 },
  download: { text: 'Downloading the model', from: 0.03, to: 0.55 },
  parse: { text: 'Checking the model', from: 0.55, to: 0.65 },
  compile: { text: 'Compiling the shaders', from: 0.65, to: 1 },
};
const FAILURES = {
  engine: 'The engine did not start',
  load: 'The model did not load',
  start: 'The run did not start',
  run: 'The run was interrupted',
};

const { settings, given, problems } = readQuery(new URLSearchParams(location.search));
const notices = new Notices({ errors: byId('errors'), notes: byId('notes') });

/** @type {'loading'|'ready'|'starting'|'running'|'stopping'|'broken'} */
let phase = 'loading';
let worker;
/** @type {{kind: string, name: string, note: string|null}|null} */
let backend = null;
/** The loaded model and where it came from. @type {{folder: string, model: import('./protocol.js').Model}|null} */
let loaded = null;
/** The folder that is being loaded, as it was asked for. */
let wanted = settings.model;
/** The sample that came with a model, shown until the first run. */
let preview = { batch: noiseBatch(settings.count, 32, 32), caption: '', real: false };
/** The sample of the model that is being loaded. */
let nextPreview = null;
/** @type {Recording|null} */
let recording = null;
let runStarted = 0;
let view = 'x';
let keepSeed = given.has('seed');
let lastSeed = null;
let generateWhenReady = false;

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

// ---- The worker -------------------------------------------------------------------------------

/** Starts a worker with a fresh engine; an old one, whatever state it is in, goes. */
function connect() {
  worker?.terminate();
  nextPreview = null;
  worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
  worker.addEventListener('error', (event) => {
    event.preventDefault();
    onFailed({ during: backend ? 'run' : 'engine', message: event.message || 'The engine’s worker could not be loaded. Reload the page.' });
  });
  listen(worker, {
    backend: onBackend,
    progress: onProgress,
    preview: onPreview,
    model: onModel,
    started: onStarted,
    frame: onFrame,
    finished: onFinished,
    failed: onFailed,
  });
  backend = null;
  byId('backend-name').textContent = 'Starting';
  byId('backend-button').dataset.kind = '';
  setPhase('loading');
  send(worker, { type: 'open', backend: settings.backend, folder: folderUrl(wanted), count: settings.count });
}

const folderUrl = (folder) => new URL(`${folder.replace(/\/+$/, '')}/`, document.baseURI).href;

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
}

function onProgress({ stage, done, total }) {
  const { text, from, to } = STAGES[stage];
  const part = total ? done / total : 0;
  const count = {
    engine: '',
    download: total ? `${megabytes(done)} of ${megabytes(total)} MB` : `${megabytes(done)} MB`,
  }[stage] ?? `${done} of ${total}`;
  setStatus(stage === 'compile' && backend?.kind === 'cpu' ? 'Preparing the model' : text, count, from + part * (to - from));
}

function onPreview({ batch, caption }) {
  nextPreview = { batch, caption, real: true };
  // The first model's sample fills the page at once; a later one waits until its model has loaded.
  if (!loaded) showPreview(nextPreview);
}

function onModel({ folder, model }) {
  const changed = loaded?.folder !== folder;
  loaded = { folder, model };
  byId('model-name').textContent = model.title;
  notices.clear('failure');
  buildClasses(model);
  buildModelMenu();
  byId('steps').max = model.num_train_timesteps;
  if (changed) {
    if (recording) {
      recording = null;
      scrubber.forget();
      updatePanel.forget();
    }
    showPreview(nextPreview ?? { batch: noiseBatch(settings.count, model.width, model.height), caption: '', real: false });
  }
  setPhase('ready');
  setStatus('Ready', `${short(model.parameters)} parameters`, 0);
  announce(`${model.title} is ready.`);
  if (generateWhenReady) generate();
  generateWhenReady = false;
}

function onStarted(message) {
  runStarted = performance.now();
  recording = new Recording(message, describe(running));
  gallery.setShape(message.count, message.width, message.height);
  scrubber.begin(recording);
  updatePanel.begin(message.rows, loaded.model.prediction_type);
  byId('caption').textContent = recording.caption;
  // A stop that was asked for meanwhile stays asked for.
  if (phase === 'starting') setPhase('running');
  setStatus('Sampling', `0/${recording.steps}`, 0);
  drawPictures();
}

function onFrame(frame) {
  recording.add(frame);
  scrubber.grow();
  requestDraw();
  const done = frame.step + 1;
  const left = ((performance.now() - runStarted) / done) * (recording.steps - done);
  if (phase === 'running') setStatus('Sampling', `${done}/${recording.steps} · ${duration(left)} left`, done / recording.steps);
}

function onFinished({ stopped }) {
  const time = duration(performance.now() - runStarted);
  const { newest, states, steps, finished } = recording;
  const complete = finished || !stopped;
  if (phase === 'loading') return; // it was stopped to make way for another model
  drawPictures(); // whoever sees "done" also sees the last frame
  setPhase('ready');
  setStatus(complete ? 'Done' : 'Stopped', complete ? `${steps} steps · ${time}` : `at ${states[newest].step}/${steps} · ${time}`, complete ? 1 : states[newest].step / steps);
  announce(complete ? `Done: ${steps} steps in ${time}.` : `Stopped at step ${states[newest].step} of ${steps}.`);
}

function onFailed({ during, message }) {
  generateWhenReady = false;
  const cpu = { label: 'Use the CPU', act: () => changeBackend('cpu', during === 'run') };
  const onGpu = settings.backend !== 'cpu' && backend?.kind !== 'cpu';
  const again = { label: 'Try again', act: () => {
    generateWhenReady = during === 'run';
    connect();
  } };
  if (during === 'load' && loaded) {
    wanted = loaded.folder;
    notices.show({ key: 'failure', error: true, title: FAILURES.load, text: `${message} ${loaded.model.title} is still loaded and works.`, actions: [
      { label: 'Another address', act: openModelMenu },
    ] });
    setPhase('ready');
    setStatus('Ready', `${short(loaded.model.parameters)} parameters`, 0);
  } else if (during === 'load') {
    const shipped = SHIPPED.find(({ folder }) => folderUrl(folder) !== folderUrl(wanted));
    const other = shipped && { label: `Load ${shipped.title}`, act: () => load(shipped.folder) };
    notices.show({ key: 'failure', error: true, title: FAILURES.load, text: message, actions: [again, other].filter(Boolean) });
    setPhase('broken');
    setStatus('No model loaded', '', 0);
  } else if (during === 'start') {
    notices.show({ key: 'failure', error: true, title: FAILURES.start, text: message });
    setPhase('ready');
    setStatus('Ready', '', 0);
  } else {
    notices.show({ key: 'failure', error: true, title: FAILURES[during], text: message, actions: onGpu ? [again, cpu] : [again] });
    setPhase('broken');
    setStatus(during === 'run' ? 'Interrupted' : 'Not running', '', 0);
  }
  announce(`${FAILURES[during]}. ${message}`);
}

function changeBackend(kind, andGenerate = false) {
  settings.backend = kind;
  generateWhenReady = andGenerate;
  notices.clear('failure');
  writeAddress();
  connect();
}

function load(folder) {
  wanted = folder;
  nextPreview = null;
  notices.clear('failure');
  if (phase === 'broken') return connect();
  if (phase !== 'ready' && phase !== 'loading') send(worker, { type: 'stop' });
  setPhase('loading');
  send(worker, { type: 'load', folder: folderUrl(folder), count: settings.count });
}

// ---- Running ----------------------------------------------------------------------------------

/** The settings of the run that was started last. */
let running = null;

function generate() {
  if (phase === 'broken') {
    // The engine is gone; the button does what it says by starting another one first.
    generateWhenReady = true;
    notices.clear('failure');
    return connect();
  }
  if (phase !== 'ready') return;
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
  running = { ...settings };
  writeAddress();
  setPhase('starting');
  setStatus('Starting the run', '', 0);
  announce('Sampling.');
  send(worker, { type: 'generate', settings: engineSettings(running) });
}

function stop() {
  send(worker, { type: 'stop' });
  setPhase('stopping');
  setStatus('Stopping after this step', '', null);
}

/** @returns {import('./protocol.js').EngineSettings} */
function engineSettings({ sampler, steps, eta, seed, count, spacing, variance, class: name }) {
  const { class_names: names, null_class: none } = loaded.model;
  const label = name === 'any' ? none : names.indexOf(name);
  return {
    sampler,
    steps,
    eta: sampler === 'ddim' ? eta : 0,
    seed,
    count,
    class_labels: names.length ? Array(count).fill(label) : null,
    timestep_spacing: spacing,
    variance_type: variance,
  };
}

function describe({ sampler, steps, eta, seed, class: name }) {
  const parts = [SAMPLERS[sampler], `${steps} steps`];
  if (sampler === 'ddim' && eta > 0) parts.push(`η ${eta}`);
  if (loaded.model.class_names.length) parts.push(`class ${name}`);
  return [...parts, `seed ${seed}`].join(' · ');
}

function setPhase(next) {
  phase = next;
  document.body.dataset.phase = next;
  const active = next === 'starting' || next === 'running' || next === 'stopping';
  const button = byId('generate');
  byId('generate-label').textContent = active ? 'Stop' : 'Generate';
  button.classList.toggle('stop', active);
  button.disabled = next === 'loading' || next === 'stopping';
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
    for (const readout of document.querySelectorAll('.readouts dd')) readout.textContent = '–';
    return;
  }
  const state = recording.states[scrubber.index];
  const { step, x, x0, x0Step } = state;
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

const FIELD_NAMES = ['sampler', 'steps', 'eta', 'seed', 'spacing', 'variance'];
const LABELS = { sampler: 'Sampler', steps: 'Steps', eta: 'η', seed: 'Seed', spacing: 'Spacing', variance: 'Variance' };

/** Takes one control's value into the settings; an invalid one stays as typed and says what is allowed. */
function readControl(name) {
  const control = byId(name);
  const { value, problem: unreadable } = readField(name, control.value);
  const most = loaded?.model.num_train_timesteps;
  const problem = unreadable || (name === 'steps' && value > most ? `a whole number from 1 to ${most}, the times this model was trained on` : '');
  const valid = !problem || control.disabled;
  control.setAttribute('aria-invalid', !valid);
  control.dataset.problem = valid ? '' : `${LABELS[name]}: ${problem}.`;
  if (valid && !control.disabled) settings[name] = value;
  showHint();
  return valid;
}

/** One line under the fields: what is wrong, or what a control that is switched off waits for. */
function showHint() {
  const wrong = FIELD_NAMES.map((name) => byId(name).dataset.problem).find(Boolean);
  const hint = byId('hint');
  hint.classList.toggle('problem', Boolean(wrong));
  hint.textContent = wrong || (settings.sampler === 'ddim'
    ? 'η: fresh noise in each DDIM step; 0 none, 1 as much as DDPM.'
    : 'η is DDIM’s; the other samplers have their own way with noise.');
}

function showSampler() {
  byId('eta').disabled = settings.sampler !== 'ddim';
  byId('variance').disabled = settings.sampler !== 'ddpm';
  byId('variance').title = settings.sampler === 'ddpm' ? '' : 'Only DDPM has a choice of variance';
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
  settings.model = SHIPPED.find(({ folder }) => folderUrl(folder) === loaded.folder)?.folder ?? loaded.folder.replace(/\/$/, '');
  history.replaceState(null, '', `?${writeQuery(settings, new URLSearchParams(location.search))}`);
}

function buildClasses({ class_names: names, null_class: none }) {
  byId('class-row').hidden = names.length === 0;
  const choices = none === null ? names : [...names, 'any'];
  if (names.length && !choices.includes(settings.class)) {
    const fallback = choices.at(-1);
    if (settings.class !== 'any') notices.show({ key: 'class', text: `This model has no class “${settings.class}”; ${fallback} is used. It has: ${names.join(', ')}.` });
    settings.class = fallback;
  }
  const chips = byId('classes');
  chips.classList.toggle('words', names.some((name) => name.length > 2));
  chips.replaceChildren(...choices.map((name) => make('label', {},
    make('input', { type: 'radio', name: 'class', value: name, checked: name === settings.class }), make('span', {}, name))));
}

function buildModelMenu() {
  const { folder, model } = loaded;
  byId('shipped').replaceChildren(...SHIPPED.map((shipped) => {
    const button = make('button', { type: 'button', 'aria-pressed': String(folderUrl(shipped.folder) === folder) }, make('b', {}, shipped.title), ` ${shipped.about}`);
    button.addEventListener('click', () => {
      byId('model-menu').hidePopover();
      load(shipped.folder);
    });
    return make('li', {}, button);
  }));
  const facts = [
    ['Loaded', model.title],
    ['About', model.description],
    ['Size', `${model.width} × ${model.height}, ${short(model.parameters)} parameters, ${short(model.macs)} multiplications an image and step`],
    ['Credits', model.credits],
    ['Licence', model.licence],
  ];
  byId('model-facts').replaceChildren(...facts.filter(([, text]) => text).map(([name, text]) => make('div', {}, make('dt', {}, name), make('dd', {}, text))));
}

function openModelMenu() {
  byId('model-menu').showPopover();
  byId('folder').select();
}

function setUpControls() {
  for (const name of FIELD_NAMES) {
    byId(name).value = settings[name];
    byId(name).addEventListener('input', () => {
      if (!readControl(name)) return;
      if (name === 'sampler') {
        showSampler();
        FIELD_NAMES.forEach(readControl);
      }
      if (name === 'seed') setKeepSeed(true); // who types a seed wants that seed
      writeAddress();
    });
  }
  byId('advanced').open = settings.spacing !== DEFAULTS.spacing || settings.variance !== DEFAULTS.variance;
  setKeepSeed(keepSeed);
  showSampler();
  showHint();

  byId('classes').addEventListener('change', ({ target }) => {
    settings.class = target.value;
    notices.clear('class');
    writeAddress();
  });
  for (const input of document.querySelectorAll('input[name=view]')) {
    input.addEventListener('change', () => setView(input.value));
  }
  byId('dice').addEventListener('click', () => {
    setSeed(randomSeed());
    writeAddress();
  });
  byId('lock').addEventListener('click', () => setKeepSeed(!keepSeed));
  byId('generate').addEventListener('click', () => (phase === 'starting' || phase === 'running' ? stop() : generate()));
  byId('settings').addEventListener('submit', (event) => event.preventDefault());
  byId('folder-form').addEventListener('submit', (event) => {
    event.preventDefault();
    const folder = byId('folder').value.trim();
    const problem = folderProblem(folder);
    byId('folder').setAttribute('aria-invalid', Boolean(problem));
    byId('folder-hint').classList.toggle('problem', Boolean(problem));
    byId('folder-hint').textContent = problem || 'The address of a diffusers pipeline: a folder with unet/ and scheduler/ in it.';
    if (problem) return;
    byId('model-menu').hidePopover();
    load(folder);
  });
  document.addEventListener('keydown', onKey);
}

function folderProblem(folder) {
  if (!folder) return 'Type the address of a folder, for example models/digits.';
  try {
    return /^https?:$/.test(new URL(folder, document.baseURI).protocol) ? '' : 'The address has to begin with https:// or be relative to this page.';
  } catch {
    return 'This is not an address. It looks like https://example.org/my-model.';
  }
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
const first = SHIPPED.find(({ folder }) => folderUrl(folder) === folderUrl(wanted));
if (first) buildClasses(first);
connect();
