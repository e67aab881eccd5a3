// The page's main thread never stands still: not while a model loads and is compiled, not while it runs.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { closePage, generate, launch, loadModel, longestTask, openPage, ready, servePage } from './harness.mjs';

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

/** Of a page that is opened for it. @param {() => Promise<import('playwright-core').Page>} act */
async function longestOf(act) {
  let page;
  const longest = await longestTask(browser, async () => {
    page = await act();
    return page;
  });
  await closePage(page);
  return longest;
}

for (const backend of ['gpu', 'cpu']) {
  test(`no task of the page is long, on the ${backend.toUpperCase()}`, async () => {
    const found = [];
    while (found.length < ATTEMPTS && !(found.at(-1) < LONG)) {
      found.push(await longestOf(async () => {
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
    found.push(await longestOf(async () => {
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
