// What the Teach page knows and makes of it, without a page: its state, what is drawn, losses, samples and archives.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deflateRawSync } from 'node:zlib';
import { archiveOf, checkpointIn, modelIn } from '../../www/teach/archive.js';
import { classesOf } from '../../www/teach/classes.js';
import { fromNpz, toNpz } from '../../www/teach/npz.js';
import { axisOf, emptyCurve, linesOf, pointsUpTo, withPoints } from '../../www/teach/store/curve.js';
import { BOARD, COPIES, drawn, emptyDrawings, imagesOf, isDrawn, merged, pictureOf, recognised, undone } from '../../www/teach/store/drawings.js';
import { shownFrame, withFrame } from '../../www/teach/store/film.js';
import { reduce } from '../../www/teach/store/reduce.js';
import { chosenImages, fittedTo, hasOwnImages, imageProblem, isActive, settingProblem, settingsOf } from '../../www/teach/store/select.js';
import { networkFor, readSetting, recipeOf, samplesOf } from '../../www/teach/store/settings.js';
import { initialState } from '../../www/teach/store/state.js';
import { teachAddress } from '../../www/view/teach-link.js';
import { crc32, unzip, zip } from '../../www/model/zip.js';

const images = (count = 20, labels = null, names = []) => ({ shape: [count, 1, 28, 28], pixels: new Uint8Array(count * 784), labels: labels && Uint32Array.from(labels), names });
const all = (state, ...actions) => actions.reduce(reduce, state);
const asked = (id = 1) => ({ id, name: 'digits-1', title: 'Digits, taught here', images: images(), samples: samplesOf(images(), null) });
const RECIPE = { steps: 100, batch: 4, config: '{}', card: '{}' };
const running = () => all(initialState(), { type: 'teach', asked: asked() }, { type: 'begun', id: 1, recipe: RECIPE, step: 0 });
const checkpoint = (step) => ({ type: 'checkpoint', id: 1, step, files: { 'training.json': new Blob(['{}']) }, model: {} });

// ---- The run ------------------------------------------------------------------------------------

test('a run begins, learns, pauses and goes on', () => {
  let state = running();
  assert.equal(state.run.activity, 'learning');
  state = all(state, { type: 'learned', id: 1, points: [{ step: 1, loss: 1 }, { step: 2, loss: 0.5 }], imagesPerSecond: 40 });
  assert.deepEqual([state.run.step, state.run.curve.losses, state.run.speed], [2, [1, 0.5], 40]);
  state = all(state, { type: 'pause' });
  assert.equal(state.run.activity, 'pausing');
  state = all(state, checkpoint(3), { type: 'paused', id: 1, step: 3 });
  assert.deepEqual([state.run.activity, state.run.step, state.run.checkpoint.step], ['paused', 3, 3]);
  assert.equal(all(state, { type: 'continue' }).run.activity, 'learning');
});

test('what a worker says that is gone is passed over', () => {
  const state = running();
  assert.equal(reduce(state, { type: 'learned', id: 7, points: [{ step: 9, loss: 1 }], imagesPerSecond: 1 }), state);
});

test('a run that fails goes on from its checkpoint, and its later losses are taken again', () => {
  let state = all(running(), { type: 'backend', id: 1, kind: 'gpu', name: 'GPU' }, { type: 'learned', id: 1, points: [1, 2, 3, 4].map((step) => ({ step, loss: step })), imagesPerSecond: 1 }, checkpoint(2));
  state = reduce(state, { type: 'failed', id: 1, message: 'The device was lost.' });
  assert.equal(state.run.activity, 'failed');
  assert.deepEqual(state.notices[0].actions.map(({ label }) => label), ['Go on from step 2', 'Go on, on the CPU']);
  state = all(state, { type: 'goOn', id: 2 }, { type: 'begun', id: 2, recipe: RECIPE, step: 2 }, { type: 'learned', id: 2, points: [{ step: 3, loss: 30 }], imagesPerSecond: 1 });
  assert.deepEqual(state.run.curve.steps, [1, 2, 3]);
  assert.deepEqual(state.run.curve.losses, [1, 2, 30]);
  assert.deepEqual(state.notices, []);
});

