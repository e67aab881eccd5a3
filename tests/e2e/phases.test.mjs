// What the page lets its visitor do while several things are under way: a late answer to one is no answer to another.

import assert from 'node:assert/strict';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { wrapEngine } from './engines.mjs';
import { closePage, controls, folderOf, generate, launch, loadModel, openPage, ready, servePage } from './harness.mjs';
import { startHub } from './hub.mjs';

const MODEL = 'www/models/sprites';

let browser;
let server;
let folder;
let hub;
let size;

before(async () => {
  ({ size } = await stat(folderOf(`${MODEL}/unet/diffusion_pytorch_model.safetensors`)));
  folder = await mkdtemp(join(tmpdir(), 'denoise-phases-'));
  // An engine on the CPU that calls itself a GPU, whose checks and starts wait until they are let go.
  const pkg = await wrapEngine(join(folder, 'pkg'), `
    const channel = new BroadcastChannel('engine');
    /** Waits for the word; resolves to what it should do. */
    const word = (name) => new Promise((done) => {
      channel.postMessage('at ' + name);
      channel.addEventListener('message', function hear({ data }) {
        if (data.let !== name) return;
        channel.removeEventListener('message', hear);
        done(data.go);
      });
    });
    let holds = null;
    channel.addEventListener('message', ({ data }) => {
      if (data.hold === undefined) return;
      holds = data.hold;
      channel.postMessage('at hold ' + holds);
    });
    const { create } = Engine;
    Engine.create = () => create.call(Engine, 'cpu');
    const { backend, start } = Engine.prototype;
    let asked = 0;
    Engine.prototype.backend = function () {
      // The page hears of it first, the worker's own questions after that.
      return asked++ ? backend.call(this) : { kind: 'gpu', name: 'WebGPU · Patient', note: null, half: false };
    };
    Engine.prototype.check = async () => {
      await word('check');
      const layers = [{ name: 'conv_in', op: 'conv2d', error: 1e-7 }];
      return { device: 'Patient', tolerance: 1e-3, ok: true, output_error: 1e-7, layers, worst: layers[0] };
    };
    Engine.prototype.start = async function (settings) {
      if (holds === 'start' && await word('start') === 'fail') throw new Error('It would not start.');
      return start.call(this, settings);
    };
  `);
  server = await servePage({ '/pkg/': pkg });
  browser = await launch({ gpu: false });
});

after(async () => {
  await browser?.close();
  await server?.close();
  if (folder) await rm(folder, { recursive: true, force: true });
});

beforeEach(async () => {
  hub = await startHub({ 'somebody/sprites': folderOf(MODEL) });
});

afterEach(() => hub.close());

async function open() {
  const page = await openPage(browser, `${server.url}?backend=gpu&autotune=0&count=1&steps=900&seed=5&class=9&hub=${hub.url}`, { before: (page) => page.addInitScript(() => {
    const channel = globalThis.engine = new BroadcastChannel('engine');
    globalThis.at = [];
    channel.onmessage = ({ data }) => globalThis.at.push(data);
  }) });
  await page.evaluate(() => {
    globalThis.phases = [];
    new MutationObserver(() => globalThis.phases.push(document.body.dataset.phase)).observe(document.body, { attributeFilter: ['data-phase'] });
  });
  return page;
}

const tell = (page, message) => page.evaluate((text) => globalThis.engine.postMessage(text), message);
const waitsAt = (page, name) => page.waitForFunction((n) => globalThis.at.includes(`at ${n}`), name);
const phases = (page) => page.evaluate(() => globalThis.phases);

/** Loads the sprites, whose second half is held back; returns what lets it go. */
async function loadSlowly(page) {
  let release;
  hub.hold = { after: size / 2, until: new Promise((done) => { release = done; }) };
  await page.evaluate(() => document.getElementById('backend-menu').hidePopover());
  await loadModel(page, 'somebody/sprites');
  await page.waitForFunction(() => document.body.dataset.phase === 'loading');
  return release;
}

const arrives = () => new Promise((done, failed) => {
  const end = Date.now() + 20_000;
  const look = () => {
    if (hub.log.some(({ path, status }) => path.endsWith('.safetensors') && status === 206)) done();
    else if (Date.now() > end) failed(new Error('The weights were never asked for.'));
    else setTimeout(look, 20);
  };
  look();
});

/** The page is loading, and nobody can begin a run with it. */
async function stillLoading(page) {
  await arrives();
  assert.equal(await page.evaluate(() => document.body.dataset.phase), 'loading');
  assert.ok(!(await phases(page)).includes('ready'), `it went through ${await phases(page)}`);
  assert.ok(await controls(page).generate.isDisabled());
  await page.keyboard.press('Control+Enter');
  assert.match(await controls(page).status.textContent(), /Downloading the model/);
}

/** The other model arrives, has its own controls, and a run of it can be stopped. */
async function loadsAndRuns(page, release) {
  release();
  await page.waitForFunction(() => document.getElementById('model-name').textContent === 'Sprites');
  await ready(page);
  const on = controls(page);
  assert.ok(await on.class('tree').isVisible());
  await on.generate.click();
  await on.stop.waitFor();
  await on.stop.click();
  await ready(page);
  await on.steps.fill('2');
  await generate(page);
  assert.equal(await on.step.inputValue(), '2');
  await closePage(page);
}

test('a check that ends while another model is on its way leaves it loading', async () => {
  const page = await open();
  await page.locator('#backend-button').click();
  await page.getByRole('button', { name: 'Check my GPU' }).click();
  await waitsAt(page, 'check');
  const release = await loadSlowly(page);
  await page.evaluate(() => { globalThis.phases = []; });
  await tell(page, { let: 'check' });
  await stillLoading(page);
  await loadsAndRuns(page, release);
});

for (const how of ['fail', 'succeed']) {
  test(`a run whose start would ${how} while another model is on its way leaves it loading`, async () => {
    const page = await open();
    // Nothing says that it comes before what the page itself tells its engine, so it is answered.
    await tell(page, { hold: 'start' });
    await waitsAt(page, 'hold start');
    await controls(page).generate.click();
    await waitsAt(page, 'start');
    const release = await loadSlowly(page);
    await page.evaluate(() => { globalThis.phases = []; });
    await tell(page, { hold: null });
    await tell(page, { let: 'start', go: how });
    await stillLoading(page);
    assert.equal(await page.locator('.notice.error').count(), 0, 'nobody wants that run any more');
    await loadsAndRuns(page, release);
  });
}

test('a load that another has replaced is not heard of any more', async () => {
  const page = await open();
  const release = await loadSlowly(page);
  await arrives();
  await loadModel(page, './models/nowhere');
  await page.locator('.notice.error').waitFor();
  await ready(page);
  assert.equal(await page.locator('#model-name').textContent(), 'Digits');
  release();
  await page.waitForTimeout(200);
  assert.equal(await page.locator('#model-name').textContent(), 'Digits');
  await controls(page).steps.fill('2');
  await generate(page);
  await closePage(page, [/status of 404/]);
});
