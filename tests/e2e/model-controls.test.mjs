// The controls follow the model: classes, guidance, sizes, memory, precision, and the check of the GPU.

import assert from 'node:assert/strict';
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { makeFaultyEngine } from './engines.mjs';
import { closePage as close, controls, differ, equal, folderOf, generate, launch, loadModel, openPage, pixels, ready, roughness, servePage } from './harness.mjs';

let browser;
let server;
let folder;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'denoise-controls-'));
  const tiny = async (name) => {
    await cp(folderOf('tests/golden/unet_tiny_class'), join(folder, name, 'unet'), { recursive: true });
    await cp(folderOf('www/models/digits/scheduler'), join(folder, name, 'scheduler'), { recursive: true });
    return join(folder, name);
  };
  await tiny('classes');
  // Far too large for any device: it must not come to fetching the weights, which are none.
  const huge = join(folder, 'huge');
  await mkdir(join(huge, 'unet'), { recursive: true });
  const config = JSON.parse(await readFile(folderOf('www/models/sprites/unet/config.json'), 'utf8'));
  await writeFile(join(huge, 'unet/config.json'), JSON.stringify({ ...config, sample_size: 512, block_out_channels: [256, 256, 256] }));
  await writeFile(join(huge, 'unet/diffusion_pytorch_model.safetensors'), 'no weights');
  server = await servePage({ '/fixtures/': folder, '/faulty/pkg/': await makeFaultyEngine(join(folder, 'pkg')), '/faulty/': folderOf('www') });
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await server?.close();
  if (folder) await rm(folder, { recursive: true, force: true });
});

const open = (query, options) => openPage(browser, server.url + query, options);

test('sprites come in colour, with classes and guidance', async () => {
  const page = await open('?backend=cpu&count=2&steps=8&seed=3&model=models/sprites');
  const on = controls(page);
  assert.equal(await on.guidance.inputValue(), '2', 'the card’s own');
  assert.ok(await on.class('mixed').isChecked());
  await on.class('any').check();
  assert.ok(await on.guidance.isHidden(), 'without a class there is nothing to lean towards');
  await on.class('tree').check();
  await on.guidance.fill('3');
  await generate(page);
  assert.match(page.url(), /class=tree/);
  assert.match(page.url(), /guidance=3/);
  assert.match(await page.locator('#caption').textContent(), /class tree · guidance 3/);
  assert.match(await page.locator('#formulas').textContent(), /v_∅.*3.*v_c.*v_∅/);
  const strong = await pixels(page);
  assert.ok(roughness(strong[0]) < 60, `a picture, not noise: ${roughness(strong[0])}`);
  differ(strong, await pixels(page, 2), 'red and blue');
  await on.step.press('Home');
  assert.ok(roughness((await pixels(page))[0]) > 90, 'the beginning is noise');

  await on.guidance.fill('1');
  await generate(page);
  assert.doesNotMatch(await page.locator('#caption').textContent(), /guidance/);
  assert.doesNotMatch(await page.locator('#formulas').textContent(), /∅/);
  differ(await pixels(page), strong, 'with and without guidance');

  // The address reproduces it.
  await on.guidance.fill('3');
  await generate(page);
  const address = page.url();
  await close(page);
  const again = await openPage(browser, address);
  assert.equal(await controls(again).guidance.inputValue(), '3');
  assert.ok(await controls(again).class('tree').isChecked());
  await generate(again);
  equal(await pixels(again), strong, 'the same address makes the same pixels');
  await close(again);
});

