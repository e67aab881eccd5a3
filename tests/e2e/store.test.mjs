// What every action makes of the page's state: a reducer without a page.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { spelled } from '../../www/model/classes.js';
import { branchWords, compared, forkHint, forkPoint, forkProblem, endsOnCpu, goesOnByItself, lanesOf, makerOf, originOf, rivalOf } from '../../www/store/forking.js';
import { missingFrom } from '../../www/store/beginning.js';
import { gridLayout, wordLayout } from '../../www/store/layout.js';
import { bounded, bytesOf } from '../../www/store/memory.js';
import { reduce } from '../../www/store/reduce.js';
import { RUN_SETTINGS, recipeOf, sameRecipe, shownRecipe } from '../../www/store/recipe.js';
import { captionOf, engineSettings, imageCount, isShown, loadOptions, phase, problemOf, queryOf, selectedRun, wordProblem } from '../../www/store/select.js';
import { DEFAULTS, readQuery } from '../../www/store/settings.js';
import { initialState } from '../../www/store/state.js';
import { createStore } from '../../www/store/store.js';

const FIRST = { network: null, variant: null };
const source = (id) => ({ kind: 'folder', id, address: `https://example.org/${id}/`, ...FIRST });
const DIGITS = source('models/digits');
const TREES = source('models/trees');

const MODEL = {
  title: 'Digits', description: '', credits: '', licence: '', class_names: [...'0123456789'], class_count: 10, class_kind: 'label', null_class: 10,
  guidance: null, width: 2, height: 2, channels: 1, condition_channels: 0, notes: [], parameters: 1_100_000, precision: 'f32', prediction_type: 'epsilon', alphas_cumprod: [],
  num_train_timesteps: 1000, own_sampler: 'ddpm', scheduler_problem: null, samplers: ['ddpm', 'ddim', 'tcd', 'dpm_solver'], default_steps: 50, original_inference_steps: 50,
  dispatches: 79, macs: 1, bytes: 1,
};
const TREE = { ...MODEL, title: 'Trees', class_names: ['oak', 'elm'], class_count: 2, null_class: 2, guidance: 2 };
const SHIPPED = [
  { folder: 'models/digits', title: 'Digits', about: '', class_names: MODEL.class_names, class_count: 10, class_kind: 'label', null_class: 10, guidance: null },
  { folder: 'models/trees', title: 'Trees', about: '', class_names: TREE.class_names, class_count: 2, class_kind: 'label', null_class: 2, guidance: 2 },
];

/** A state of a page that was opened with this query, and what happened then. */
function after(query, ...actions) {
  const { settings, given, problems } = readQuery(new URLSearchParams(query));
  const opened = initialState({ settings, given, wanted: source(settings.model), shipped: SHIPPED });
  return from(reduce(opened, { type: 'open', problems }), ...actions);
}
const from = (state, ...actions) => actions.reduce(reduce, state);
/** None of the actions changes anything. */
const same = (state, ...actions) => actions.forEach((action) => assert.equal(reduce(state, action), state, JSON.stringify(action)));
const keys = ({ notices }) => notices.map(({ key }) => key);
const labels = ({ notices }) => notices.at(-1).actions.map(({ label }) => label);

const connect = (id = 1, next = null) => ({ type: 'connect', id, next });
const backend = (id = 1, kind = 'gpu') => ({ type: 'backend', id, kind, name: 'Some', note: null, half: true, at: 0 });
const model = (id, of = DIGITS, it = MODEL, more = {}) => ({ type: 'model', id, source: of, networks: [{ folder: 'unet', variants: ['', 'fp16'] }], network: 'unet', variant: '', model: it, count: 16, note: null, at: 0, ...more });
const failed = (id, during, more = {}) => ({ type: 'failed', id, during, message: 'It went wrong.', at: 0, ...more });
const READY = after('model=models/digits', connect(), backend(), model(1));

const rows = (steps, noise = 0) => Array.from({ length: steps }, (_, i) => ({ timestep: 999 - i, alpha_cumprod: (i + 1) / (steps + 2), signal: 1, shown: { scale: 1, offset: 0 }, prev_from_noise: noise }));
const pixels = (value, count = 2) => new Uint8Array(count * 16).fill(value);
const numbers = (value, count = 2) => new Float32Array(count * 4).fill(value);
const generate = (id, seed = 77) => ({ type: 'generate', id, seed });
const started = (id, steps = 3, count = 2, at = 1000) => ({ type: 'started', id, rows: rows(steps), initial: numbers(0, count), count, width: 2, height: 2, at });
const frame = (id, step, at = 1500 + step * 500) => ({ type: 'frame', id, step, x: numbers(step + 1), x0: numbers(100 + step), milliseconds: 5, at });
const finished = (id, stopped = false, at = 3000) => ({ type: 'finished', id, stopped, at });
// Anew each time: recordings are changed in place.
const running = () => from(READY, generate(2), started(2));
const done = () => from(running(), frame(2, 0), frame(2, 1), frame(2, 2), finished(2));
/** A run whose steps draw noise. */
const noisy = () => from(READY, { type: 'type', field: 'eta', text: '1' }, generate(2), { ...started(2), rows: rows(3, 1) }, frame(2, 0), frame(2, 1), frame(2, 2), finished(2));

test('the store tells its listeners of changes only', () => {
  const store = createStore((state, action) => (action === 'up' ? state + 1 : state), 0);
  const heard = [];
  const end = store.subscribe((state) => heard.push(state));
  assert.equal(store.dispatch('up'), true);
  assert.equal(store.dispatch('sideways'), false);
  end();
  store.dispatch('up');
  assert.deepEqual([heard, store.state], [[1], 2]);
});

test('a shipped model has its controls before it is loaded', () => {
  const digits = after('model=models/digits');
  assert.equal(digits.classes, SHIPPED[0]);
  assert.equal(digits.settings.class, 'any');
  assert.equal(isShown(digits, 'guidance'), false, 'without a class there is nothing to lean towards');
  const trees = after('model=models/trees');
  assert.equal(trees.settings.class, 'mixed');
  assert.equal(trees.texts.guidance, '2', 'the card’s own');
  assert.equal(isShown(trees, 'guidance'), true);
  assert.equal(after('model=models/trees&guidance=5').texts.guidance, '5');
  assert.equal(after('model=https://example.org/x').classes, null);
  const wrong = after('model=models/digits&class=oak&steps=banana');
  assert.deepEqual(keys(wrong), ['address', 'class']);
  assert.equal(wrong.settings.class, 'any');
});

test('from nothing to a finished run', () => {
  assert.equal(phase(READY), 'ready');
  assert.deepEqual(READY.status, { text: 'Ready', count: '1.1 M parameters', fraction: 0 });
  const starting = from(READY, generate(2));
  assert.equal(phase(starting), 'starting');
  const begun = from(starting, started(2));
  assert.deepEqual([begun.status.text, begun.status.count], ['Sampling', '0/3']);
  assert.deepEqual(begun.runs.order, [2]);
  assert.equal(begun.runs.byId[2].parent, null, 'it began with noise');
  assert.equal(begun.runs.byId[2].caption, 'DDIM · 50 steps · class any · seed 1234');
  const one = from(begun, frame(2, 0));
  assert.notEqual(one.runs.byId[2], begun.runs.byId[2], 'a run that grew is another object');
  assert.equal(one.runs.byId[2].recording, begun.runs.byId[2].recording, 'with the same recording');
  assert.deepEqual(one.status, { text: 'Sampling', count: '1/3 · 1.0 s left', fraction: 1 / 3 });
  const ended = from(one, frame(2, 1), frame(2, 2), finished(2));
  assert.equal(phase(ended), 'ready');
  assert.deepEqual(ended.status, { text: 'Done', count: '3 steps · 2.0 s', fraction: 1 });
  assert.equal(ended.selection.index, 3);
  assert.equal(ended.announcement.text, 'Done: 3 steps in 2.0 s.');
});

