// How pictures were made, read from files that anybody may have written.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bounded } from '../../www/keep/database.js';
import { pictureOf } from '../../www/keep/pictures.js';
import { gridLayout, wordLayout } from '../../www/store/layout.js';
import { RUN_SETTINGS, parametersOf, readRecipe, sameRecipe } from '../../www/store/recipe.js';
import { DEFAULTS } from '../../www/store/settings.js';

const RECIPE = {
  version: 1,
  model: { id: 'models/digits', title: 'Digits', network: '', variant: '' },
  backend: 'cpu', precision: 'f32', condition: null,
  settings: Object.fromEntries(RUN_SETTINGS.map((name) => [name, DEFAULTS[name]])),
  forkedAt: null, step: 50, view: 'x', image: 0,
};
const read = (recipe) => readRecipe(typeof recipe === 'string' ? recipe : JSON.stringify(recipe));
const changed = (settings) => ({ ...RECIPE, settings: { ...RECIPE.settings, ...settings } });

test('a recipe comes back as it was written', () => {
  assert.deepEqual(read(RECIPE), RECIPE);
  const other = { ...changed({ class: '3', guidance: 2.5, eta: 0.5, sampler: 'tcd', seed: 2 ** 53 - 1 }), model: { ...RECIPE.model, id: null }, condition: 'small.png', forkedAt: 3, view: 'x0', image: 7 };
  assert.deepEqual(read(other), other);
  assert.ok(RUN_SETTINGS.includes('seed') && RUN_SETTINGS.includes('precision') && !RUN_SETTINGS.includes('model') && !RUN_SETTINGS.includes('autotune'));
});

test('what a recipe leaves out is as usual, and what it adds is nobody’s business', () => {
  const { steps, ...fewer } = RECIPE.settings;
  assert.equal(steps, 50);
  assert.deepEqual(read({ ...RECIPE, settings: fewer, more: [1] }), RECIPE);
  assert.equal(read({ ...RECIPE, settings: { ...fewer, steps: '20' } }).settings.steps, 20, 'numbers may be text');
});

test('hostile values are refused, by name', () => {
  for (const [recipe, message] of [
    ['', /cannot be read/], ['{"version":', /cannot be read/], ['[]', /cannot be read/], ['null', /cannot be read/], ['7', /cannot be read/],
    [' '.repeat(1 << 17), /cannot be read/], [{ ...RECIPE, version: '1' }, /cannot be read/], [{ ...RECIPE, settings: null }, /cannot be read/],
    [{ ...RECIPE, version: 2 }, /newer Denoise.*version 2.*version 1.*Reload/],
    [changed({ steps: 1e9 }), /steps is 1000000000, which is not a whole number from 1 to 1000/],
    [changed({ steps: -1 }), /steps/], [changed({ steps: 2.5 }), /steps/], [changed({ steps: null, seed: 3 }), null],
    [changed({ count: 65 }), /count/], [changed({ count: [4] }), /count is \[4\]/], [changed({ eta: 'NaN' }), /eta/], [changed({ guidance: 1e300 }), /guidance/],
    [changed({ sampler: '__proto__' }), /sampler/], [changed({ sampler: 'constructor' }), /sampler/], [changed({ seed: {} }), /seed is \{\}/],
    [changed({ seed: 2 ** 53 }), /seed/], [changed({ class: '' }), /class/], [changed({ class: true }), /class/], [changed({ precision: 'f64' }), /precision/],
    [changed({ spacing: 'a'.repeat(5000) }), /spacing is "a{39}…, which/],
    [{ ...RECIPE, backend: 'tpu' }, /backend/], [{ ...RECIPE, step: -1 }, /step/], [{ ...RECIPE, view: 'y' }, /view/], [{ ...RECIPE, image: 1e6 }, /image/],
    [{ ...RECIPE, model: { id: 5, title: {} } }, /title is \{\}/], [{ ...RECIPE, model: { id: {}, title: '' } }, /model is \{\}/],
    [changed({ steps: 0, count: 0 }), /steps is 0.*; count is 0.*Nothing was changed/],
  ]) {
    if (message) assert.throws(() => read(recipe), message, JSON.stringify(recipe).slice(0, 200));
    else assert.equal(read(recipe).settings.seed, 3);
  }
  const title = read({ ...RECIPE, model: { ...RECIPE.model, title: '<b>'.repeat(1000) } }).model.title;
  assert.equal(title.length, 200);
  // A key of that name is no setting.
  assert.equal(Object.getPrototypeOf(read(JSON.stringify(RECIPE).replace('"settings":{', '"settings":{"__proto__":{"steps":0},')).settings), Object.prototype);
});

test('other programs are told in the way that they read', () => {
  const text = parametersOf(read(changed({ steps: 25, guidance: 1.5, seed: 42, class: '3' })), { width: 32, height: 32 });
  assert.match(text, /^3\nSteps: 25, Sampler: DDIM, CFG scale: 1\.5, Seed: 42, Size: 32x32, Model: Digits, /);
  const quoted = parametersOf({ ...RECIPE, model: { ...RECIPE.model, title: 'a, "b": c' } }, { width: 8, height: 4 });
  assert.match(quoted, /Size: 8x4, Model: "a, \\"b\\": c", /);
});

test('recipes are the same that make the same pictures', () => {
  assert.ok(sameRecipe(RECIPE, { ...RECIPE, step: 3, view: 'x0', image: 4 }));
  for (const other of [changed({ seed: 1 }), { ...RECIPE, backend: 'gpu' }, { ...RECIPE, model: { ...RECIPE.model, variant: 'fp16' } }]) assert.ok(!sameRecipe(RECIPE, other));
});

test('a history stays within its bounds', () => {
  const entry = (key, bytes) => ({ key, thumbnail: new Uint8Array(1000), picture: new Uint8Array(bytes) });
  const many = bounded(Array.from({ length: 90 }, (_, i) => entry(i, 1 << 18)));
  assert.equal(many.length, 60);
  assert.deepEqual(many.map(({ key }) => key).slice(0, 3), [0, 1, 2], 'the newest stay');
  assert.ok(many[0].picture && !many[59].picture, 'of the older ones only the thumbnail');
  assert.ok(many.reduce((sum, { thumbnail, picture }) => sum + thumbnail.length + (picture?.length ?? 0), 0) < 10e6);
  const few = [entry(1, 5)];
  assert.equal(bounded(few)[0], few[0]);
});

test('a batch is laid out in rows', () => {
  const batch = Uint8Array.from({ length: 3 * 2 * 4 }, (_, i) => Math.floor(i / 4)); // three images of 2 × 1
  const grid = pictureOf(batch, { width: 2, height: 1 }, gridLayout(3));
  assert.deepEqual([grid.width, grid.height], [4, 2]);
  assert.deepEqual([...grid.pixels].filter((_, i) => i % 4 === 0), [0, 1, 2, 3, 4, 5, 0, 0]);
  const word = pictureOf(batch, { width: 2, height: 1 }, wordLayout('A BC'));
  assert.deepEqual([word.width, word.height, ...word.pixels.filter((_, i) => i % 4 === 0)], [4, 2, 0, 1, 0, 0, 2, 3, 4, 5]);
});