test('switching models brings each one’s own controls', async () => {
  const page = await open('?backend=cpu&count=3&steps=2&seed=3');
  const on = controls(page);
  assert.ok(await on.guidance.isHidden());
  await on.class('mixed').check();
  assert.equal(await on.guidance.inputValue(), '1');
  await generate(page);
  differ(...(await pixels(page)).slice(0, 2), 'images of different classes');

  await loadModel(page, 'models/sprites');
  await page.waitForFunction(() => document.getElementById('model-name').textContent === 'Sprites');
  await ready(page);
  assert.equal(await on.guidance.inputValue(), '2');
  assert.match(page.url(), /model=models\/sprites/);

  await loadModel(page, './fixtures/classes');
  await page.waitForFunction(() => /classes/.test(document.getElementById('model-name').textContent));
  await ready(page);
  assert.ok(await on.guidance.isHidden(), 'it has no null class');
  assert.deepEqual(await page.locator('#classes span').allTextContents(), ['0', '1', '2', '3', '4', 'mixed']);
  await generate(page);
  await close(page, [/status of 404/]);
});

test('only settings that do something are shown', async () => {
  const page = await open('?backend=cpu&count=1&steps=2');
  const on = controls(page);
  await page.locator('#advanced summary').click();
  assert.ok(await on.eta.isVisible());
  assert.ok(await page.locator('#variance').isHidden());
  await on.sampler.selectOption('ddpm');
  assert.ok(await on.eta.isHidden());
  assert.ok(await page.locator('#variance').isVisible());
  await on.count.fill('3');
  await generate(page);
  assert.equal((await pixels(page)).length, 3);
  assert.match(page.url(), /count=3/);
  await on.count.fill('65');
  assert.match(await page.locator('#hint').textContent(), /Images: a whole number from 1 to 64/);
  await close(page);
});

test('a model that the device has no memory for is refused before its weights are fetched', async () => {
  const page = await open('?backend=cpu&steps=2&count=16');
  const asked = [];
  page.on('request', (request) => asked.push(`${request.method()} ${request.url()}`));
  await loadModel(page, './fixtures/huge');
  await page.locator('.notice.error').waitFor();
  const text = await page.locator('.notice.error').textContent();
  assert.match(text, /[GM]i?B/);
  assert.match(text, /Digits is still loaded/);
  assert.ok(!asked.some((request) => /^GET .*safetensors/.test(request)), asked.join(' '));
  await close(page, [/status of 404/]);
});

test('what is known of the memory beforehand is what compiling says, and guidance counts', async () => {
  const page = await open('?backend=cpu&count=1&steps=2');
  const found = await page.evaluate(async () => {
    const { default: init, Engine, Loading } = await import('./pkg/denoise.js');
    await init();
    const engine = await Engine.create('cpu');
    const text = async (path) => (await fetch(`models/sprites/${path}`)).text();
    const config = JSON.stringify({ ...JSON.parse(await text('unet/config.json')), sample_size: 256 });
    const files = { config, scheduler: null, card: null };
    const needs = (count, guided) => engine.requirements(files, { count, guided });
    let count = 1;
    // Twice that is more memory than there is, while no value alone is larger than a value may be.
    while (needs(count, false).value_bytes < 1.6 * 2 ** 30) count++;
    const compile = async (images) => {
      const loading = new Loading(engine, files, { count: images });
      try {
        return await loading.compile(() => {}).then(() => null, (error) => error.message);
      } finally {
        loading.free();
      }
    };
    return { plain: needs(count, false), guided: needs(count, true), twice: needs(2 * count, false), compiled: await compile(2 * count) };
  });
  assert.equal(found.plain.problem, null);
  assert.equal(found.plain.available_bytes, 3 * 2 ** 30);
  assert.ok(found.guided.value_bytes > 1.8 * found.plain.value_bytes);
  assert.match(found.guided.problem, /needs \d+ MB of memory, more than the 3072 MB that a page has/);
  assert.match(found.twice.problem, /more than the 3072 MB/);
  assert.equal(found.compiled, found.twice.problem);
  await close(page);
});

