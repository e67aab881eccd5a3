// The page in Firefox, on the CPU: Debian's Firefox has no WebGPU. It speaks WebDriver BiDi by itself.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import puppeteer from 'puppeteer-core';
import { DESKTOP, PHONE, closePage, equal, generate, launch, openPage, pixels, servePage } from './harness.mjs';

let chromium, firefox, server;
before(async () => {
  const executablePath = process.env.FIREFOX || '/usr/bin/firefox-esr';
  [chromium, firefox, server] = await Promise.all([launch({ gpu: false }), puppeteer.launch({ browser: 'firefox', executablePath, headless: true }), servePage()]);
});
after(async () => {
  await firefox?.close();
  await chromium?.close();
  await server?.close();
});

const atRest = (page) => page.waitForFunction(() => ['ready', 'broken'].includes(document.body.dataset.phase), { timeout: 120_000 });
const text = (page, id) => page.evaluate((id) => document.getElementById(id).textContent, id);

for (const [name, viewport] of [['desktop', DESKTOP], ['phone', PHONE]]) {
  test(`Firefox on a ${name} makes the pictures that Chromium makes, bit for bit`, async () => {
    const query = '?model=models/letters&steps=4&class=FOX&seed=7';
    const page = await firefox.newPage();
    const complaints = [];
    page.on('pageerror', (error) => complaints.push(error.message));
    page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
    await page.setViewport(viewport);
    await page.goto(server.url + query);
    await atRest(page);
    assert.match(await text(page, 'backend-name'), /^CPU/);
    assert.match(await text(page, 'notes'), /WebGPU is not available in this browser, so the CPU does the work/);
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true, 'nothing is wider than the screen');
    await page.click('#generate');
    await page.waitForFunction(() => document.getElementById('status-text').textContent === 'Done', { timeout: 120_000 });
    const made = await pixels(page);

    const other = await openPage(chromium, `${server.url}${query}&backend=cpu`);
    await generate(other);
    equal(made, await pixels(other), 'Firefox and Chromium');
    await closePage(other);

    // The slider leads back to the noise.
    await page.focus('#step');
    await page.keyboard.press('Home');
    assert.equal(await text(page, 'at-step'), '0 of 4');
    assert.deepEqual(complaints, []);
    await page.close();
  });
}

test('a network learns in Firefox as it does in Chromium, and is kept', async () => {
  const query = 'teach.html?backend=cpu&widths=8+16&batch=4&seed=3&steps=12';
  const finished = () => document.body.dataset.phase === 'finished' && document.getElementById('now-step').textContent === 'step 12' && document.getElementById('read-kept').textContent === 'step 12';
  const samples = (page) => page.evaluate(() => {
    const canvas = document.getElementById('now');
    return [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data];
  });
  const page = await firefox.newPage();
  const complaints = [];
  page.on('pageerror', (error) => complaints.push(error.message));
  await page.setViewport(DESKTOP);
  await page.goto(server.url + query);
  const teach = () => !document.getElementById('teach').disabled;
  await page.waitForFunction(teach, { timeout: 60_000 });
  await page.click('#teach');
  await page.waitForFunction(finished, { timeout: 120_000 });
  const made = await samples(page);

  const other = await openPage(chromium, server.url + query, { wait: false });
  await other.waitForFunction(teach);
  await other.click('#teach');
  await other.waitForFunction(finished, null, { timeout: 120_000 });
  equal(made, await samples(other), 'Firefox and Chromium');
  await closePage(other);

  await page.reload();
  await page.waitForFunction(() => document.getElementById('now-step').textContent === 'step 12', { timeout: 60_000 });
  equal(await samples(page), made, 'after a reload');
  assert.deepEqual(complaints, []);
  await page.close();
});
