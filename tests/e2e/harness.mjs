// What the story and the screenshots share: a served page in headless Chromium, and ways to read it.

import assert from 'node:assert/strict';
import { appendFile, cp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { bundle } from '../../scripts/bundle.mjs';
import { keepForOffline } from '../../scripts/offline.mjs';
import { serve } from '../../scripts/serve.mjs';

export const DESKTOP = { width: 1440, height: 900 };
export const PHONE = { width: 390, height: 844 };

/** A folder of the repository. @param {string} path */
export const folderOf = (path) => fileURLToPath(new URL(`../../${path}`, import.meta.url));

/** WebGPU on the processor, so that the same story runs on machines without a graphics card. */
const SOFTWARE_GPU = [
  '--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader',
  '--use-angle=swiftshader', '--enable-unsafe-swiftshader', '--ignore-gpu-blocklist',
  '--enable-features=Vulkan', '--use-vulkan=swiftshader',
];

/** The machine's own GPU, where Chromium does not offer it without a window or on Linux. */
const HARDWARE_GPU = ['--enable-unsafe-webgpu', '--ignore-gpu-blocklist', '--enable-features=Vulkan'];

/** @param {{gpu?: boolean, software?: boolean}} [options]  `software`: the GPU is the processor */
export function launch({ gpu = true, software = true } = {}) {
  const device = software ? SOFTWARE_GPU : HARDWARE_GPU;
  return chromium.launch({
    executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-background-networking', ...(gpu ? device : ['--disable-gpu'])],
  });
}

/**
 * Serves www/ and pkg/; DENOISE_PKG names another build of the engine, DENOISE_MODELS other models.
 * @param {Record<string, string>} [mounts]
 */
export function servePage(mounts = {}) {
  const { DENOISE_PKG, DENOISE_MODELS } = process.env;
  if (DENOISE_PKG) mounts = { '/pkg/': DENOISE_PKG, ...mounts };
  if (DENOISE_MODELS) mounts = { '/models/': DENOISE_MODELS, '/models/catalogue.js': folderOf('www/models/catalogue.js'), ...mounts };
  return serve({ port: 0, mounts });
}

/**
 * Puts the page as it is delivered into a folder, engine and all.
 * @param {string} folder
 * @param {{style?: string}} [options]  something that another version of it has besides
 * @returns {Promise<string>} its version
 */
export async function deliver(folder, { style = '' } = {}) {
  await rm(folder, { recursive: true, force: true });
  await cp(folderOf('www'), folder, { recursive: true });
  await cp(process.env.DENOISE_PKG ?? folderOf('pkg'), join(folder, 'pkg'), { recursive: true });
  for (const part of ['embed', 'engine', 'model', 'words']) await rm(join(folder, 'pkg', part), { recursive: true, force: true }); // the npm package's
  if (style) await appendFile(join(folder, 'style.css'), style);
  await bundle(folder);
  return keepForOffline(folder);
}

/** The address with the model that most tests are about, unless it names one itself. @param {string} address */
export function withModel(address) {
  const url = new URL(address);
  // The benchmark beside the page takes all that there are.
  if (url.pathname.endsWith('/') && !url.searchParams.has('model')) url.searchParams.set('model', 'models/digits');
  return url.href;
}

/**
 * Opens the page and waits until the model is ready, the digits if the address names none.
 * @param {import('playwright-core').Browser} browser
 * @param {string} address
 * @param {{viewport?: object, colorScheme?: 'light'|'dark', before?: (page: import('playwright-core').Page) => Promise<void>, wait?: boolean}} [options]
 *   `before` runs before the page is opened; without `wait` it may still be loading.
 */
export async function openPage(browser, address, { viewport = DESKTOP, colorScheme = 'light', before = async () => {}, wait = true } = {}) {
  const context = await browser.newContext({ viewport, colorScheme, reducedMotion: 'reduce' });
  // The tour is for those who are here for the first time.
  await context.addInitScript(() => {
    try {
      localStorage.setItem('tour', 'seen');
    } catch {
      // A page without storage shows none.
    }
  });
  const page = await context.newPage();
  page.complaints = [];
  page.on('pageerror', (error) => page.complaints.push(error.message));
  page.on('console', (message) => {
    if (message.type() === 'error') page.complaints.push(message.text());
  });
  await before(page);
  await page.goto(withModel(address));
  if (wait) await ready(page);
  return page;
}

/** Closes it; what it complained about must be expected. @param {RegExp[]} [expected] */
export async function closePage(page, expected = []) {
  const unexpected = page.complaints.filter((text) => !expected.some((pattern) => pattern.test(text)));
  assert.deepEqual(unexpected, [], 'the console has no errors');
  await page.context().close();
}

/** Names a model in the menu, as typed. @param {string} address */
export async function loadModel(page, address) {
  await page.locator('#model-button').click();
  await controls(page).address.fill(address);
  await page.getByRole('button', { name: 'Load', exact: true }).click();
}

/** The controls by the names that people and screen readers know them by. */
export function controls(page) {
  const exact = (role, name) => page.getByRole(role, { name, exact: true });
  return {
    generate: exact('button', 'Generate'),
    stop: exact('button', 'Stop'),
    play: exact('button', 'Play'),
    pause: exact('button', 'Pause'),
    step: exact('slider', 'Step'),
    sampler: exact('combobox', 'Sampler'),
    steps: page.getByLabel('Steps', { exact: true }),
    eta: page.getByLabel('η', { exact: true }),
    guidance: page.getByLabel('Guidance', { exact: true }),
    count: page.getByLabel('Images', { exact: true }),
    address: page.getByLabel('From the Hugging Face hub, or any address'),
    precision: (name) => page.getByRole('radiogroup', { name: 'Precision' }).getByRole('radio', { name, exact: true }),
    seed: page.getByLabel('Seed', { exact: true }),
    class: (name) => page.getByRole('radiogroup', { name: 'Class' }).getByRole('radio', { name, exact: true }),
    view: (name) => page.getByRole('radiogroup', { name: 'View' }).getByRole('radio', { name, exact: true }),
    images: page.locator('#images'),
    status: page.locator('#status'),
  };
}

/** Waits until the model is loaded and nothing runs; says what the page says when that fails. */
export async function ready(page, timeout = 120_000) {
  await page.waitForSelector('body[data-phase="ready"], body[data-phase="broken"]', { timeout });
  if (await page.evaluate(() => document.body.dataset.phase) === 'broken') {
    throw new Error(`The page is not ready: ${await page.locator('#errors').textContent()}`);
  }
}

/**
 * Waits until what a function of the page promises is true. Playwright's waitForFunction takes the promise itself for that.
 * @param {import('playwright-core').Page} page
 * @param {(of: any) => Promise<boolean>} holds
 * @param {unknown} [of]  what it is given
 */
export async function comesTrue(page, holds, of = null, timeout = 30_000) {
  const end = Date.now() + timeout;
  while (!await page.evaluate(holds, of)) {
    assert.ok(Date.now() < end, `${timeout} ms have gone by, and this is not true of ${JSON.stringify(of)}: ${holds}`);
    await page.waitForTimeout(50);
  }
}

/** Clicks Generate (or starts a run in another way) and waits for its end, however short it is. */
export async function generate(page, start = () => controls(page).generate.click()) {
  await page.evaluate(() => {
    globalThis.ran = new Promise((done) => {
      new MutationObserver((_, observer) => {
        // Short runs pass several phases at once; being back at rest after any change is the end.
        if (!['ready', 'broken'].includes(document.body.dataset.phase)) return;
        observer.disconnect();
        done();
      }).observe(document.body, { attributeFilter: ['data-phase'] });
    });
  });
  await start();
  await page.evaluate(() => globalThis.ran);
  await ready(page);
}

/** The grid's values of one channel, one array an image; grey has them all alike. @returns {Promise<number[][]>} */
export function pixels(page, channel = 0) {
  return page.evaluate((channel) => {
    const canvas = document.getElementById('images');
    const size = document.getElementById('loupe-x');
    const count = document.getElementById('options').children.length;
    const columns = canvas.width / size.width;
    return Array.from({ length: count }, (_, i) => {
      const { data } = canvas.getContext('2d').getImageData((i % columns) * size.width, Math.floor(i / columns) * size.height, size.width, size.height);
      return Array.from({ length: data.length / 4 }, (__, k) => data[4 * k + channel]);
    });
  }, channel);
}

/** Shares of dark and of bright pixels. @param {number[]} image */
export function tones(image) {
  const share = (test) => image.filter(test).length / image.length;
  return { dark: share((v) => v < 48), bright: share((v) => v > 160), middle: share((v) => v >= 48 && v <= 208) };
}

/** How far neighbouring pixels differ on average: about 105 in noise, 30 to 45 in sprites. @param {number[]} image */
export function roughness(image) {
  return image.slice(1).reduce((sum, value, i) => sum + Math.abs(value - image[i]), 0) / (image.length - 1);
}

/**
 * Milliseconds that the longest task of a page's main thread takes while `act` is under way: of the processor, since
 * what it waits for others is not its own.
 * @param {import('playwright-core').Browser} browser
 * @param {() => Promise<import('playwright-core').Page>} act  tells whose tasks
 */
export async function longestTask(browser, act) {
  await browser.startTracing(null, { categories: ['toplevel', 'blink.user_timing'] });
  const page = await act();
  // Finds the thread of the page among those of the browser's own pages.
  await page.evaluate(() => performance.mark('denoise'));
  const { traceEvents } = JSON.parse(await browser.stopTracing());
  const thread = ({ pid, tid }) => `${pid}.${tid}`;
  const main = thread(traceEvents.find(({ name }) => name === 'denoise'));
  const tasks = traceEvents.filter((event) => /RunTask$/.test(event.name) && event.tdur && thread(event) === main);
  assert.ok(tasks.length > 100, `the trace has the page’s tasks: ${tasks.length}`);
  return Math.max(...tasks.map(({ tdur }) => tdur)) / 1000;
}

// Pixels are compared as text: thousands of numbers side by side would say nothing.
export const equal = (a, b, what) => assert.ok(JSON.stringify(a) === JSON.stringify(b), `${what}: the pixels differ`);
export const differ = (a, b, what) => assert.ok(JSON.stringify(a) !== JSON.stringify(b), `${what}: the pixels are the same`);

/** Checks that axe, which the page has, finds nothing in what is shown, and that it fits the screen. @param {string} state  what it is called */
export async function checkLook(page, state) {
  const { violations } = await page.evaluate(() => globalThis.axe.run(document));
  assert.deepEqual(violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(' ')}`), [], state);
  const wide = await page.evaluate(() => [...document.querySelectorAll('body *')].filter((e) => e.checkVisibility() && !e.closest('.unseen') && e.getBoundingClientRect().right > innerWidth + 0.5).map((e) => e.id || e.className || e.tagName));
  assert.deepEqual(wide, [], `${state}: nothing is wider than the screen`);
}
