// The page as it is delivered: bundled, under its own policy, with everything that it fetches only when it is asked to.

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { serve } from '../../scripts/serve.mjs';
import { closePage, controls, deliver, differ, equal, generate, launch, openPage, pixels, servePage, tones } from './harness.mjs';

let browser, folder, server, source;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'denoise-delivered-'));
  await deliver(folder);
  [browser, server, source] = await Promise.all([launch({ gpu: false }), serve({ port: 0, mounts: { '/': folder, '/pkg/': join(folder, 'pkg') } }), servePage()]);
});
after(async () => {
  await browser?.close();
  await server?.close();
  await source?.close();
  if (folder) await rm(folder, { recursive: true, force: true });
});

const QUERY = '?backend=cpu&count=2&steps=8&seed=3&class=7';

test('it opens, loads a model, generates and scrubs, and makes what its source makes', async () => {
  const page = await openPage(browser, server.url + QUERY);
  const scripts = await page.evaluate(() => performance.getEntriesByType('resource').filter(({ initiatorType }) => initiatorType === 'script' || initiatorType === 'other').map(({ name }) => new URL(name).pathname));
  assert.deepEqual(scripts.filter((path) => path.endsWith('.js') && path !== '/service-worker.js').sort(), ['/engine/worker.js', '/main.js', '/theme.js'], 'a program is one file');
  await generate(page);
  const end = await pixels(page);
  for (const image of end) assert.ok(tones(image).dark > 0.4 && tones(image).bright > 0.03, 'a digit is light on dark');
  await controls(page).step.press('Home');
  const noise = await pixels(page);
  differ(noise, end, 'noise and digit');
  assert.ok(tones(noise[0]).middle > 0.3);
  await controls(page).step.press('End');
  equal(await pixels(page), end, 'back at the end');
  await closePage(page);

  const original = await openPage(browser, source.url + QUERY);
  await generate(original);
  equal(await pixels(original), end, 'bundled and not');
  await closePage(original);
});

test('its other worker is found: a GIF is made', async () => {
  const page = await openPage(browser, server.url + QUERY);
  await generate(page);
  await page.getByRole('button', { name: 'Save', exact: true }).click();
  const [download] = await Promise.all([page.waitForEvent('download', { timeout: 60_000 }), page.locator('[data-way=gif]').click()]);
  assert.match(download.suggestedFilename(), /\.gif$/);
  await closePage(page);
});

test('the benchmark beside it starts its engine', async () => {
  const page = await openPage(browser, `${server.url}bench.html?backend=cpu&model=./models/digits&steps=2`, { wait: false });
  await page.getByRole('button', { name: 'Run', exact: true }).click();
  await page.getByText(/ms an evaluation$/).waitFor({ timeout: 120_000 });
  await closePage(page);
});

test('a network learns on the page beside it', async () => {
  const page = await openPage(browser, `${server.url}teach.html?backend=cpu&widths=8+16&batch=4&steps=2`, { wait: false });
  await page.waitForFunction(() => !document.getElementById('teach').disabled);
  await page.getByRole('button', { name: 'Teach', exact: true }).click();
  await page.waitForSelector('body[data-phase="finished"]', { timeout: 60_000 });
  await closePage(page);
});

test('another page embeds its element', async () => {
  const context = await browser.newContext();
  const page = await context.newPage();
  const problems = [];
  page.on('pageerror', (error) => problems.push(error.message));
  await page.route('**/own.html', (route) => route.fulfill({ contentType: 'text/html', body: `<!doctype html><title>Own</title><link rel="icon" href="data:,">
    <script type="module" src="embed/element.js"></script>
    <denoise-demo model="./models/digits" backend="cpu" steps="3" count="1" class="7" seed="3"></denoise-demo>` }));
  await page.goto(`${server.url}own.html`);
  await page.getByRole('button', { name: 'Generate' }).click();
  await page.getByText('Done').waitFor({ timeout: 60_000 });
  assert.deepEqual(problems, []);
  await context.close();
});