test('a run that has diverged is not offered to go on', () => {
  const message = 'At step 3 the network has diverged.';
  const state = all(running(), { type: 'backend', id: 1, kind: 'gpu', name: 'GPU' }, checkpoint(2), { type: 'failed', id: 1, message, diverged: true });
  assert.deepEqual([state.notices[0].title, state.notices[0].text, state.notices[0].actions], ['The run has diverged', message, []]);
  assert.deepEqual([state.run.activity, state.run.diverged], ['failed', true]);
});

test('a run that fails before it has learned anything leaves nothing but what went wrong', () => {
  const state = all(initialState(), { type: 'teach', asked: asked() }, { type: 'failed', id: 1, message: 'Too large.' });
  assert.equal(state.run, null);
  assert.deepEqual(state.notices.map(({ title, text }) => [title, text]), [['The run did not start', 'Too large.']]);
});

test('a run takes the place of the one that it has learned from, there too', () => {
  const source = { kind: 'taught', id: 'taught:old-1', name: 'old-1', network: null, variant: null };
  const state = all(running(), { type: 'begin', beginning: { kind: 'model', source, title: 'Digits', known: null } }, { type: 'kept', name: 'digits-1', step: 0 });
  assert.deepEqual(state.beginning.source, { ...source, id: 'taught:digits-1', name: 'digits-1' });
  const other = { kind: 'model', source: { kind: 'folder', id: 'models/digits' }, title: 'Digits', known: null };
  assert.equal(all(running(), { type: 'begin', beginning: other }, { type: 'kept', name: 'digits-1', step: 0 }).beginning, other);
});

test('a stop is one until the worker is gone', () => {
  let state = all(running(), { type: 'stop' });
  assert.ok(isActive(state));
  state = all(state, checkpoint(5), { type: 'paused', id: 1, step: 5 });
  assert.equal(state.run.activity, 'stopping');
  assert.equal(all(state, { type: 'stopped' }).run.activity, 'stopped');
});

test('what the browser does not keep is said, and goes away when it does', () => {
  const state = all(running(), { type: 'unkept', message: 'No more room.' });
  assert.equal(state.notices[0].text, 'No more room. It goes on learning. Pause it and download it, or it is gone when this page is closed.');
  for (const end of [{ type: 'stopped' }, { type: 'finished', id: 1, step: 100 }, { type: 'paused', id: 1, step: 9 }]) {
    assert.equal(all(running(), end, { type: 'unkept', message: 'No more room.' }).notices[0].text, 'No more room. Download it, or it is gone when this page is closed.');
  }
  assert.deepEqual(all(state, { type: 'kept', name: 'digits-1', step: 4 }).notices, []);
  assert.equal(all(state, { type: 'kept', name: 'another', step: 4 }).run.kept, null);
});

// ---- What it learns from ------------------------------------------------------------------------

test('why there is nothing to teach is said', () => {
  let state = initialState();
  assert.equal(imageProblem(state), 'The digits are not there yet.');
  state = all(state, { type: 'read', images: images(3), skipped: [] });
  assert.equal(imageProblem(state), null, 'the batch is no larger than there are images');
  assert.equal(imageProblem(all(state, { type: 'set', name: 'batch', text: '8' })), 'There are 3 images, fewer than a batch of 8. Add some, or choose a smaller batch.');
  state = all(state, { type: 'choose', from: 'files' });
  assert.match(imageProblem(state), /^Choose pictures first/);
  state = all(state, { type: 'reading', done: 1, total: 9 });
  assert.equal(imageProblem(state), 'The images are being read.');
  state = all(state, { type: 'unreadable', message: 'There is no picture among the 9 files.' });
  assert.equal(imageProblem(state), 'There is no picture among the 9 files.');
  assert.match(imageProblem(all(state, { type: 'choose', from: 'drawings' })), /^Draw in a box/);
});

test('pictures take the place of the images that a checkpoint comes with', () => {
  const beginning = { kind: 'checkpoint', title: 'Digits', files: {}, images: images(), recipe: RECIPE, step: 4, losses: null };
  const state = all(initialState(), { type: 'begin', beginning });
  assert.ok(hasOwnImages(state));
  const given = all(state, { type: 'pictures', pictures: { found: [{ path: 'a.png' }] } }, { type: 'read', images: images(5), skipped: [] });
  assert.deepEqual([given.from, given.beginning.kind, chosenImages(given).shape[0]], ['files', 'nothing', 5]);
  assert.equal(all(state, { type: 'choose', from: 'digits' }).beginning.kind, 'nothing', 'and so does the source that was chosen before');
  const bare = all(initialState(), { type: 'begin', beginning: { ...beginning, images: null } });
  assert.equal(all(bare, { type: 'pictures', pictures: {} }).beginning, bare.beginning, 'one without images goes on with them');
});

