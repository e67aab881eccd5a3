// What a run can begin with in place of noise, and what lies between two: the state's part, without a page.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { shares } from '../../www/engine/team.js';
import { averaged, levelsOf, numbersOf, refitted, rgbaOf } from '../../www/model/image.js';
import { beginningRequest, checkedBeginning, keptBeginning, leftOut, missingFrom, readBeginning } from '../../www/store/beginning.js';
import { alongStrip, stripLayout } from '../../www/store/between.js';
import { normals, noised } from '../../www/store/forward.js';
import { beginningOf, timeOf } from '../../www/store/picture-state.js';
import { beginningProblem, inversionAdvice, inversionOf, inversionProblem } from '../../www/store/picture.js';
import { recipeOf, readRecipe, sameRecipe, parametersOf } from '../../www/store/recipe.js';
import { reduce } from '../../www/store/reduce.js';
import { engineSettings, isShown, phase, problemOf, queryOf, selectedRun } from '../../www/store/select.js';
import { readQuery } from '../../www/store/settings.js';
import { initialState } from '../../www/store/state.js';
import { withLine } from '../../www/store/strokes.js';

const source = (id) => ({ kind: 'folder', id, address: `https://example.org/${id}/`, network: null, variant: null });
const MODEL = {
  title: 'Digits', description: '', credits: '', licence: '', class_names: [...'0123456789'], class_count: 10, class_kind: 'label', null_class: 10,
  guidance: null, width: 4, height: 4, channels: 1, condition_channels: 0, notes: [], parameters: 1, precision: 'f32', prediction_type: 'epsilon',
  num_train_timesteps: 1000, alphas_cumprod: [0.9, 0.5], own_sampler: 'ddpm', scheduler_problem: null, samplers: ['ddpm', 'ddim'], default_steps: 50, original_inference_steps: 50,
  dispatches: 1, macs: 1, bytes: 1,
};
const LETTERS = { ...MODEL, title: 'Letters', class_names: ['A', 'B', 'C'], class_count: 3, null_class: null };

const from = (state, ...actions) => actions.reduce(reduce, state);
const model = (id, it = MODEL, of = source('models/digits')) => ({ type: 'model', id, source: of, networks: [{ folder: 'unet', variants: [''] }], network: 'unet', variant: '', model: it, count: 4, note: null, at: 0 });
function after(query, it = MODEL) {
  const { settings, given, problems } = readQuery(new URLSearchParams(query));
  const opened = initialState({ settings, given, wanted: source(settings.model), shipped: [] });
  return from(opened, { type: 'open', problems }, { type: 'connect', id: 1, next: null }, { type: 'backend', id: 1, kind: 'cpu', name: 'Some', note: null, half: false, at: 0 }, { ...model(1, it), count: settings.count });
}
const READY = after('model=models/digits&count=4');

const SHAPE = { channels: 1, width: 4, height: 4 };
const picture = (change) => ({ type: 'picture', change });
const take = (value = 255, shape = SHAPE) => picture({ do: 'take', levels: new Uint8ClampedArray(shape.channels * shape.width * shape.height).fill(value), shape, name: 'some.png' });
const line = (x, y, begins = true) => picture({ do: 'line', from: { x, y }, to: { x, y }, begins });
const begin = (how) => picture({ do: 'begin', with: how });
const tool = (name) => picture({ do: 'tool', tool: name });
const generate = (id) => ({ type: 'generate', id, seed: 77 });
const rows = (steps) => Array.from({ length: steps }, (_, i) => ({ timestep: 999 - i, alpha_cumprod: (i + 1) / (steps + 2), signal: 1, prev_from_noise: 0 }));
const started = (id, count = 4, steps = 2) => ({ type: 'started', id, rows: rows(steps), initial: new Uint8Array(count * 64), count, width: 4, height: 4, at: 10 });
const frame = (id, step, x) => ({ type: 'frame', id, step, x, x0: x, milliseconds: 1, at: 20 });
const finished = (id, stopped = false) => ({ type: 'finished', id, stopped, at: 30 });
const keys = ({ notices }) => notices.map(({ key }) => key);

// ---- Pictures ---------------------------------------------------------------------------------

