// Models from the visitor's computer: dropped or chosen, whole folders or a few files, right and wrong.

import assert from 'node:assert/strict';
import { cp, mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { closePage as close, controls, differ, equal, folderOf, generate, launch, openPage, pixels, ready, servePage } from './harness.mjs';

const TINY = folderOf('tests/golden/unet_tiny_class');
const SCHEDULER = folderOf('www/models/digits/scheduler');
const WEIGHTS = 'diffusion_pytorch_model.safetensors';

let browser;
let server;
let folder;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'denoise-own-'));
  await makeModels(folder);
  server = await servePage();
  browser = await launch({ gpu: false });
});

after(async () => {
  await browser?.close();
  await server?.close();
  if (folder) await rm(folder, { recursive: true, force: true });
});

/** Makes other weights of a file's: half as large. @param {string} path  of a file in F32 */
async function shuffle(path) {
  const bytes = await readFile(path);
  for (let at = 8 + Number(bytes.readBigUInt64LE()); at + 4 <= bytes.length; at += 4) bytes.writeFloatLE(bytes.readFloatLE(at) / 2, at);
  await writeFile(path, bytes);
}

/** Folders as training scripts and people leave them. */
async function makeModels(into) {
  const tiny = (path) => cp(TINY, join(into, path), { recursive: true });
  const junk = async (path) => {
    await mkdir(join(into, path, '..'), { recursive: true });
    await writeFile(join(into, path), 'something else');
  };
  await tiny('flowers/unet');
  await cp(SCHEDULER, join(into, 'flowers/scheduler'), { recursive: true });

  // Deep down, with an average and a checkpoint beside it, in a folder of more files than one reading gives.
  await tiny('training/run 1/unet');
  await tiny('training/run 1/unet_ema');
  await shuffle(join(into, 'training/run 1/unet_ema', WEIGHTS));
  await cp(join(into, 'training/run 1/unet_ema', WEIGHTS), join(into, 'training/run 1/unet_ema/diffusion_pytorch_model.fp16.safetensors'));
  await tiny('training/run 1/checkpoint-500/unet');
  await cp(SCHEDULER, join(into, 'training/run 1/scheduler'), { recursive: true });
  await junk('training/run 1/optimizer.bin');
  await writeFile(join(into, 'training/run 1/model_index.json'), '{"_class_name": "DDPMPipeline"}');
  for (let i = 0; i < 230; i++) await junk(`training/run 1/samples/${i}.png`);

  await tiny('variant');
  await rename(join(into, 'variant', WEIGHTS), join(into, 'variant/diffusion_pytorch_model.fp16.safetensors'));
  await tiny('weights only');
  await rm(join(into, 'weights only/config.json'));
  await tiny('pickled/unet');
  await rename(join(into, 'pickled/unet', WEIGHTS), join(into, 'pickled/unet/diffusion_pytorch_model.bin'));
  await mkdir(join(into, 'configuration only'));
  await cp(join(TINY, 'config.json'), join(into, 'configuration only/config.json'));
  await mkdir(join(into, 'another kind'));
  await writeFile(join(into, 'another kind/config.json'), '{"_class_name": "AutoencoderKL"}');
}

const open = (query = '', options = {}) => openPage(browser, `${server.url}?backend=cpu&count=2&steps=2&seed=5${query}`, options);
const named = (page, name) => page.waitForFunction((n) => document.getElementById('model-name').textContent === n, name);

/** A real drop of a path of this machine, as the browser's own window would report it. */
async function drop(page, paths, types = ['dragEnter', 'dragOver', 'drop']) {
  const session = await page.context().newCDPSession(page);
  for (const type of types) {
    await session.send('Input.dispatchDragEvent', { type, x: 300, y: 300, data: { items: [], files: paths, dragOperationsMask: 1 } });
  }
}

const choose = async (page, id, paths) => page.locator(`#${id}`).setInputFiles(paths);

test('a folder dropped on the page is loaded, and the page stays', async () => {
  const page = await open();
  const { url } = await page.evaluate(() => ({ url: location.href }));
  await drop(page, [join(folder, 'flowers')], ['dragEnter', 'dragOver']);
  assert.ok(await page.locator('#drop').isVisible(), 'the page says that it takes it');
  await drop(page, [join(folder, 'flowers')], ['drop']);
  await named(page, 'flowers');
  await ready(page);
  assert.ok(await page.locator('#drop').isHidden());
  assert.equal(new URL(page.url()).origin, new URL(url).origin);
  assert.ok(!page.url().includes('flowers'), 'a link cannot carry it');
  assert.equal(await page.locator('#notes').textContent(), '');
  await generate(page);
  const { width, height } = await page.evaluate(() => ({ width: document.getElementById('loupe-x').width, height: document.getElementById('loupe-x').height }));
  assert.deepEqual([width, height], [8, 12], 'the pictures have the model’s own size');
  await close(page);
});

test('a folder that was chosen is searched for the model', async () => {
  const page = await open();
  await page.locator('#model-button').click();
  await choose(page, 'own-folder', join(folder, 'training'));
  await named(page, 'run 1');
  await ready(page);
  assert.equal(await page.locator('#notes').textContent(), '');
  await generate(page);

  // It survives a change of the device, which starts another engine.
  await page.locator('#backend-button').click();
  await page.getByRole('radio', { name: '32 bit' }).check();
  await ready(page);
  assert.equal(await page.locator('#model-name').textContent(), 'run 1');
  await close(page);
});

