// What a picture costs, computed in the page: the variational bound and the likelihood. The numbers are those of the native
// library (tests/native/measuring.rs), for the same picture, seed and timesteps.

import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { closePage, controls, folderOf, generate, launch, loadModel, openPage, PHONE, ready, servePage } from './harness.mjs';
import { makeTiny } from './tiny.mjs';

const COSTS = JSON.parse(await readFile(folderOf('tests/e2e/measuring.json'), 'utf8'));
/** In bits/dim. */
const TOLERANCE = 1e-3;
const close = (found, expected, what) => assert.ok(Math.abs(found - expected) <= TOLERANCE, `${what}: ${found} and ${expected}`);

let browser;
let server;
let folder;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'denoise-measuring-'));
  await makeTiny(folder, 'flow', { _class_name: 'FlowMatchEulerDiscreteScheduler', num_train_timesteps: 1000, shift: 1 });
  await makeTiny(folder, 'zero', { _class_name: 'DDPMScheduler', num_train_timesteps: 20, rescale_betas_zero_snr: true, prediction_type: 'v_prediction' });
  await makeTiny(folder, 'thresholded', { _class_name: 'DDPMScheduler', num_train_timesteps: 20, thresholding: true });
  server = await servePage(Object.fromEntries(['flow', 'zero', 'thresholded'].map((name) => [`/models/${name}/`, join(folder, name)])));
  browser = await launch({ gpu: false });
});

after(async () => {
  await browser?.close();
  await server?.close();
  if (folder) await rm(folder, { recursive: true, force: true });
});

const open = (query, options) => openPage(browser, `${server.url}?backend=cpu&${query}`, options);

const parts = (page) => {
  const section = page.getByRole('region', { name: 'What the picture costs' });
  return {
    section,
    costs: page.locator('#measure-picture'),
    button: (name) => section.getByRole('button', { name, exact: true }),
    steps: section.getByRole('combobox', { name: 'Steps of the ODE' }),
    curve: section.getByRole('slider', { name: 'Timestep t of the curve' }),
    says: section.locator('.says'),
    told: section.locator('figcaption'),
  };
};

/** The number in front of ±. */
const numberOf = async (page, id) => Number((await page.locator(`#${id}`).textContent()).split(' ')[0]);
const says = (page, pattern) => page.waitForFunction((source) => new RegExp(source).test(document.querySelector('.measuring .says')?.textContent ?? ''), pattern.source, { timeout: 120_000 });
const estimated = (page) => page.waitForFunction(() => document.getElementById('measuring-sum')?.textContent.includes('±'), null, { timeout: 60_000 });

/**
 * Has the page itself click Stop as soon as it is there and the page says so, and waits for that: what is computed may be
 * over before a test has asked. Tells what had the focus then.
 * @param {RegExp} pattern
 */
const stopAt = (page, pattern) => page.evaluate(([source, limit]) => new Promise((done, failed) => {
  const section = document.querySelector('.measuring');
  const look = () => {
    const stop = [...section.querySelectorAll('.head button')].find(({ textContent, hidden }) => textContent === 'Stop' && !hidden);
    if (!stop || !new RegExp(source).test(section.querySelector('.says').textContent)) return;
    observer.disconnect();
    const focused = document.activeElement.textContent;
    stop.click();
    done(focused);
  };
  const observer = new MutationObserver(look);
  observer.observe(section, { subtree: true, childList: true, characterData: true, attributes: true });
  setTimeout(() => failed(new Error(`It never said ${source}, but: ${section.querySelector('.says').textContent}`)), limit);
  look();
}), [pattern.source, 120_000]);

/** Waits until one of so many workers is gone. */
async function gone(page, workers) {
  const most = Date.now() + 30_000;
  while (page.workers().length >= workers && Date.now() < most) await page.waitForTimeout(20);
  assert.equal(page.workers().length, workers - 1, 'its worker is gone');
}

/** The picture of the golden values, as a file. */
const digit = (page) => page.evaluate(async (levels) => {
  const canvas = new OffscreenCanvas(32, 32);
  const data = new Uint8ClampedArray(levels.flatMap((level) => [level, level, level, 255]));
  canvas.getContext('2d').putImageData(new ImageData(data, 32, 32), 0, 0);
  return [...new Uint8Array(await (await canvas.convertToBlob({ type: 'image/png' })).arrayBuffer())];
}, COSTS.levels).then((bytes) => ({ name: 'digit.png', mimeType: 'image/png', buffer: Buffer.from(bytes) }));