test('a picture is cut to its middle and averaged over areas', () => {
  // 6 × 2 pixels, of which the middle 4 × 2 are two squares.
  const rgba = new Uint8ClampedArray([9, 0, 100, 200, 40, 9, 9, 50, 150, 0, 80, 9].flatMap((level) => [level, level, level, 255]));
  const out = averaged(rgba, { width: 6, height: 2 }, { width: 2, height: 1 });
  assert.deepEqual([...out], [75, 75, 75, 255, 80, 80, 80, 255]);
  // A pixel that lies in two areas counts in both by its share.
  const third = averaged(new Uint8ClampedArray([0, 90, 30].flatMap((level) => [level, 0, 0, 255])), { width: 3, height: 1 }, { width: 2, height: 1 });
  assert.deepEqual([third[0], third[4]], [45, 60]);
  const larger = averaged(new Uint8ClampedArray([10, 0, 0, 255]), { width: 1, height: 1 }, { width: 3, height: 3 });
  assert.ok([...larger].every((level, i) => level === [10, 0, 0, 255][i % 4]), 'one that is smaller is enlarged in squares');
});

test('levels have the channels of the model and are what the model takes', () => {
  const rgba = [255, 0, 0, 255, 0, 0, 255, 255];
  const shape = { channels: 3, width: 2, height: 1 };
  assert.deepEqual([...levelsOf(rgba, shape)], [255, 0, 0, 0, 0, 255]);
  assert.deepEqual([...rgbaOf(levelsOf(rgba, shape), shape)], rgba);
  assert.deepEqual([...levelsOf(rgba, { ...shape, channels: 1 })], [76, 29]);
  assert.deepEqual([...numbersOf(new Uint8ClampedArray([0, 255]))], [-1, 1]);
  assert.deepEqual([...refitted(new Uint8ClampedArray([0, 100, 100, 200]), { channels: 1, width: 2, height: 2 }, { channels: 3, width: 1, height: 1 })], [100, 100, 100]);
});

test('ε is the noise that PyTorch draws, and x_t its mixture with the picture', () => {
  // torch.randn(20, generator=torch.Generator().manual_seed(1234))
  const torch = [-0.1117, -0.4966, 0.1631, -0.8817, 0.2891, 0.4899, -0.3853, -0.712, 0.6369, -0.7141, -1.0831, -0.5547, -1.3248, 0.697, -0.6631, 1.2158, -2.5273, 1.4778, -0.1696, -0.9919];
  const drawn = normals(1234, 20);
  assert.ok(torch.every((x, i) => Math.abs(x - drawn[i]) < 6e-5) && drawn.length === 20, String(drawn));
  const many = normals(7, 1 << 16);
  const mean = many.reduce((sum, x) => sum + x, 0) / many.length;
  const variance = many.reduce((sum, x) => sum + (x - mean) ** 2, 0) / many.length;
  assert.ok(Math.abs(mean) < 0.02 && Math.abs(variance - 1) < 0.02, `${mean} ${variance}`);
  assert.deepEqual([...normals(7, 32)], [...many.subarray(0, 32)], 'the first image’s noise does not depend on how many there are');
  assert.notDeepEqual([...normals(8, 32)], [...many.subarray(0, 32)]);
  assert.deepEqual([...normals(7 + 2 ** 32, 16)], [...many.subarray(0, 16)], 'the low 32 bits count');
  const x0 = new Float32Array([1, -1]);
  assert.deepEqual([...noised(x0, new Float32Array([5, 5]), 1)], [255, 0]);
  assert.deepEqual([...noised(x0, new Float32Array([0.5, -0.5]), 0)], [191, 64]);
  assert.deepEqual([...noised(x0, new Float32Array([0, 0]), 0.25)], [191, 64]);
});

// ---- Drawing ----------------------------------------------------------------------------------

test('a line covers what lies within the pen', () => {
  const covered = withLine(new Float32Array(16), 4, { x: 1.5, y: 1.5 }, { x: 1.5, y: 1.5 }, 1);
  assert.deepEqual([...covered].map((share) => share > 0.5), [...covered].map((_, i) => i === 5));
  const along = withLine(new Float32Array(16), 4, { x: -9, y: 2.5 }, { x: 9, y: 2.5 }, 2);
  assert.deepEqual([...along], [0, 0, 0, 0, 0.5, 0.5, 0.5, 0.5, 1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5]);
  assert.deepEqual([...withLine(along, 4, { x: -9, y: 2.5 }, { x: 9, y: 2.5 }, 2)], [...along], 'twice is no more than once');
});

