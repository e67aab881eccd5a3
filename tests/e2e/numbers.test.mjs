// What there is to see in the numbers of a run: bytes, ε̂, changes, densities; and what a recording makes of them. Without a page.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';

import { changeOf, densityOf, gainOf, mixtureOf, noiseIn, rgba8, rms, shownAt } from '../../www/engine/numbers.js';
import { Recording } from '../../www/store/recording.js';

/** The tensors of a safetensors file, of f32 and u8. */
async function tensors(path) {
  const { buffer, byteOffset } = await readFile(new URL(path, import.meta.url));
  const length = Number(new DataView(buffer, byteOffset).getBigUint64(0, true));
  const header = JSON.parse(Buffer.from(buffer, byteOffset + 8, length).toString());
  const types = { F32: Float32Array, U8: Uint8Array };
  return Object.fromEntries(Object.entries(header).filter(([name]) => name !== '__metadata__').map(([name, { dtype, shape, data_offsets: [from, to] }]) => {
    const start = byteOffset + 8 + length;
    return [name, { shape, data: new types[dtype](buffer.slice(start + from, start + to)) }];
  }));
}

/** Numbers that are normal, always the same. */
function normal(count) {
  let state = 1;
  const uniform = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
  return Float32Array.from({ length: count }, () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()));
}

const IS = { scale: 1, offset: 0 };
const row = (alpha, signal = Math.sqrt(alpha), shown = IS) => ({ timestep: 1000 * (1 - alpha), alpha_cumprod: alpha, signal, shown });

test('the bytes of a picture are those of PyTorch', async () => {
  const golden = await tensors('../golden/pictures.safetensors');
  for (const name of ['rgba8_grey_9x5', 'rgba8_rgb_5x7', 'rgba8_rgb_one_pixel']) {
    const { shape: [, channels, height, width], data } = golden[`${name}.input`];
    assert.deepEqual([...rgba8(data, channels, IS, width * height)], [...golden[`${name}.output`].data], name);
  }
  // Kept over [0, 1] as Song's models have it.
  assert.deepEqual([...rgba8(Float32Array.of(0, 0.5, 1), 1, { scale: 2, offset: -1 }, 3)].filter((_, i) => i % 4 === 0), [0, 128, 255]);
});

test('ε̂ is the noise that x consists of, whatever scale x is kept in', () => {
  const [x0, noise] = [Float32Array.of(0.5, -1, 0.25, 1), normal(4)];
  for (const [alpha, signal] of [[0.3, Math.sqrt(0.3)], [0.3, 1], [0.8, 0.4]]) {
    const mixture = mixtureOf(row(alpha, signal));
    assert.ok(Math.abs(mixture.signal ** 2 / (mixture.signal ** 2 + mixture.noise ** 2) - alpha) < 1e-12, 'ᾱ is the picture’s share');
    const x = x0.map((value, i) => mixture.signal * value + mixture.noise * noise[i]);
    noiseIn(row(alpha, signal), x, x0).forEach((value, i) => assert.ok(Math.abs(value - noise[i]) < 1e-5));
  }
  assert.deepEqual(mixtureOf(row(0)), { signal: 0, noise: 1 }, 'where no picture is left');
});

test('a change is counted as it is shown, and enlarged until it is seen', () => {
  const change = changeOf(Float32Array.of(10, -20), { scale: 0.1, offset: 0 }, Float32Array.of(0.75, -1), { scale: 2, offset: -1 });
  assert.deepEqual([...change], [-0.5, -1]);
  assert.equal(gainOf(Float32Array.of(0.01, -0.01)), 32);
  assert.equal(gainOf(Float32Array.of(1, -1)), 1);
  assert.equal(gainOf(new Float32Array(4)), 1);
});

test('the density of normal numbers is the normal one', () => {
  const bins = densityOf(normal(200_000), 1, 4, 40);
  bins.forEach((value, i) => {
    const x = -4 + (i + 0.5) * 0.2;
    assert.ok(Math.abs(value - Math.exp(-(x ** 2) / 2) / Math.sqrt(2 * Math.PI)) < 0.01, `at ${x}: ${value}`);
  });
  assert.ok(Math.abs(rms(normal(200_000)) - 1) < 0.01);
});