test('files that are left out are told, with the reason', () => {
  const state = all(initialState(), { type: 'read', images: images(), skipped: [{ path: 'a.png', problem: 'a.png is damaged.' }, { path: 'b.png', problem: 'b.png is damaged.' }] });
  assert.equal(state.notices[0].title, '2 files were left out');
  assert.equal(state.notices[0].text, 'a.png is damaged. And 1 more, such as b.png.');
  assert.ok(state.data.images, 'the others are there');
});

test('images have to fit the model that learns more', () => {
  const known = { channels: 3, side: 32, classes: 16, names: [], nullClass: 15 };
  const state = all(initialState(), { type: 'read', images: images(), skipped: [] }, { type: 'begin', beginning: { kind: 'model', source: {}, title: 'Sprites', known } });
  assert.match(imageProblem(state), /^Sprites makes coloured images, and these are grey/);
  const grey = { ...known, channels: 1 };
  assert.equal(imageProblem(all(state, { type: 'begin', beginning: { kind: 'model', source: {}, title: 'Sprites', known: { ...grey, side: 16 } } })), 'Sprites makes images of 16 × 16, and these are 28 × 28. Choose smaller ones, or begin with nothing.');
  const few = images(20, Array.from({ length: 20 }, (_, i) => i), []);
  assert.match(imageProblem(all(state, { type: 'read', images: few, skipped: [] }, { type: 'begin', beginning: { kind: 'model', source: {}, title: 'Sprites', known: grey } })), /^These images are of 20 classes, and Sprites knows 15/);
});

test('a model is looked at before it is taught, and may be one that cannot be', () => {
  const model = { kind: 'model', source: {}, title: 'Mine', known: null };
  const state = all(initialState(), { type: 'read', images: images(), skipped: [] }, { type: 'begin', beginning: { ...model, pending: true } });
  assert.equal(imageProblem(state), 'The model is being looked at.');
  assert.equal(imageProblem(all(state, { type: 'begin', beginning: model })), null, 'of some nothing can be known');
  const known = { channels: 6, side: 32, classes: null, names: [], nullClass: null };
  assert.match(imageProblem(all(state, { type: 'begin', beginning: { ...model, known } })), /^Mine makes images of 6 channels/);
});

test('the way from the page to this one carries what names the model', () => {
  const hub = { kind: 'hub', id: 'owner/name@a#b', network: 'unet_ema', variant: 'fp16' };
  const query = new URLSearchParams(teachAddress(hub, 'http://127.0.0.1:8001/').split('?')[1]);
  assert.deepEqual(Object.fromEntries(query), { model: 'owner/name@a#b', network: 'unet_ema', variant: 'fp16', hub: 'http://127.0.0.1:8001/' });
  assert.equal(teachAddress({ kind: 'taught', id: 'taught:mine-1', network: null, variant: null }, null), 'teach.html?model=taught%3Amine-1');
  for (const source of [undefined, { kind: 'files', id: 'file 1: mine' }]) assert.equal(teachAddress(source, null), 'teach.html');
});

test('classes are those of the model by their names, by their order, or none', () => {
  const known = { channels: 1, side: 32, classes: 4, names: ['a', 'b', 'c'], nullClass: 3 };
  assert.deepEqual([...fittedTo(images(3, [0, 1, 0], ['c', 'a']), known).labels], [2, 0, 2]);
  assert.deepEqual([...fittedTo(images(3, [0, 1, 0], ['x', 'y']), known).labels], [0, 1, 0]);
  assert.deepEqual([...fittedTo(images(3), known).labels], [3, 3, 3]);
  assert.equal(fittedTo(images(3, [0, 1, 0], ['c', 'a']), { ...known, classes: null }).labels, null);
  const { label_dropout: dropout } = recipeOf(settingsOf(initialState()), fittedTo(images(3), known), '', known);
  assert.equal(dropout, 0, 'no label is left out where all are');
  assert.deepEqual(samplesOf(fittedTo(images(3), known), known).settings.class_labels, new Array(16).fill(3));
});