test('the pen draws, the eraser takes away, and each line can be taken back', () => {
  const drawn = from(READY, picture({ do: 'size', size: 1 }), line(1.5, 1.5), picture({ do: 'line', from: { x: 1.5, y: 1.5 }, to: { x: 3.5, y: 1.5 }, begins: false }), picture({ do: 'lift' }));
  assert.deepEqual([...drawn.picture.levels.subarray(4, 8)], [0, 255, 255, 255]);
  const erased = from(drawn, tool('eraser'), line(2.5, 1.5));
  assert.deepEqual([...erased.picture.levels.subarray(4, 8)], [0, 255, 0, 255]);
  assert.deepEqual(from(erased, picture({ do: 'undo' })).picture.levels, drawn.picture.levels, 'a line is taken back as a whole');
  assert.equal(from(erased, picture({ do: 'undo' }), picture({ do: 'undo' })).picture.levels, null);
  assert.deepEqual([...from(drawn, picture({ do: 'negate' })).picture.levels.subarray(4, 8)], [255, 0, 0, 0]);
  const cleared = from(drawn, picture({ do: 'clear' }));
  assert.equal(cleared.picture.levels, null);
  assert.deepEqual(from(cleared, picture({ do: 'undo' })).picture.levels, drawn.picture.levels, 'nothing is lost by clearing');
});

test('marks are apart from the picture', () => {
  const marked = from(READY, take(200), tool('mark'), picture({ do: 'size', size: 1 }), line(0.5, 0.5), line(1.5, 0.5), tool('unmark'), line(0.5, 0.5));
  assert.deepEqual([...marked.picture.mask], [0, 1, ...Array(14).fill(0)]);
  assert.ok(marked.picture.levels.every((level) => level === 200));
  assert.equal(from(marked, line(1.5, 0.5)).picture.mask, null, 'the last mark');
  const unmarked = from(marked, picture({ do: 'clear' }));
  assert.equal(unmarked.picture.mask, null);
  assert.ok(unmarked.picture.levels, 'with a brush in hand the marks are cleared');
});

test('a picture for another model is passed over, and the picture follows the model', () => {
  assert.equal(from(READY, take(1, { ...SHAPE, width: 8 })).picture, READY.picture);
  const chosen = from(READY, take(200), begin('picture'));
  const other = from(chosen, { type: 'want', source: source('models/other') }, { type: 'load', id: 5, next: null }, model(5, { ...MODEL, width: 2, height: 2, channels: 3 }, source('models/other')));
  assert.deepEqual(other.picture.shape, { channels: 3, width: 2, height: 2 });
  assert.deepEqual([...other.picture.levels], Array(12).fill(200));
  assert.equal(other.picture.begins, 'picture');
  const many = from(chosen, { type: 'want', source: source('models/other') }, { type: 'load', id: 5, next: null }, model(5, { ...MODEL, channels: 4 }, source('models/other')));
  assert.equal(many.picture.levels, null);
  assert.equal(many.picture.begins, null, 'nothing begins with what cannot be shown');
});

// ---- Beginning with it ------------------------------------------------------------------------

test('a run begins with the picture at the time that is chosen', () => {
  assert.equal(timeOf(null, MODEL), 1, 'as much picture as noise');
  assert.equal(timeOf(null, { num_train_timesteps: 1000, alphas_cumprod: [] }), 499, 'where ᾱ is not known the middle');
  assert.deepEqual([timeOf(1500, MODEL), timeOf(7, MODEL)], [999, 7]);
  assert.deepEqual([leftOut(50, 1), leftOut(50, 0.6), leftOut(50, 0.58), leftOut(50, 0.001), leftOut(1, 0.5)], [0, 20, 21, 49, 0]);
  const state = from(READY, take(255), begin('picture'), picture({ do: 'time', t: 499 }), generate(2));
  const { request } = state.starting;
  assert.deepEqual([request.start.alpha_cumprod, request.start.begin, request.start.sample.length], [1, 25, 64]);
  assert.ok(request.start.sample.every((x) => x === 1));
  // With so many steps there is one at 486 and none at 499.
  const run = selectedRun(from(state, { ...started(2), rows: rows(2).map((row) => ({ ...row, timestep: 486 })) }));
  assert.match(run.caption, /from a picture at t 486$/, 'where it really began');
  assert.equal(engineSettings(READY, READY.settings).start, undefined);
});

