// Guidance by a classifier, as the state has it: what is offered, what the engine is told, what a run is called, and what is recorded.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { shares } from '../../www/engine/team.js';
import { softmaxOf } from '../../www/engine/numbers.js';
import { canMix, guideOf, guideProblem, needsGradients } from '../../www/store/guide.js';
import { readRecipe, recipeOf } from '../../www/store/recipe.js';
import { Recording } from '../../www/store/recording.js';
import { reduce } from '../../www/store/reduce.js';
import { engineSettings, fieldOf, isShown, problemOf, queryOf, selectedRun } from '../../www/store/select.js';
import { readQuery } from '../../www/store/settings.js';
import { initialState } from '../../www/store/state.js';
import { axesOf } from '../../www/store/comparing.js';
import { beliefOf } from '../../www/view/belief.js';

const SOURCE = { kind: 'folder', id: 'models/digits', address: 'https://example.org/digits/', network: null, variant: null };
const MODEL = {
  title: 'Digits', description: '', credits: '', licence: '', class_names: [...'012'], class_count: 4, class_kind: 'label', null_class: 3, classifier_classes: 3,
  guidance: null, width: 2, height: 2, channels: 1, condition_channels: 0, notes: [], parameters: 1, precision: 'f32', prediction_type: 'epsilon', alphas_cumprod: [0.9, 0.5],
  num_train_timesteps: 1000, own_sampler: 'ddpm', scheduler_problem: null, samplers: ['ddpm', 'ddim'], default_steps: 50, original_inference_steps: 50, dispatches: 79, macs: 1, bytes: 1,
};
const SHIPPED = [{ folder: 'models/digits', title: 'Digits', about: '', class_names: MODEL.class_names, class_count: 3, class_kind: 'label', null_class: 3, guidance: null, has_classifier: true }];

const from = (state, ...actions) => actions.reduce(reduce, state);
const opened = (query) => {
  const { settings, given, problems } = readQuery(new URLSearchParams(query));
  return reduce(initialState({ settings, given, wanted: SOURCE, shipped: SHIPPED }), { type: 'open', problems });
};
const model = (more = {}, event = {}) => ({ type: 'model', id: 1, source: SOURCE, networks: [{ folder: 'unet', variants: [''] }], network: 'unet', variant: '', model: { ...MODEL, ...more }, count: 4, note: null, classifier: { problem: null }, at: 0, ...event });
const after = (query, loaded = model()) => from(opened(query), { type: 'connect', id: 1, next: null, gradients: true }, { type: 'backend', id: 1, kind: 'cpu', name: '', note: null, half: false, at: 0 }, { ...loaded, count: Number(new URLSearchParams(query).get('count') ?? 4) });
const request = (state, settings = state.settings) => engineSettings(state, settings);
const type = (field, text) => ({ type: 'type', field, text });

test('the kinds of guidance are offered where the model can do them, and others say why', () => {
  const state = after('class=1&count=2');
  assert.deepEqual(['none', 'free', 'classifier', 'both'].map((kind) => guideProblem(state, kind)), ['', '', '', '']);
  assert.ok(isShown(state, 'guide') && isShown(state, 'guidance') && !isShown(state, 'scale'));
  const guided = from(state, type('guide', 'classifier'));
  assert.ok(isShown(guided, 'scale') && !isShown(guided, 'guidance'));
  assert.ok(isShown(from(state, type('guide', 'both')), 'guidance'));

  const without = after('class=1&count=2', model({ classifier_classes: null }, { classifier: null }));
  assert.ok(!isShown(without, 'guide') && isShown(without, 'guidance'));
  assert.match(guideProblem(without, 'classifier'), /no classifier/);
  assert.match(guideProblem(after('class=1', model({ null_class: null })), 'both'), /no “no class”/);
  assert.match(guideProblem(after('class=1', model({ alphas_cumprod: [] })), 'classifier'), /β/);
  assert.match(guideProblem(after('class=2', model({ classifier_classes: 2 })), 'classifier'), /0 to 1 only/);
  assert.equal(guideProblem(after('class=1', model({ classifier_classes: 2 })), 'classifier'), '');
  assert.match(guideProblem(after('class=1&classAnd=2', model({ classifier_classes: 2 })), 'classifier'), /0 to 1 only/);
  assert.equal(after('class=1', model({ null_class: null })).settings.guide, 'none', 'nothing can guide by itself');
  assert.equal(new URLSearchParams(queryOf(after('class=1', model({ null_class: null })), '')).get('guide'), null);

  // A class is needed; what is asked for otherwise is a mistake of the field, not a run of another kind.
  const any = from(guided, { type: 'chooseClass', name: 'any' });
  assert.match(problemOf(any, 'guide'), /choose a class/);
  assert.equal(guideOf(any, any.settings), 'none');
});

