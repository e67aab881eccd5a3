// Models from the hub: how they are named, fetched in parts, stored, and what happens when things break.

import assert from 'node:assert/strict';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { closePage, controls, folderOf, generate, launch, loadModel, openPage, ready, servePage } from './harness.mjs';
import { COMMIT, startHub } from './hub.mjs';
import { widen } from './widen.mjs';

const PART = 8 * 2 ** 20;
const WEIGHTS = 'diffusion_pytorch_model.safetensors';

let browser;
let server;
let folder;
let hub;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'denoise-hub-'));
  // Weights of more than one part.
  await widen(folderOf('www/models/sprites'), join(folder, 'sprites'));
  // A bare network in half precision, in one file and in shards.
  await cp(folderOf('tests/golden/unet_tiny_class'), join(folder, 'bare'), { recursive: true });
  await cp(folderOf('tests/golden/unet_tiny_class/config.json'), join(folder, 'pickled/unet/config.json'));
  await cp(folderOf('tests/golden/unet_tiny_class/config.json'), join(folder, 'pickled/unet/diffusion_pytorch_model.bin'));
  for (const network of ['unet', 'unet_ema']) {
    await cp(folderOf('tests/golden/unet_tiny_class'), join(folder, 'several', network), { recursive: true });
    await cp(join(folder, 'several', network, WEIGHTS), join(folder, 'several', network, 'diffusion_pytorch_model.fp16.safetensors'));
  }
  server = await servePage();
  browser = await launch({ gpu: false });
});

after(async () => {
  await browser?.close();
  await server?.close();
  if (folder) await rm(folder, { recursive: true, force: true });
});

beforeEach(async () => {
  hub = await startHub({
    'somebody/sprites': join(folder, 'sprites'),
    'somebody/bare': join(folder, 'bare'),
    'somebody/pickled': join(folder, 'pickled'),
    'somebody/several': join(folder, 'several'),
    'somebody/gated': { status: 403, code: 'GatedRepo' },
  });
});

afterEach(() => hub.close());

const open = (query, options) => openPage(browser, `${server.url}?backend=cpu&count=1&steps=2&seed=5&hub=${hub.url}${query}`, options);
const close = (page) => closePage(page, [/Failed to load resource/]);
const modelName = (page) => page.locator('#model-name').textContent();
/** What was sent of the weights, as [first byte, end). */
const extents = () => hub.log.filter(({ path, method, sent }) => path === WEIGHTS && method === 'GET' && sent > 0).map(({ from, sent }) => [from, from + sent]);

async function storedNames(page) {
  await page.locator('#model-button').click();
  if (!await page.locator('#stored').evaluate((details) => details.open)) await page.locator('#stored summary').click();
  const names = page.locator('#stored-list .name');
  await names.first().waitFor();
  return names.allTextContents();
}

/** Has the page note whether it ever says that it reconnects, however soon that is over. */
const watchReconnecting = (page) => page.evaluate(() => {
  const text = document.getElementById('status-text');
  new MutationObserver(() => { globalThis.reconnected ||= text.textContent === 'Reconnecting'; }).observe(text, { childList: true, characterData: true, subtree: true });
});
const hasReconnected = (page) => page.evaluate(() => globalThis.reconnected === true);

test('owner/name and a pasted page load the model, in parts, and the address keeps its name', async () => {
  const page = await open('');
  await loadModel(page, 'somebody/sprites');
  await page.waitForFunction(() => document.getElementById('model-name').textContent === 'Sprites');
  await ready(page);
  assert.match(page.url(), /model=somebody\/sprites@main/);
  const [first, second] = extents();
  assert.deepEqual(first, [0, PART]);
  assert.equal(second[0], PART);
  assert.equal(extents().length, 2);
  // Everything after the first answer is asked of the commit that the branch was at.
  assert.deepEqual([...new Set(hub.log.map(({ revision }) => revision).filter(Boolean))], ['main', COMMIT]);
  await generate(page);

  await loadModel(page, `${hub.url}somebody/bare/tree/main`);
  await page.waitForFunction(() => document.getElementById('model-name').textContent === 'somebody/bare@main');
  await ready(page);
  assert.match(await page.locator('#notes').textContent(), /no scheduler_config\.json.*DDPM/);
  await generate(page);
  await close(page);
});