test('what is not marked is kept', () => {
  const state = from(READY, take(0), tool('mark'), picture({ do: 'size', size: 1 }), line(0.5, 0.5), begin('part'), generate(2));
  const { original, mask } = state.starting.request.inpaint;
  assert.deepEqual([[...original], [...mask]], [Array(16).fill(-1), [0, ...Array(15).fill(1)]]);
  assert.match(selectedRun(from(state, started(2))).caption, /a part of a picture made anew/);
});

test('who draws, marks or chooses a picture begins with it, unless something else was chosen', () => {
  const begins = (...actions) => from(READY, ...actions).picture.begins;
  const undo = picture({ do: 'undo' });
  const clear = picture({ do: 'clear' });
  assert.equal(begins(line(1.5, 1.5)), 'picture', 'the first stroke');
  assert.equal(begins(take()), 'picture');
  assert.equal(begins(take(), tool('mark'), line(1.5, 1.5)), 'part', 'the first mark');
  assert.equal(begins(tool('mark'), line(1.5, 1.5)), null, 'a mark in nothing');
  assert.equal(begins(take(), begin(null), line(1.5, 1.5)), null, 'noise was chosen');
  assert.equal(begins(take(), begin('picture'), tool('mark'), line(1.5, 1.5)), 'picture', 'the picture was chosen');
  // And back.
  assert.equal(begins(line(1.5, 1.5), undo), null);
  assert.equal(begins(line(1.5, 1.5), clear), null);
  assert.equal(begins(line(1.5, 1.5), clear, undo), 'picture');
  assert.equal(begins(take(), tool('mark'), line(1.5, 1.5), undo), 'picture');
  assert.equal(begins(take(), tool('mark'), line(1.5, 1.5), clear), 'picture');
  assert.equal(begins(take(), begin('picture'), clear), 'picture', 'what was chosen stays, and Generate says what is missing');
});

test('what is missing is said before a run begins', () => {
  assert.equal(beginningProblem(READY), '');
  assert.match(beginningProblem(from(READY, begin('picture'))), /There is no picture/);
  assert.match(beginningProblem(from(READY, take(), begin('part'))), /Nothing is marked/);
  assert.match(beginningProblem(from(READY, take(), begin('noise'))), /noise of the picture was not found/);
  assert.equal(beginningProblem(from(READY, take(), begin('picture'))), '');
});

test('a fork goes on as its tree began', () => {
  const first = from(READY, take(255), begin('picture'), { type: 'keepSeed', keep: true }, generate(2), started(2), frame(2, 0, new Uint8Array(256)), frame(2, 1, new Uint8Array(256)), finished(2));
  const forked = from(first, begin(null), { type: 'scrub', index: 1 }, { type: 'fork', id: 3, seed: 5 });
  assert.equal(forked.starting.beginning, first.runs.byId[2].beginning);
  assert.equal(forked.starting.request.start.begin, first.runs.byId[2].request.start.begin, 'the same table');
});

test('a fork of a strip has the noise of the strip', () => {
  const strip = from(after('model=models/digits&count=2&seedTo=9'), generate(2), started(2, 2), frame(2, 0, new Uint8Array(128)), frame(2, 1, new Uint8Array(128)), finished(2));
  const cleared = from(strip, { type: 'type', field: 'seedTo', text: '' }, { type: 'keepSeed', keep: true }, { type: 'scrub', index: 1 }, { type: 'fork', id: 3, seed: 5 });
  assert.deepEqual(cleared.starting.request.slerp, { seed: 9, weights: [0, 1] });
  const noiseless = from(READY, generate(2), started(2), frame(2, 0, new Uint8Array(256)), frame(2, 1, new Uint8Array(256)), finished(2), { type: 'type', field: 'seedTo', text: '9' }, { type: 'scrub', index: 1 }, { type: 'fork', id: 3, seed: 5 });
  assert.equal(noiseless.starting.request.slerp, undefined);
});

