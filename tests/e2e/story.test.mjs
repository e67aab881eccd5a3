// The whole page, as a visitor uses it, on the GPU (in software) and on the CPU.

import assert from 'node:assert/strict';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { closePage as close, controls, differ, equal, folderOf, generate, launch, loadModel, openPage, pixels, ready, servePage, tones } from './harness.mjs';
import { takeShifts, watchShifts } from './look.mjs';
import { SIZES, settle } from './states.mjs';

const DIGITS = folderOf('www/models/digits');

let browser;
let server;
let fixtures;

before(async () => {
  fixtures = await mkdtemp(join(tmpdir(), 'denoise-e2e-'));
  await makeBrokenModels(fixtures);
  server = await servePage({ '/fixtures/': fixtures });
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await server?.close();
  if (fixtures) await rm(fixtures, { recursive: true, force: true });
});

/** Copies of the digits model, each with one thing wrong. */
async function makeBrokenModels(folder) {
  const copy = async (name) => {
    await cp(DIGITS, join(folder, name), { recursive: true });
    return join(folder, name);
  };
  const weights = 'unet/diffusion_pytorch_model.safetensors';
  const truncated = await copy('truncated');
  const bytes = await readFile(join(truncated, weights));
  await writeFile(join(truncated, weights), bytes.subarray(0, bytes.length - 1000));

  const unsupported = await copy('unsupported');
  const config = JSON.parse(await readFile(join(unsupported, 'unet/config.json'), 'utf8'));
  await writeFile(join(unsupported, 'unet/config.json'), JSON.stringify({ ...config, act_fn: 'no_such_activation' }));

  const garbled = await copy('garbled');
  await writeFile(join(garbled, 'unet/config.json'), '{"_class_name": "UNet2DModel",');

  const incomplete = await copy('incomplete');
  await rm(join(incomplete, weights));
}

const open = (query, { from = browser, ...options } = {}) => openPage(from, server.url + query, options);

