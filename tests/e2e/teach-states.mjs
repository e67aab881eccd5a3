// Every state of the Teach page, as states.mjs has those of the other.

import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { folderOf, servePage } from './harness.mjs';

/** @typedef {import('playwright-core').Page} Page */

/** A network so small that its steps take no time. */
const TINY = 'backend=cpu&widths=8+16&batch=4&seed=3';

/** Serves the page, and makes pictures that are given to it. */
export async function serveTeachStates() {
  const folder = await mkdtemp(join(tmpdir(), 'denoise-teach-states-'));
  const pets = join(folder, 'a folder whose name is rather long');
  await mkdir(pets);
  await writeFile(join(pets, 'a picture of a cat that is none.png'), 'no picture');
  const server = await servePage();
  return { url: server.url, files: { nothing: pets, several: '', picture: '' }, close: () => Promise.all([server.close(), rm(folder, { recursive: true, force: true })]) };
}

/**
 * @param {import('playwright-core').Browser} browser
 * @param {Awaited<ReturnType<typeof serveTeachStates>>} served
 * @param {object} options  of the context
 * @param {(page: Page) => Promise<void>} [before]  is done before it is opened
 */
export async function openTeachStates(browser, { url, files }, options, before = async () => {}) {
  const context = await browser.newContext({ reducedMotion: 'reduce', ...options });
  const page = await context.newPage();
  await before(page);
  await page.goto(`${url}teach.html?${TINY}&steps=100000`);
  return { page, files, release: () => {} };
}

/** @param {Page} page @param {string} name */
const button = (page, name) => page.getByRole('button', { name, exact: true });
/** @param {Page} page @param {string} phase */
const reached = (page, phase) => page.waitForFunction((wanted) => document.body.dataset.phase === wanted, phase, { timeout: 60_000 });
/** @param {Page} page */
const canTeach = (page) => page.waitForFunction(() => !(/** @type {HTMLButtonElement} */ (document.getElementById('teach')).disabled));
/** @param {Page} page @param {string} name */
const from = (page, name) => page.getByRole('radio', { name }).check({ force: true });
/** @param {Page} page @param {number} step */
const shows = (page, step) => page.waitForFunction((wanted) => document.getElementById('now-step')?.textContent === `step ${wanted}`, step, { timeout: 60_000 });
/** The samples of the first steps are there. @param {Page} page @param {number} least */
const learned = (page, least) => page.waitForFunction((steps) => parseInt(document.getElementById('read-step')?.textContent ?? '') >= steps, least, { timeout: 60_000 });

/** @type {{name: string, reach: (world: {page: Page, files: {nothing: string}}) => Promise<unknown>}[]} */
export const TEACH_STATES = [
  { name: 'teach, ready', reach: ({ page }) => canTeach(page) },
  { name: 'teach, all settings', reach: ({ page }) => page.getByText('Expert').click() },
  { name: 'teach, a wrong setting', reach: async ({ page }) => {
    await page.getByLabel('Channels a level', { exact: true }).fill('9 x');
    await page.getByLabel('Channels a level', { exact: true }).blur();
  } },
  { name: 'teach, letters', reach: async ({ page }) => {
    await page.getByLabel('Channels a level', { exact: true }).fill('8 16');
    await page.getByText('Expert').click();
    await from(page, 'Letters 5,200');
    await page.waitForFunction(() => document.getElementById('learns-says')?.textContent?.startsWith('5,200'));
  } },
  { name: 'teach, pictures to choose', reach: ({ page }) => from(page, 'Pictures of mine') },
  { name: 'teach, pictures that are none', reach: async ({ page, files }) => {
    await page.getByLabel('A folder…').setInputFiles(files.nothing);
    await page.locator('.notice').first().waitFor();
  } },
  { name: 'teach, a model as pictures', reach: async ({ page }) => {
    for (const dismiss of await button(page, 'Dismiss').all()) await dismiss.click();
    await page.getByLabel('A folder…').setInputFiles(folderOf('www/models/sprites'));
    await page.waitForFunction(() => document.querySelector('#beginning option:checked')?.textContent === 'sprites');
  } },
  { name: 'teach, drawings', reach: async ({ page }) => {
    await page.getByLabel('It begins with').selectOption('');
    await from(page, 'Drawings made here');
    for (const box of [0, 1, 4]) {
      await page.locator('#boxes canvas').nth(box).focus();
      for (const key of ['Down', 'Down', 'Right', 'Down']) await page.keyboard.press(`Shift+Arrow${key}`);
    }
  } },
  { name: 'teach, files held over the page', reach: ({ page }) => page.evaluate(() => document.body.classList.add('dragging')) },
  { name: 'teach, learning', reach: async ({ page }) => {
    await page.evaluate(() => document.body.classList.remove('dragging'));
    await from(page, 'Digits 4,000');
    await canTeach(page);
    await button(page, 'Teach').click();
    await reached(page, 'learning');
    await learned(page, 40);
  } },
  { name: 'teach, paused', reach: async ({ page }) => {
    await button(page, 'Pause').click();
    await reached(page, 'paused');
    await learned(page, 1);
  } },
  { name: 'teach, stopped', reach: async ({ page }) => {
    await button(page, 'Stop').click();
    await reached(page, 'stopped');
  } },
  { name: 'teach, another one is kept', reach: async ({ page }) => {
    await button(page, 'Teach').click();
    await page.getByText('One run is kept at a time').waitFor();
  } },
  { name: 'teach, finished', reach: async ({ page }) => {
    await page.getByText('Expert').click();
    await page.getByLabel('Steps', { exact: true }).fill('12');
    await page.getByLabel('Steps', { exact: true }).blur();
    await page.getByText('Expert').click();
    await button(page, 'Begin anew').click();
    await reached(page, 'finished');
    await shows(page, 12);
  } },
  { name: 'teach, looked back', reach: async ({ page }) => {
    await page.locator('#time').focus();
    await page.keyboard.press('Home');
  } },
  { name: 'teach, come back to', reach: async ({ page }) => {
    await page.getByRole('link', { name: 'Use it' }).waitFor(); // it is kept
    await page.reload();
    await reached(page, 'finished');
    await canTeach(page);
  } },
  { name: 'teach, to be deleted', reach: async ({ page }) => {
    await button(page, 'Delete').click();
    await button(page, 'Delete it').waitFor();
  } },
  { name: 'teach, the engine missing', reach: async ({ page }) => {
    await button(page, 'Delete it').click();
    await reached(page, 'ready');
    await page.route('**/learning/denoise_bg.wasm', (route) => route.abort());
    await button(page, 'Teach').click();
    await page.locator('.notice.error').waitFor();
  } },
];
