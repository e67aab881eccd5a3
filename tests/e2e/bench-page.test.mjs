// The benchmark page: what it measures, what it says of it, and what it does when something is wrong.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import axe from 'axe-core';
import { closePage as close, folderOf, generate, launch, openPage, PHONE, servePage } from './harness.mjs';

/** One model is enough where the device does not matter. */
const DIGITS = 'model=./digits';

let server;
let browser;

before(async () => {
  server = await servePage({ '/digits/': folderOf('www/models/digits') });
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await server?.close();
});

const open = (query, options = {}) => openPage(browser, `${server.url}bench.html?${query}`, options);
const button = (page, name) => page.getByRole('button', { name, exact: true });

/** Clicks Run and waits for the end. */
const run = (page) => generate(page, () => button(page, 'Run').click());

for (const [backend, device] of [['cpu', 'CPU, wasm SIMD'], ['gpu', 'GPU, WebGPU']]) {
  test(`evaluations are timed on the ${backend}, and the report can be copied`, async () => {
    const page = await open(`${DIGITS}&backend=${backend}&steps=4`);
    await page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
    await run(page);
    const card = page.getByRole('region', { name: 'Digits' });
    const [, shown] = (await card.locator('.median').textContent()).match(/^([\d.]+) ms an evaluation$/);
    assert.ok(Number(shown) > 0);
    assert.match(await card.textContent(), /4 evaluations/);
    assert.equal(await card.locator('rect').count(), 4);

    await button(page, 'Copy report').click();
    await page.waitForFunction(() => document.getElementById('announcer').textContent === 'The report was copied.');
    const report = await page.evaluate(() => navigator.clipboard.readText());
    assert.equal(report, await page.locator('#report-text').textContent());
    assert.ok(report.includes(`- Device: ${device}`), report);
    assert.ok(report.includes(`- Browser: ${await page.evaluate(() => navigator.userAgent)}`));
    const cells = report.split('\n').find((line) => line.startsWith('| Digits')).split('|').map((cell) => cell.trim());
    const [title, precision, images, median, fastest, slowest, evaluations, pictures] = cells.slice(1);
    assert.deepEqual([title, precision, images, median, evaluations], ['Digits', 'f32', '1', shown, '4']);
    assert.ok(Number(fastest) <= Number(median) && Number(median) <= Number(slowest));
    assert.ok(Math.abs(Number(pictures) * 50 * Number(median) / 1000 - 1) < 0.02, 'images of 50 steps a second');
    await close(page);
  });
}

test('all shipped models are timed, several images at a time', async () => {
  const page = await open('backend=cpu&steps=2&count=2');
  await run(page);
  for (const name of ['Letters', 'Digits', 'Sprites']) {
    assert.match(await page.getByRole('region', { name }).locator('.median').textContent(), /ms an evaluation of 2 images$/);
  }
  assert.match(await page.locator('#report-text').textContent(), /\| Sprites \| f32 \| 2 \|/);
  await close(page);
});

test('an engine that times its layers has them shown, the slowest first', async () => {
  const page = await open(`${DIGITS}&backend=cpu&steps=2`, {
    before: async (fresh) => {
      // The same engine with a profile.
      const text = await readFile(folderOf('pkg/denoise.js'), 'utf8');
      const layers = [{ name: 'conv_in', op: 'conv2d', milliseconds: 1 }, { name: 'mid_block.resnets.0', op: 'conv2d', milliseconds: 3 }];
      const body = `${text}\nEngine.prototype.profile = async () => ({ layers: ${JSON.stringify(layers)} });\n`;
      await fresh.context().route('**/pkg/denoise.js', (route) => route.fulfill({ body, contentType: 'text/javascript' }));
    },
  });
  await run(page);
  await page.getByText('2 layers, slowest first').click();
  const rows = await page.locator('.layers tbody tr').allTextContents();
  assert.deepEqual(rows, ['mid_block.resnets.0conv2d3.0075 %', 'conv_inconv2d1.0025 %']);
  assert.match(await page.locator('#report-text').textContent(), /\| mid_block\.resnets\.0 \| conv2d \| 3\.00 \|/);
  await close(page);
});

test('it can be stopped, and run again', async () => {
  const page = await open(`${DIGITS}&backend=cpu&steps=900`);
  await button(page, 'Run').click();
  await page.waitForFunction(() => document.getElementById('status-text').textContent.startsWith('Timing'));
  await button(page, 'Stop').click();
  await page.waitForFunction(() => document.getElementById('status-text').textContent === 'Stopped');
  assert.ok(await page.locator('#report').isHidden());
  await page.getByLabel('Evaluations').fill('2');
  await run(page);
  assert.ok(await page.locator('#report').isVisible());
  await close(page);
});

test('what is wrong is said, with what to do', async () => {
  const page = await open('model=./nowhere&backend=cpu&steps=2&precision=f99');
  assert.match(await page.locator('#notes').textContent(), /precision=f99 in the address is not auto or f32 or f16/);
  await page.getByLabel('Evaluations').fill('0');
  await button(page, 'Run').click();
  assert.equal(await page.locator('#hint').textContent(), 'Evaluations has to be a whole number from 1 to 1000.');
  await page.getByLabel('Evaluations').fill('2');
  await run(page);
  const failure = page.locator('.notice.error');
  assert.match(await failure.textContent(), /The benchmark did not finish/);
  assert.ok(await failure.getByRole('button', { name: 'Try again' }).isVisible());
  await close(page, [/404/]);
});

test('it is reachable from the page, fits a phone and is accessible', async () => {
  for (const colorScheme of ['light', 'dark']) {
    const page = await open(`${DIGITS}&backend=cpu&steps=2`, { viewport: PHONE, colorScheme });
    await run(page);
    const { wide, there } = await page.evaluate(() => ({ wide: document.documentElement.scrollWidth, there: innerWidth }));
    assert.ok(wide <= there, `${wide} px do not fit ${there}`);
    await page.evaluate(axe.source);
    const { violations } = await page.evaluate(() => globalThis.axe.run(document));
    assert.deepEqual(violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`), []);
    await close(page);
  }
  const page = await openPage(browser, `${server.url}?backend=cpu`);
  await page.getByRole('button', { name: 'Help' }).click();
  await page.getByRole('link', { name: 'How fast is it here?' }).click();
  await page.waitForURL(/bench\.html/);
  await close(page);
});