test('a run that is stopped says where', () => {
  const stopping = from(READY, generate(2), started(2, 10), frame(2, 0), { type: 'stop' });
  assert.deepEqual(stopping.status, { text: 'Stopping after this step', count: '', fraction: 0.1 });
  same(stopping, { type: 'stop' });
  const stopped = from(stopping, frame(2, 1), finished(2, true));
  assert.deepEqual(stopped.status, { text: 'Stopped', count: 'at 2/10 · 2.0 s', fraction: 0.2 });
});

test('answers to what is over change nothing', () => {
  const late = [started(2), frame(2, 0), finished(2), { type: 'checked', id: 2, report: {}, at: 0 }, model(2, TREES, TREE), failed(2, 'start'), failed(2, 'load', { source: TREES }), failed(2, 'check'),
    failed(2, 'profile'), { type: 'progress', id: 2, stage: 'download', done: 1, total: 2, at: 0 }, { type: 'preview', id: 2, batch: {}, caption: '', at: 0 },
    { type: 'arranged', id: 2, name: 'x', problem: null, at: 0 }, { type: 'stored', id: 2, models: [], quota: null, at: 0 }, backend(2), { type: 'profiled', id: 2, profile: null, at: 0 }];
  same(READY, ...late);
  same(from(READY, generate(3), started(3), frame(3, 0)), ...late);
  const again = from(READY, connect(9));
  same(again, ...late.filter(({ type }) => type !== 'model'), backend(1));
});

test('an engine that is lost is brought back', () => {
  const lost = from({ ...running(), losses: 3 }, failed(null, 'run'));
  assert.equal(phase(lost), 'broken');
  assert.deepEqual(labels(lost), ['Try again', 'Use the CPU', 'Check my GPU']);
  assert.deepEqual(lost.notices.at(-1).actions[0].intent, { do: 'connect', next: 'resume' });
  assert.equal(selectedRun(lost)?.id, 2, 'what was made can still be looked at');
  same(lost, model(1), frame(2, 0), finished(2), generate(4), { type: 'stop' });
  const again = from(lost, connect(5, 'generate'));
  assert.equal(phase(again), 'loading');
  assert.equal(again.backend, null);
  const cpu = after('backend=cpu', connect(), failed(1, 'engine'));
  assert.deepEqual(labels(cpu), ['Try again'], 'it is the CPU already');
  assert.deepEqual(labels(after('', connect(), failed(1, 'engine'))), ['Try again', 'Use the CPU']);
});

test('what is typed wrong stays in its field, and out of the settings', () => {
  const wrong = from(READY, { type: 'type', field: 'steps', text: '0' });
  assert.equal(wrong.settings.steps, 50);
  assert.equal(wrong.texts.steps, '0');
  assert.match(problemOf(wrong, 'steps'), /whole number from 1 to 1000/);
  const right = from(wrong, { type: 'type', field: 'steps', text: '08' });
  assert.deepEqual([right.settings.steps, right.texts.steps, problemOf(right, 'steps')], [8, '08', '']);
  assert.equal(right.chosen.steps, true);
});

test('a sampler brings its own limits and its own η', () => {
  const tcd = from(READY, { type: 'type', field: 'steps', text: '60' }, { type: 'type', field: 'sampler', text: 'tcd' });
  assert.equal(tcd.settings.eta, 0.3);
  assert.match(problemOf(tcd, 'steps'), /from 1 to 50/);
  const back = from(tcd, { type: 'type', field: 'steps', text: '70' }, { type: 'type', field: 'sampler', text: 'ddim' });
  assert.equal(back.settings.steps, 70, 'what was too much is valid again');
  assert.equal(back.settings.eta, 0);
  const chosen = from(READY, { type: 'type', field: 'eta', text: '0.5' }, { type: 'type', field: 'sampler', text: 'tcd' });
  assert.equal(chosen.settings.eta, 0.5);
  const hidden = from(READY, { type: 'type', field: 'eta', text: '7' }, { type: 'type', field: 'sampler', text: 'dpm_solver' });
  assert.equal(problemOf(hidden, 'eta'), '', 'a field that is hidden cannot be wrong');
});

test('seeds are drawn unless they are kept', () => {
  assert.equal(from(READY, generate(2, 77)).settings.seed, 1234, 'the first run takes what is in the field');
  assert.deepEqual([from(done(), generate(3, 77))].map(({ settings, texts }) => [settings.seed, texts.seed]), [[77, '77']]);
  assert.equal(from(done(), { type: 'keepSeed', keep: true }, generate(3, 77)).settings.seed, 1234);
  const typed = from(done(), { type: 'type', field: 'seed', text: '5' });
  assert.equal(typed.keepSeed, true, 'who types a seed wants that seed');
  assert.equal(from(done(), { type: 'drawSeed', seed: 6 }).keepSeed, false);
  assert.equal(after('seed=5').keepSeed, true);
});

test('a class that the model does not have is not taken', () => {
  same(READY, { type: 'chooseClass', name: 'oak' });
  const three = from(READY, { type: 'chooseClass', name: '3' });
  assert.deepEqual(engineSettings(three, three.settings).class_labels, Array(16).fill(3));
  assert.equal(isShown(three, 'guidance'), true);
});

test('another model brings its own class, guidance and preview, and takes the runs with it', () => {
  const sample = { batch: { pixels: pixels(9, 4), count: 4, width: 2, height: 2 }, caption: 'made by it', real: true, layout: gridLayout(4, 4) };
  const three = from(done(), { type: 'chooseClass', name: '3' }, { type: 'chooseImage', image: 1 }, { type: 'chooseView', view: 'x0' });
  const loading = from(three, { type: 'want', source: TREES }, { type: 'load', id: 3, next: null });
  assert.equal(phase(loading), 'loading');
  assert.deepEqual(loadOptions(loading), { count: null, precision: 'auto', guidance: null });
  const shown = from(loading, { type: 'preview', id: 3, batch: sample.batch, columns: 4, caption: sample.caption, at: 0 });
  assert.equal(selectedRun(shown)?.id, 2, 'the sample waits until its model is there');
  const loaded = from(shown, model(3, TREES, TREE, { count: 4 }));
  assert.equal(phase(loaded), 'ready');
  assert.deepEqual([loaded.settings.class, loaded.settings.guidance, loaded.settings.count], ['mixed', 2, 4]);
  assert.deepEqual(loaded.runs.order, []);
  assert.deepEqual(loaded.preview, sample);
  assert.deepEqual([loaded.selection.run, loaded.selection.image, loaded.selection.view], [null, 1, 'x0']);
  assert.equal(queryOf(loaded, '?hub=x'), 'hub=x&seed=1234&count=4&model=models/trees&lock=0&view=x0');
  // The same model once more, in another precision, keeps them.
  const same16 = from(done(), { type: 'choosePrecision', precision: 'f16' }, { type: 'want', source: DIGITS }, { type: 'load', id: 3, next: null }, model(3));
  assert.deepEqual(same16.runs.order, [2]);
});

