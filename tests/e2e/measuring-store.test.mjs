// What is known of what a picture costs: the state, without a page.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { INITIAL, STEPS, bytesOf, decades, pointAt, reduce, shownTime, subjectOf } from '../../www/measuring/state.js';
import { picture } from '../../www/store/picture.js';
import { NO_PICTURE, beginningOf } from '../../www/store/picture-state.js';

const SHAPE = { channels: 1, width: 2, height: 2 };
const SUBJECT = { shape: SHAPE, levels: new Uint8ClampedArray(4), weights: 'w', words: 'a picture', timesteps: 4, labels: [3], seed: 1, source: { kind: 'folder', id: 'm', address: '/m/', network: 'unet', variant: '' } };
const mean = (value) => ({ mean: value, standard_error: null });
const ESTIMATE = { prior: mean(0), denoising: mean(0.011), decoder: mean(2), sum: mean(2.011), curve: [{ first: 0, last: 0, term: mean(2) }, { first: 1, last: 1, term: mean(0.01) }, { first: 2, last: 3, term: mean(0.0005) }] };
const ENCODED = { steps: 100, bits: 1.9, halfBits: 1.8, noise: new Float32Array(4) };

const from = (state, ...actions) => actions.reduce(reduce, state);
const begun = (id = 1, bound = true) => ({ type: 'measure', id, subject: SUBJECT, bound });
const done = from(INITIAL, begun(), { type: 'measurable', id: 1, bound: null, likelihood: null }, { type: 'estimate', id: 1, estimate: ESTIMATE }, { type: 'encoded', id: 1, encoded: ENCODED }, { type: 'finished', id: 1 });

test('it grows while it is computed, and is done', () => {
  const under = from(INITIAL, begun(), { type: 'progress', id: 1, stage: 'bound', done: 4, total: 11 });
  assert.deepEqual([under.open, under.phase, under.progress], [true, 'under way', { stage: 'bound', done: 4, total: 11 }]);
  assert.equal(under.estimate, null);
  assert.deepEqual([done.phase, done.estimate, done.encoded], ['done', ESTIMATE, ENCODED]);
});

test('stopping keeps what is there, and what comes afterwards changes nothing', () => {
  const stopped = from(INITIAL, begun(), { type: 'estimate', id: 1, estimate: ESTIMATE }, { type: 'stop' });
  assert.deepEqual([stopped.phase, stopped.estimate], ['stopped', ESTIMATE]);
  assert.equal(reduce(stopped, { type: 'encoded', id: 1, encoded: ENCODED }), stopped);
  assert.equal(reduce(done, { type: 'stop' }), done);
  const closed = from(INITIAL, begun(), { type: 'close' });
  assert.deepEqual([closed.open, closed.phase], [false, 'stopped']);
});

test('with another model it ends, and of the one that is there nothing can be begun again', () => {
  const page = (isOfPage, t = null) => ({ type: 'page', t, isOfPage });
  const under = from(INITIAL, begun(), { type: 'estimate', id: 1, estimate: ESTIMATE });
  assert.equal(reduce(under, page(true)), under);
  assert.deepEqual(reduce(under, page(true, 3)), { ...under, shownT: 3 });
  const replaced = reduce(under, page(false));
  assert.deepEqual([replaced.phase, replaced.isOfPage, replaced.estimate], ['replaced', false, ESTIMATE]);
  assert.equal(reduce(done, page(false)).phase, 'done', 'what was over is not replaced');
});

test('answers to an earlier command change nothing', () => {
  const again = from(done, begun(2));
  assert.deepEqual([again.estimate, again.encoded, again.phase], [null, null, 'under way']);
  assert.equal(reduce(again, { type: 'estimate', id: 1, estimate: ESTIMATE }), again);
  assert.equal(reduce(again, { type: 'failed', id: 1, message: 'no' }), again);
  const failed = reduce(again, { type: 'failed', id: 2, message: 'no' });
  assert.deepEqual([failed.phase, failed.message], ['failed', 'no']);
});

test('the likelihood alone leaves the bound as it is', () => {
  assert.equal(reduce(done, { type: 'steps', steps: 3 }), done, 'only what can be chosen');
  const more = from(done, { type: 'steps', steps: 200 }, begun(2, false));
  assert.deepEqual([more.steps, more.estimate, more.encoded], [200, ESTIMATE, null]);
  assert.ok(STEPS.every((steps) => steps % 2 === 0), 'half as many are taken too');
});