test('a broken download goes on where it stopped', async () => {
  hub.cutAfter = 3_000_000;
  hub.atCut = { refuse: 1 };
  const page = await open('');
  hub.log.length = 0;
  await watchReconnecting(page);
  await loadModel(page, 'somebody/sprites@main');
  await page.waitForFunction(() => document.getElementById('model-name').textContent === 'Sprites', null, { timeout: 60_000 });
  await ready(page);
  assert.ok(await hasReconnected(page), 'it said so');
  assert.equal(hub.log.filter(({ status }) => status === 503).length, 1, 'it was refused once');
  const sent = extents();
  // What the server wrote last may not have come through the cut; what came is not asked for again.
  assert.equal(sent.length, 3);
  assert.ok(sent[1][0] > 0 && sent[1][0] <= 3_000_000, `it went on at ${sent[1][0]}`);
  assert.equal(sent[1][1], PART);
  assert.equal(sent[2][0], PART);
  await generate(page);
  await close(page);
});

test('after a reload a download goes on with the parts that are stored', async () => {
  const page = await open('');
  hub.log.length = 0;
  hub.refuseFrom = PART; // the second part never comes
  await loadModel(page, 'somebody/sprites');
  await page.waitForFunction(() => /Reconnecting/.test(document.getElementById('status-text').textContent), null, { timeout: 30_000 });
  // A page that is still there could come again once it is not refused any more.
  await page.goto('about:blank');
  hub.refuseFrom = Infinity;
  const before = extents().length;
  assert.deepEqual(extents()[0], [0, PART]);
  await page.goto(`${server.url}?backend=cpu&count=1&steps=2&hub=${hub.url}&model=somebody/sprites@main`);
  await ready(page);
  assert.equal(await modelName(page), 'Sprites');
  const since = extents().slice(before);
  assert.deepEqual(since.map(([from]) => from), [PART], 'only the rest was fetched');
  await close(page);
});

test('a stored model loads again without the network, and can be removed', async () => {
  const page = await open('&model=somebody/sprites');
  assert.deepEqual(await storedNames(page), ['somebody/sprites@main']);
  await page.keyboard.press('Escape');
  const { url } = hub;
  await hub.close();
  await page.reload();
  await ready(page);
  assert.equal(await modelName(page), 'Sprites');
  assert.equal(page.url().includes(encodeURIComponent(url)) || page.url().includes(url), true, 'the address keeps the other hub');
  await generate(page);

  await storedNames(page);
  await page.getByRole('button', { name: 'Remove somebody/sprites@main' }).click();
  await page.waitForFunction(() => document.getElementById('stored-list').children.length === 0);
  assert.equal(await page.locator('#stored-size').textContent(), 'none');
  await page.reload();
  await page.locator('.notice.error').waitFor();
  assert.match(await page.locator('.notice.error').textContent(), /could not be fetched.*no answer/);

  // Another model still loads.
  await page.getByRole('button', { name: 'Load Letters' }).click();
  await ready(page);
  await generate(page);
  await close(page);
  hub = { close: () => {} };
});

test('a branch that moved is noticed; one that did not costs one question', async () => {
  const page = await open('&model=somebody/sprites');
  hub.log.length = 0;
  await page.reload();
  await ready(page);
  // The preview is not waited for, so the first visit may have ended before it was stored.
  assert.deepEqual(hub.log.map(({ path }) => path).filter((path) => path !== 'preview.png'), ['unet/config.json']);
  hub.commit = COMMIT.replaceAll('0', 'f');
  hub.edition = '2';
  await page.reload();
  await ready(page);
  assert.equal(extents().length, 2, 'the weights of the new commit were fetched');
  await close(page);
});

test('a file that changes while it is downloaded is fetched anew', async () => {
  const page = await open('');
  hub.cutAfter = 2_000_000;
  hub.atCut = { edition: 'changed' };
  hub.log.length = 0;
  await watchReconnecting(page);
  await loadModel(page, 'somebody/sprites');
  await page.waitForFunction(() => document.getElementById('model-name').textContent === 'Sprites', null, { timeout: 60_000 });
  await ready(page);
  assert.ok(await hasReconnected(page), 'it said so');
  assert.ok(extents().filter(([from]) => from === 0).length >= 2, 'it began again');
  await close(page);
});

test('a server without ranges is taken as it is', async () => {
  hub.ranges = false;
  const page = await open('&model=somebody/sprites');
  assert.equal(await modelName(page), 'Sprites');
  assert.equal(extents().length, 1);
  await page.reload();
  await ready(page);
  assert.equal(extents().length, 1, 'it was stored all the same');
  await close(page);
});

test('without room the model is kept in memory, with a note', async () => {
  const page = await open('', { before: async (page) => {
    const session = await page.context().newCDPSession(page);
    await session.send('Storage.overrideQuotaForOrigin', { origin: new URL(server.url).origin, quotaSize: 2_000_000 });
  } });
  await loadModel(page, 'somebody/sprites');
  await page.waitForFunction(() => document.getElementById('model-name').textContent === 'Sprites');
  await ready(page);
  assert.match(await page.locator('#notes').textContent(), /no room to store/);
  await generate(page);
  await close(page);
});

