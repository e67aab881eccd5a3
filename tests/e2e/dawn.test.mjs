// The whole engine in Dawn under Node, a second WebGPU beside Chromium's build and wgpu, with subgroups and 16 bits: the
// benchmark in its short form, on Mesa's lavapipe.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { folderOf } from './harness.mjs';

const EXAMPLES = folderOf('tests/golden/bench');

let folder;
before(async () => {
  assert.ok(process.env.DAWN_DRIVER, 'DAWN_DRIVER names the Vulkan driver in software; ./build.sh test sets it');
  folder = await mkdtemp(join(tmpdir(), 'denoise-dawn-'));
});
after(() => rm(folder, { recursive: true }));

/** Runs the benchmark: its exit code, what it printed, and the results it left. */
async function bench(examples, ...options) {
  // Shaders are run a few times, so compiling them well would take longer than running them.
  const env = { ...process.env, VK_DRIVER_FILES: process.env.DAWN_DRIVER, VK_ICD_FILENAMES: process.env.DAWN_DRIVER, GALLIVM_PERF: 'nopt' };
  const command = [folderOf('tests/e2e/dawn-short.mjs'), folder, examples, ...options];
  const { code, output } = await new Promise((resolve) => {
    execFile(process.execPath, command, { env, maxBuffer: 1 << 26 }, (error, stdout, stderr) => resolve({ code: error ? error.code : 0, output: stdout + stderr }));
  });
  const results = await readFile(join(folder, 'results.json'), 'utf8').then(JSON.parse, () => null);
  return { code, output, results };
}

// 16 bits alone: everything in 32 bits runs in Chromium and natively too, and lavapipe compiles for minutes.
const QUADS = `2 serial${' quads'.repeat(8)}`;
const SHORT = ['--model', 'tiny', '--count', '1', '--engine', 'denoise gpu f16', '--tuning', QUADS, '--turns', '2', '--seconds', '0.1'];

test('a small network is checked, timed and taken apart', async () => {
  const { code, output, results } = await bench(EXAMPLES, ...SHORT);
  assert.equal(code, 0, output);
  assert.deepEqual(results.problems, []);
  assert.deepEqual(results.failures, []);
  assert.ok(results.adapter.half, 'lavapipe has 16-bit numbers');
  assert.ok(results.peak.gflops > 0 && results.peak.gigabytes > 0 && results.peak.dispatch > 0);
  assert.equal(results.cases.length, 1);
  assert.deepEqual(Object.keys(results.cases[0].engines), ['denoise gpu f16']);
  const { tuning, blocks, counts, layers, check, dispatches } = results.cases[0].engines['denoise gpu f16'];
  assert.equal(tuning, QUADS, 'lavapipe in Dawn has subgroups');
  assert.equal(check.ok, true);
  assert.equal(blocks.length, 2);
  assert.equal(counts.buffers + counts.bind_groups, 0, 'nothing is made for a step');
  assert.ok(counts.dispatches >= dispatches);
  assert.equal(layers.length, dispatches);
  assert.ok(layers.every(({ bytes, milliseconds }) => bytes > 0 && milliseconds > 0));
  assert.ok(layers.some(({ macs }) => macs > 0));
  assert.match(output, /\| tiny \| 1 \| Denoise, 16 bits \| [\d.,]+ \|/);
  assert.match(output, /\| {2}\| fused_conv2d \| \d+ \|/);
});

test('it fails where Denoise is not what PyTorch says, and names the case', async () => {
  const wrong = join(folder, 'examples');
  await cp(EXAMPLES, wrong, { recursive: true });
  const path = join(wrong, 'tiny/output.f32');
  const epsilon = new Float32Array((await readFile(path)).buffer.slice(0));
  await writeFile(path, Buffer.from(epsilon.map((value) => -value).buffer));
  const { code, output } = await bench(wrong, ...SHORT, '--part', 'paired');
  assert.equal(code, 1, output);
  assert.match(output, /tiny ×1, denoise gpu f16: x̂0 is [\d.]+ levels off, more than [\d.]+/);
});

test('an engine that breaks off is left out of what follows, fails it, and loses nothing', async () => {
  await rm(join(folder, 'results.json'), { force: true });
  const { code, output, results } = await bench(EXAMPLES, '--break-off', ...SHORT, '--seconds', '2', '--part', 'paired', '--part', 'layers');
  assert.equal(code, 1, output);
  const [{ engines: { 'denoise gpu f16': result } }] = results.cases;
  assert.ok(result.load > 0 && result.counts.dispatches > 0, 'what was measured before is kept');
  assert.ok(result.failed);
  assert.equal(result.layers, undefined);
  assert.match(results.failures[0], /^tiny ×1, denoise gpu f16: /);
  assert.match(output, /\*\*Failed:\*\*/);
});

test('it fails when the device rejects a command, and on options that it does not know', async () => {
  assert.equal((await bench(EXAMPLES, '--reject')).code, 1);
  for (const [options, message] of [
    [['--model', 'digit'], /There is no model digit; choose tiny\./],
    [['--engine', 'ort'], /There is no engine ort; choose denoise gpu f32,/],
    [['--part', 'times'], /There is no part times; choose check, paired, layers, variants\./],
    [['--count', '0'], /--count is a whole number above 0, not 0\./],
    [['--budget', 'long'], /--budget is a number of seconds above 0, not long\./],
  ]) {
    const { code, output } = await bench(EXAMPLES, ...options);
    assert.equal(code, 1);
    assert.match(output, message);
  }
});