test('the sample of the first model is shown as soon as it is there, and stays', () => {
  const batch = { pixels: pixels(9, 4), count: 4, width: 2, height: 2 };
  const early = after('', connect(), { type: 'preview', id: 1, batch, columns: 4, caption: 'made by it', at: 0 });
  assert.equal(early.preview.batch, batch);
  assert.equal(from(early, model(1)).preview.batch, batch);
  const lateOne = from(READY, { type: 'preview', id: 1, batch, columns: 2, caption: '', at: 0 });
  assert.equal(lateOne.preview.batch, batch);
  same(done(), { type: 'preview', id: 1, batch, columns: 2, caption: '', at: 0 });
});

test('a model that does not load leaves the one before', () => {
  const loading = from(READY, { type: 'want', source: TREES }, { type: 'load', id: 3, next: null });
  const back = from(loading, failed(3, 'load', { source: TREES, fits: 4 }));
  assert.equal(phase(back), 'ready');
  assert.equal(back.wanted, READY.loaded.source);
  assert.match(back.notices.at(-1).text, /Digits is still loaded and works/);
  assert.deepEqual(labels(back), ['Make 4 images', 'Try again', 'Another model']);
  assert.equal(back.announcement.text, 'The model did not load. It went wrong.');
  const none = after('', connect(), failed(1, 'load', { source: DIGITS }));
  assert.equal(phase(none), 'broken');
  assert.deepEqual(labels(none), ['Try again', 'Load Trees']);
  const fewer = from(back, { type: 'chooseCount', count: 4 });
  assert.equal(loadOptions(fewer).count, 4);
});

test('a load that another replaced counts as loaded, but is not waited for', () => {
  const state = from(READY, { type: 'load', id: 3, next: 'generate' }, { type: 'load', id: 4, next: null }, model(3, TREES, TREE));
  assert.equal(phase(state), 'loading');
  assert.equal(state.loaded.title, 'Trees');
  assert.equal(state.announcement, READY.announcement, 'nothing is ready yet');
});

test('a run that makes way for another model ends without a word', () => {
  const loading = from(running(), { type: 'want', source: TREES }, { type: 'load', id: 3, next: null });
  const { status, notices } = loading;
  for (const end of [finished(2, true), failed(2, 'start')]) {
    const ended = from(loading, end);
    assert.equal(phase(ended), 'loading');
    assert.deepEqual([ended.status, ended.notices], [status, notices]);
    same(ended, end, generate(9));
  }
});

test('progress is that of what the page waits for', () => {
  const progress = (id, stage, done, total, waiting = false) => ({ type: 'progress', id, stage, done, total, waiting, at: 0 });
  const loading = from(READY, { type: 'load', id: 3, next: null });
  same(loading, progress(2, 'download', 1, 2));
  assert.deepEqual(from(loading, progress(3, 'download', 1e6, 2e6)).status, { text: 'Downloading the model', count: '1.0 of 2.0 MB', fraction: 0.03 + 0.5 * 0.47 });
  assert.equal(from(loading, progress(3, 'download', 1e6, null)).status.count, '1.0 MB');
  assert.equal(from(loading, progress(3, 'download', 1e6, null, true)).status.text, 'Reconnecting');
  const checking = from(READY, { type: 'check', id: 3 }, progress(3, 'check', 2, 9));
  assert.deepEqual(checking.checking, { done: 2, total: 9 });
  assert.equal(checking.status.count, 'layer 2 of 9');
});

test('a check says what it found, unless nobody waits for it any more', () => {
  const report = (ok) => ({ type: 'checked', id: 3, report: { ok, layers: [] }, at: 0 });
  const checking = from(READY, { type: 'check', id: 3 });
  assert.equal(phase(checking), 'checking');
  const right = from(checking, report(true));
  assert.equal(right.status.text, 'The GPU is right');
  assert.deepEqual([right.checked.model, right.checked.backend], ['Digits', 'Some']);
  assert.equal(from(checking, report(false)).status.text, 'The GPU is wrong');
  const loading = from(checking, { type: 'load', id: 4, next: null });
  assert.equal(from(loading, report(true)).status, loading.status);
  assert.equal(from(right, { type: 'want', source: TREES }, { type: 'load', id: 5, next: null }, model(5, TREES, TREE)).checked, null, 'it was about another model');
});

test('the slider follows a run until it is moved, and goes no further than the run', () => {
  const [one, two] = [from(running(), frame(2, 0)), from(running(), frame(2, 0), { type: 'scrub', index: 0 })];
  assert.deepEqual([one.selection.index, one.selection.following], [1, true]);
  assert.deepEqual([two.selection.index, two.selection.following], [0, false]);
  assert.equal(from(two, frame(2, 1)).selection.index, 0, 'it stays where it was put');
  assert.equal(from(done(), { type: 'scrub', index: 9 }).selection.index, 3);
  same(READY, { type: 'scrub', index: 1 }, { type: 'togglePlay' }, { type: 'playOn' });
});

test('a run is played from the beginning to the end', () => {
  let state = from(done(), { type: 'togglePlay' });
  const seen = [state.selection.index];
  while (state.selection.playing) seen.push((state = from(state, { type: 'playOn' })).selection.index);
  assert.deepEqual(seen, [0, 1, 2, 3]);
  const paused = from(done(), { type: 'scrub', index: 1 }, { type: 'togglePlay' }, { type: 'togglePlay' });
  assert.deepEqual([paused.selection.index, paused.selection.playing], [1, false]);
  assert.equal(from(done(), { type: 'togglePlay' }, { type: 'scrub', index: 2 }).selection.playing, false);
});

test('the chosen image is one that there is', () => {
  const last = from(READY, { type: 'chooseImage', image: 15 }, generate(2), started(2, 3, 2));
  assert.equal(last.selection.image, 1);
});

test('files are asked about one after another, and only the last answer counts', () => {
  const asked = from(READY, { type: 'arrange', id: 3, files: ['a'] }, { type: 'arrange', id: 4, files: ['b'] });
  same(asked, { type: 'arranged', id: 3, name: 'a', problem: null, at: 0 });
  const none = from(asked, { type: 'arranged', id: 4, name: null, problem: 'There is no model here.', at: 0 });
  assert.equal(none.arranging, null);
  assert.equal(none.notices.at(-1).text, 'There is no model here. Digits is still loaded and works.');
  assert.equal(from(asked, connect(5)).arranging, asked.arranging, 'a new engine is asked again');
});

test('notices are replaced by their key and go when they are dismissed', () => {
  const two = from(READY, { type: 'notify', notice: { key: 'a', text: '1' } }, { type: 'notify', notice: { key: 'b', text: '2' } }, { type: 'notify', notice: { key: 'a', text: '3' } });
  assert.deepEqual(two.notices.map(({ text }) => text), ['2', '3']);
  assert.deepEqual(keys(from(two, { type: 'dismiss', key: 'b' })), ['a']);
  same(two, { type: 'dismiss', key: 'c' });
});

test('what an address needs to lead here', () => {
  assert.equal(queryOf(READY, ''), 'seed=1234&model=models/digits&lock=0');
  const chosen = from(READY, { type: 'type', field: 'steps', text: '20' }, { type: 'chooseClass', name: '3' }, { type: 'chooseBackend', kind: 'cpu' });
  assert.equal(queryOf(chosen, ''), 'steps=20&seed=1234&class=3&model=models/digits&backend=cpu&lock=0');
  const own = from(READY, { type: 'load', id: 3, next: null }, model(3, { kind: 'files', id: 'file 1: own', name: 'own', files: [], ...FIRST }));
  assert.equal(queryOf(own, ''), 'seed=1234&lock=0', 'the visitor’s own files have no address');
});

test('16 bits are given up with the GPU that has them', () => {
  const half = from(READY, { type: 'choosePrecision', precision: 'f16' });
  assert.equal(from(half, { type: 'chooseBackend', kind: 'cpu' }).settings.precision, 'auto');
  assert.equal(from(half, { type: 'chooseBackend', kind: 'gpu' }).settings.precision, 'f16');
  assert.equal(DEFAULTS.precision, 'auto');
});

