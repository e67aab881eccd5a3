// What a visitor waits for: weights are on the GPU while others are still on their way.

import assert from 'node:assert/strict';
import { cp, mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { wrapEngine } from './engines.mjs';
import { closePage, folderOf, generate, launch, openPage, ready, servePage } from './harness.mjs';
import { startHub } from './hub.mjs';

const MODEL = 'www/models/digits';

let browser;
let server;
let folder;
let hub;
let size;

/** Holds back the second half of the next weights; returns what lets it go. */
function hold() {
  let release;
  hub.hold = { after: size / 2, until: new Promise((done) => { release = done; }) };
  return release;
}

const query = (model) => `?backend=gpu&count=1&steps=2&hub=${hub.url}&model=somebody/${model}`;

before(async () => {
  ({ size } = await stat(folderOf(`${MODEL}/unet/diffusion_pytorch_model.safetensors`)));
  folder = await mkdtemp(join(tmpdir(), 'denoise-arriving-'));
  const pkg = await wrapEngine(join(folder, 'pkg'), `
    let written = 0;
    const { writeBuffer } = GPUQueue.prototype;
    GPUQueue.prototype.writeBuffer = function (buffer, offset, data, first, size = data.byteLength) {
      written += size;
      return writeBuffer.call(this, buffer, offset, data, first, size);
    };
    const { compile } = Loading.prototype;
    Loading.prototype.compile = async function (progress) {
      const before = written;
      await compile.call(this, progress);
      console.info('compiled ' + (written - before));
    };
  `);
  const broken = await wrapEngine(join(folder, 'broken'), `
    Loading.prototype.compile = async () => {
      throw new Error('The GPU has not enough memory for the model.');
    };
  `);
  server = await servePage({ '/pkg/': pkg, '/broken/pkg/': broken, '/broken/': folderOf('www') });
  await cp(folderOf(MODEL), join(folder, 'mixed'), { recursive: true });
  await cp(folderOf('tests/golden/unet_tiny_class/config.json'), join(folder, 'mixed/unet/config.json'));
  await rm(join(folder, 'mixed/card.json'));
  hub = await startHub({ 'somebody/digits': folderOf(MODEL), 'somebody/mixed': join(folder, 'mixed') });
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await hub?.close();
  await server?.close();
  if (folder) await rm(folder, { recursive: true, force: true });
});

test('half of the weights are on the GPU while the others are held back', async () => {
  const release = hold();
  let written = 0;
  const page = await openPage(browser, server.url + query('digits'), { wait: false, before: (page) => {
    page.on('console', (message) => {
      written ||= Number(message.text().match(/^compiled (\d+)$/)?.[1] ?? 0);
    });
  } });
  for (const end = Date.now() + 60_000; !written && Date.now() < end;) await page.waitForTimeout(50);
  // With 16 bits in the file they are twice as many bytes on the GPU.
  assert.ok(written > 0.8 * size, `${written} bytes were written`);
  assert.equal(await page.evaluate(() => document.body.dataset.phase), 'loading');
  assert.match(await page.locator('#status').textContent(), /Downloading the model/);
  release();
  await ready(page);
  await generate(page);
  await closePage(page);
});

for (const [what, path, model, message] of [
  ['cannot be run', 'broken/', 'digits', /has not enough memory for the model/],
  ['has weights of another model', '', 'mixed', /weights file has .* different models/],
]) {
  test(`a model that ${what} is refused while its weights are held back`, async () => {
    const release = hold();
    const page = await openPage(browser, server.url + path + query(model), { wait: false });
    await page.locator('.notice.error').waitFor({ timeout: 60_000 });
    assert.match(await page.locator('.notice.error').textContent(), message);
    release();
    // Another one can be loaded.
    if (path) return closePage(page);
    await page.getByRole('button', { name: 'Load Letters' }).click();
    await ready(page);
    await closePage(page);
  });
}
