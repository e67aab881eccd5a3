// Models of other kinds: what they can be sampled with, what they take beside noise, and what is said of them.

import assert from 'node:assert/strict';
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { closePage as close, controls, differ, generate, launch, loadModel, openPage, pixels, ready, servePage } from './harness.mjs';
import { makeTiny, WEIGHTS } from './tiny.mjs';

let browser;
let server;
let folder;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'denoise-kinds-'));
  await makeTiny(folder, 'own', { _class_name: 'ScoreSdeVeScheduler', num_train_timesteps: 12, snr: 0.15, sigma_min: 0.01, sigma_max: 50, sampling_eps: 1e-5, correct_steps: 1 });
  await makeTiny(folder, 'flow', { _class_name: 'FlowMatchEulerDiscreteScheduler', num_train_timesteps: 1000, shift: 1 });
  await makeTiny(folder, 'consistency', { _class_name: 'CMStochasticIterativeScheduler', num_train_timesteps: 40 });
  await makeTiny(folder, 'distilled', { _class_name: 'LCMScheduler', num_train_timesteps: 1000 });
  await makeTiny(folder, 'unknown', { _class_name: 'NoSuchScheduler', num_train_timesteps: 1000 });
  await makeTiny(folder, 'conditioned', { _class_name: 'DDPMScheduler', num_train_timesteps: 1000, beta_schedule: 'linear', beta_start: 1e-4, beta_end: 0.02 }, 3);
  await makeTiny(folder, 'planes', { _class_name: 'DDPMScheduler', num_train_timesteps: 1000 }, 5);
  await cp(join(folder, 'conditioned'), join(folder, 'several'), { recursive: true });
  await cp(join(folder, 'several/unet'), join(folder, 'several/unet_ema'), { recursive: true });
  await cp(join(folder, 'several', WEIGHTS), join(folder, 'several/unet/diffusion_pytorch_model.fp16.safetensors'));
  await writeFile(join(folder, 'twelve.safetensors'), tensor([1, 5, 12, 8]));
  await writeFile(join(folder, 'wrong.safetensors'), tensor([1, 4, 12, 8]));
  server = await servePage({ '/fixtures/': folder });
  browser = await launch({ gpu: false });
});

after(async () => {
  await browser?.close();
  await server?.close();
  if (folder) await rm(folder, { recursive: true, force: true });
});

/** A file of one tensor. @param {number[]} shape */
function tensor(shape) {
  const values = new Float32Array(shape.reduce((a, b) => a * b)).map((_, i) => Math.sin(i));
  const header = Buffer.from(JSON.stringify({ planes: { dtype: 'F32', shape, data_offsets: [0, values.byteLength] } }));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  return Buffer.concat([length, header, Buffer.from(values.buffer)]);
}

const open = (query = '', options = {}) => openPage(browser, `${server.url}?backend=cpu&count=2&seed=5${query}`, options);
const loads = async (page, name) => {
  await loadModel(page, `./fixtures/${name}`);
  await page.waitForFunction((n) => document.getElementById('model-name').textContent.endsWith(n), name);
  await ready(page);
};
const samplers = (page) => controls(page).sampler.locator('option').evaluateAll((options) => options.map(({ value }) => value));
const MISSING = [/status of 404/];

/** A picture of the browser's own making, as a file. */
const picture = (page) => page.evaluate(async () => {
  const canvas = new OffscreenCanvas(60, 30);
  const context = canvas.getContext('2d');
  context.fillStyle = '#f40';
  context.fillRect(0, 0, 60, 30);
  return [...new Uint8Array(await (await canvas.convertToBlob({ type: 'image/png' })).arrayBuffer())];
});