// ---- Forks ------------------------------------------------------------------------------------

const fork = (id, seed = 88) => ({ type: 'fork', id, seed });
const scrub = (index) => ({ type: 'scrub', index });
/** A fork of what is shown that ran to its end: its rows from there on, or those of a table of its own. */
const forked = (id, first, steps = 3) => [fork(id), started(id, steps), ...Array.from({ length: steps - first }, (_, i) => frame(id, first + i)), finished(id)];
const chosen = (name) => ({ type: 'chooseClass', name });

test('a fork goes on from the step that is shown', () => {
  const state = from(done(), scrub(1), chosen('3'), fork(3));
  assert.equal(phase(state), 'starting');
  assert.deepEqual(state.starting.parent, { run: 2, step: 1 });
  assert.equal(state.starting.resumes, true);
  assert.deepEqual(state.starting.request.class_labels, Array(16).fill(3));
  const origin = originOf(state, state.starting);
  assert.deepEqual(origin, { run: 2, settings: state.runs.byId[2].request, row: 1, level: { alpha_cumprod: 2 / 5, signal: 1 }, resumes: true, origin: null });
  const begun = from(state, started(3));
  assert.deepEqual(begun.runs.order, [2, 3]);
  assert.deepEqual([begun.selection.run, begun.selection.index, begun.selection.following], [3, 1, true]);
  assert.deepEqual(begun.status, { text: 'Sampling', count: '1/3', fraction: 1 / 3 });
  const [parent, child] = [2, 3].map((id) => begun.runs.byId[id].recording);
  assert.equal(child.states[0], parent.states[0], 'what came before is shared');
  assert.equal(child.states[1].x, parent.states[1].x);
  assert.equal(child.states[1].x0Step, 0, 'what it makes of that it has yet to say');
  const ended = from(begun, frame(3, 1), frame(3, 2), finished(3));
  assert.equal(ended.status.text, 'Done');
  assert.match(ended.status.count, /^2 steps/);
  assert.equal(parent.states[1].x0[0], 101, 'the first run is as it was');
  assert.equal(ended.runs.byId[3].recording.states.length, 4);
});

test('a run is played once, or again and again, and a pixel is looked at', () => {
  const once = from(done(), { type: 'togglePlay' });
  assert.deepEqual([once.selection.index, once.selection.playing], [0, true]);
  const ended = from(once, ...Array(3).fill({ type: 'playOn' }));
  assert.deepEqual([ended.selection.index, ended.selection.playing], [3, false]);
  const again = from(done(), { type: 'setPlayback', loop: true }, { type: 'togglePlay' }, ...Array(3).fill({ type: 'playOn' }));
  assert.deepEqual([again.selection.index, again.selection.playing], [3, true]);
  assert.equal(from(again, { type: 'playOn' }).selection.index, 0);
  assert.deepEqual(from(again, { type: 'setPlayback', speed: 2 }).playback, { speed: 2, loop: true });
  // A run that is under way is waited for.
  const growing = from(running(), frame(2, 0), { type: 'setPlayback', loop: true }, { type: 'scrub', index: 0 }, { type: 'togglePlay' }, { type: 'playOn' });
  assert.deepEqual([growing.selection.index, growing.selection.playing], [1, true]);
  assert.equal(from(growing, { type: 'playOn' }).selection.index, 1);
  // One that was stopped has no more to come.
  const stopped = from(running(), frame(2, 0), finished(2, true), { type: 'setPlayback', loop: true }, { type: 'togglePlay' }, { type: 'playOn' });
  assert.deepEqual([stopped.selection.index, from(stopped, { type: 'playOn' }).selection.index], [1, 0]);
  const looked = from(done(), { type: 'inspect', pixel: { x: 1, y: 0 } });
  assert.deepEqual(looked.selection.pixel, { x: 1, y: 0 });
  assert.equal(from(looked, { type: 'inspect', pixel: null }).selection.pixel, null);
});

test('there are no forks of the end, of nothing, or while something is under way', () => {
  same(READY, fork(3));
  assert.match(forkProblem(READY), /^Generate first/);
  same(done(), fork(3));
  assert.match(forkProblem(done()), /earlier step/);
  same(from(running(), frame(2, 0), scrub(0)), fork(3));
  const loading = from(done(), scrub(1), { type: 'load', id: 3, next: null });
  same(loading, fork(4));
  const otherWeights = from(loading, model(3, DIGITS, MODEL, { variant: 'fp16' }));
  same(otherWeights, fork(4));
  assert.match(forkProblem(otherWeights), /Another model made this run/);
});

test('a run that was stopped can be forked where it stands', () => {
  const stopped = from(READY, generate(2), started(2, 10), frame(2, 0), { type: 'stop' }, finished(2, true));
  assert.equal(forkProblem(stopped), '');
  assert.deepEqual(from(stopped, fork(3)).starting.parent, { run: 2, step: 1 });
});

test('another sampler, number of steps or spacing begins a table of its own', () => {
  const type = (field, text) => ({ type: 'type', field, text });
  for (const [change, resumes] of [[type('sampler', 'dpm_solver'), false], [type('steps', '8'), false], [type('spacing', 'leading'), false], [type('eta', '0.5'), true], [type('guidance', '4'), true], [type('variance', 'fixed_large'), true]]) {
    assert.equal(from(noisy(), scrub(1), change, fork(3)).starting.resumes, resumes, change.field);
  }
  const state = from(done(), scrub(2), type('sampler', 'dpm_solver'), ...forked(3, 0, 2));
  const { recording, first } = state.runs.byId[3];
  assert.deepEqual([recording.offset, recording.steps, first, recording.finished], [2, 4, 2, true]);
  assert.deepEqual(recording.states.map(({ step }) => step), [0, 1, 2, 3, 4]);
  assert.equal(recording.rows.length, 4);
  // A fork of that, along its table: rows are counted in that one.
  const again = from(state, scrub(3), chosen('3'), fork(4));
  const origin = originOf(again, again.starting);
  assert.deepEqual([origin.run, origin.row, origin.resumes, origin.origin.run, origin.origin.row, origin.origin.resumes], [3, 1, true, 2, 2, false]);
  assert.equal(from(again, started(4, 2)).runs.byId[4].recording.offset, 2);
});

test('what a run shares is forked from the run that made it', () => {
  const state = from(done(), scrub(2), chosen('3'), ...forked(3, 2));
  for (const [index, run] of [[0, 2], [1, 2], [2, 2]]) assert.equal(forkPoint(from(state, scrub(index))).run.id, run);
  assert.equal(makerOf(state, state.runs.byId[3], 1).id, 2);
  assert.equal(makerOf(state, state.runs.byId[3], 2).id, 3);
});

test('a fork that would differ in nothing draws a seed, unless it is kept', () => {
  const state = from(noisy(), scrub(1));
  assert.equal(from(state, fork(3)).settings.seed, 88);
  assert.equal(from(state, { type: 'keepSeed', keep: true }, fork(3)).settings.seed, 1234);
  assert.equal(from(state, chosen('3'), fork(3)).settings.seed, 1234, 'another class is difference enough');
  assert.equal(from(state, ...forked(3, 1), scrub(1), fork(4, 99)).settings.seed, 99, 'the seed of the last fork is not taken again');
  assert.equal(forkHint(state), 'Goes on from step 1 with another seed.');
  assert.equal(forkHint(from(state, chosen('3'))), 'Goes on from step 1 with class 3.');
  assert.equal(forkHint(from(state, chosen('3'), { type: 'chooseCount', count: 4 })), 'Goes on from step 1 with class 3. It makes 16 images, as many as there are.');
});