test('what is not there is said, and the page goes on without it', () => {
  const none = after('guide=classifier&class=1', model({ classifier_classes: null }, { classifier: null }));
  assert.equal(none.settings.guide, 'free');
  assert.match(none.notices.at(-1).text, /no classifier\/ beside this model/);
  const damaged = after('guide=both&class=1', model({ classifier_classes: null }, { classifier: { problem: 'It is damaged.' } }));
  assert.equal(damaged.settings.guide, 'free');
  assert.match(damaged.notices.at(-1).text, /cannot be used: It is damaged\./);
  assert.deepEqual(damaged.notices.at(-1).actions.map(({ intent }) => intent), [{ do: 'load', source: damaged.wanted }]);
  assert.deepEqual(after('class=1').notices, []);
  // Without one there is nothing to choose, and no guidance is a guidance of 1.
  const { guide, guidance } = after('class=1&guide=none&guidance=3', model({ classifier_classes: null }, { classifier: null })).settings;
  assert.deepEqual([guide, guidance], ['free', 1]);
});

test('the engine with gradients is needed for it, and only then', () => {
  const state = from(opened('class=1'), { type: 'connect', id: 1, next: null, gradients: false }, model({ classifier_classes: null }));
  assert.ok(!needsGradients(state));
  const asked = from(state, type('guide', 'classifier'));
  assert.ok(needsGradients(asked));
  assert.ok(!needsGradients(from(asked, { type: 'connect', id: 2, next: null, gradients: true })));
});

test('guided by a classifier alone the network is told no class, with both it is', () => {
  const state = after('class=mixed&count=2&guidance=2&scale=5');
  assert.deepEqual(request(state).class_labels, [0, 1]);
  assert.equal(request(state).guidance, 2);
  assert.equal(request(state).classifier, undefined);
  const alone = request(from(state, type('guide', 'classifier')));
  assert.deepEqual([alone.class_labels, alone.guidance, alone.classifier.scale], [[3, 3], 1, 5]);
  assert.deepEqual([...alone.classifier.weights], [1, 0, 0, 0, 1, 0]);
  const both = request(from(state, type('guide', 'both')));
  assert.deepEqual([both.class_labels, both.guidance], [[0, 1], 2]);
  assert.deepEqual([...both.classifier.weights], [1, 0, 0, 0, 1, 0]);
  const none = request(from(state, type('guide', 'none')));
  assert.deepEqual([none.class_labels, none.guidance, none.classifier], [[0, 1], 1, undefined]);
});

test('the target may be a mix of two classes, or go from one to another', () => {
  const mixed = after('class=0&count=2&guide=classifier&classAnd=2&weightAnd=25');
  assert.ok(canMix(mixed));
  assert.deepEqual([...request(mixed).classifier.weights], [0.75, 0, 0.25, 0.75, 0, 0.25]);
  assert.ok(!isShown(from(mixed, { type: 'chooseClass', name: 'mixed' }), 'classAnd'));
  const strip = after('class=0&count=3&guide=classifier&classTo=1&classAnd=2');
  assert.deepEqual([...request(strip).classifier.weights], [1, 0, 0, 0.5, 0.5, 0, 0, 1, 0]);
  assert.equal(request(strip).class_mix, null, 'the network is told no class, so none is mixed');
  assert.ok(request(after('class=0&count=3&guide=both&classTo=1')).class_mix);
  // A class that another model does not have is no part of the target any more.
  assert.equal(after('class=0&guide=classifier&classAnd=9').settings.classAnd, '');
});

test('a model that knows no classes is guided by those of its classifier', () => {
  const state = after('guide=classifier&class=2&count=1', model({ class_kind: null, class_names: [], class_count: 0, null_class: null }));
  assert.equal(state.classes.class_count, 3);
  const { class_labels: labels, classifier } = request(state);
  assert.deepEqual([labels, [...classifier.weights]], [null, [0, 0, 1]]);
});

