// The page's main thread never stands still: not while a model loads and is compiled, not while it runs.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { closePage, generate, launch, loadModel, openPage, ready, servePage } from './harness.mjs';

/** Milliseconds from which on a task is a long one, to browsers and to people. */
const LONG = 50;
/** A task that is long by accident, on a machine that does much else, is not long every time. */
const ATTEMPTS = 3;

let browser;
let server;

before(async () => {
  server = await servePage();
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await server?.close();
});

/**
 * Milliseconds that the longest task of a page's main thread takes while `act` is under way: of the processor, since
 * what it waits for others is not its own.
 * @param {() => Promise<import('playwright-core').Page>} act
 */
async function longestTask(act) {
  await browser.startTracing(null, { categories: ['toplevel', 'blink.user_timing'] });
  const page = await act();
  // Finds the thread of the page among those of the browser's own pages.
  await page.evaluate(() => performance.mark('denoise'));
  const { traceEvents } = JSON.parse(await browser.stopTracing());
  await closePage(page);
  const thread = ({ pid, tid }) => `${pid}.${tid}`;
  const main = thread(traceEvents.find(({ name }) => name === 'denoise'));
  const tasks = traceEvents.filter((event) => /RunTask$/.test(event.name) && event.tdur && thread(event) === main);
  assert.ok(tasks.length > 100, `the trace has the page’s tasks: ${tasks.length}`);
  return Math.max(...tasks.map(({ tdur }) => tdur)) / 1000;
}

for (const backend of ['gpu', 'cpu']) {
  test(`no task of the page is long, on the ${backend.toUpperCase()}`, async () => {
    const found = [];
    while (found.length < ATTEMPTS && !(found.at(-1) < LONG)) {
      found.push(await longestTask(async () => {
        const page = await openPage(browser, `${server.url}?backend=${backend}&count=4&steps=3`);
        await generate(page);
        await loadModel(page, 'models/sprites');
        await page.waitForFunction(() => document.getElementById('model-name').textContent === 'Sprites', null, { timeout: 120_000 });
        await ready(page);
        return page;
      }));
    }
    assert.ok(found.at(-1) < LONG, `the longest tasks took ${found.map(Math.round).join(', ')} ms`);
  });
}

test('no task of the page is long on which a network learns', async () => {
  const found = [];
  while (found.length < ATTEMPTS && !(found.at(-1) < LONG)) {
    found.push(await longestTask(async () => {
      const page = await openPage(browser, `${server.url}teach.html?backend=cpu&widths=8+16&batch=4&steps=20`, { wait: false });
      await page.waitForFunction(() => !document.getElementById('teach').disabled);
      await page.locator('#teach').click();
      await page.waitForSelector('body[data-phase="finished"]', { timeout: 60_000 });
      await page.waitForFunction(() => document.getElementById('read-kept').textContent === 'step 20');
      await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'Download' }).click()]);
      return page;
    }));
  }
  assert.ok(found.at(-1) < LONG, `the longest tasks took ${found.map(Math.round).join(', ')} ms`);
});