test('an address says that it cannot carry a picture', () => {
  const state = from(READY, take(), begin('picture'));
  const query = new URLSearchParams(queryOf(state, '?other=1'));
  assert.equal(query.get('begins'), 'picture');
  assert.equal(missingFrom(query).length, 1);
  assert.equal(new URLSearchParams(queryOf(from(state, begin(null)), `?${query}`)).has('begins'), false);
  assert.deepEqual(missingFrom(new URLSearchParams('seed=1')), []);
});

// ---- In a file --------------------------------------------------------------------------------

const runOf = (...actions) => selectedRun(from(READY, ...actions, generate(2), started(2)));
const SHOWN = { index: 0, view: 'x', image: 0 };

test('a recipe carries what a run began with, and brings it back', () => {
  const run = runOf(take(200), tool('mark'), picture({ do: 'size', size: 1 }), line(0.5, 0.5), begin('part'));
  const recipe = readRecipe(JSON.stringify(recipeOf(run, SHOWN)));
  assert.deepEqual(readBeginning(recipe.begins), run.beginning);
  const restored = from(READY, { type: 'restore', recipe, preview: null, name: 'x.png' });
  assert.deepEqual(beginningOf(restored.picture, MODEL), run.beginning);
  assert.deepEqual(from(restored, generate(9)).starting.request, run.request);
  const other = recipeOf(runOf(take(201), picture({ do: 'time', t: 499 })), SHOWN);
  assert.equal(sameRecipe(other, recipe), false);
  assert.match(parametersOf(other, SHAPE), /Denoising strength: 0.5,/);
  // One without a picture begins without one.
  const plain = readRecipe(JSON.stringify(recipeOf(runOf(), SHOWN)));
  assert.equal('begins' in plain, false);
  assert.equal(from(restored, { type: 'restore', recipe: plain, preview: null, name: 'y.png' }).picture.begins, null);
});

test('a picture that is too large for a file is told of', () => {
  const large = { ...MODEL, width: 300, height: 300 };
  const shape = { channels: 1, width: 300, height: 300 };
  const state = from(after('model=models/digits&count=1', large), take(9, shape), begin('picture'), generate(2), { ...started(2, 1), initial: new Uint8Array(4 * 90000), width: 300, height: 300 });
  const recipe = readRecipe(JSON.stringify(recipeOf(selectedRun(state), SHOWN)));
  assert.equal(recipe.begins.data, null);
  const restored = from(after('model=models/digits&count=1', large), { type: 'restore', recipe, preview: null, name: 'x.png' });
  assert.equal(restored.picture.begins, null);
  assert.match(restored.notices.at(-1).text, /too large to be kept in the file: made from noise, it is another picture/);
});

test('hostile beginnings are refused', () => {
  const recipe = recipeOf(runOf(take(200), begin('picture')), SHOWN);
  for (const [changes, message] of [
    [{ kind: 'other' }, /began with/], [{ shape: [1, 4] }, /began with/], [{ shape: [1, 4, 1e9] }, /began with/], [{ t: -1 }, /began with/], [{ share: 2 }, /began with/],
    [{ data: '<b>' }, /began with/], [{ data: 'AAAA' }, /has 3 bytes; 1 × 4 × 4 are 16/], [{ kind: 'part', mask: 'AAAA' }, /mask has 3 numbers; it should have 16/],
    [{ kind: 'noise', data: btoa('\xff'.repeat(64)) }, /not finite/],
  ]) assert.throws(() => readRecipe(JSON.stringify({ ...recipe, begins: { ...recipe.begins, ...changes } })), message, JSON.stringify(changes));
});

// ---- Its noise --------------------------------------------------------------------------------

const find = (id) => picture({ do: 'find', id });
const again = (id) => picture({ do: 'again', id });

