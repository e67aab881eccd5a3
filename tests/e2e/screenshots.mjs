// Pictures of the page in every state, to be looked at: node tests/e2e/screenshots.mjs FOLDER [--backend cpu|gpu]
// Those for the README are made by scripts/pictures.mjs.

import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { makeFaultyEngine } from './engines.mjs';
import { controls, folderOf, generate, launch, loadModel, ready, servePage } from './harness.mjs';

const { values, positionals } = parseArgs({ allowPositionals: true, options: { backend: { type: 'string', default: 'cpu' }, steps: { type: 'string', default: '25' } } });
const [folder] = positionals;
if (!folder) {
  console.error('Usage: node tests/e2e/screenshots.mjs FOLDER [--backend cpu|gpu] [--steps 25]');
  process.exit(2);
}
await mkdir(folder, { recursive: true });

const SIZES = { desktop: { width: 1440, height: 900 }, phone: { width: 390, height: 844 } };
const query = `?backend=${values.backend}&steps=${values.steps}`;
const faulty = await mkdtemp(join(tmpdir(), 'denoise-screenshots-'));
await makeFaultyEngine(faulty);
const server = await servePage({ '/faulty/pkg/': faulty, '/faulty/': folderOf('www') });
const browser = await launch({ gpu: values.backend === 'gpu' });

/** Moves the slider by its value, as a drag would. */
const scrub = (page, fraction) => page.evaluate((f) => {
  const slider = document.getElementById('step');
  slider.value = Math.round(slider.max * f);
  slider.dispatchEvent(new Event('input', { bubbles: true }));
}, fraction);

try {
  for (const [size, viewport] of Object.entries(SIZES)) {
    for (const colorScheme of ['light', 'dark']) {
      const context = await browser.newContext({ viewport, colorScheme, deviceScaleFactor: 2 });
      const page = await context.newPage();
      const on = controls(page);
      const shoot = async (state, options) => {
        await page.waitForTimeout(200); // colours may still be changing
        await page.screenshot({ path: join(folder, `${size}-${colorScheme}-${state}.png`), ...options });
      };

      // Loading is quick here: hold the weights back until its picture is taken.
      let release;
      const held = new Promise((done) => {
        release = done;
      });
      await context.route('**/*.safetensors', async (route) => {
        await held;
        await route.continue();
      });
      await page.goto(server.url + query);
      await page.waitForTimeout(1500);
      await shoot('loading');
      release();
      await ready(page);
      await shoot('ready');

      await on.generate.click();
      await page.waitForFunction((s) => Number(document.getElementById('step').value) >= s, Math.round(values.steps / 3), { timeout: 120_000 });
      await shoot('sampling');
      await ready(page);
      await shoot('done');
      await scrub(page, 0.6);
      await shoot('scrubbed');
      await on.view('x̂0').check();
      await shoot('predicted');
      if (size === 'phone') await shoot('whole', { fullPage: true });

      await on.steps.fill('60');
      await on.generate.click();
      await page.waitForFunction(() => document.getElementById('status-number').textContent.startsWith('4/'), null, { timeout: 120_000 });
      await on.stop.click();
      await ready(page);
      await shoot('stopped');

      await on.steps.fill('0');
      await shoot('invalid');
      await on.steps.fill(values.steps);
      for (const id of ['model', 'backend', 'save', 'history']) {
        await page.locator(`#${id}-button`).click();
        await shoot(`${id}-menu`);
        await page.keyboard.press('Escape');
      }
      await page.getByRole('button', { name: 'Help' }).click();
      await shoot('help');
      await page.keyboard.press('Escape');
      await page.locator('.readouts .term').nth(1).hover();
      await shoot('tooltip');
      await page.mouse.move(0, 0);

      await loadModel(page, 'models/nowhere');
      await page.locator('.notice.error').waitFor();
      await shoot('error');

      await loadModel(page, 'models/sprites');
      await page.waitForFunction(() => document.getElementById('model-name').textContent === 'Sprites');
      await ready(page);
      await shoot('sprites');
      await generate(page);
      await shoot('sprites-done');
      if (size === 'phone') await shoot('sprites-whole', { fullPage: true });
      await page.locator('#model-button').click();
      await page.locator('#stored summary').click();
      await page.locator('#stored-list li').first().waitFor();
      await shoot('stored');
      await page.keyboard.press('Escape');
      await page.evaluate(() => document.body.classList.add('dragging'));
      await shoot('dragging');
      await page.evaluate(() => document.body.classList.remove('dragging'));
      await page.locator('#own-folder').setInputFiles(folderOf('tests/golden/unet_tiny_class'));
      await page.waitForFunction(() => document.getElementById('model-name').textContent === 'unet_tiny_class');
      await ready(page);
      await shoot('own-model');
      await generate(page);
      await shoot('own-model-done');

      await page.goto(`${server.url}faulty/?backend=gpu&steps=${values.steps}`);
      await ready(page);
      await page.locator('#backend-button').click();
      await page.getByRole('button', { name: 'Check my GPU' }).click();
      await page.locator('.notice.error').waitFor();
      await ready(page);
      await shoot('wrong-gpu');
      await page.getByRole('button', { name: 'Show report' }).click();
      await shoot('report');
      await context.close();
    }
  }

  // No WebGPU, and everything as it comes.
  const plain = await launch({ gpu: false });
  for (const [size, viewport] of Object.entries(SIZES)) {
    const page = await plain.newPage({ viewport, deviceScaleFactor: 2 });
    await page.goto(`${server.url}?steps=${values.steps}`);
    await ready(page);
    await page.screenshot({ path: join(folder, `${size}-light-no-webgpu.png`) });
    await page.setViewportSize({ width: 320, height: 640 });
    await generate(page);
    await page.screenshot({ path: join(folder, `narrow-after-${size}.png`) });
  }
  await plain.close();
} finally {
  await browser.close();
  await server.close();
  await rm(faulty, { recursive: true, force: true });
}
