// Comparisons in the page's state: what can be planned with a model, how the runs follow one another, and that the tree of
// runs is as it was.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { axesOf, choicesOf, distanceOf, givenOf, goesOn, indexAt, isTaken, measureProblem, newestTrial, nextTrial, planOf, planProblem, referenceSettings, referenceTime, stopsOf, trialCount, trialUnderWay, valuesOf, wordsOf } from '../../www/store/comparing.js';
import { reduce } from '../../www/store/reduce.js';
import { phase } from '../../www/store/select.js';
import { readQuery } from '../../www/store/settings.js';
import { initialState } from '../../www/store/state.js';

const source = (id) => ({ kind: 'folder', id, address: `https://example.org/${id}/`, network: null, variant: null });
const MODEL = {
  title: 'Trees', description: '', credits: '', licence: '', class_names: ['oak', 'elm', 'ash', 'fir'], class_count: 4, class_kind: 'label', null_class: 4,
  guidance: 2, width: 2, height: 2, channels: 1, condition_channels: 0, notes: [], parameters: 1_100_000, precision: 'f32', prediction_type: 'epsilon',
  num_train_timesteps: 1000, own_sampler: 'ddpm', scheduler_problem: null, samplers: ['ddpm', 'ddim', 'lcm', 'dpm_solver', 'unipc'], default_steps: 50, original_inference_steps: 40,
  dispatches: 79, macs: 1, bytes: 1,
};
const LETTERS = { ...MODEL, class_names: [...'ABCD'] };
const PLAIN = { ...MODEL, class_names: [], class_count: 0, class_kind: null, null_class: null, guidance: null, samplers: ['ddim'] };

const from = (state, ...actions) => actions.reduce(reduce, state);
const load = (id, of, it) => ({ type: 'model', id, source: source(of), networks: [{ folder: 'unet', variants: [''] }], network: 'unet', variant: '', model: it, count: 16, note: null, at: 0 });
/** A page with a model that is ready. */
function opened(query = '', it = MODEL) {
  const { settings, given, problems } = readQuery(new URLSearchParams(`model=m&${query}`));
  const state = initialState({ settings, given, wanted: source('m'), shipped: [] });
  return from(state, { type: 'open', problems }, { type: 'connect', id: 1, next: null }, { type: 'backend', id: 1, kind: 'cpu', name: 'Some', note: null, half: false, at: 0 }, load(1, 'm', it));
}
const wish = (wishes) => ({ type: 'planComparison', wishes });
const rows = (steps) => Array.from({ length: steps }, (_, i) => ({ timestep: 999 - i, alpha_cumprod: (i + 1) / (steps + 2), signal: 1, shown: { scale: 1, offset: 0 }, prev_from_noise: 0 }));
/** Images of which every pixel has this byte. */
const pixels = (byte, count) => new Float32Array(count * 4).fill(byte / 127.5 - 1);
const started = (id, steps, count = 4, at = 1000) => ({ type: 'started', id, rows: rows(steps), initial: pixels(0, count), count, width: 2, height: 2, at });
const frames = (id, steps, last, count = 4, begin = 0) => Array.from({ length: steps - begin }, (_, i) => ({ type: 'frame', id, step: begin + i, x: pixels(begin + i + 1 === steps ? last : i + 1, count), x0: pixels(100, count), milliseconds: 5, at: 1500 }));
const finished = (id, at = 3000, stopped = false) => ({ type: 'finished', id, stopped, at });
/** A whole run of a comparison. */
const whole = (id, steps, last = 9, { count = 4, at = 1000, took = 2000 } = {}) => [started(id, steps, count, at), ...frames(id, steps, last, count), finished(id, at + took)];
const STEPS = wish({ kind: 'columns', axis: 'steps', values: { steps: '2, 4' } });
const comparisonOf = ({ comparing: { comparison } }) => comparison;