test('the same by dropping: folders of many files, read to their end', async () => {
  const page = await open();
  await drop(page, [join(folder, 'training')]);
  await named(page, 'run 1');
  await ready(page);
  await generate(page);
  await close(page);
});

test('a few files together are a model too; without a scheduler DDPM’s defaults are assumed, and said', async () => {
  const page = await open();
  await choose(page, 'own-files', [join(folder, 'variant/config.json'), join(folder, 'variant/diffusion_pytorch_model.fp16.safetensors')]);
  await named(page, 'Your model');
  await ready(page);
  assert.match(await page.locator('#notes').textContent(), /no scheduler_config\.json.*DDPM’s defaults/);
  await generate(page);
  await close(page);
});

test('files that a script dropped, without entries, are read as well', async () => {
  const page = await open();
  const config = await readFile(join(TINY, 'config.json'), 'utf8');
  const weights = [...await readFile(join(TINY, WEIGHTS))];
  await page.evaluate(({ config, weights, name }) => {
    const data = new DataTransfer();
    data.items.add(new File([config], 'config.json'));
    data.items.add(new File([new Uint8Array(weights)], name));
    document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true }));
  }, { config, weights, name: WEIGHTS });
  await named(page, 'Your model');
  await ready(page);
  await generate(page);
  await close(page);
});

/** Opens the Model menu, and chooses what to load of the model. */
async function chooseOf(page, label, option) {
  await page.locator('#model-button').click();
  await page.getByRole('combobox', { name: label }).selectOption({ label: option });
  await page.waitForFunction(([name, value]) => document.querySelector(`#model-facts select[aria-label=${name}]`)?.selectedOptions[0].textContent === value && document.body.dataset.phase === 'ready', [label, option]);
  await page.keyboard.press('Escape');
}

test('of several networks and weights the likeliest are taken, and the others can be chosen', async () => {
  const page = await open();
  await drop(page, [join(folder, 'training')]);
  await named(page, 'run 1');
  await ready(page);
  await page.locator('#model-button').click();
  const networks = page.getByRole('combobox', { name: 'Network' });
  assert.deepEqual(await networks.locator('option').allTextContents(), ['unet', 'unet_ema', 'checkpoint-500/unet']);
  assert.equal(await networks.inputValue(), 'training/run 1/unet');
  assert.equal(await page.getByRole('combobox', { name: 'Weights' }).count(), 0, 'there is nothing to choose');
  await page.keyboard.press('Escape');
  await generate(page);
  const first = await pixels(page);
  await chooseOf(page, 'Network', 'unet_ema');
  assert.equal(await page.locator('#model-name').textContent(), 'run 1');
  await generate(page);
  differ(await pixels(page), first, 'the average makes other pictures');
  await chooseOf(page, 'Weights', 'fp16');
  await chooseOf(page, 'Network', 'unet');
  await generate(page);
  equal(await pixels(page), first, 'the first one again');
  assert.ok(!/network|variant/.test(page.url()), 'a link cannot carry it');
  await close(page);
});

test('files without a model leave a download alone', async () => {
  const page = await open('&model=models/digits');
  let release;
  const held = new Promise((done) => { release = done; });
  await page.route('**/sprites/**/*.safetensors', async (route) => {
    if (route.request().method() === 'GET') await held;
    await route.continue();
  });
  await page.evaluate(() => [...document.querySelectorAll('#shipped button')].find((button) => /Sprites/.test(button.textContent)).click());
  await page.waitForFunction(() => document.body.dataset.phase === 'loading');
  await drop(page, [join(folder, 'another kind')]);
  await page.locator('.notice.error').waitFor();
  assert.equal(await page.evaluate(() => document.body.dataset.phase), 'loading');
  release();
  await named(page, 'Sprites');
  await ready(page);
  await generate(page);
  await close(page);
});

test('what is missing is named, and the loaded model stays', async () => {
  const page = await open();
  const error = page.locator('.notice.error');
  for (const [name, message] of [
    ['weights only', /no config\.json of a U-Net.*weights only\/diffusion_pytorch_model\.safetensors/],
    ['pickled', /diffusion_pytorch_model\.bin has the weights as a pickle/],
    ['configuration only', /no weights beside configuration only\/config\.json/],
    ['another kind', /AutoencoderKL/],
  ]) {
    await drop(page, [join(folder, name)]);
    await error.waitFor();
    const text = await error.textContent();
    assert.match(text, message, name);
    assert.match(text, /Digits is still loaded and works/);
    await error.getByRole('button', { name: 'Dismiss' }).click();
  }
  await generate(page);
  assert.equal(await controls(page).step.inputValue(), '2');
  await close(page);
});

test('a drop that is no file does nothing', async () => {
  const page = await open();
  await page.evaluate(() => {
    const data = new DataTransfer();
    data.setData('text/plain', 'words');
    document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true }));
  });
  assert.equal(await page.locator('.notice.error').count(), 0);
  await close(page);
});