/** Opens the picture's section with that picture in it. */
async function take(page) {
  await page.locator('#picture > summary').click();
  await page.locator('#picture-choose').setInputFiles(await digit(page));
  await page.waitForFunction(() => document.getElementById('picture-name').textContent === 'digit.png');
}

test('the page finds what the native library finds', async () => {
  const page = await open(`seed=${COSTS.seed}&class=${COSTS.class}&count=1`);
  const on = parts(page);
  const { costs } = on;
  await page.locator('#picture > summary').click();
  assert.equal(await costs.isDisabled(), true, 'there is no picture yet');
  await page.locator('#picture > summary').click();
  await take(page);
  await costs.click();
  await on.section.waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.id), 'measuring-title');
  await estimated(page);
  const first = (await page.locator('#measuring-sum').textContent()).split(' ± ').map(Number);
  assert.ok(Math.abs(first[0] - COSTS.last[1][3]) < 5 * first[1] && first[1] > 0 && first[1] < 0.5, `${first} is an estimate of ${COSTS.last[1][3]}`);
  await stopAt(page, /The likelihood/);
  await says(page, /^Stopped: all 1000 timesteps/);
  const { last: [, [, denoising, decoder, sum]] } = COSTS;
  close(await numberOf(page, 'measuring-sum'), sum, 'the bound');
  const told = await on.section.locator('dd').allTextContents();
  close(Number(told[2].split(' ')[0]), denoising, 'the steps');
  close(Number(told[3].split(' ')[0]), decoder, 'the last step');
  assert.match(await on.section.textContent(), new RegExp(`${Math.round(sum * 1024 / 8)} bytes`));

  // The curve by the keyboard: every term, from noise to picture.
  const tells = (t) => page.waitForFunction((t) => document.getElementById('measuring-point').textContent.startsWith(`t = ${t},`), t);
  await on.curve.focus();
  await page.keyboard.press('Home');
  await tells(0);
  await page.keyboard.press('ArrowLeft');
  await tells(1);
  assert.match(await on.curve.getAttribute('aria-valuetext'), /^t = 1, the step from x_1 to x_0: /);
  for (const [t, term] of COSTS.terms) {
    await on.curve.fill(String(t));
    await tells(t);
    const text = await on.told.textContent();
    const [, found] = text.match(/: ([\d.]+(?:e[−-]\d+)?)/);
    assert.ok(Math.abs(Number(found.replace('−', '-')) - term) < 0.005 * term + 1e-8, `${text} is ${term}`);
  }

  // The likelihood, in fewer steps.
  await on.steps.selectOption(String(COSTS.steps));
  await page.waitForFunction(() => document.getElementById('measuring-likelihood').textContent.includes('±'), null, { timeout: 120_000 });
  const [bits, error] = (await page.locator('#measuring-likelihood').textContent()).split(' ± ').map(Number);
  close(bits, COSTS.bits_per_dim[0], 'the likelihood');
  close(error, Math.abs(COSTS.bits_per_dim[0] - COSTS.bits_per_dim[1]), 'the error of its solver');
  close(await numberOf(page, 'measuring-sum'), sum, 'the bound is still there');

  // Without chance its noise leads back.
  await on.button('Generate from this noise').click();
  assert.equal(await page.getByRole('radio', { name: 'the noise that was found' }).isChecked(), true);
  await controls(page).sampler.selectOption('ddim');
  await controls(page).steps.fill('50');
  await generate(page);
  const difference = await page.evaluate((levels) => {
    const { data } = document.getElementById('images').getContext('2d').getImageData(0, 0, 32, 32);
    return levels.reduce((sum, level, i) => sum + Math.abs(level - data[4 * i]), 0) / levels.length;
  }, COSTS.levels);
  assert.ok(difference < 25, `what the noise leads to is the picture: ${difference} levels on average`);
  await on.button('Close').click();
  await on.section.waitFor({ state: 'hidden' });
  assert.equal(await page.evaluate(() => document.activeElement.id), 'measure-picture');
  await closePage(page);
});