test('only what changes something with the model can be varied', () => {
  assert.deepEqual(axesOf(opened(), 'columns'), ['sampler', 'steps', 'guidance', 'eta']);
  assert.deepEqual(axesOf(opened('class=any'), 'columns'), ['sampler', 'steps', 'eta'], 'guidance needs a class');
  assert.deepEqual(axesOf(opened('class=any'), 'matrix', 'class'), ['sampler', 'steps', 'guidance', 'eta', 'seed'], 'which another axis may bring');
  assert.deepEqual(axesOf(opened('sampler=unipc'), 'columns'), ['sampler', 'steps', 'guidance']);
  assert.deepEqual(axesOf(opened(), 'matrix', 'sampler'), ['steps', 'guidance', 'class', 'seed'], 'η is not for every sampler');
  assert.deepEqual(axesOf(opened('', PLAIN), 'matrix'), ['steps', 'eta', 'seed']);
  const { settings, given } = readQuery(new URLSearchParams());
  assert.equal(planOf(initialState({ settings, given, wanted: source('m'), shipped: [] })), null, 'nothing is known before there is a model');
});

test('values have defaults that fit the model, and are checked', () => {
  const state = opened();
  assert.deepEqual(planOf(state), { kind: 'columns', axes: ['sampler'], count: '4' });
  assert.deepEqual(givenOf(state, 'sampler'), ['ddim', 'dpm_solver', 'unipc']);
  assert.equal(givenOf(opened('', { ...MODEL, num_train_timesteps: 8 }), 'steps'), '1, 4');
  assert.deepEqual(choicesOf(state, 'class'), MODEL.class_names);
  assert.equal(choicesOf(opened('', LETTERS), 'class'), null, 'a word is typed');
  assert.equal(givenOf(opened('', LETTERS), 'class'), 'A, B, C');
  assert.deepEqual(valuesOf(state, planOf(state), 'guidance'), { values: [1, 2, 4], problem: '' });

  const problem = (wishes, query) => planProblem(from(opened(query), wish(wishes)));
  const steps = (text) => problem({ axis: 'steps', values: { steps: text } });
  assert.equal(steps('5 10,  20'), '');
  assert.equal(steps('5'), 'Give 2 to 4 values, with commas between them.');
  assert.equal(steps('1, 2, 3, 4, 5'), 'Give 2 to 4 values, with commas between them.');
  assert.equal(steps('5, 10, 5'), '5 is there twice.');
  assert.match(steps('5, many'), /“many” is not a whole number from 1 to 1000\./);
  assert.equal(problem({ values: { sampler: ['ddim'] } }), 'Choose 2 to 4.');
  assert.equal(problem({ values: { sampler: ['ddim', 'lcm'] } }), 'LCM takes at most 40 steps with this model.');
  assert.equal(problem({ values: { sampler: ['ddim', 'lcm'] } }, 'steps=40'), '');
  assert.equal(problem({ kind: 'matrix', rows: 'sampler', columns: 'steps', values: { sampler: ['ddim', 'lcm'], steps: '10, 41' } }), 'LCM takes at most 40 steps with this model.');
  assert.equal(problem({ kind: 'matrix', rows: 'class', columns: 'guidance', values: { class: ['oak', 'elm'] } }), '');
  assert.equal(planProblem(from(opened('', LETTERS), wish({ kind: 'matrix', rows: 'class', columns: 'steps', values: { class: 'A, ä!' } }))), '“ä!” cannot be spelled with this model’s letters.');
  assert.equal(planProblem(from(opened('', LETTERS), wish({ kind: 'matrix', rows: 'class', columns: 'steps', values: { class: 'a, b' } }))), '', 'a word may be typed in small letters');
  assert.equal(problem({ count: { columns: '65' } }), 'Images each: a whole number from 1 to 64.');
  assert.equal(problem({ kind: 'matrix', count: { matrix: '10' } }), 'Images each: a whole number from 1 to 9.');
  assert.match(planProblem(from(opened('', { ...MODEL, width: 1024, height: 1024 }), wish({ count: { columns: '64' } }))), /too much memory/);
  assert.equal(planProblem(from(opened('', { ...PLAIN, num_train_timesteps: 1 }), wish({ kind: 'matrix', rows: 'eta' }))), '', 'η and seed are left');
  assert.deepEqual([['sampler', 'ddim'], ['steps', 1], ['eta', 0.5], ['guidance', 2], ['class', 'oak'], ['seed', 7]].map(([axis, value]) => wordsOf(axis, value)), ['DDIM', '1 step', 'η 0.5', 'guidance 2', 'oak', 'seed 7']);
});