for (const backend of ['cpu', 'gpu']) {
  describe(`on the ${backend.toUpperCase()}`, () => {
    test('Generate makes digits that can be scrubbed, and makes the same ones again', async () => {
      const page = await open(`?backend=${backend}&count=2&steps=8&seed=1234`);
      const on = controls(page);
      assert.match(await page.locator('#backend-name').textContent(), new RegExp(`^${backend.toUpperCase()}`));
      assert.equal(await on.steps.inputValue(), '8');
      assert.equal(await on.seed.inputValue(), '1234');
      assert.equal(await on.sampler.inputValue(), 'ddim');
      assert.ok(await on.step.isDisabled(), 'nothing to scrub before a run');

      await on.class('3').check();
      await generate(page);
      assert.match(page.url(), /class=3/);
      assert.equal(await on.step.inputValue(), '8');
      assert.equal(await on.step.getAttribute('max'), '8');
      const finished = await pixels(page);
      assert.equal(finished.length, 2);
      for (const image of finished) {
        const { dark, bright } = tones(image);
        assert.ok(dark > 0.6, `a digit is mostly background: ${dark}`);
        assert.ok(bright > 0.03 && bright < 0.4, `a digit has some bright strokes: ${bright}`);
      }
      differ(finished[0], finished[1], 'the two images');

      // Keys: Home is noise, every step differs from the one before.
      await on.step.press('Home');
      assert.equal(await on.step.inputValue(), '0');
      const noise = await pixels(page);
      assert.ok(tones(noise[0]).middle > 0.4, 'the first state is noise');
      let previous = noise;
      for (const step of ['1', '2', '3', '4']) {
        await on.step.press('ArrowRight');
        assert.equal(await on.step.inputValue(), step);
        const now = await pixels(page);
        differ(now, previous, `step ${step} and the one before`);
        previous = now;
      }
      assert.match(await page.locator('#at-step').textContent(), /^4 of 8$/);
      assert.match(await page.locator('#at-t').textContent(), /^\d+$/);
      assert.match(await page.locator('#formulas').textContent(), /\d\.\d{3}/);

      // The predicted picture is another picture, and already less noisy.
      await on.view('x̂0').check();
      const predicted = await pixels(page);
      differ(predicted, previous, 'x̂0 and x_t');
      assert.ok(tones(predicted[0]).dark > tones(previous[0]).dark);
      await on.view('x_t').check();
      equal(await pixels(page), previous, 'the same step again');
      await on.step.press('End');
      equal(await pixels(page), finished, 'the end again');
      await on.view('x̂0').check();
      equal(await pixels(page), finished, 'the prediction of the last state is the image itself');
      await on.view('x_t').check();

      // The pointer: a press in the middle of the track.
      const track = await on.step.boundingBox();
      await page.mouse.click(track.x + track.width / 2, track.y + track.height / 2);
      assert.equal(await on.step.inputValue(), '4');
      equal(await pixels(page), previous, 'the same step again');

      // Space plays to the end.
      await on.step.press('Space');
      await on.pause.waitFor({ state: 'visible' });
      await on.play.waitFor({ state: 'visible' });
      assert.equal(await on.step.inputValue(), '8');

      // The seed came with the address, so it is kept.
      await generate(page, () => page.keyboard.press('Control+Enter'));
      assert.equal(await on.seed.inputValue(), '1234');
      equal(await pixels(page), finished, 'the same seed makes the same pixels');

      await on.seed.fill('99');
      await on.sampler.selectOption('ddpm');
      assert.ok(await on.eta.isHidden(), 'η belongs to DDIM');
      await generate(page);
      differ(await pixels(page), finished, 'another seed makes other pixels');
      await close(page);
    });

    test('Stop takes effect within one step and keeps what was made', async () => {
      const page = await open(`?backend=${backend}&count=2&steps=200&seed=7`);
      const on = controls(page);
      let made = 0;
      // A page that is kept waiting by others has steps on their way to it when the button is pressed, but not every time.
      const late = [];
      while (late.length < 3 && !(late.at(-1) <= 4)) {
        if (late.length) await on.step.press('Home');
        // At the third step, however fast the machine is, the page itself presses it.
        await page.evaluate(() => {
          const steps = () => Number(document.getElementById('step').value);
          new MutationObserver((_, observer) => {
            if (document.body.dataset.phase !== 'running' || steps() < 3) return;
            observer.disconnect();
            const button = document.getElementById('generate');
            globalThis.pressed = { at: steps(), label: button.textContent.trim() };
            button.click();
          }).observe(document.body, { subtree: true, childList: true, characterData: true, attributes: true });
        });
        await generate(page);
        made = Number(await on.step.inputValue());
        const duration = await page.locator('#status').textContent();
        assert.ok(made >= 3 && made < 200, `stopped midway: ${duration}`);
        assert.match(duration, /Stopped/);
        const { at, label } = await page.evaluate(() => globalThis.pressed);
        assert.match(label, /^Stop/);
        late.push(made - at);
      }
      // A step or a submission of several was under way when the button was pressed, and another was on its way to the page.
      assert.ok(late.at(-1) <= 4, `${late.join(', ')} steps after the click`);

      const last = await pixels(page);
      await on.step.press('ArrowLeft');
      assert.equal(await on.step.inputValue(), String(made - 1));
      await on.step.press('Home');
      differ(await pixels(page), last, 'the kept steps can be scrubbed');
      await on.step.press('End');
      assert.equal(await on.step.inputValue(), String(made), 'what was not made cannot be reached');

      await on.steps.fill('2');
      await generate(page);
      assert.equal(await on.step.inputValue(), '2');
      await close(page);
    });

    test('a model that does not load leaves the one before working', async () => {
      const page = await open(`?backend=${backend}&count=1&steps=2&seed=5`);
      const error = page.locator('.notice.error');
      const cases = [
        ['models/nowhere', /no model at .*models\/nowhere.*unet\/config\.json/],
        ['./fixtures/incomplete', /no weights.*diffusion_pytorch_model\.safetensors/],
        ['./fixtures/truncated', /bytes/i],
        ['./fixtures/unsupported', /no_such_activation/],
        ['./fixtures/garbled', /config\.json/],
      ];
      for (const [folder, message] of cases) {
        await loadModel(page, folder);
        await error.waitFor({ state: 'visible', timeout: 30_000 });
        await ready(page);
        const text = await error.textContent();
        assert.match(text, message, folder);
        assert.match(text, /Digits is still loaded/);
        await error.getByRole('button', { name: 'Dismiss' }).click();
      }
      await generate(page);
      assert.equal(await controls(page).step.inputValue(), '2');
      await close(page, [/status of 404/]);
    });
  });
}

