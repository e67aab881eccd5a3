// The page without the network: it opens as it was, and a newer version replaces it whole or not at all.

import assert from 'node:assert/strict';
import { appendFile, cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import { serve } from '../../scripts/serve.mjs';
import { comesTrue, controls, deliver, folderOf, generate, launch, ready } from './harness.mjs';

let browser, folder, server, version;
const QUERY = '?backend=cpu&steps=2&class=ON';

/** What is on the server: the page as it is, or with another style. */
const publish = (options) => deliver(folder, options);

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'denoise-offline-'));
  [browser, server] = await Promise.all([launch({ gpu: false }), serve({ port: 0, mounts: { '/': folder, '/pkg/': join(folder, 'pkg') } })]);
});
beforeEach(async () => {
  version = await publish();
});
after(async () => {
  await browser?.close();
  await server?.close();
  if (folder) await rm(folder, { recursive: true, force: true });
});

/** A first visit: the page is open, and kept. */
async function visit(query = QUERY) {
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(server.url + query);
  await ready(page);
  await page.evaluate(() => navigator.serviceWorker.ready.then(() => {}));
  return page;
}
const versionOf = (page) => page.evaluate(() => document.querySelector('meta[name=version]').content);
const notice = (page) => page.getByText('A newer version of this page is ready.');

test('after the first visit it works without the network', async () => {
  const page = await visit();
  await page.context().setOffline(true);
  await page.reload();
  await ready(page);
  await generate(page);
  assert.match(await controls(page).status.textContent(), /2 steps/);
  assert.equal(await page.evaluate(() => getComputedStyle(document.querySelector('.primary')).height), '52px', 'with its style');
  // The Teach page is there too, and says what it has not.
  await page.getByRole('link', { name: 'Teach' }).click();
  await page.getByText('The images could not be read').waitFor();
  assert.match(await page.locator('#errors').textContent(), /digits\.json could not be fetched|letters\.json could not be fetched/);
  assert.equal(await page.evaluate(() => getComputedStyle(document.querySelector('.sources')).display), 'grid', 'with its style');
  await page.context().close();
});

test('what a picture costs is computed without the network once it was computed with it', async () => {
  const page = await visit('?backend=cpu&steps=2&model=models/digits&count=1');
  const measure = async () => {
    await page.locator('#picture > summary').click();
    await page.getByRole('button', { name: 'Use this image' }).click();
    await page.getByRole('button', { name: 'What it costs' }).click();
  };
  const estimated = () => page.waitForFunction(() => document.getElementById('measuring-sum')?.textContent.includes('±'), null, { timeout: 60_000 });
  await page.reload(); // now the service worker has the page
  await ready(page);
  await measure();
  await estimated();
  await page.context().setOffline(true);
  await page.reload();
  await ready(page);
  await measure();
  await estimated();
  await page.context().close();
});

test('once a classifier has guided a run, it does so without the network', async () => {
  await cp(folderOf('tests/golden/classifier_attention'), join(folder, 'models/digits/classifier'), { recursive: true });
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(`${server.url}?backend=cpu&steps=2&count=1&class=3&model=models/digits`);
  await ready(page);
  await page.evaluate(() => navigator.serviceWorker.ready.then(() => {}));
  await page.locator('#guide').selectOption('classifier');
  await ready(page);
  for (const file of ['denoise.js', 'denoise_bg.wasm']) await comesTrue(page, async (name) => Boolean(await caches.match(`pkg/learning/${name}`)), file);
  await context.setOffline(true);
  await page.reload();
  await ready(page);
  await generate(page);
  assert.equal(await page.locator('#guide').inputValue(), 'classifier');
  assert.ok(await page.locator('#loupe-gradient').isVisible());
  await context.close();
});

test('a newer version is said to be there, and taken when the visitor asks', async () => {
  const page = await visit();
  const newer = await publish({ style: '\n.primary { height: 60px; }\n' });
  assert.notEqual(newer, version);
  await page.reload();
  await ready(page);
  assert.equal(await versionOf(page), version, 'until then it is the one before');
  await notice(page).waitFor();
  assert.equal(await page.evaluate(() => getComputedStyle(document.querySelector('.primary')).height), '52px');
  await page.getByRole('button', { name: 'Reload' }).click();
  await page.waitForFunction((newer) => document.querySelector('meta[name=version]')?.content === newer, newer);
  await ready(page);
  assert.equal(await page.evaluate(() => getComputedStyle(document.querySelector('.primary')).height), '60px');
  const kept = await page.evaluate(() => caches.keys().then((names) => names.filter((name) => name.startsWith('denoise-page:'))));
  assert.deepEqual(kept, [`denoise-page:${newer}`], 'the one before is gone');
  await page.context().close();
});

test('of two versions no mixture is kept', async () => {
  const page = await visit();
  await publish({ style: '\n.primary { height: 60px; }\n' });
  // What is on the server is not what its list says: somebody is putting the next version there.
  await appendFile(join(folder, 'style.css'), '\n.primary { height: 70px; }\n');
  await page.reload();
  await ready(page);
  const failed = await page.evaluate(async () => {
    const registration = await navigator.serviceWorker.ready;
    await registration.update().catch(() => {});
    for (let i = 0; registration.installing && i < 100; i++) await new Promise((done) => { setTimeout(done, 100); });
    return !registration.installing && !registration.waiting;
  });
  assert.equal(failed, true);
  assert.equal(await versionOf(page), version);
  assert.equal(await notice(page).count(), 0);
  await page.context().setOffline(true);
  await page.reload();
  await ready(page);
  assert.equal(await versionOf(page), version, 'the whole one is there still');
  await page.context().close();
});

test('it can be installed: its manifest and icons are there', async () => {
  const manifest = await (await fetch(`${server.url}manifest.webmanifest`)).json();
  assert.deepEqual([manifest.name, manifest.display, manifest.start_url], ['Denoise', 'standalone', '.']);
  for (const { src, type } of manifest.icons) {
    const icon = await fetch(server.url + src);
    assert.equal(icon.headers.get('content-type'), type, src);
  }
  assert.match((await fetch(`${server.url}manifest.webmanifest`)).headers.get('content-type'), /manifest\+json/);
});