test('its runs are made one after another, and the tree of runs is as it was', () => {
  const before = from(opened('seed=5&class=oak'), { type: 'generate', id: 2, seed: 1 }, ...whole(2, 3, 9, { count: 16 }));
  const { runs, selection, settings, lastSeed } = before;
  const state = from(before, STEPS, { type: 'compare', id: 3 });
  assert.equal(phase(state), 'starting');
  assert.deepEqual([state.comparing.shown, trialUnderWay(state), state.status.text, state.status.count], [true, 0, 'Comparing', '1 of 2']);
  const { trials, caption } = comparisonOf(state);
  assert.deepEqual(trials.map(({ words, request }) => [words, request.steps, request.count, request.seed, request.guidance]), [['2 steps', 2, 4, 5, 2], ['4 steps', 4, 4, 5, 2]]);
  assert.equal(caption, 'DDIM · class oak · guidance 2 · seed 5', 'what they have in common');
  assert.deepEqual(newestTrial(state), { command: 3, request: trials[0].request });
  assert.equal(goesOn(state), false);

  const one = from(state, started(3, 2), ...frames(3, 2, 9).slice(0, 1));
  assert.deepEqual([phase(one), one.status.count, one.status.fraction], ['running', '1 of 2 · 1/2', 0.25]);
  assert.notEqual(comparisonOf(one).trials[0], trials[0], 'a run that grew is another object');
  assert.equal(comparisonOf(one).trials[1], trials[1]);
  const first = from(one, ...frames(3, 2, 9, 4, 1), finished(3));
  assert.deepEqual([phase(first), goesOn(first), nextTrial(comparisonOf(first)), comparisonOf(first).trials[0].milliseconds], ['ready', true, 1, 2000]);
  const all = from(first, { type: 'compareOn', id: 4 }, ...whole(4, 4));
  assert.deepEqual([goesOn(all), nextTrial(comparisonOf(all)), all.status.text, all.status.count], [false, null, 'Done', '2 runs · 4.0 s']);
  assert.equal(all.announcement.text, 'Done: 2 runs in 4.0 s.');

  const back = from(all, { type: 'showComparison', shown: false });
  assert.deepEqual([back.runs, back.selection, back.settings, back.lastSeed], [runs, selection, settings, lastSeed]);
  assert.equal(back.comparing.comparison, comparisonOf(all), 'nor is the comparison lost');
});

test('what is behind a comparison stays; what shows something else puts it aside', () => {
  const run = from(opened(), { type: 'generate', id: 2, seed: 1 }, ...whole(2, 3, 9, { count: 16 }));
  const state = from(run, STEPS, { type: 'compare', id: 3 }, ...whole(3, 2), { type: 'compareOn', id: 4 }, ...whole(4, 4));
  for (const action of [{ type: 'scrub', index: 0 }, { type: 'togglePlay' }, { type: 'fork', id: 5, seed: 1 }, { type: 'pin', run: 2 }]) assert.equal(reduce(state, action), state, action.type);
  const next = from(state, { type: 'generate', id: 5, seed: 1 });
  assert.deepEqual([next.comparing.shown, phase(next), trialUnderWay(next)], [false, 'starting', null]);
  assert.equal(from(state, { type: 'showComparison', shown: false }, { type: 'scrub', index: 1 }).selection.index, 1);
});

test('all columns are looked at at the same part of their way', () => {
  const state = from(opened(), STEPS, { type: 'compare', id: 3 }, ...whole(3, 2), { type: 'compareOn', id: 4 }, ...whole(4, 4));
  const [two, four] = comparisonOf(state).trials.map(({ recording }) => recording);
  assert.equal(stopsOf(comparisonOf(state)), 4);
  assert.deepEqual([0, 0.25, 0.5, 0.75, 1].map((at) => [indexAt(two, at), indexAt(four, at)]), [[0, 0], [1, 1], [1, 2], [2, 3], [2, 4]]);
  const seen = from(state, { type: 'scrubComparison', at: 0.5 }, { type: 'viewComparison', view: 'x0' });
  assert.deepEqual([comparisonOf(seen).at, comparisonOf(seen).view, seen.selection.view], [0.5, 'x0', 'x']);
});