test('where nothing is left to chance a seed makes no fork, and no fork is called after one', () => {
  const state = from(done(), scrub(1));
  const problem = 'With DDIM and η 0 nothing is left to chance from here: another seed changes nothing. Set η above 0, or change the class or sampler.';
  assert.equal(forkProblem(state), problem);
  assert.equal(forkHint(state), problem);
  same(state, fork(3));
  const typed = from(state, { type: 'type', field: 'seed', text: '5' });
  assert.equal(forkProblem(typed), problem);
  same(typed, fork(3));
  const both = from(typed, chosen('3'));
  assert.equal(forkHint(both), 'Goes on from step 1 with class 3.');
  assert.equal(from(both, fork(3)).starting.request.seed, 1234, 'the seed is not what makes it');
  assert.equal(branchWords(from(both, ...forked(3, 1)), from(both, ...forked(3, 1)).runs.byId[3]), 'class 3');
  assert.equal(forkProblem(from(state, { type: 'type', field: 'eta', text: '0.5' })), '');
  assert.equal(forkProblem(from(state, { type: 'keepSeed', keep: true })), '', 'who keeps the seed gets the same once more');
  const solver = from(READY, { type: 'type', field: 'sampler', text: 'dpm_solver' }, generate(2), started(2), frame(2, 0), frame(2, 1), frame(2, 2), finished(2), scrub(1));
  assert.equal(forkProblem(solver), 'With DPM-Solver++ nothing is left to chance from here: another seed changes nothing. Change the class or sampler.');
});

test('an address says that it cannot carry a fork', () => {
  const starting = from(done(), scrub(1), chosen('3'), fork(3));
  assert.equal(new URLSearchParams(queryOf(starting, '')).get('forked'), '1');
  const branch = from(done(), scrub(1), chosen('3'), ...forked(3, 1));
  const query = new URLSearchParams(queryOf(branch, ''));
  assert.match(missingFrom(query)[0], /went on from a step of another run/);
  assert.equal(new URLSearchParams(queryOf(from(branch, { type: 'chooseRun', run: 2 }), `?${query}`)).has('forked'), false);
  assert.equal(new URLSearchParams(queryOf(from(branch, generate(4)), `?${query}`)).has('forked'), false, 'the next run is none');
});

test('a branch is compared with the one it leaves, and never with itself', () => {
  const branch = from(done(), scrub(1), chosen('3'), ...forked(3, 1));
  assert.equal(rivalOf(branch), 2);
  assert.equal(rivalOf(from(branch, { type: 'chooseRun', run: 2 })), 3, 'the first run with the last other');
  const turned = from(branch, { type: 'pin', run: 2 }, { type: 'chooseRun', run: 2 });
  assert.deepEqual([turned.selection.run, turned.pinned], [2, 3]);
});

test('a fork makes as many images as the run that it goes on from', () => {
  assert.equal(from(noisy(), scrub(1), { type: 'chooseCount', count: 4 }, fork(3)).starting.request.count, 16);
});

test('a run is chosen with its settings, at the same step', () => {
  const state = from(done(), scrub(1), chosen('3'), ...forked(3, 1));
  const first = from(state, { type: 'chooseRun', run: 2 });
  assert.deepEqual([first.selection.run, first.selection.index, first.settings.class], [2, 3, 'any']);
  same(first, { type: 'chooseRun', run: 2 }, { type: 'chooseRun', run: 9 });
  const middle = from(first, scrub(2), { type: 'chooseRun', run: 3 });
  assert.deepEqual([middle.selection.index, middle.selection.following, middle.settings.class], [2, false, '3']);
});

test('lanes leave their run in such an order that none crosses another', () => {
  let state = from(done(), scrub(1), chosen('3'), ...forked(3, 1));
  state = from(state, { type: 'chooseRun', run: 2 }, scrub(2), chosen('4'), ...forked(4, 2));
  state = from(state, { type: 'chooseRun', run: 3 }, scrub(2), chosen('5'), ...forked(5, 2));
  assert.deepEqual(lanesOf(state.runs).map(({ run, from: of }) => [run.id, of]), [[2, null], [4, 0], [3, 0], [5, 2]]);
  assert.deepEqual(state.runs.order.map((id) => branchWords(state, state.runs.byId[id])), ['seed 1234', 'class 3', 'class 4', 'class 5']);
  assert.deepEqual(from(state, generate(6), started(6)).runs.order, [6], 'a run from noise begins another tree');
});

test('a pinned run is compared at the same step, or where there is as much noise', () => {
  const state = from(done(), scrub(1), chosen('3'), ...forked(3, 1), { type: 'pin', run: 2 });
  assert.equal(compared(from(state, scrub(2))).index, 2);
  assert.equal(compared(from(state, { type: 'pin', run: null })), null);
  same(state, { type: 'pin', run: 9 });
  const other = from(state, { type: 'chooseRun', run: 2 }, scrub(1), { type: 'type', field: 'sampler', text: 'dpm_solver' }, ...forked(4, 0, 2));
  assert.equal(compared(from(other, scrub(3))).index, 3, 'both are at their ends');
  assert.equal(from(other, generate(5), started(5)).pinned, null);
});

test('the recordings of a tree stay within their bounds', () => {
  let state = from(done(), scrub(1), chosen('3'), ...forked(3, 1));
  state = from(state, { type: 'chooseRun', run: 2 }, scrub(1), chosen('4'), ...forked(4, 1));
  const all = bytesOf(Object.values(state.runs.byId));
  assert.equal(bounded(state, all), state);
  const fewer = bounded(state, all - 1);
  assert.deepEqual(fewer.runs.order, [2, 4], 'the oldest goes that nobody looks at and nothing goes on from');
  assert.match(fewer.notices.at(-1).text, /class 3.* was dropped/);
  const thin = bounded(from(fewer, scrub(2)), 1);
  assert.deepEqual(thin.runs.order, [2, 4], 'what is looked at stays');
  assert.equal(selectedRun(thin).recording.states.length, 2);
  assert.ok(thin.selection.index <= selectedRun(thin).recording.newest);
});

test('late events of a fork change nothing', () => {
  const state = from(done(), scrub(1), chosen('3'), fork(3), started(3));
  const stood = { row: 2 };
  same(state, started(2), frame(2, 0), finished(2), { type: 'snapshot', id: 2, snapshot: stood, at: 0 }, { type: 'resume', id: 9 });
  const failedToStart = from(done(), scrub(1), chosen('3'), fork(3), failed(3, 'start'));
  assert.deepEqual([phase(failedToStart), failedToStart.runs.order], ['ready', [2]]);
  same(failedToStart, started(3), frame(3, 1), finished(3));
  const stopped = from(done(), scrub(1), chosen('3'), fork(3), { type: 'stop' }, finished(3, true));
  assert.deepEqual([stopped.status.text, stopped.status.count, phase(stopped)], ['Stopped', 'before it began', 'ready']);
});

// ---- Losses -----------------------------------------------------------------------------------