test('the noise of a picture is found, and the picture made of it again', () => {
  assert.match(inversionProblem(READY), /Draw or choose/);
  const taken = from(READY, take(255), { type: 'type', field: 'steps', text: '2' });
  assert.equal(inversionProblem(taken), '');
  const finding = from(taken, find(2));
  assert.equal(phase(finding), 'starting');
  const { request } = finding.picture.inversion;
  assert.deepEqual([request.sampler, request.steps, request.eta, request.count, request.guidance, request.start.alpha_cumprod, request.clip_sample], ['ddim_inverse', 2, 0, 1, 1, 1, false]);
  const noise = new Float32Array(16).fill(0.5);
  const up = from(finding, started(2, 1), frame(2, 0, new Float32Array(16)), frame(2, 1, noise), finished(2));
  assert.equal(phase(up), 'ready');
  assert.equal(up.runs.order.length, 0, 'it is no run of the gallery');
  const making = from(up, again(3));
  assert.deepEqual([making.picture.inversion.request.sampler, making.picture.inversion.request.noise, making.picture.inversion.request.start], ['ddim', noise, null]);
  const made = new Float32Array(16).fill(0.9);
  const done = from(making, started(3, 1), frame(3, 0, made), frame(3, 1, made), finished(3));
  const { stage, error } = inversionOf(done);
  assert.equal(stage, 'done');
  assert.ok(Math.abs(error - 0.1) < 1e-6, 'relative to the picture');
  const run = from(done, begin('noise'), generate(4));
  assert.deepEqual([run.starting.request.noise.length, run.starting.request.clip_sample], [64, false], 'as it was found, so that it comes back');
  assert.ok(run.starting.request.noise.every((x) => x === 0.5));
  const recipe = readRecipe(JSON.stringify(recipeOf(selectedRun(from(run, started(4))), SHOWN)));
  const restored = from(READY, { type: 'restore', recipe, preview: null, name: 'x.png' });
  assert.deepEqual(beginningOf(restored.picture, MODEL).noise, noise);
});

test('a way back with too few steps says so', () => {
  const of = (error, steps) => ({ error, request: { steps, count: 1 } });
  assert.equal(inversionAdvice(of(0.31, 10), 1000), '10 steps are too few for the way back: 50 make it closer.');
  assert.equal(inversionAdvice(of(0.5, 50), 1000), '50 steps are too few for the way back: 200 make it closer.');
  assert.deepEqual([inversionAdvice(of(0.3, 10), 1000), inversionAdvice(of(null, 10), 1000), inversionAdvice(of(0.5, 1000), 1000), inversionAdvice(of(0.5, 10), 20)], ['', '', '', '']);
});

test('an inversion that is stopped, fails or is lost leaves nothing', () => {
  const finding = from(READY, take(255), find(2), started(2, 1), frame(2, 0, new Float32Array(16)));
  assert.ok(inversionOf(finding));
  const stopped = from(finding, { type: 'stop' }, finished(2, true));
  assert.deepEqual([phase(stopped), inversionOf(stopped)], ['ready', null]);
  assert.equal(inversionOf(from(READY, take(255), find(2), { type: 'failed', id: 2, during: 'start', message: 'No.', at: 0 })), null);
  const lost = from(finding, { type: 'failed', id: 2, during: 'run', message: 'No.', at: 0 });
  assert.deepEqual([phase(lost), inversionOf(lost), keys(lost)], ['broken', null, ['failure']]);
  const other = from(finding, { type: 'want', source: source('models/other') }, { type: 'load', id: 5, next: null }, finished(2, true), model(5, MODEL, source('models/other')));
  assert.equal(inversionOf(other), null, 'the noise is another model’s');
  assert.equal(phase(other), 'ready');
});

// ---- Between ----------------------------------------------------------------------------------

test('a second seed and a second class make a strip', () => {
  const state = from(after('model=models/digits&count=3&class=2&seedTo=9&classTo=7'), generate(2));
  const { request } = state.starting;
  assert.deepEqual(request.slerp, { seed: 9, weights: [0, 0.5, 1] });
  assert.deepEqual(request.class_mix, { labels: [7, 7, 7], weights: [0, 0.5, 1] });
  const run = selectedRun(from(state, started(2, 3)));
  assert.equal(run.strip, true);
  assert.match(run.caption, /class 2 → 7 .* seed 1234 → 9/);
  assert.deepEqual([run.layout.columns, run.layout.rows], [3, 1]);
  assert.match(queryOf(state, ''), /seedTo=9/);
  assert.deepEqual([readRecipe(JSON.stringify(recipeOf(run, SHOWN))).settings.seedTo, readRecipe(JSON.stringify(recipeOf(run, SHOWN))).settings.classTo], [9, '7']);
  const plain = engineSettings(READY, READY.settings);
  assert.deepEqual([plain.slerp, plain.class_mix], [undefined, undefined]);
  assert.equal(engineSettings(state, { ...state.settings, count: 1 }).slerp.weights[0], 0);
});