test('Stop ends all of them, and they can go on', () => {
  const running = from(opened(), STEPS, { type: 'compare', id: 3 }, started(3, 2), ...frames(3, 2, 9).slice(0, 1), { type: 'stop' });
  const stopped = from(running, finished(3, 2000, true));
  assert.deepEqual([phase(stopped), goesOn(stopped), comparisonOf(stopped).stopped, stopped.status.text, stopped.status.count], ['ready', false, true, 'Stopped', '0 of 2 made']);
  assert.equal(comparisonOf(stopped).trials[0].recording.newest, 1, 'what there is of it stays');
  const on = from(stopped, { type: 'compareOn', id: 4 });
  assert.deepEqual([trialUnderWay(on), comparisonOf(on).stopped], [0, false]);
  const again = from(on, ...whole(4, 2));
  assert.equal(goesOn(again), true);
  const elsewhere = from(again, { type: 'generate', id: 5, seed: 1 }, started(5, 3, 16), ...frames(5, 3, 1, 16), finished(5));
  assert.equal(goesOn(elsewhere), false, 'it does not begin by itself behind something else');
});

test('a run that cannot begin does not keep the others from it', () => {
  const failed = from(opened(), STEPS, { type: 'compare', id: 3 }, { type: 'failed', id: 3, during: 'start', message: 'It has no room.', at: 0 });
  assert.deepEqual([phase(failed), goesOn(failed), comparisonOf(failed).trials[0].problem], ['ready', true, 'It has no room.']);
  const done = from(failed, { type: 'compareOn', id: 4 }, ...whole(4, 4));
  assert.deepEqual([done.status.text, done.status.count], ['Done', '1 run · 2.0 s']);
});

test('without an engine it waits, and goes on with another', () => {
  const lost = from(opened(), STEPS, { type: 'compare', id: 3 }, started(3, 2), { type: 'failed', id: 3, during: 'run', message: 'Lost.', at: 0 });
  assert.deepEqual([phase(lost), goesOn(lost), lost.notices.at(-1).title], ['broken', false, 'The run was interrupted']);
  const back = from(lost, { type: 'connect', id: 4, next: null }, { type: 'backend', id: 4, kind: 'cpu', name: 'Some', note: null, half: false, at: 0 }, load(4, 'm', { ...MODEL }));
  assert.deepEqual([phase(back), goesOn(back), nextTrial(comparisonOf(back))], ['ready', false, 0]);
  assert.equal(trialUnderWay(from(back, { type: 'compareOn', id: 5 })), 0);
  const other = from(back, { type: 'load', id: 6, next: null }, load(6, 'other', PLAIN));
  assert.deepEqual([other.comparing.comparison, other.comparing.shown], [null, false], 'it goes with its model');
});

test('distances are from a reference that is made when it is asked for', () => {
  const running = from(opened('class=oak'), STEPS, { type: 'compare', id: 3 }, ...whole(3, 2, 10, { took: 100 }));
  assert.equal(measureProblem(running), 'Distances can be measured once all runs are made.');
  const made = from(running, { type: 'compareOn', id: 4 }, ...whole(4, 4, 13, { took: 200 }));
  assert.equal(measureProblem(made), '');
  assert.deepEqual(referenceSettings(comparisonOf(made)).map(({ sampler, steps, eta, seed, guidance }) => [sampler, steps, eta, seed, guidance]), [['ddim', 1000, 0, 1234, 2]]);
  assert.equal(referenceTime(comparisonOf(made)), 50_000, '300 ms for 6 evaluations');
  assert.equal(distanceOf(comparisonOf(made), comparisonOf(made).trials[0]), null);
  const measuring = from(made, { type: 'measure', id: 5 });
  assert.deepEqual([trialUnderWay(measuring), newestTrial(measuring).request.steps, measuring.status.text, measuring.status.count], [2, 1000, 'Reference', '1 of 1']);
  const measured = from(measuring, ...whole(5, 1000, 16));
  const [two, four] = comparisonOf(measured).trials;
  // All pixels differ by 6 and by 3; alpha does not count.
  assert.deepEqual([distanceOf(comparisonOf(measured), two), distanceOf(comparisonOf(measured), four)], [6, 3]);
  assert.equal(comparisonOf(measured).references[0].recording.states.length, 1, 'of the reference only the end is kept');
  // One that is stopped can be gone on with.
  const stopped = from(measuring, started(5, 1000), { type: 'stop' }, { type: 'finished', id: 5, stopped: true, at: 9 });
  assert.equal(measureProblem(stopped), '');
  assert.deepEqual([trialUnderWay(from(stopped, { type: 'measure', id: 6 })), comparisonOf(from(stopped, { type: 'measure', id: 6 })).references.length], [2, 1]);

  const guided = from(opened('class=oak'), wish({ axis: 'guidance', values: { guidance: '1, 3' } }), { type: 'compare', id: 3 });
  assert.deepEqual(referenceSettings(comparisonOf(guided)).map(({ guidance }) => guidance), [1, 3], 'another guidance leads elsewhere');
  const euler = from(opened('class=oak', { ...MODEL, samplers: ['ddim', 'euler'] }), STEPS, { type: 'compare', id: 3 });
  assert.equal(referenceSettings(comparisonOf(euler))[0].sampler, 'euler', 'which clips nothing');
  const jumping = from(opened('', { ...PLAIN, samplers: ['consistency'], own_sampler: 'consistency' }), STEPS, { type: 'compare', id: 3 }, ...whole(3, 2), { type: 'compareOn', id: 4 }, ...whole(4, 4));
  assert.equal(measureProblem(jumping), 'This model has no sampler without chance to measure by.');
});