test('without the Cache API models load too', async () => {
  const worker = join(folder, 'worker.js');
  const text = await readFile(folderOf('www/engine/worker.js'), 'utf8');
  await writeFile(worker, `Object.defineProperty(self, 'caches', { value: undefined });\n${text}`);
  const other = await servePage({ '/engine/worker.js': worker });
  const page = await openPage(browser, `${other.url}?backend=cpu&count=1&steps=2&seed=5&hub=${hub.url}&model=somebody/bare`);
  assert.equal(await modelName(page), 'somebody/bare@main');
  assert.match(await page.locator('#notes').textContent(), /does not let the page store/);
  await generate(page);
  await close(page);
  await other.close();
});

test('what the hub refuses is explained, and the loaded model stays', async () => {
  const page = await open('');
  const error = page.locator('.notice.error');
  for (const [name, message] of [
    ['somebody/nothing', /no public repository somebody\/nothing/],
    ['somebody/gated', /somebody\/gated is gated/],
    ['somebody/sprites@v9', /no revision "v9"/],
    ['somebody/pickled', /no model at somebody\/pickled@main.*has the weights as a pickle/],
  ]) {
    await loadModel(page, name);
    await error.waitFor({ timeout: 30_000 });
    await ready(page);
    const text = await error.textContent();
    assert.match(text, message);
    assert.match(text, /Digits is still loaded and works/);
    await error.getByRole('button', { name: 'Dismiss' }).click();
  }
  await loadModel(page, 'what is this?');
  assert.match(await page.locator('#address-hint').textContent(), /neither owner\/name nor an address/);
  await page.keyboard.press('Escape');
  await generate(page);
  await close(page);
});

for (const lists of [true, false]) {
  test(`networks and weights can be named in the address, of a hub that ${lists ? 'lists' : 'does not list'} its files`, async () => {
    hub.lists = lists;
    const page = await open('&model=somebody/several&network=unet_ema&variant=fp16');
    assert.match(page.url(), /network=unet_ema/);
    await generate(page);
    assert.match(page.url(), /network=unet_ema.*variant=fp16/);
    assert.deepEqual(hub.log.filter(({ path, status }) => path.endsWith('.safetensors') && status === 206).map(({ path }) => path), ['diffusion_pytorch_model.fp16.safetensors']);
    await page.locator('#model-button').click();
    const weights = page.getByRole('combobox', { name: 'Weights' });
    assert.deepEqual(await weights.locator('option').allTextContents(), ['plain', 'fp16']);
    assert.equal(await weights.inputValue(), 'fp16');
    assert.equal(await page.getByRole('combobox', { name: 'Network' }).count(), lists ? 1 : 0);
    await weights.selectOption('');
    await page.waitForFunction(() => !location.search.includes('variant'));
    await ready(page);
    await generate(page);

    // What is stored needs no network; the other weights are still there as well.
    await hub.close();
    await page.reload();
    await ready(page);
    await page.goto(`${page.url()}&variant=fp16`);
    await ready(page);
    await close(page);
    hub = { close: () => {} };
  });
}

test('a network that is not there is named, with those that are', async () => {
  const page = await open('');
  await page.goto(`${server.url}?backend=cpu&hub=${hub.url}&model=somebody/several&network=unet_emma`);
  await page.locator('.notice.error').waitFor();
  assert.match(await page.locator('.notice.error').textContent(), /no network “unet_emma”; it has unet, unet_ema/);
  await close(page);
});

test('a hub that does not list its files is asked for them', async () => {
  hub.lists = false;
  const page = await open('&model=somebody/sprites');
  assert.equal(await modelName(page), 'Sprites');
  await generate(page);
  hub.log.length = 0;
  await page.reload();
  await ready(page);
  assert.deepEqual(hub.log.filter(({ path }) => !/preview|tree/.test(path)).map(({ path }) => path), ['unet/config.json']);
  await close(page);
});

test('sharded weights are fetched shard by shard', async () => {
  const sharded = join(folder, 'sharded/unet');
  await cp(folderOf('tests/golden/matrix/weights/sharded'), sharded, { recursive: true });
  const cases = JSON.parse(await readFile(folderOf('tests/golden/matrix/unets.json'), 'utf8'));
  await writeFile(join(sharded, 'config.json'), JSON.stringify(cases.find(({ name }) => name === 'sharded').config));
  await hub.close();
  hub = await startHub({ 'somebody/sharded': join(folder, 'sharded') });
  const page = await open('&model=somebody/sharded');
  assert.equal(await modelName(page), 'somebody/sharded@main');
  assert.equal(hub.log.filter(({ path, status }) => /-of-00002/.test(path) && status === 206).length, 2);
  await generate(page);
  assert.equal(await controls(page).step.inputValue(), '2');
  await close(page);
});