test('a run that is interrupted goes on in place', () => {
  const stood = { row: 1 };
  const lost = from(running(), frame(2, 0), { type: 'snapshot', id: 2, snapshot: stood, at: 0 }, frame(2, 1), failed(2, 'run'));
  assert.ok(goesOnByItself(lost));
  assert.deepEqual([keys(lost), lost.status.text], [[], 'Interrupted, going on']);
  const resumed = from(lost, connect(5, 'resume'), backend(5), model(5), { type: 'resume', id: 6 });
  assert.deepEqual([resumed.starting.id, resumed.starting.run, resumed.snapshot], [6, 2, { run: 2, snapshot: stood }]);
  const before = resumed.runs.byId[2].recording.states.at(-1);
  const again = from(resumed, started(6), frame(6, 1));
  assert.equal(again.runs.byId[2].recording.states.at(-1), before, 'what was there stays');
  const ended = from(again, frame(6, 2), finished(6));
  assert.equal(ended.runs.byId[2].recording.finished, true);
  assert.deepEqual([ended.runs.order, ended.losses, ended.snapshot, ended.status.text], [[2], 0, null, 'Done']);
  same(ended, frame(2, 2), frame(6, 2), { type: 'snapshot', id: 6, snapshot: stood, at: 0 });
});

test('a fork that was asked for when the engine was lost is asked for again', () => {
  const lost = from(done(), scrub(1), chosen('3'), fork(3), failed(null, 'run'));
  const again = from(lost, connect(5, 'resume'), backend(5), model(5), { type: 'resume', id: 6 }, started(6));
  assert.deepEqual([again.runs.order, again.runs.byId[6].parent], [[2, 6], { run: 2, step: 1 }]);
});

test('the third loss in a row is told, and the CPU says that its digits differ', () => {
  let state = running();
  for (let loss = 1, id = 10; loss <= 3; loss++, id += 2) {
    state = from(state, failed(state.phase.command, 'run'));
    assert.equal(goesOnByItself(state), loss < 3);
    if (loss < 3) state = from(state, connect(id, 'resume'), backend(id), model(id), { type: 'resume', id: id + 1 }, started(id + 1));
  }
  assert.match(state.notices.at(-1).text, /3 times in a row/);
  assert.ok(endsOnCpu(state));
  const cpu = from(state, { type: 'chooseBackend', kind: 'cpu' }, connect(20, 'resume'), backend(20, 'cpu'), model(20), { type: 'resume', id: 21 });
  assert.match(cpu.notices.at(-1).text, /goes on on the CPU/);
  // What is lost there too is asked about.
  const lost = from(cpu, started(21), failed(21, 'run'));
  assert.deepEqual([goesOnByItself(lost), endsOnCpu(lost)], [false, false]);
  assert.match(lost.notices.at(-1).text, /4 times in a row/);
  assert.deepEqual(lost.notices.at(-1).actions.map(({ intent }) => intent), [{ do: 'connect', next: 'resume' }]);
});

test('a run that was to end is not brought back', () => {
  const lost = from(running(), { type: 'stop' }, failed(2, 'run'));
  assert.deepEqual([goesOnByItself(lost), lost.interrupted], [false, null]);
  assert.deepEqual(lost.notices.at(-1).actions[0].intent, { do: 'connect', next: null });
});

test('the lock and the view are in the address, and come back from it', () => {
  const locked = from(READY, { type: 'keepSeed', keep: true }, { type: 'chooseView', view: 'x0' });
  assert.equal(queryOf(locked, ''), 'seed=1234&model=models/digits&view=x0');
  for (const [query, keepSeed, view] of [['seed=5', true, 'x'], ['seed=5&lock=0', false, 'x'], ['lock=1&view=x0', true, 'x0'], ['', false, 'x'], ['lock=2&view=z', false, 'x']]) {
    const state = after(query);
    assert.deepEqual([state.keepSeed, state.selection.view], [keepSeed, view], query);
  }
  assert.match(after('view=z').notices[0].text, /view=z in the address is not x or x0 or eps or change/);
});

test('every setting survives the way to the address and back', () => {
  const given = 'sampler=ddpm&steps=20&eta=0.5&seed=7&seedTo=8&class=elm&classTo=oak&guidance=3&spacing=leading&variance=fixed_large&count=4&model=models%2Ftrees&network=unet_ema&variant=fp16&backend=cpu&precision=f32&autotune=0&lock=0&view=x0&typeface=1&guide=both&scale=2&classAnd=oak&weightAnd=25';
  assert.deepEqual([...readQuery(new URLSearchParams(given)).given].sort(), Object.keys(DEFAULTS).sort());
  const trees = { ...TREES, network: 'unet_ema', variant: 'fp16' };
  const networks = [{ folder: 'unet', variants: ['', 'fp16'] }, { folder: 'unet_ema', variants: ['', 'fp16'] }];
  const state = after(given, connect(), backend(1, 'cpu'), model(1, trees, TREE, { networks, network: 'unet_ema', variant: 'fp16', count: 4, classifier: { problem: null } }));
  assert.deepEqual(Object.fromEntries(new URLSearchParams(queryOf(state, ''))), Object.fromEntries(new URLSearchParams(given)));
});

// ---- Going back -------------------------------------------------------------------------------

const restored = (settings, more = {}) => ({ recipe: { ...recipeOf(done().runs.byId[2], { index: 3, view: 'x', image: 0 }), backend: 'gpu', ...more, settings: { ...done().runs.byId[2].settings, ...settings } }, preview: null, name: 'a.png' });

test('a run tells how it was made', () => {
  const recipe = shownRecipe(from(done(), { type: 'chooseView', view: 'x0' }, { type: 'scrub', index: 1 }, { type: 'chooseImage', image: 1 }));
  assert.deepEqual(Object.keys(recipe.settings), RUN_SETTINGS);
  assert.deepEqual([recipe.model, recipe.backend, recipe.precision, recipe.step, recipe.view, recipe.image, recipe.forkedAt], [{ id: 'models/digits', title: 'Digits', network: '', variant: '' }, 'gpu', 'f32', 1, 'x0', 1, null]);
  assert.equal(shownRecipe(READY), null, 'nobody knows how the sample was made');
  // The prediction that the newest state shows is that of the step before.
  const half = from(running(), frame(2, 0), { type: 'chooseView', view: 'x0' });
  assert.equal(shownRecipe(half).step, 0);
});

test('settings are restored, all of them, and kept', () => {
  const state = from(READY, { type: 'restore', ...restored({ steps: 9, seed: 8, class: '3', count: 4, sampler: 'ddpm', variance: 'fixed_small' }, { view: 'x0', image: 9 }) });
  const { steps, seed, class: name, count, sampler, variance } = state.settings;
  assert.deepEqual([steps, seed, name, count, sampler, variance], [9, 8, '3', 4, 'ddpm', 'fixed_small']);
  assert.deepEqual([state.texts.steps, state.keepSeed, state.selection.view, state.selection.image, keys(state)], ['9', true, 'x0', 3, []]);
  assert.equal(from(state, generate(5, 77)).settings.seed, 8, 'no other seed is drawn');
});

test('what cannot be as it was is said', () => {
  const cpu = from(READY, { type: 'restore', ...restored({}, { backend: 'cpu' }) });
  assert.match(cpu.notices.at(-1).text, /a\.png: It was made on the CPU and is made on the GPU now/);
  assert.deepEqual(labels(cpu), ['Use the CPU']);
  assert.match(from(READY, { type: 'restore', ...restored({}, { precision: 'f16' }) }).notices.at(-1).text, /in 16 bit and is made in 32 bit/);
  assert.match(from(READY, { type: 'restore', ...restored({}, { forkedAt: 3 }) }).notices.at(-1).text, /went on from step 3 of another run/);
  const other = from(READY, { type: 'restore', ...restored({ sampler: 'lcm', class: 'oak' }) });
  assert.deepEqual([other.settings.sampler, other.settings.class], ['ddim', 'any']);
  assert.match(other.notices.map(({ text }) => text).join(), /no class “oak”.*LCM cannot sample this model, so DDIM does/);
});