test('a folder a class tells the classes', () => {
  assert.deepEqual(classesOf(['pets/cats/1.png', 'pets/dogs/2.png', 'pets/cats/more/3.png']), { labels: Uint32Array.of(0, 1, 0), names: ['cats', 'dogs'] });
  assert.deepEqual(classesOf(['pets/1.png', 'pets/2.png']), { labels: null, names: [] });
  assert.deepEqual(classesOf(['pets/cats/1.png', 'pets/2.png']), { labels: null, names: [] });
  assert.deepEqual(classesOf(['1.png']), { labels: null, names: [] });
});

// ---- Settings -----------------------------------------------------------------------------------

test('settings are what was chosen, and otherwise what suits the beginning', () => {
  let state = initialState();
  assert.deepEqual([settingsOf(state).rate, settingsOf(state).prediction], [1e-3, 'v_prediction']);
  state = all(state, { type: 'set', name: 'rate', text: '0.5' });
  assert.deepEqual(settingProblem(state), { name: 'rate', problem: 'a number from 1e-7 to 0.1' });
  assert.equal(settingsOf(state).rate, 1e-3);
  state = all(state, { type: 'set', name: 'rate', text: '' });
  assert.equal(settingProblem(state), null);
  for (const text of ['16', '16 20', '8 16 32 64 128', 'x', '0 8']) assert.ok(readSetting('widths', text).problem, text);
  assert.equal(readSetting('widths', '16, 32').value, '16 32');
  assert.equal(readSetting('steps', '1.5').problem, 'a whole number from 1 to 1000000');
});

test('what only a new network is asked does not keep a model from learning', () => {
  const state = all(initialState(), { type: 'set', name: 'widths', text: '7' });
  assert.equal(settingProblem(state).name, 'widths');
  const model = all(state, { type: 'begin', beginning: { kind: 'model', source: {}, title: 'Mine', known: null } });
  assert.equal(settingProblem(model), null);
  assert.equal(settingProblem(all(model, { type: 'set', name: 'batch', text: '0' })).name, 'batch');
});

test('a new network has an embedding more than classes, and attention whose heads fit', () => {
  const network = networkFor([8, 24], images(4, [0, 1, 2, 0], ['a', 'b', 'c']));
  assert.deepEqual([network.num_class_embeds, network.attention_head_dim, network.sample_size], [4, 8, 28]);
  assert.equal(networkFor([16, 32], images()).num_class_embeds, undefined);
  const recipe = recipeOf(settingsOf(initialState()), images(4, [0, 1, 2, 0], ['a', 'b', 'c']), 'Mine', null);
  assert.deepEqual(JSON.parse(recipe.card), { title: 'Mine', class_names: ['a', 'b', 'c'], null_class: 3 });
  assert.equal(JSON.parse(recipe.scheduler).prediction_type, 'v_prediction');
});

// ---- Drawings -----------------------------------------------------------------------------------

const line = (box, ...points) => ({ box, line: points, begins: true });
const draw = (drawings, { box, line: points, begins }) => drawn(drawings, box, points, begins);

test('a drawing becomes a picture as MNIST has them: in a square of 20, its mass in the middle', () => {
  const drawings = draw(emptyDrawings('digits'), line(1, { x: 10, y: 5 }, { x: 10, y: 30 }));
  const picture = pictureOf(drawings.boxes[1].ink, 'digits');
  const rows = Array.from({ length: 28 }, (_, y) => picture.subarray(28 * y, 28 * y + 28).some((value) => value > 100));
  assert.ok(Math.abs(rows.filter(Boolean).length - 20) <= 1, `${rows.filter(Boolean).length} rows are inked`);
  let [mass, x, y] = [0, 0, 0];
  for (const [i, value] of picture.entries()) [mass, x, y] = [mass + value, x + value * ((i % 28) + 0.5), y + value * (Math.floor(i / 28) + 0.5)];
  assert.ok(Math.hypot(x / mass - 14, y / mass - 14) < 0.5, `its middle is ${x / mass}, ${y / mass}`);
});

test('a dot stays small, and nothing is cut off', () => {
  const dot = pictureOf(draw(emptyDrawings('digits'), line(0, { x: 40, y: 40 })).boxes[0].ink, 'digits');
  assert.ok(dot.filter((value) => value > 100).length < 150);
  // A 7's mass is high: it is not pushed over the edge.
  let drawings = emptyDrawings('digits');
  for (const [from, to] of [[{ x: 20, y: 10 }, { x: 60, y: 10 }], [{ x: 40, y: 10 }, { x: 40, y: 78 }]]) drawings = draw(drawings, line(7, from, to));
  const seven = pictureOf(drawings.boxes[7].ink, 'digits');
  const sum = drawings.boxes[7].ink.reduce((of, share) => of + share, 0);
  const scale = (BOARD - 8) / 20; // about as high as the board
  assert.ok(Math.abs(seven.reduce((of, value) => of + value / 255, 0) / (sum / scale ** 2) - 1) < 0.15);
});