test('a share has the weights of its own images', () => {
  const settings = { steps: 1, count: 3, classifier: { scale: 2, weights: Float32Array.of(1, 2, 3, 4, 5, 6) } };
  assert.deepEqual(shares(settings, 2).map(({ classifier }) => [classifier.scale, ...classifier.weights]), [[2, 1, 2, 3, 4], [2, 5, 6]]);
});

test('scale and mix are in the address, the caption, the recipe and the axes of a comparison', () => {
  const state = after('class=0&count=1&guide=both&scale=5&classAnd=1&weightAnd=40&seed=5');
  const query = new URLSearchParams(queryOf(state, ''));
  for (const [name, value] of Object.entries({ guide: 'both', scale: '5', classAnd: '1', weightAnd: '40' })) assert.equal(query.get(name), value);
  assert.ok(axesOf(state, 'columns').includes('scale'));
  assert.ok(!axesOf(from(state, type('guide', 'free')), 'columns').includes('scale'));
  assert.match(fieldOf(from(state, type('scale', '21')), 'scale').problem, /0 to 20/);

  const made = from(state, { type: 'generate', id: 2, seed: 9 }, started(2));
  const run = selectedRun(made);
  assert.match(run.caption, /class 0 · classifier 5 to 60 % 0 and 40 % 1 · seed 5/);
  const { settings } = readRecipe(JSON.stringify(recipeOf(run, { index: 0, view: 'gradient', image: 0 })));
  assert.deepEqual([settings.guide, settings.scale, settings.classAnd, settings.weightAnd], ['both', 5, '1', 40]);
});

const rows = Array.from({ length: 3 }, (_, i) => ({ timestep: 2 - i, alpha_cumprod: (i + 1) / 5, signal: 1, shown: { scale: 1, offset: 0 }, prev_from_noise: 0 }));
const started = (id) => ({ type: 'started', id, rows, initial: new Float32Array(4), count: 1, width: 2, height: 2, at: 0 });

test('a recording has the gradient with the x_t that it is of, and the logits of every step', () => {
  const recording = new Recording({ rows, initial: new Float32Array(4).fill(9), count: 1, width: 2, height: 2 });
  const frame = (step) => recording.add({ step, x: new Float32Array(4).fill(step), x0: new Float32Array(4), gradient: Float32Array.of(step + 1, -2 * (step + 1), 0, 0), logits: Float32Array.of(0, Math.log(step + 1), 0) });
  assert.ok(!recording.isClassified);
  assert.equal(recording.numbers(0, 'gradient'), null);
  frame(0);
  assert.deepEqual([...recording.numbers(0, 'gradient')], [1, -2, 0, 0]);
  assert.deepEqual([...recording.numbers(1, 'gradient')], [1, -2, 0, 0], 'the newest state shows that of the evaluation that made it');
  frame(1);
  assert.deepEqual([...recording.numbers(1, 'gradient')], [2, -4, 0, 0]);
  assert.equal(recording.peak(1, 0), 4);
  // Black is its most negative number, grey nothing.
  assert.deepEqual([...recording.image(1, 'gradient', 0)].filter((_, i) => i % 4 === 0), [191, 0, 128, 128]);
  assert.ok(recording.isClassified);
  const two = new Recording({ rows, initial: new Float32Array(8), count: 2, width: 2, height: 2 });
  two.add({ step: 0, x: new Float32Array(8), x0: new Float32Array(8), gradient: Float32Array.of(4, 0, 0, 0, 1, 0, 0, 0), logits: new Float32Array(6) });
  assert.deepEqual([...two.batch(1, 'gradient')].filter((_, i) => i % 16 === 0), [255, 255], 'each is scaled by its own');

  const belief = beliefOf(recording, 0, 1);
  assert.deepEqual(belief.map(({ label }) => label), [1, 0, 2]);
  assert.ok(Math.abs(belief[0].here - 0.5) < 1e-6);
  assert.deepEqual(belief[0].points.map(([at]) => at), [0, 1]);
  const fork = new Recording({ rows: rows.slice(1), initial: new Float32Array(4), count: 1, width: 2, height: 2 }, { recording, step: 1, resumes: false });
  assert.equal(fork.logits.length, 1, 'what the other run was told until there is the fork’s too');
});

test('probabilities are those of the logits, however large', () => {
  assert.deepEqual(softmaxOf(Float32Array.of(1000, 1000)), [0.5, 0.5]);
  assert.ok(Math.abs(softmaxOf(Float32Array.of(0, Math.log(3)))[1] - 0.75) < 1e-6);
});