test('another model is loaded first, as the picture wants it', () => {
  const restoring = restored({ steps: 7, count: 2, guidance: 3, class: 'elm' });
  const loading = from(READY, { type: 'want', source: TREES, restoring }, { type: 'load', id: 3, next: 'generate' });
  assert.deepEqual(loadOptions(loading), { count: 2, precision: 'auto', guidance: 3 });
  const half = { type: 'want', source: TREES, restoring: restored({ precision: 'f16' }) };
  assert.deepEqual([from(READY, half), from(READY, backend(1, 'cpu'), { ...backend(), half: false }, half)].map((state) => loadOptions(state).precision), ['f16', 'auto'], '16 bits where there are any');
  assert.equal(loading.settings.steps, 50, 'nothing changes before it is there');
  const there = from(loading, model(3, TREES, TREE, { count: 2 }));
  assert.deepEqual([there.settings.steps, there.settings.count, there.settings.guidance, there.settings.class, there.restoring], [7, 2, 3, 'elm', null]);
  // One that does not load, or is not wanted any more, leaves nothing behind.
  assert.equal(from(loading, failed(3, 'load', { source: TREES })).restoring, null);
  const instead = from(loading, { type: 'want', source: DIGITS }, { type: 'load', id: 4, next: null }, model(4));
  assert.equal(instead.settings.steps, 50);
});

test('pictures that were kept are shown at once, or their run if it is there', () => {
  const { recipe } = restored({ seed: 8 });
  const preview = { batch: { pixels: pixels(9, 4), count: 4, width: 2, height: 2 }, caption: 'kept', real: true, layout: gridLayout(4), recipe };
  const shown = from(done(), { type: 'restore', recipe, preview, name: 'kept' });
  assert.deepEqual([shown.selection.run, shown.preview, shownRecipe(shown)], [null, preview, recipe]);
  assert.ok(shown.runs.byId[2], 'the run is there still');
  const own = recipeOf(shown.runs.byId[2], { index: 3, view: 'x', image: 0 });
  assert.ok(!sameRecipe(own, recipe));
  const back = from(shown, { type: 'restore', recipe: own, preview: { ...preview, recipe: own }, name: 'kept' });
  assert.deepEqual([back.selection.run, back.selection.index], [2, 3]);
  const other = from(done(), { type: 'want', source: TREES, restoring: { recipe, preview, name: 'kept' } }, { type: 'load', id: 3, next: null });
  assert.equal(other.preview, preview);
  assert.equal(from(other, model(3, TREES, TREE)).preview, preview);
});

test('reset returns to what the model has by itself', () => {
  const changed = from(after('seed=9', connect(), backend(), model(1)), { type: 'type', field: 'sampler', text: 'tcd' }, { type: 'type', field: 'steps', text: '7' }, { type: 'type', field: 'eta', text: '0.9' }, { type: 'type', field: 'count', text: '3' },
    { type: 'type', field: 'spacing', text: 'leading' }, { type: 'chooseClass', name: '3' }, { type: 'choosePrecision', precision: 'f16' }, { type: 'type', field: 'guidance', text: 'x' });
  const back = from(changed, { type: 'reset' });
  assert.deepEqual(back.settings, { ...READY.settings, model: changed.settings.model, precision: 'f16' });
  assert.deepEqual([back.texts, back.keepSeed, back.chosen.steps], [READY.texts, false, undefined]);
  assert.equal(queryOf(back, ''), 'seed=1234&model=models/digits&precision=f16&lock=0');
  assert.equal(from(after('', connect(), backend(), model(1, DIGITS, MODEL, { count: 4 })), { type: 'chooseCount', count: 16 }, { type: 'reset' }).settings.count, 4, 'as many as the device does with ease');
  same(after('', connect()), { type: 'reset' });
});

const LETTERS = { ...MODEL, title: 'Letters', class_names: [...'ABCDEFGHIJKLMNOPQRSTUVWXYZ'], class_count: 26, null_class: 26 };
const SPELLER = { folder: 'models/letters', title: 'Letters', about: '', class_names: LETTERS.class_names, class_count: 26, class_kind: 'label', null_class: 26, guidance: null };

test('where classes are letters a word is made, an image a letter', () => {
  const { settings, given, problems } = readQuery(new URLSearchParams(''));
  const shipped = [SPELLER, ...SHIPPED];
  const opened = reduce(initialState({ settings, given, wanted: source('models/letters'), shipped }), { type: 'open', problems });
  assert.equal(opened.settings.class, 'DENOISE', 'the page greets');
  assert.deepEqual([opened.preview.batch.count, opened.preview.layout.columns], [7, 7], 'what comes has its room');
  assert.equal(loadOptions(opened).count, 7);
  assert.equal(isShown(opened, 'count'), false);
  const ready = from(opened, connect(), backend(), model(1, source('models/letters'), LETTERS, { count: 7 }));
  assert.equal(queryOf(ready, ''), 'seed=1234&lock=0');
  const word = from(ready, { type: 'chooseClass', name: 'ON AIR' });
  const asked = engineSettings(word, word.settings);
  assert.deepEqual([asked.count, asked.class_labels, asked.seed], [5, [14, 13, 0, 8, 17], 1234]);
  assert.equal(queryOf(word, ''), 'seed=1234&class=ON+AIR&lock=0');
  same(word, { type: 'chooseClass', name: '' }, { type: 'chooseClass', name: 'no' }, { type: 'chooseClass', name: 'A'.repeat(33) });
  const alike = from(word, { type: 'chooseTypeface', one: true });
  assert.deepEqual([engineSettings(alike, alike.settings).seeds, engineSettings(alike, alike.settings).seed], [[1234, 1234, 1234, 1234, 1234], undefined]);
  const run = from(alike, generate(2), started(2, 3, 5)).runs.byId[2];
  assert.deepEqual([run.layout, run.caption], [wordLayout('ON AIR'), '“ON AIR” in one typeface · DDIM · 50 steps · seed 1234']);
  // Another model has its own number of images again.
  const digits = from(ready, { type: 'want', source: DIGITS }, { type: 'load', id: 3, next: null }, model(3));
  assert.deepEqual([imageCount(digits), isShown(digits, 'count'), digits.settings.class], [16, true, 'any']);
});

test('what is typed becomes what can be spelled', () => {
  for (const [typed, word] of [['denoise', 'DENOISE'], ['  a  b ', 'A B '], ['Élan, 42!', 'ELAN '], ['ß', 'SS'], ['', ''], [' ', ''], ['x'.repeat(40), 'X'.repeat(32)]]) {
    assert.equal(spelled(LETTERS, typed), word, typed);
  }
});

test('a field without a letter is no word, and what is left out is said', () => {
  const word = (text) => ({ type: 'typeWord', text });
  const ready = after('model=models/letters', connect(), backend(), model(1, source('models/letters'), LETTERS, { count: 7 }), word('oak'));
  assert.deepEqual([ready.settings.class, ready.word, wordProblem(ready)], ['OAK', { text: 'OAK', dropped: '' }, '']);
  const empty = from(ready, word(' '));
  assert.deepEqual([empty.settings.class, empty.word.text, wordProblem(empty)], ['OAK', '', 'Word: type at least one letter.']);
  assert.equal(wordProblem(from(empty, { type: 'type', field: 'steps', text: '9' })), 'Word: type at least one letter.', 'another field does not mend it');
  assert.equal(wordProblem(from(empty, { type: 'reset' })), '');
  assert.equal(wordProblem(from(empty, word('e'))), '');
  const digits = from(ready, word('R2-D2 é'));
  assert.deepEqual([digits.settings.class, digits.word.dropped], ['RD E', 'Left out: 2 -. There is only A to Z.']);
  assert.equal(from(ready, word('x'.repeat(40))).word.dropped, 'Left out: what comes after 32 letters.');
  assert.equal(from(ready, word('12345678')).word.dropped, 'Left out: 1 2 3 4 5 6 …. There is only A to Z.');
  same(READY, word('A'));
});