test('of two windows that are drawn in none takes away what the other has', () => {
  const empty = { drawings: emptyDrawings('digits'), aside: emptyDrawings('letters') };
  const at = (both, box, x) => ({ ...both, drawings: draw(both.drawings, line(box, { x, y: 5 }, { x, y: 30 })) });
  const [one, other] = [at(empty, 1, 10), at(at(empty, 2, 20), 1, 70)];
  const both = merged(one, empty, other);
  assert.equal(both.drawings.boxes[1], one.drawings.boxes[1], 'both have drawn there');
  assert.equal(both.drawings.boxes[2], other.drawings.boxes[2], 'the other has');
  assert.equal(both.drawings.boxes[0], empty.drawings.boxes[0], 'neither has');
  // The other shows letters.
  const turned = { drawings: other.aside, aside: other.drawings };
  assert.deepEqual(merged(one, empty, turned), both);
  // What comes back from where it is kept is known again, and can still be undone.
  const still = structuredClone(one);
  for (const box of still.drawings.boxes) box.past = [];
  assert.equal(recognised(still, one).drawings.boxes[1], one.drawings.boxes[1]);
  assert.notEqual(recognised(still, other).drawings.boxes[1], other.drawings.boxes[1]);
});

test('each drawing is learned from in eight places', () => {
  const drawings = draw(draw(emptyDrawings('digits'), line(3, { x: 20, y: 20 }, { x: 60, y: 60 })), line(11, { x: 20, y: 20 }, { x: 20, y: 60 }));
  const { shape, labels, names } = imagesOf(drawings);
  assert.deepEqual(shape, [2 * COPIES, 1, 28, 28]);
  assert.deepEqual([...labels], [...new Array(COPIES).fill(3), ...new Array(COPIES).fill(1)]);
  assert.equal(names.length, 10);
  assert.equal(imagesOf(emptyDrawings('letters')), null);
  assert.equal(isDrawn(undone(drawings, 3).boxes[3]), false);
  assert.equal(chosenImages({ ...initialState(), from: 'drawings', drawings }).shape[0], 2 * COPIES);
});

test('a line of several points is one from point to point', () => {
  const [a, b, c] = [{ x: 20, y: 20 }, { x: 60, y: 20 }, { x: 60, y: 60 }];
  const empty = emptyDrawings('digits');
  const [{ ink, past }] = draw(empty, line(0, a, b, c)).boxes;
  assert.deepEqual(ink, draw(draw(empty, line(0, a, b)), line(0, b, c)).boxes[0].ink);
  assert.equal(past.length, 1, 'and is undone as one');
});

test('what is drawn can be taught or not without making pictures of it, which are made once', () => {
  const few = all(initialState(), { type: 'choose', from: 'drawings' }, { type: 'draw', ...line(3, { x: 20, y: 20 }, { x: 60, y: 60 }) });
  assert.equal(imageProblem(few), 'There are 8 images, fewer than a batch of 16. Add some, or choose a smaller batch.');
  const state = all(few, { type: 'draw', ...line(4, { x: 20, y: 20 }, { x: 60, y: 60 }) });
  assert.equal(imageProblem(state), null);
  assert.equal(chosenImages(state), chosenImages(state));
  const known = { channels: 1, side: 28, classes: 6, names: [], nullClass: 5 };
  assert.match(imageProblem(all(state, { type: 'begin', beginning: { kind: 'model', source: {}, title: 'Mine', known } })), /^These images are of 10 classes, and Mine knows 5/);
});

