// The examples of embedding, as they are read and under their own policies: from the source, and as they are delivered.

import assert from 'node:assert/strict';
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import axe from 'axe-core';
import { serve } from '../../scripts/serve.mjs';
import { checkLook, closePage, deliver, folderOf, launch, openPage, PHONE, servePage } from './harness.mjs';

let browser, folder;
/** @type {Record<string, {url: string, close: () => Promise<void>}>} */
const servers = {};
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'denoise-examples-'));
  await deliver(folder);
  [browser, servers.source, servers.delivered] = await Promise.all([launch({ gpu: false }), servePage(), serve({ port: 0, mounts: { '/': folder, '/pkg/': join(folder, 'pkg') } })]);
});
after(async () => {
  await browser?.close();
  await Promise.all(Object.values(servers).map((server) => server.close()));
  if (folder) await rm(folder, { recursive: true, force: true });
});

/** Opens an example; what is refused by its policy is an error in the console. @param {string} path */
async function open(from, path) {
  const page = await openPage(browser, `${servers[from].url}examples/${path}`, { wait: false, viewport: PHONE });
  await page.evaluate(axe.source);
  await checkLook(page, path);
  return page;
}
const says = (page, text) => page.getByText(text, { exact: true }).waitFor({ timeout: 60_000 });
/** Shares of dark and light pixels in its picture. */
const tones = (page) => page.getByRole('img').evaluate((canvas) => {
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  const grey = [...data].filter((_, i) => i % 4 === 0);
  return { width: canvas.width, height: canvas.height, dark: grey.filter((value) => value < 50).length / grey.length, light: grey.filter((value) => value > 200).length / grey.length };
});

for (const from of ['source', 'delivered']) {
  test(`the element: ${from}`, async () => {
    const page = await open(from, 'element.html');
    await page.getByRole('button', { name: 'Generate' }).click();
    await says(page, 'Done');
    const { width, height, dark, light } = await tones(page);
    assert.deepEqual([width, height], [64, 64]);
    assert.ok(dark > 0.4 && light > 0.03, `digits are light on dark: ${dark}, ${light}`);
    await closePage(page);
  });

  test(`step by step, to the end and stopped: ${from}`, async () => {
    const page = await open(from, 'steps/');
    await page.getByRole('button', { name: 'Generate' }).click();
    await says(page, 'Done');
    const { dark, light } = await tones(page);
    assert.ok(dark > 0.4 && light > 0.03, `a digit is light on dark: ${dark}, ${light}`);
    await page.getByRole('button', { name: 'Generate' }).click();
    await page.getByText(/^[2-9] of 50$/).waitFor({ timeout: 60_000 });
    await page.getByRole('button', { name: 'Stop' }).click();
    await says(page, 'Stopped');
    assert.ok(await page.getByRole('button', { name: 'Generate' }).isEnabled(), 'and it can begin again');
    await closePage(page);
  });

  test(`a word: ${from}`, async () => {
    const page = await open(from, 'word/');
    await page.getByRole('textbox').fill('go');
    await page.getByRole('button', { name: 'Generate' }).click();
    await says(page, 'Done');
    const { width, height, dark, light } = await tones(page);
    assert.deepEqual([width, height], [64, 32]);
    assert.ok(dark + light > 0.6 && Math.min(dark, light) > 0.05, `letters are of two tones: ${dark}, ${light}`);
    assert.equal(await page.getByRole('img').getAttribute('aria-label'), 'GO at step 30 of 30');
    await closePage(page);
  });
}

test('each is in the list, and delivered as it is read', async () => {
  const list = await readFile(folderOf('www/examples/README.md'), 'utf8');
  for (const name of await readdir(folderOf('www/examples'))) if (name !== 'README.md') assert.ok(list.includes(`[\`${name}`), name);
  for (const name of ['steps/main.js', 'word/main.js']) assert.equal(await readFile(join(folder, 'examples', name), 'utf8'), await readFile(folderOf(`www/examples/${name}`), 'utf8'));
});