test('an address that names a run says so until there is one', () => {
  const said = 'The settings of a shared run. Generate makes it.';
  const sample = { type: 'preview', id: 1, batch: { pixels: pixels(9, 4), count: 4, width: 2, height: 2 }, columns: 4, caption: 'made by it', at: 0 };
  const shared = after('model=models/digits&seed=5', connect(), sample, backend(), model(1));
  assert.equal(captionOf(shared), said);
  assert.match(captionOf(from(shared, generate(2), started(2))), /seed 5$/);
  assert.equal(captionOf(after('model=models/digits&view=x0&lock=0', connect(), sample)), 'made by it', 'these are the page’s own');
  assert.equal(captionOf(from(shared, { type: 'want', source: TREES })), 'made by it', 'another model is another matter');
  assert.equal(captionOf(from(shared, { type: 'reset' })), 'made by it');
  assert.equal(captionOf(from(shared, { type: 'type', field: 'steps', text: '9' })), 'made by it', 'nor are they shared once they are changed');
  const { settings, given } = readQuery(new URLSearchParams('model=models/digits&seed=5'));
  const opened = (own) => from(initialState({ settings, given, wanted: DIGITS, shipped: SHIPPED, shared: own }), connect(), sample);
  assert.deepEqual([null, true, false].map((own) => captionOf(opened(own))), [said, said, 'made by it'], 'the page’s own address is reloaded');
});

test('a word stands in the lines that make it largest', () => {
  const lines = (text) => {
    const { columns, rows, cells } = wordLayout(text);
    assert.equal(cells.length, text.replaceAll(' ', '').length);
    assert.equal(new Set(cells.map(({ column, row }) => `${column} ${row}`)).size, cells.length, 'each letter has a place of its own');
    assert.ok(cells.every(({ column, row }) => column < columns && row < rows));
    return [columns, rows];
  };
  assert.deepEqual(lines('A'), [1, 1]);
  assert.deepEqual(lines('DENOISE'), [7, 1]);
  assert.deepEqual(lines('ON AIR'), [3, 2]);
  assert.deepEqual(lines('THE QUICK BROWN FOX'), [5, 4]);
  assert.deepEqual(lines('A B C D E F G H'), [5, 3]);
  assert.deepEqual(lines('X'.repeat(32)), [11, 3]);
  assert.deepEqual(gridLayout(5).cells.at(-1), { column: 1, row: 1 });
});

test('a fork of a word is a word of as many letters', () => {
  const ready = after('model=models/letters', connect(), backend(), model(1, source('models/letters'), LETTERS, { count: 7 }));
  const state = from({ ...ready, settings: { ...ready.settings, class: 'OAK' } }, generate(2), started(2, 3, 3), frame(2, 0), frame(2, 1), frame(2, 2), finished(2), scrub(1));
  assert.match(forkProblem(state), /another seed changes nothing/);
  const elms = from(state, chosen('ELMS'));
  same(elms, fork(3));
  assert.match(forkProblem(elms), /type a word of 3/);
  const elm = from(state, chosen('ELM'), fork(3), started(3, 3, 3));
  assert.equal(branchWords(elm, elm.runs.byId[3]), '“ELM”');
  const alike = from(state, { type: 'chooseTypeface', one: true });
  assert.match(forkHint(alike), /^With DDIM and η 0 nothing is left to chance from here: another seed changes nothing\. Set η above 0, or change the word, guidance or sampler\.$/, 'nor does the noise of a letter count any more');
});

// ---- Where things meet ------------------------------------------------------------------------

test('an engine that does not come back is tried no more than twice', () => {
  let state = from(running(), frame(2, 0), failed(2, 'run'));
  let tries = 0;
  for (; goesOnByItself(state) && tries < 10; tries++) state = from(state, connect(10 + tries, 'resume'), failed(10 + tries, 'engine'));
  assert.equal(tries, 2);
  assert.match(state.notices.at(-1).text, /3 times in a row/);
  assert.ok(endsOnCpu(state), 'the CPU is what is left');
  const neither = from(state, { type: 'chooseBackend', kind: 'cpu' }, connect(20, 'resume'), failed(20, 'engine'));
  assert.deepEqual([endsOnCpu(neither), neither.notices.at(-1).actions[0].intent], [false, { do: 'connect', next: 'resume' }]);
});

test('what is restored chooses among the images that are shown', () => {
  const one = from(READY, generate(2), started(2, 1, 1), frame(2, 0), finished(2));
  const recipe = { ...recipeOf(done().runs.byId[2], { index: 3, view: 'x', image: 9 }), settings: { ...DEFAULTS, count: 16 } };
  assert.equal(from(one, { type: 'restore', recipe, preview: null, name: 'x.png' }).selection.image, 0);
});

test('from what was kept a click leads back to the tree', () => {
  const tree = from(done(), scrub(1), chosen('3'), ...forked(3, 1));
  const batch = { pixels: pixels(9, 2), count: 2, width: 2, height: 2 };
  const recipe = { ...recipeOf(tree.runs.byId[2], { index: 3, view: 'x', image: 0 }), backend: 'cpu' };
  const kept = from(tree, { type: 'restore', recipe, preview: { batch, caption: '', real: true, layout: gridLayout(2), recipe }, name: 'kept' });
  assert.equal(kept.selection.run, null);
  const back = from(kept, { type: 'chooseRun', run: 3 });
  assert.deepEqual([back.selection.run, back.selection.index], [3, back.runs.byId[3].recording.newest]);
  assert.equal(from(kept, { type: 'preview', id: 1, batch, columns: 2, caption: 'late', at: 0 }).preview.recipe, recipe, 'the model’s own sample does not replace it');
});

test('forks of one step with the same settings are not the same, unless they are', () => {
  const three = from(done(), scrub(1), chosen('1'), ...forked(3, 1));
  const four = from(three, scrub(2), chosen('2'), ...forked(4, 2));
  const five = from(four, { type: 'chooseRun', run: 2 }, scrub(2), chosen('2'), ...forked(5, 2));
  const [a, b] = [4, 5].map((id) => recipeOf(five.runs.byId[id], { index: 3, view: 'x', image: 0 }));
  assert.deepEqual([a.settings, a.forkedAt], [b.settings, b.forkedAt]);
  assert.equal(sameRecipe(a, b), false);
  assert.equal(sameRecipe(a, recipeOf(five.runs.byId[4], { index: 1, view: 'x0', image: 1 })), true);
});

test('the letters of a word are no other model’s number of images', () => {
  const ready = after('model=models/letters', connect(), backend(), model(1, source('models/letters'), LETTERS, { count: 7 }));
  const reset = from(ready, { type: 'chooseClass', name: 'OAK' }, { type: 'reset' });
  assert.equal(queryOf(reset, ''), 'seed=1234&lock=0', 'no count');
  const made = from(ready, generate(2), started(2, 1, 7), frame(2, 0), finished(2));
  assert.equal(recipeOf(made.runs.byId[2], { index: 1, view: 'x', image: 0 }).settings.count, 7);
  const lower = after('model=models/letters&class=on+air', connect(), backend(), model(1, source('models/letters'), LETTERS, { count: 5 }));
  assert.equal(lower.settings.class, 'ON AIR');
});