test('a model is sampled with what samples it, and the page goes back to its own way after it', async () => {
  const page = await open('&steps=2');
  const on = controls(page);
  assert.equal(await on.sampler.inputValue(), 'ddim');
  await loads(page, 'own');
  assert.deepEqual(await samplers(page), ['score_sde_ve']);
  assert.equal(await on.sampler.inputValue(), 'score_sde_ve');
  assert.equal(await on.steps.getAttribute('max'), '12');
  assert.equal(await on.steps.inputValue(), '12');
  assert.ok(await on.eta.isHidden());
  assert.ok(await page.locator('#advanced').isHidden(), 'neither spacing nor variance does anything');
  assert.equal(await page.locator('#notes').textContent(), '', 'nobody had asked for another');
  assert.match(await page.locator('#hint').textContent(), /^Score SDE/);
  assert.doesNotMatch(page.url(), /sampler|steps/);
  await generate(page);
  assert.equal(await page.locator('#errors').textContent(), '', 'its batch is not shared out');
  assert.equal(await on.step.getAttribute('max'), '24', 'two evaluations a step');
  await loadModel(page, 'models/digits');
  await page.waitForFunction(() => document.getElementById('model-name').textContent === 'Digits');
  await ready(page);
  assert.equal(await on.sampler.inputValue(), 'ddim');
  assert.equal(await on.steps.inputValue(), '50');
  await close(page, MISSING);
});

test('who asked for another sampler is told', async () => {
  const page = await open('&model=./fixtures/own&sampler=heun&steps=3');
  assert.match(await page.locator('#notes').textContent(), /Heun cannot sample this model, so Score SDE \(VE\) does/);
  assert.equal(await controls(page).steps.inputValue(), '3', 'the steps were asked for as well');
  await generate(page);
  await close(page, MISSING);
});

test('a flow has its own samplers, and its formula', async () => {
  const page = await open('&steps=4&model=./fixtures/flow');
  const on = controls(page);
  assert.equal((await samplers(page))[0], 'flow_euler');
  assert.equal(await on.sampler.inputValue(), 'flow_euler');
  assert.ok(await page.locator('#advanced').isHidden());
  await generate(page);
  await on.step.press('Home');
  assert.match(await page.locator('#formulas').textContent(), /x̂0 = 1\.0000\s*xt?.*− 1\.0000\s*u/);
  // As much noise as picture is there half way: the two lines cross there.
  const [noise, signal] = await page.locator('#chart polyline').evaluateAll((lines) => lines.map((line) => line.getAttribute('points').split(' ').map((point) => Number(point.split(',')[1]))));
  assert.equal(noise[0], 0);
  assert.equal(signal[0], 64);
  assert.deepEqual(noise.map((value, i) => Math.abs(value + signal[i] - 64) < 0.2), noise.map(() => true));
  await close(page, MISSING);
});

test('a consistency model begins with the steps that it wants', async () => {
  const page = await open('&model=./fixtures/consistency');
  const on = controls(page);
  assert.deepEqual(await samplers(page), ['consistency']);
  assert.equal(await on.steps.getAttribute('max'), '40');
  assert.equal(await on.steps.inputValue(), '2');
  await generate(page);
  await on.steps.fill('3');
  await generate(page);
  assert.equal(await on.step.getAttribute('max'), '3');
  await close(page, MISSING);
});

test('a distilled model begins as its author has it, and the next one does not', async () => {
  const page = await open('&model=./fixtures/distilled');
  const on = controls(page);
  assert.equal(await on.sampler.inputValue(), 'lcm');
  assert.equal(await on.steps.inputValue(), '4');
  assert.doesNotMatch(page.url(), /sampler|steps/);
  await generate(page);
  await loads(page, 'conditioned');
  assert.equal(await on.sampler.inputValue(), 'ddim');
  assert.equal(await on.steps.inputValue(), '50');
  // Who chooses keeps what was chosen.
  await on.sampler.selectOption('heun');
  await loads(page, 'distilled');
  assert.equal(await on.sampler.inputValue(), 'heun');
  await close(page, MISSING);

  // TCD's η is what diffusers takes, unless somebody chose one.
  const gamma = await open('&model=./fixtures/distilled&sampler=tcd');
  assert.equal(await controls(gamma).eta.inputValue(), '0.3');
  assert.doesNotMatch(gamma.url(), /eta/);
  await controls(gamma).sampler.selectOption('ddim');
  assert.equal(await controls(gamma).eta.inputValue(), '0');
  await close(gamma, MISSING);

  // A link with nothing but another sampler means the steps that the model begins with.
  const again = await open('&model=./fixtures/distilled&sampler=heun');
  assert.equal(await controls(again).sampler.inputValue(), 'heun');
  assert.equal(await controls(again).steps.inputValue(), '4');
  await close(again, MISSING);
});