test('what a model refuses is told of each of the two', () => {
  const refused = from(INITIAL, begun(), { type: 'measurable', id: 1, bound: null, likelihood: 'nothing is left' }, { type: 'refused', id: 1, what: 'bound', message: 'not finite' });
  assert.deepEqual([refused.problems, refused.hasLikelihood], [{ bound: 'not finite', likelihood: 'nothing is left' }, false]);
  const fewer = from(INITIAL, begun(), { type: 'measurable', id: 1, bound: null, likelihood: null }, { type: 'refused', id: 1, what: 'likelihood', message: 'needs more steps' });
  assert.deepEqual([fewer.problems.likelihood, fewer.hasLikelihood], ['needs more steps', true], 'more steps can be chosen');
  assert.deepEqual(from(refused, begun(2)).problems, { bound: null, likelihood: null });
  assert.deepEqual(from(refused, begun(2, false)).problems, { bound: 'not finite', likelihood: null });
});

test('a timestep is told by the range it is in', () => {
  assert.equal(pointAt(ESTIMATE, 3), ESTIMATE.curve[2]);
  assert.equal(pointAt(ESTIMATE, 0), ESTIMATE.curve[0]);
  assert.equal(pointAt(ESTIMATE, 4), null);
  assert.deepEqual(decades(ESTIMATE), [-4, 1]);
  assert.deepEqual(decades({ ...ESTIMATE, curve: [] }), [-1, 0]);
  assert.equal(bytesOf(SUBJECT, 4), 2);
});

const MODEL = { class_names: [...'0123456789'], class_count: 10, class_kind: 'label', null_class: 10, guidance: null, num_train_timesteps: 1000, width: 2, height: 2, channels: 1 };
const page = (changes = {}) => ({
  picture: { ...NO_PICTURE, shape: SHAPE, levels: SUBJECT.levels, name: 'your drawing' },
  loaded: { model: MODEL, source: { kind: 'folder', id: 'models/digits', address: '/', network: null, variant: null }, network: 'unet', variant: '', title: 'Digits' },
  settings: { class: '3', seed: 5, count: 4 }, selection: { run: null, index: 1, image: 9 }, runs: { byId: {} }, ...changes,
});

test('the subject is the picture, of the class that is chosen', () => {
  assert.deepEqual([subjectOf(page()).labels, subjectOf(page()).words, subjectOf(page()).source.network], [[3], 'your drawing · class 3 · Digits', 'unet']);
  const settings = (name) => subjectOf(page({ settings: { class: name, seed: 5, count: 4 } }));
  assert.deepEqual([settings('any').labels, settings('any').words], [[10], 'your drawing · no class · Digits']);
  assert.deepEqual(settings('mixed').labels, [3], 'that of the chosen image, or of the last');
  const letters = page();
  letters.loaded = { ...letters.loaded, model: { ...MODEL, class_names: [...'ABC'], class_count: 3, null_class: 3 } };
  assert.deepEqual(subjectOf({ ...letters, settings: { class: 'CAB', seed: 1, count: 4 }, selection: { run: null, index: 0, image: 1 } }).words, 'your drawing · class A · Digits');
  assert.equal(subjectOf(page({ picture: { ...NO_PICTURE, shape: SHAPE } })), null);
  assert.equal(subjectOf(page({ loaded: null })), null);
});

test('the shown step is marked if it is of the measured model', () => {
  const subject = subjectOf(page());
  const recording = { states: [{ step: 0 }, { step: 1 }, { step: 2 }], rows: [{ timestep: 999 }, { timestep: 499 }] };
  const shown = (index, weights = subject.weights) => shownTime(page({ runs: { byId: { 7: { weights, recording } } }, selection: { run: 7, index, image: 0 } }), subject);
  assert.deepEqual([shown(0), shown(1), shown(2)], [999, 499, null]);
  assert.equal(shown(1, 'another'), null);
  assert.equal(shownTime(page(), subject), null);
});

test('a run can begin with the noise that was found', () => {
  const noise = new Float32Array([1, 2, 3, 4]);
  const next = picture(page(), { do: 'noise', noise, shape: SHAPE, levels: SUBJECT.levels });
  assert.deepEqual(beginningOf(next.picture, MODEL), { kind: 'noise', shape: SHAPE, noise });
  assert.equal(next.picture.inversion.levels, SUBJECT.levels, 'it is known to be of this picture');
});
