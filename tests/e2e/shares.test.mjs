// How a batch is shared out: what belongs to an image goes with it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { shares } from '../../www/engine/team.js';

test('each share has the labels of its own images, and knows which of all they are', () => {
  const parts = shares({ count: 5, steps: 9, class_labels: [0, 1, 2, 3, 4], seeds: [50, 51, 52, 53, 54] }, 2);
  assert.deepEqual(parts, [
    { count: 3, steps: 9, class_labels: [0, 1, 2], seeds: [50, 51, 52, 53, 54], share: { total: 5, first: 0 } },
    { count: 2, steps: 9, class_labels: [3, 4], seeds: [50, 51, 52, 53, 54], share: { total: 5, first: 3 } },
  ]);
});

test('seeds are those of the whole batch', () => {
  const parts = shares({ count: 2, seed: 7, class_labels: null }, 4);
  assert.deepEqual(parts.map(({ seed, count, share }) => [seed, count, share.first]), [[7, 1, 0], [7, 1, 1]]);
  assert.deepEqual(shares({ count: 2, seeds: [7], class_labels: null }, 2).map(({ seeds }) => seeds), [[7], [7]]);
});

test('a class of several numbers stays with its image', () => {
  assert.deepEqual(shares({ count: 2, class_labels: [1, 2, 3, 4] }, 2).map((share) => share.class_labels), [[1, 2], [3, 4]]);
});

test('a condition goes with its image, or is the same for all', () => {
  const condition = Float32Array.of(1, 2, 3, 4, 5, 6);
  const settings = { count: 3, class_labels: null, condition };
  assert.deepEqual(shares(settings, 2, { condition: 2 }).map((share) => [...share.condition]), [[1, 2, 3, 4], [5, 6]]);
  assert.deepEqual(shares(settings, 2, { condition: 6 }).map((share) => [...share.condition]), [[...condition], [...condition]]);
});

test('one image is not shared', () => {
  const settings = { count: 1, seeds: [3], class_labels: null };
  assert.deepEqual(shares(settings, 4), [settings]);
});

test('what a run begins with in place of noise is shared out too', () => {
  const start = { sample: new Float32Array([1, 2, 3, 4, 5, 6]), alpha_cumprod: 0.5 };
  const parts = shares({ count: 3, steps: 1, start }, 2, { image: 2 }).map((share) => share.start);
  assert.deepEqual(parts.map(({ sample }) => [...sample]), [[1, 2, 3, 4], [5, 6]]);
  assert.deepEqual(parts.map(({ alpha_cumprod: alpha }) => alpha), [0.5, 0.5]);
});

test('what is known of an image, and where it lies between two noises and two classes, go with it', () => {
  const original = Float32Array.of(1, 2, 3, 4, 5, 6);
  const settings = {
    count: 3, steps: 1, class_labels: [0, 1, 2],
    inpaint: { original, mask: Float32Array.of(0), jump_length: 5 },
    slerp: { seed: 9, weights: [0, 0.5, 1] },
    class_mix: { labels: [3, 4, 5], weights: [0.1, 0.2, 0.3] },
  };
  const [ours, theirs] = shares(settings, 2, { image: 2, pixels: 1 });
  assert.deepEqual(ours.inpaint, { original: original.slice(0, 4), mask: Float32Array.of(0), jump_length: 5 });
  assert.deepEqual(theirs.inpaint, { original: original.slice(4), mask: Float32Array.of(0), jump_length: 5 });
  assert.deepEqual([ours.slerp, theirs.slerp], [{ seed: 9, weights: [0, 0.5] }, { seed: 9, weights: [1] }]);
  assert.deepEqual([ours.class_mix, theirs.class_mix], [{ labels: [3, 4], weights: [0.1, 0.2] }, { labels: [5], weights: [0.3] }]);
  const masks = { ...settings, inpaint: { original, mask: Float32Array.of(0, 1, 0.5) } };
  assert.deepEqual(shares(masks, 2, { image: 6, pixels: 1 }).map((share) => [...share.inpaint.mask]), [[0, 1], [0.5]]);
  assert.deepEqual(shares(masks, 2, { image: 6, pixels: 1 }).map((share) => share.inpaint.original.length), [6, 6]);
});