test('a recording shows each view of each step', () => {
  const rows = [row(0.1), row(0.5), row(0.9)];
  const initial = normal(8); // two images of 2×2
  const recording = new Recording({ rows, initial, count: 2, width: 2, height: 2 });
  assert.equal(recording.channels, 1);
  for (const view of ['x0', 'eps', 'change']) assert.equal(recording.numbers(0, view), null, `${view} before anything was evaluated`);
  assert.deepEqual(recording.batch(0, 'eps'), recording.batch(0, 'x'), 'what is not there yet is x_t');

  const steps = [1, 2, 3].map((i) => ({ step: i - 1, x: normal(8).map((value) => value / i), x0: normal(8).map((value) => value * 0.1 * i) }));
  recording.add(steps[0]);
  // The newest state has no evaluation of its own: it shows the one that made it.
  assert.equal(recording.evaluation(1).step, 0);
  assert.deepEqual(recording.numbers(1, 'eps'), noiseIn(rows[0], initial, steps[0].x0));
  assert.deepEqual(recording.numbers(0, 'eps'), recording.numbers(1, 'eps'));
  recording.add(steps[1]);
  assert.equal(recording.evaluation(1).step, 1);
  assert.deepEqual(recording.numbers(1, 'eps'), noiseIn(rows[1], steps[0].x, steps[1].x0));
  assert.deepEqual(recording.numbers(2, 'change'), steps[1].x.map((value, i) => value - steps[0].x[i]));
  recording.add(steps[2]);
  assert.equal(recording.finished, true);
  assert.deepEqual(recording.numbers(3, 'x0'), steps[2].x, 'x̂0 of x_0 is x_0');
  assert.equal(recording.evaluation(3).step, 2, 'but its ε̂ is the last there was');
  // One image is as it is among all.
  for (const view of ['x', 'x0', 'eps', 'change']) {
    for (const index of [1, 2, 3]) assert.deepEqual(recording.image(index, view, 1), recording.batch(index, view).slice(16), `${view} ${index}`);
  }
  assert.deepEqual(recording.image(1, 'x', 9), recording.image(1, 'x', 1), 'there are no more than two');
});

test('x is shown as strong as the model was trained on it', () => {
  const rows = [row(0.01, 1, { scale: 0.1, offset: 0 }), row(0.25, 1, { scale: 0.5, offset: 0 })];
  const initial = Float32Array.of(10, -10, 5, 0);
  const recording = new Recording({ rows, initial, count: 1, width: 2, height: 2 });
  assert.deepEqual(recording.batch(0, 'x'), rgba8(Float32Array.of(1, -1, 0.5, 0), 1, IS, 4));
  assert.deepEqual([shownAt(rows, 1), shownAt(rows, 2)], [{ scale: 0.5, offset: 0 }, IS]);
});

test('a run that keeps every second step shows what its newest was made of', () => {
  const rows = Array.from({ length: 8 }, (_, i) => row((i + 1) / 9));
  const recording = new Recording({ rows, initial: normal(4), count: 1, width: 2, height: 2 });
  recording.thin();
  const frames = rows.map((_, step) => ({ step, x: normal(4).map((value) => value + step), x0: normal(4) }));
  frames.slice(0, 4).forEach((frame) => recording.add(frame));
  assert.deepEqual(recording.states.map(({ step }) => step), [0, 2, 4]);
  assert.equal(recording.before(2).step, 3, 'the step before is known while it is the newest');
  assert.deepEqual(recording.numbers(2, 'eps'), noiseIn(rows[3], frames[2].x, frames[3].x0));
  frames.slice(4).forEach((frame) => recording.add(frame));
  assert.deepEqual(recording.states.map(({ step }) => step), [0, 2, 4, 6, 8]);
  assert.equal(recording.before(2).step, 2, 'later the one that was kept');
  assert.equal(recording.states.filter(({ made }) => made).length, 1, 'nothing else is held on to');
});