test('another alphabet puts drawings aside, and brings them back', () => {
  const state = all(initialState(), { type: 'choose', from: 'drawings' }, { type: 'draw', ...line(3, { x: 20, y: 20 }, { x: 60, y: 60 }) });
  const letters = all(state, { type: 'alphabet', alphabet: 'letters' });
  assert.equal(letters.drawings.boxes.some(isDrawn), false);
  assert.equal(all(letters, { type: 'alphabet', alphabet: 'digits' }).drawings, state.drawings);
  assert.equal(all(letters, { type: 'handwriting', beginning: { kind: 'nothing' } }).drawings, state.drawings);
  // What was kept comes with the alphabet that was drawn last, or that is drawn now.
  const kept = { drawings: letters.drawings, aside: letters.aside };
  assert.equal(all(initialState(), { type: 'drawings', kept, alphabet: 'letters' }).drawings, letters.drawings);
  assert.equal(all(initialState(), { type: 'drawings', kept, alphabet: 'digits' }).drawings, state.drawings);
});

// ---- Losses and samples -------------------------------------------------------------------------

test('a curve is smoothed, thinned out for the screen, and cut where it goes on', () => {
  let curve = withPoints(emptyCurve(), Array.from({ length: 1000 }, (_, i) => ({ step: i + 1, loss: i % 2 ? 2 : 1 })));
  assert.ok(Math.abs(curve.smooth[999] - 1.5) < 0.05);
  const { raw, smooth } = linesOf(curve, 100);
  assert.ok(raw.length <= 200 && smooth.length <= 100);
  assert.ok(raw.some(([, loss]) => loss === 1) && raw.some(([, loss]) => loss === 2), 'peaks stay');
  assert.equal(pointsUpTo(curve, 10).steps.length, 10);
  curve = withPoints(curve, [{ step: 500, loss: 9 }]);
  assert.deepEqual([curve.length, curve.steps[499]], [500, 500]);
});

test('the axis is logarithmic, with a few marks', () => {
  const marks = (...losses) => axisOf(withPoints(emptyCurve(), losses.map((loss, i) => ({ step: i + 1, loss })))).marks;
  assert.deepEqual(marks(1, 0.01, 0.0001), [0.0001, 0.001, 0.01, 0.1, 1]);
  assert.deepEqual(marks(1, 0.05), [0.05, 0.1, 0.2, 0.5, 1]);
  assert.ok(marks(1, 0.9).length >= 3);
  assert.ok(marks().length >= 3);
});

test('so many samples are kept: those go whose neighbours are near', () => {
  const frame = (step) => ({ step, levels: new Uint8ClampedArray(1) });
  let frames = [];
  for (let step = 0; step <= 640; step += 10) frames = withFrame(frames, frame(step), 8);
  assert.equal(frames.length, 8);
  assert.deepEqual([frames[0].step, frames[7].step], [0, 640]);
  assert.ok(Math.max(...frames.slice(1).map(({ step }, i) => step - frames[i].step)) <= 200);
  assert.equal(shownFrame(frames, null).step, 640);
  assert.equal(shownFrame(frames, 5).step, 0);
  assert.equal(withFrame(frames, frame(640), 8).length, 8, 'the same step replaces itself');
});

// ---- Archives -----------------------------------------------------------------------------------

test('a zip comes back as it went in', async () => {
  assert.equal(crc32(new TextEncoder().encode('123456789')), 0xcbf43926);
  const archive = await zip({ 'a/é.txt': new Blob(['text']), 'a/b.bin': new Blob([new Uint8Array(1000)]), empty: new Blob([]) });
  const found = await unzip(new File([archive], 'x.zip'));
  assert.deepEqual(found.map(({ path, file }) => [path, file.size]), [['a/é.txt', 4], ['a/b.bin', 1000], ['empty', 0]]);
  assert.equal(await found[0].file.text(), 'text');
});

/** A zip with one deflated file, as most programs make it. */
async function deflated(text) {
  const packed = new Uint8Array(deflateRawSync(text));
  const bytes = new Uint8Array(await (await zip({ 'a.txt': new Blob([packed]) })).arrayBuffer());
  const view = new DataView(bytes.buffer);
  const central = view.getUint32(bytes.length - 6, true);
  for (const at of [8, central + 10]) view.setUint16(at, 8, true);
  for (const at of [14, central + 16]) view.setUint32(at, crc32(new TextEncoder().encode(text)), true);
  for (const at of [22, central + 24]) view.setUint32(at, text.length, true);
  return { bytes, view, central };
}

