// On the CPU the images of a batch are shared out among workers, which nobody can tell by the pictures.

import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { closePage, controls, differ, equal, folderOf, generate, launch, loadModel, openPage, pixels, ready, servePage } from './harness.mjs';

/** Processors with so many cores. */
const CORES = [1, 2, 3];

let browser;
let server;
let folder;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'denoise-team-'));
  const worker = await readFile(folderOf('www/engine/worker.js'), 'utf8');
  const mounts = {};
  for (const cores of CORES) {
    const file = join(folder, `${cores}.js`);
    await writeFile(file, `Object.defineProperty(navigator, 'hardwareConcurrency', { value: ${cores} });\nnew BroadcastChannel('workers').postMessage('here');\n${worker}`);
    Object.assign(mounts, { [`/${cores}/engine/worker.js`]: file, [`/${cores}/pkg/`]: process.env.DENOISE_PKG ?? folderOf('pkg'), [`/${cores}/`]: folderOf('www') });
  }
  server = await servePage(mounts);
  browser = await launch({ gpu: false });
});

after(async () => {
  await browser?.close();
  await server?.close();
  if (folder) await rm(folder, { recursive: true, force: true });
});

const open = (cores, query) => openPage(browser, `${server.url}${cores}/?backend=cpu&seed=5&${query}`, { before: (page) => page.addInitScript(() => {
  globalThis.workers = 0;
  new BroadcastChannel('workers').onmessage = () => globalThis.workers++;
}) });

const workers = (page) => page.evaluate(() => globalThis.workers);

/** The pictures after every step of a run. */
async function everyStep(page) {
  await generate(page);
  const step = controls(page).step;
  const states = [await pixels(page)];
  while (await step.inputValue() !== '0') {
    await step.press('ArrowLeft');
    states.push(await pixels(page));
  }
  return states;
}

test('the same seed gives the same pixels with any number of workers', async () => {
  const runs = [];
  for (const cores of CORES) {
    const page = await open(cores, 'count=5&steps=3&sampler=ddpm&class=mixed');
    const digits = await everyStep(page);
    assert.equal(digits.length, 4);
    differ(digits[0][0], digits[0][4], 'two digits');
    assert.equal(await workers(page), cores);
    // Fewer images than workers.
    await controls(page).count.fill('2');
    const two = await everyStep(page);
    await loadModel(page, 'models/sprites');
    await page.waitForFunction(() => document.getElementById('model-name').textContent === 'Sprites');
    await ready(page);
    const sprites = await everyStep(page);
    runs.push([digits, two, sprites]);
    await closePage(page);
  }
  equal(runs[0], runs[1], 'one and two workers');
  equal(runs[0], runs[2], 'one and three workers');
});

test('forks give the same pixels with any number of workers', async () => {
  const runs = [];
  for (const cores of CORES) {
    const page = await open(cores, 'count=5&steps=6&sampler=ddpm&class=mixed');
    const on = controls(page);
    /** Goes on from a step. */
    const fork = async (step) => {
      for (await on.step.press('Home'); await on.step.inputValue() !== String(step);) await on.step.press('ArrowRight');
      await generate(page, () => page.getByRole('button', { name: 'Fork here' }).click());
      return pixels(page);
    };
    await generate(page);
    const whole = await pixels(page);
    equal(await fork(3), whole, 'nothing was changed');
    await on.seed.fill('6');
    const seed = await fork(2);
    differ(seed, whole, 'another seed');
    // Another sampler goes on from the fork, with the noise that it lacks.
    await on.sampler.selectOption('euler_ancestral');
    const sampler = await fork(4);
    differ(sampler, seed, 'another sampler');
    runs.push([whole, seed, sampler]);
    await closePage(page);
  }
  equal(runs[0], runs[1], 'one and two workers');
  equal(runs[0], runs[2], 'one and three workers');
});

test('a run of several workers stops within a step, and another can begin', async () => {
  const page = await open(3, 'count=6&steps=500');
  const on = controls(page);
  await on.generate.click();
  await page.waitForFunction(() => Number(document.getElementById('step').value) >= 3, null, { timeout: 60_000 });
  await on.stop.click();
  await ready(page);
  assert.match(await on.status.textContent(), /Stopped/);
  assert.ok(Number(await on.step.inputValue()) < 400);
  await on.steps.fill('2');
  const states = await everyStep(page);
  assert.equal(states.length, 3);
  await generate(page);
  equal(await pixels(page), states[0], 'the same again');
  await closePage(page);
});