test('nothing moves while the page loads, and while it makes pictures by itself', async () => {
  for (const size of Object.values(SIZES)) for (const address of ['?steps=2', '?model=models/digits&backend=cpu&steps=4', '?model=models/sprites&backend=cpu&steps=4', 'teach.html']) {
    // A first visit, with the tour, and one after it.
    const context = await browser.newContext(size);
    for (const visit of ['first', 'second']) {
      const page = await context.newPage();
      await watchShifts(page);
      await page.goto(server.url + address);
      if (address === 'teach.html') await page.locator('#teach:enabled').waitFor();
      else {
        await ready(page);
        // Of a click that is a script's, browsers do not say that it asked for what moves.
        await generate(page, () => page.evaluate(() => document.getElementById('generate').click()));
        await page.locator('#entries button').first().waitFor();
      }
      await settle(page);
      assert.deepEqual(await takeShifts(page), [], `${address}, the ${visit} visit, ${size.viewport.width} px`);
      await page.close();
    }
    await context.close();
  }
});

test('without WebGPU the page says so and runs on the CPU', async () => {
  const plain = await launch({ gpu: false });
  try {
    const page = await open('?count=1&steps=2', { from: plain });
    assert.match(await page.locator('#backend-name').textContent(), /^CPU/);
    assert.match(await page.locator('.notice').textContent(), /CPU/);
    await generate(page);
    await close(page);
  } finally {
    await plain.close();
  }
});

test('any sampler runs, and its steps can be scrubbed', async () => {
  const page = await open('?backend=cpu&count=1&steps=4&seed=5&sampler=heun&class=2');
  const on = controls(page);
  assert.equal(await on.sampler.inputValue(), 'heun');
  await generate(page);
  // Two evaluations a step, but for the last.
  assert.equal(await on.step.getAttribute('max'), '7');
  const heun = await pixels(page);
  assert.ok(tones(heun[0]).dark > 0.6, 'a digit is mostly background');
  await on.step.press('ArrowLeft');
  assert.match(await page.locator('#formulas').textContent(), /x/);
  const names = await on.sampler.locator('option').evaluateAll((options) => options.map((option) => option.value));
  assert.ok(names.length >= 11);
  for (const name of names.filter((name) => name !== 'heun')) {
    await on.sampler.selectOption(name);
    await generate(page);
    const [image] = await pixels(page);
    assert.ok(tones(image).dark > 0.3, `${name} removes the noise from the background: ${tones(image).dark}`);
  }
  await close(page);
});

test('what is typed wrong is explained and not lost', async () => {
  const page = await open('?backend=cpu&count=1&steps=banana&seed=5');
  const on = controls(page);
  assert.match(await page.locator('.notice').textContent(), /steps=banana.*whole number/);
  assert.equal(await on.steps.inputValue(), '50');
  await on.steps.fill('0');
  await on.generate.click();
  assert.match(await page.locator('#hint').textContent(), /Steps: a whole number from 1 to 1000/);
  assert.equal(await on.steps.inputValue(), '0');
  assert.ok(await on.generate.isVisible(), 'no run was started');
  await on.steps.fill('2');
  await generate(page);

  // The lock was closed by the seed in the address; opened, each run draws another seed.
  await page.getByRole('button', { name: 'Keep seed' }).click();
  await generate(page);
  assert.notEqual(await on.seed.inputValue(), '5');
  await close(page);
});
