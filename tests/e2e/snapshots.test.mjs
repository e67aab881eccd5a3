// How a run begins where another one stood. Without a page.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { forked, resumed } from '../../www/engine/snapshots.js';

const snapshot = { row: 3, sample: Float32Array.of(2, -4), kept: new Float32Array(10), generators: [Uint8Array.of(1)] };
const settings = { sampler: 'ddpm', steps: 50, count: 2, seed: 1234 };
const origin = (more) => ({ run: 1, settings: { ...settings, sampler: 'ddim' }, row: 3, level: { alpha_cumprod: 0.25, signal: 1 }, resumes: false, origin: null, ...more });

test('a fork with a table of its own begins with x, and adds noise that x has nothing of', () => {
  const { settings: begun, snapshot: none } = forked(settings, origin(), snapshot);
  assert.equal(none, null);
  assert.deepEqual(begun.start, { sample: Float32Array.of(1, -2), alpha_cumprod: 0.25 }, 'at a variance of 1');
  assert.notEqual(begun.seed % 2 ** 32, 1234, 'the generator takes 32 bits of it');
  assert.deepEqual(forked(settings, origin(), snapshot), forked(settings, origin(), snapshot), 'the same every time');
  const large = 2 ** 40 + 5;
  const strip = forked({ ...settings, seed: undefined, seeds: [7, 7, large], slerp: { seed: 9, weights: [0, 0.5, 1] } }, origin(), snapshot).settings;
  assert.equal(strip.seeds[0], strip.seeds[1], 'images that shared their noise share it still');
  assert.ok(strip.seeds[0] !== 7 && strip.seeds[2] !== large && strip.seeds.every(Number.isSafeInteger));
  assert.deepEqual(strip.slerp.weights, [0, 0.5, 1]);
  assert.notEqual(strip.slerp.seed, 9);
});

test('a fork that was interrupted goes on with the seeds it had', () => {
  const { settings: begun } = forked(settings, origin(), snapshot);
  const { settings: again, snapshot: where } = resumed(settings, origin(), { ...snapshot, row: 5 });
  assert.deepEqual([again.seed, again.start.alpha_cumprod, where.row], [begun.seed, 0.25, 5]);
});

test('a fork along the same table goes on with the very generators, unless its seed is another', () => {
  const along = origin({ resumes: true, settings });
  assert.deepEqual(forked(settings, along, snapshot), { settings, snapshot });
  assert.deepEqual(forked({ ...settings, seed: 5 }, along, snapshot).snapshot.generators, []);
});