test('the same evaluations give the same first estimate', async () => {
  const page = await open('count=1');
  const found = await page.evaluate(async ({ levels, label, seed, first }) => {
    const { default: init, Engine, Loading, BoundRun } = await import(new URL('pkg/learning/denoise.js', document.baseURI).href);
    await init();
    const engine = await Engine.create('cpu');
    const text = async (path) => (await fetch(`models/digits/${path}`)).text();
    const loading = new Loading(engine, { config: await text('unet/config.json'), scheduler: await text('scheduler/scheduler_config.json'), card: null }, { count: 1, precision: 'f32' });
    loading.begin();
    loading.push(new Uint8Array(await (await fetch('models/digits/unet/diffusion_pytorch_model.safetensors')).arrayBuffer()));
    loading.end();
    await engine.load(loading, () => {});
    const run = await BoundRun.begin(engine, Float32Array.from(levels, (level) => level / 127.5 - 1), Float32Array.of(label), seed, 4);
    let done = 0;
    while (done < first) done = await run.advance();
    const { prior, denoising, decoder, sum } = run.estimate();
    return { done, parts: [prior, denoising, decoder, sum].map(({ mean }) => mean) };
  }, { levels: COSTS.levels, label: COSTS.class, seed: COSTS.seed, first: COSTS.first[0] });
  assert.equal(found.done, COSTS.first[0]);
  for (const [i, part] of found.parts.entries()) close(part, COSTS.first[1][i], `part ${i}`);
  await closePage(page);
});

test('Stop ends it at once, and another model too', async () => {
  const page = await open('count=1&class=0', { viewport: PHONE });
  const on = parts(page);
  await take(page);
  await on.costs.click();
  await estimated(page);
  const workers = page.workers().length;
  await on.button('Stop').click();
  await says(page, /^Stopped: \d+ of 1000 timesteps/);
  await gone(page, workers);
  const kept = await page.locator('#measuring-sum').textContent();
  await page.waitForTimeout(500);
  assert.equal(await page.locator('#measuring-sum').textContent(), kept, 'what was there stays');
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Again');

  // The likelihood alone, by the keyboard.
  await on.button('Compute the likelihood').focus();
  await page.keyboard.press('Enter');
  assert.equal(await stopAt(page, /^The likelihood, along the ODE/), 'Stop', 'the focus is where Enter stops it');
  await says(page, /^Stopped: \d+ of 1000 timesteps/);
  assert.equal(await page.locator('#measuring-sum').textContent(), kept, 'the bound is not computed anew');
  await gone(page, workers);

  // The page's own engine is not disturbed.
  await page.keyboard.press('Enter');
  await estimated(page);
  await controls(page).steps.fill('4');
  await generate(page);
  await loadModel(page, 'models/sprites');
  await says(page, /^The model was changed/);
  await ready(page);
  await gone(page, workers);
  assert.equal(await on.button('Again').isDisabled(), true, 'it was of the other model');
  await closePage(page);
});

test('a model without a bound says why', async () => {
  const page = await open('model=models/flow&count=1');
  const on = parts(page);
  await take(page);
  await on.costs.click();
  await says(page, /Neither of the two could be computed/);
  assert.match(await on.section.locator('.problem').first().textContent(), /DDPM does not sample models of FlowMatchEulerDiscreteScheduler, so the variational bound/);
  await on.section.getByText('The likelihood is of models with a β a timestep').waitFor();
  await on.curve.waitFor({ state: 'hidden' });

  await loadModel(page, 'models/zero');
  await ready(page);
  await page.waitForFunction(() => document.getElementById('model-name').textContent === 'models/zero');
  await on.costs.click();
  await says(page, /^All 20 timesteps/);
  assert.ok(await numberOf(page, 'measuring-sum') > 0, 'it has a bound');
  await on.section.getByText('nothing is left of the image (rescale_betas_zero_snr)').waitFor();
  await on.steps.waitFor({ state: 'hidden' });

  // And the other way round.
  await loadModel(page, 'models/thresholded');
  await page.waitForFunction(() => document.getElementById('model-name').textContent === 'models/thresholded');
  await ready(page);
  await on.costs.click();
  await says(page, /^Its likelihood is computed/);
  await on.section.getByText('thresholding is true').waitFor();
  assert.ok(Number.isFinite(await numberOf(page, 'measuring-likelihood')));
  await on.curve.waitFor({ state: 'hidden' });
  await closePage(page);
});

test('without what computes it the page goes on', async () => {
  const page = await open('count=1', { before: (page) => page.route('**/measuring/main.js', (route) => route.abort()) });
  await take(page);
  await parts(page).costs.click();
  await page.locator('.notice.error', { hasText: 'What it costs could not be fetched' }).waitFor();
  await generate(page);
  await closePage(page, [/Failed to load resource/]);
});
