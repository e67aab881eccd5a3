// What a visitor waits for: weights are on the GPU while others are still on their way.

import assert from 'node:assert/strict';
import { mkdtemp, rm, stat } from 'node:fs/promises';
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

before(async () => {
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
  server = await servePage({ '/pkg/': pkg });
  hub = await startHub({ 'somebody/digits': folderOf(MODEL) });
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await hub?.close();
  await server?.close();
  if (folder) await rm(folder, { recursive: true, force: true });
});

test('half of the weights are on the GPU while the others are held back', async () => {
  const { size } = await stat(folderOf(`${MODEL}/unet/diffusion_pytorch_model.safetensors`));
  let release;
  hub.hold = { after: size / 2, until: new Promise((done) => { release = done; }) };
  let page;
  const compiled = new Promise((done, failed) => {
    const query = `?backend=gpu&count=1&steps=2&hub=${hub.url}&model=somebody/digits`;
    const listen = (page) => page.on('console', (message) => {
      const [, written] = message.text().match(/^compiled (\d+)$/) ?? [];
      if (written) done(Number(written));
    });
    openPage(browser, server.url + query, { wait: false, before: listen }).then((opened) => { page = opened; }, failed);
  });
  // With 16 bits in the file they are twice as many bytes on the GPU.
  const written = await compiled;
  assert.ok(written > 0.8 * size, `${written} bytes were written`);
  assert.equal(await page.evaluate(() => document.body.dataset.phase), 'loading');
  assert.match(await page.locator('#status').textContent(), /Downloading the model/);
  release();
  await ready(page);
  await generate(page);
  await closePage(page);
});