test('what a model needs and what is stored stand in the menu', async () => {
  const page = await open('?backend=cpu&count=1&steps=2');
  await page.locator('#model-button').click();
  assert.match(await page.locator('#model-facts').textContent(), /Memory\s*needs [\d.]+ [kMG]B, in 32 bit/);
  await page.locator('#stored summary').click();
  await page.waitForFunction(() => document.querySelectorAll('#stored-list li').length === 1);
  assert.match(await page.locator('#stored-list').textContent(), /models\/digits2\.2 MB/);
  await page.keyboard.press('Escape');
  await loadModel(page, 'models/sprites');
  await page.waitForFunction(() => document.getElementById('model-name').textContent === 'Sprites');
  await page.locator('#model-button').click();
  await page.getByRole('button', { name: 'Clear all' }).click();
  await page.waitForFunction(() => document.querySelectorAll('#stored-list li').length === 0);
  await close(page);
});

describe('precision', () => {
  test('16 bit is not for the CPU', async () => {
    const page = await open('?backend=cpu&count=1&steps=2');
    await page.locator('#backend-button').click();
    assert.ok(await controls(page).precision('16 bit').isDisabled());
    assert.ok(await page.getByRole('button', { name: 'Check my GPU' }).isHidden());
    await controls(page).precision('32 bit').check();
    await ready(page);
    assert.match(page.url(), /precision=f32/);
    await close(page);
  });

  test('on a GPU that has it, 16 bit makes nearly the same pictures', async () => {
    const page = await open('?backend=gpu&count=1&steps=4&seed=3&class=3');
    await page.locator('#backend-button').click();
    const half = controls(page).precision('16 bit');
    if (await half.isEnabled()) {
      await page.keyboard.press('Escape');
      await generate(page);
      const full = (await pixels(page))[0];
      await page.locator('#backend-button').click();
      await half.check();
      await ready(page);
      assert.match(page.url(), /precision=f16/);
      await page.locator('#model-button').click();
      assert.match(await page.locator('#model-facts').textContent(), /in 16 bit/);
      await page.keyboard.press('Escape');
      await generate(page);
      const other = (await pixels(page))[0];
      const apart = full.reduce((sum, value, i) => sum + Math.abs(value - other[i]), 0) / full.length;
      assert.ok(apart < 4, `${apart} of 255 apart`);
    } else {
      assert.match(await page.locator('#precision-hint').textContent(), /does not/);
    }
    await close(page);
  });
});

describe('Check my GPU', () => {
  test('a good one passes, layer by layer', async () => {
    const page = await open('?backend=gpu&count=1&steps=2');
    await page.locator('#backend-button').click();
    await page.getByRole('button', { name: 'Check my GPU' }).click();
    await page.locator('#check-report .verdict').waitFor({ timeout: 120_000 });
    assert.match(await page.locator('.verdict').textContent(), /computes what it should/);
    assert.ok(await page.locator('#check-report rect').count() > 10);
    assert.ok(await page.getByRole('button', { name: 'Copy report' }).isVisible());
    await page.keyboard.press('Escape');
    await generate(page);
    await close(page);
  });

  test('a wrong one is named, and the CPU takes over', async () => {
    const page = await open('faulty/?backend=gpu&count=1&steps=2');
    await page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
    await page.locator('#backend-button').click();
    await page.getByRole('button', { name: 'Check my GPU' }).click();
    const notice = page.locator('.notice.error');
    await notice.waitFor();
    assert.match(await notice.textContent(), /wrong numbers.*mid_block\.attentions\.0 \(softmax\), is not a number/);
    await ready(page);
    assert.match(await page.locator('#backend-name').textContent(), /^CPU/);
    assert.match(page.url(), /backend=cpu/);
    await notice.getByRole('button', { name: 'Copy report' }).click();
    const report = await page.evaluate(() => navigator.clipboard.readText());
    assert.match(report, /GPU check failed[^]*Adapter: Faulty[^]*mid_block\.attentions\.0/);
    await notice.getByRole('button', { name: 'Show report' }).click();
    assert.equal(await page.locator('#check-report rect.wrong').count(), 1);
    await page.keyboard.press('Escape');
    await generate(page);
    await close(page);
  });
});