test('a matrix is two settings, of which only the finished pictures are kept', () => {
  const plan = wish({ kind: 'matrix', rows: 'class', columns: 'guidance', values: { class: ['elm', 'fir'], guidance: '1, 2, 3' } });
  const planned = from(opened('class=any'), plan);
  assert.deepEqual([planOf(planned).axes, trialCount(planned, planOf(planned))], [['class', 'guidance'], 6]);
  const state = from(planned, { type: 'compare', id: 3 }, ...whole(3, 50, 9, { count: 1 }));
  assert.deepEqual(comparisonOf(state).trials.map(({ words }) => words), ['elm · guidance 1', 'elm · guidance 2', 'elm · guidance 3', 'fir · guidance 1', 'fir · guidance 2', 'fir · guidance 3']);
  assert.deepEqual(comparisonOf(state).trials.map(({ request }) => request.guidance), [1, 2, 3, 1, 2, 3]);
  assert.deepEqual(comparisonOf(state).trials[0].recording.states.map(({ step }) => step), [50]);
  assert.match(measureProblem(state), /once all/);
});

test('recordings of columns keep fewer states where pictures are large', () => {
  const state = from(opened(), STEPS, { type: 'compare', id: 3 });
  const initial = new Float32Array(1e6);
  const large = from(state, { ...started(3, 100), initial });
  // Two columns share 100 MB, a state is 8 MB: six states of a hundred.
  assert.equal(comparisonOf(large).trials[0].recording.keepEvery, 17);
  assert.equal(comparisonOf(from(state, started(3, 100))).trials[0].recording.keepEvery, 1);
});

test('a column’s settings can be had, all but how many images', () => {
  const state = from(opened('class=oak&seed=5'), { type: 'type', field: 'count', text: '3' }, wish({ axis: 'sampler', values: { sampler: ['ddim', 'unipc'] } }), { type: 'compare', id: 3 }, ...whole(3, 2), { type: 'compareOn', id: 4 }, ...whole(4, 2));
  const moved = from(state, { type: 'type', field: 'seed', text: '6' }, { type: 'keepSeed', keep: false });
  const [ddim, unipc] = comparisonOf(moved).trials;
  assert.deepEqual([isTaken(moved, ddim), isTaken(moved, unipc)], [false, false]);
  const taken = from(moved, { type: 'takeTrial', trial: 1 });
  assert.deepEqual([taken.settings.sampler, taken.settings.seed, taken.settings.count, taken.texts.sampler, taken.chosen.sampler], ['unipc', 5, 3, 'unipc', true]);
  assert.deepEqual([isTaken(taken, ddim), isTaken(taken, unipc)], [false, true]);
  assert.equal(taken.announcement.text, 'The settings have UniPC now.');
  const again = from(taken, { type: 'generate', id: 5, seed: 99 });
  assert.equal(again.starting.request.seed, 5, 'and Generate makes it with that seed');
});

test('η of another sampler is that one’s own', () => {
  const tcd = { ...MODEL, samplers: ['ddim', 'tcd'], original_inference_steps: 50 };
  const state = from(opened('eta=0.7', tcd), wish({ axis: 'sampler', values: { sampler: ['ddim', 'tcd'] } }), { type: 'compare', id: 3 });
  assert.deepEqual(comparisonOf(state).trials.map(({ request }) => request.eta), [0.7, 0.3]);
});