test('a strip goes only where there is something between', () => {
  const mixed = from(after('model=models/digits&class=mixed&classTo=7'), generate(2));
  assert.equal(mixed.starting.request.class_mix, undefined, 'mixed is no class');
  const unknown = after('model=models/digits&class=2&classTo=oak');
  assert.equal(unknown.settings.classTo, '');
  assert.ok(keys(unknown).includes('classTo'));
  const word = after('model=models/letters&class=AB&classTo=C&seedTo=3', LETTERS);
  assert.equal(word.settings.classTo, '', 'letters are a word');
  const request = from(word, generate(2)).starting.request;
  assert.deepEqual([request.slerp.weights, request.class_mix], [[0, 1], undefined]);
  assert.equal(problemOf(from(READY, { type: 'type', field: 'seedTo', text: 'x' }), 'seedTo').startsWith('a whole number'), true);
  assert.equal(problemOf(from(READY, { type: 'type', field: 'seedTo', text: '' }), 'seedTo'), '');
  const withPicture = from(after('model=models/digits&count=2&seedTo=9'), take(), begin('picture'));
  assert.deepEqual(from(withPicture, generate(2)).starting.request.slerp, { seed: 9, weights: [0, 1] }, 'a picture has noise as well');
  assert.equal(isShown(withPicture, 'seedTo'), true);
  assert.equal(isShown(from(withPicture, begin('noise')), 'seedTo'), false, 'none is drawn where it is there');
});

test('a strip is laid out in few rows and looked through there and back', () => {
  assert.deepEqual([1, 3, 8, 9, 16, 20].map((count) => [stripLayout(count).columns, stripLayout(count).rows]), [[1, 1], [3, 1], [8, 1], [5, 2], [8, 2], [7, 3]]);
  const seen = [];
  for (let at = { image: 0, way: 1 }; seen.length < 6; at = alongStrip(at.image, at.way, 3)) seen.push(at.image);
  assert.deepEqual(seen, [0, 1, 2, 1, 0, 1]);
  assert.equal(alongStrip(0, 1, 1).image, 0);
  const run = from(after('model=models/digits&count=3&seedTo=9'), generate(2), started(2, 3), { type: 'toggleLeafing' });
  assert.deepEqual([from(run, { type: 'leafOn' }, { type: 'leafOn' }, { type: 'leafOn' }).selection.image, run.selection.leafing], [1, 1]);
  assert.equal(from(run, { type: 'toggleLeafing' }, { type: 'leafOn' }).selection.image, 0);
  const plain = from(READY, generate(2), started(2), { type: 'toggleLeafing' });
  assert.equal(from(plain, { type: 'leafOn' }).selection.leafing, 0, 'only a strip is looked through');
});

test('a team shares the noise that its run begins with', () => {
  const request = beginningRequest({ kind: 'noise', shape: SHAPE, noise: new Float32Array([1, 2]) }, 2, 3);
  assert.deepEqual([...request.noise], [1, 2, 1, 2, 1, 2]);
  const parts = shares({ count: 3, steps: 2, class_labels: null, ...request }, 2, { image: 2 });
  assert.deepEqual(parts.map(({ noise }) => [...noise]), [[1, 2, 1, 2], [1, 2]]);
});

test('what is too large to be kept in a file is still told from another', () => {
  const kept = (level) => keptBeginning({ kind: 'picture', shape: { channels: 3, width: 256, height: 256 }, levels: new Uint8ClampedArray(3 * 256 * 256).fill(level), t: 499, share: 0.5 });
  const [a, b] = [kept(10), kept(11)];
  assert.equal(a.data, null);
  assert.match(a.digest, /^[0-9a-f]{8}$/);
  assert.notEqual(a.digest, b.digest);
  assert.deepEqual(checkedBeginning(JSON.parse(JSON.stringify(a))), a, 'and comes back from a file');
  assert.equal(checkedBeginning({ ...a, digest: '<b>' }).digest, null);
});