test('what is deflated is unpacked, and told of while it is', async () => {
  const text = 'so many words, '.repeat(1000);
  const { bytes } = await deflated(text);
  assert.ok(bytes.length < 1000);
  const [{ path, file }] = await unzip(new File([bytes], 'x.zip'));
  assert.deepEqual([path, await file.text()], ['a.txt', text]);
  const damaged = bytes.slice();
  damaged[40] ^= 0xff;
  await assert.rejects(unzip(new File([damaged], 'x.zip')), /x\.zip is damaged: a\.txt is not what was put in\. Download or make it again\.$/);

  const told = [];
  const slow = class extends File {
    slice(...part) {
      for (const until = performance.now() + 30; performance.now() < until;);
      return super.slice(...part);
    }
  };
  const many = Object.fromEntries(Array.from({ length: 12 }, (_, i) => [`${i}.txt`, new Blob(['x'])]));
  await unzip(new slow([await zip(many)], 'x.zip'), (...far) => told.push(far));
  assert.ok(told.length >= 2 && told.every(([done, total], i) => total === 12 && done < 12 && (!i || done > told[i - 1][0])), JSON.stringify(told));
});

test('what a zip may be that is not read here is told, and what to do', async () => {
  const { bytes, view, central } = await deflated('text');
  const refused = (change, reason) => {
    const before = bytes.slice();
    change();
    const file = new File([bytes.slice()], 'x.zip');
    bytes.set(before);
    return assert.rejects(unzip(file), reason);
  };
  await refused(() => view.setUint16(central + 8, 1, true), /^Error: x\.zip is encrypted: a\.txt is read with a password only\. Unpack it, and drop the folder\.$/);
  await refused(() => view.setUint16(central + 10, 12, true), /^Error: x\.zip has a\.txt packed in a way \(12\) that is not read here\. Unpack it, and drop the folder\.$/);
  const wide = /^Error: x\.zip is a zip of the 64-bit kind, which is not read here\. Unpack it, and drop the folder\.$/;
  await refused(() => view.setUint32(bytes.length - 6, 0xffffffff, true), wide);
  await refused(() => view.setUint32(central + 20, 0xffffffff, true), wide);
});

test('a damaged zip is refused with the reason', async () => {
  const bytes = new Uint8Array(await (await zip({ 'a.txt': new Blob(['hello']) })).arrayBuffer());
  const damaged = bytes.slice();
  damaged[35] ^= 1;
  await assert.rejects(unzip(new File([damaged], 'x.zip')), /x\.zip is damaged: a\.txt is not what was put in/);
  await assert.rejects(unzip(new File([bytes.subarray(0, 40)], 'x.zip')), /is no zip archive, or is cut off/);
  await assert.rejects(unzip(new File([bytes.subarray(30)], 'x.zip')), /cut off|damaged/);
});

test('a run is told from its model in what was downloaded', async () => {
  const blob = (text) => new Blob([text]);
  const run = { name: 'digits-1', images: images(2), curve: withPoints(emptyCurve(), [{ step: 1, loss: 0.5 }, { step: 2, loss: 0.25 }]) };
  const recipe = { ...RECIPE, steps: 2, card: '{"title": "Mine"}' };
  const made = await archiveOf(run, { step: 1, files: { 'training.json': blob(JSON.stringify({ step: 1, recipe })), 'average.safetensors': blob('a') }, model: { 'unet/config.json': blob('{}'), 'unet/diffusion_pytorch_model.safetensors': blob('b') } });
  const found = await unzip(new File([made], 'digits-1.zip'));
  const checkpoint = await checkpointIn(found);
  assert.deepEqual([checkpoint.title, checkpoint.step, Object.keys(checkpoint.files), checkpoint.images.shape[0]], ['Mine', 1, ['training.json', 'average.safetensors'], 2]);
  assert.deepEqual(checkpoint.losses, { steps: Uint32Array.of(1), losses: Float32Array.of(0.5) });
  assert.deepEqual(modelIn(found).map(({ path }) => path), ['digits-1/unet/config.json', 'digits-1/unet/diffusion_pytorch_model.safetensors']);
  assert.equal(modelIn([{ path: 'checkpoint/average.safetensors' }]).length, 0);
  assert.equal(await checkpointIn(modelIn(found)), null);
});

test('images come back from an npz', async () => {
  const given = { ...images(3, [1, 0, 1], ['cat', 'Über']), pixels: Uint8Array.from({ length: 3 * 784 }, (_, i) => i % 251) };
  const back = await fromNpz(new File([await toNpz(given)], 'images.npz'));
  assert.deepEqual(back, given);
  assert.deepEqual((await fromNpz(new File([await toNpz(images())], 'images.npz'))).labels, null);
});