test('a scheduler that is not known is told of in the menu', async () => {
  const page = await open('&model=./fixtures/unknown&steps=2');
  await page.locator('#model-button').click();
  assert.match(await page.locator('#model-facts').textContent(), /Notes.*NoSuchScheduler/);
  assert.equal(await page.locator('.notice').count(), 0);
  await page.keyboard.press('Escape');
  await generate(page);
  await close(page, MISSING);
});

test('a model that takes an image beside noise is given one', async () => {
  const page = await open('&steps=2');
  const on = controls(page);
  const row = page.locator('#condition-row');
  assert.ok(await row.isHidden());
  await loads(page, 'conditioned');
  assert.ok(await row.isVisible());
  assert.match(await row.textContent(), /An image, or a tensor of \[1,\s3,\s12,\s8\]/);
  await on.generate.click();
  assert.match(await page.locator('.notice.error').textContent(), /Choose an image, or a \.safetensors file.*under Condition/);
  assert.ok(await on.generate.isVisible());
  assert.ok(await page.evaluate(() => document.activeElement.id === 'condition'));

  const file = { name: 'orange.png', mimeType: 'image/png', buffer: Buffer.from(await picture(page)) };
  await page.locator('#condition').setInputFiles(file);
  await page.waitForFunction(() => document.getElementById('condition-text').textContent === 'orange.png');
  assert.equal(await page.locator('.notice.error').count(), 0);
  assert.deepEqual(await page.evaluate(() => {
    const canvas = document.getElementById('condition-picture');
    return [canvas.width, canvas.height, ...canvas.getContext('2d').getImageData(4, 6, 1, 1).data];
  }), [8, 12, 255, 68, 0, 255]);
  await generate(page);
  const orange = await pixels(page);
  assert.equal(orange.length, 2);

  // Dropped anywhere, it is no model.
  const drop = (name, bytes) => page.evaluate(({ name, bytes }) => {
    const data = new DataTransfer();
    data.items.add(new File([new Uint8Array(bytes)], name));
    document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true }));
  }, { name, bytes: [...bytes] });
  await drop('broken.png', [1, 2, 3]);
  assert.match(await page.locator('.notice.error').textContent(), /broken\.png could not be read as an image/);
  await drop('numbers.safetensors', tensor([2, 3, 12, 8]));
  await page.waitForFunction(() => document.getElementById('condition-text').textContent === 'numbers.safetensors, for 2 images');
  assert.ok(await page.locator('#condition-picture').isHidden());
  await generate(page);
  differ(await pixels(page), orange, 'with another condition');
  await on.count.fill('3');
  await on.generate.click();
  assert.match(await page.locator('.notice.error').textContent(), /has 2 conditions and there are 3 images/);

  await loadModel(page, 'models/digits');
  await page.waitForFunction(() => document.getElementById('model-name').textContent === 'Digits');
  await ready(page);
  assert.ok(await row.isHidden());
  await generate(page);
  await close(page, MISSING);
});

test('planes that are no picture come from a file of numbers', async () => {
  const page = await open('&steps=2&model=./fixtures/planes');
  assert.match(await page.locator('#condition-text').textContent(), /^A tensor of \[1,\s5,\s12,\s8\]$/);
  await page.locator('#condition').setInputFiles(join(folder, 'wrong.safetensors'));
  assert.match(await page.locator('.notice.error').textContent(), /shape \[1,4,12,8\]; this model takes \[1, 5, 12, 8\]/);
  await page.locator('#condition').setInputFiles(join(folder, 'twelve.safetensors'));
  await page.waitForFunction(() => document.getElementById('condition-text').textContent === 'twelve.safetensors');
  assert.equal(await page.locator('.notice.error').count(), 0);
  await generate(page);
  await close(page, MISSING);
});
