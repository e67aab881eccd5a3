// What a page goes through in a long life: GPUs that are really lost, and very many runs and models, after which it holds no
// more than before.

import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { descendants } from '../../bench/memory.mjs';
import { wrapEngine } from './engines.mjs';
import { closePage, controls, equal, folderOf, generate, launch, loadModel, openPage, pixels, ready, servePage } from './harness.mjs';

/** Of each; LASTING=200,40 is a long life. */
const [RUNS, CHANGES] = (process.env.LASTING ?? '16,4').split(',').map(Number);

let browser;
let server;
let counted;

before(async () => {
  counted = await mkdtemp(join(tmpdir(), 'denoise-lasting-'));
  // An engine whose buffers are counted, and whose device is destroyed when a test says so.
  await wrapEngine(counted, `
    const live = new Map();
    const channel = new BroadcastChannel('lasting');
    let device = null;
    if (globalThis.GPUDevice) {
      const { createBuffer } = GPUDevice.prototype;
      const { destroy } = GPUBuffer.prototype;
      GPUDevice.prototype.createBuffer = function (of) {
        device = this;
        const buffer = createBuffer.call(this, of);
        live.set(buffer, of.size);
        return buffer;
      };
      GPUBuffer.prototype.destroy = function () {
        live.delete(this);
        return destroy.call(this);
      };
    }
    channel.onmessage = ({ data }) => {
      if (data === 'count') channel.postMessage({ buffers: live.size, bytes: [...live.values()].reduce((sum, size) => sum + size, 0) });
      if (data === 'destroy') device?.destroy();
    };
  `);
  server = await servePage({ '/counted/pkg/': counted, '/counted/': folderOf('www') });
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await server?.close();
  if (counted) await rm(counted, { recursive: true, force: true });
});

/** What the engine's GPU buffers are now. @returns {Promise<{buffers: number, bytes: number}>} */
const held = (page) => page.evaluate(() => new Promise((done) => {
  const channel = new BroadcastChannel('lasting');
  channel.onmessage = ({ data }) => {
    channel.close();
    done(data);
  };
  channel.postMessage('count');
}));

/** Bytes of the page's own heap, after what nobody needs is gone. */
async function heapOf(page) {
  const session = await page.context().newCDPSession(page);
  await session.send('HeapProfiler.enable');
  for (let i = 0; i < 3; i++) await session.send('HeapProfiler.collectGarbage');
  const { usedSize, backingStorageSize = 0 } = await session.send('Runtime.getHeapUsage');
  await session.detach();
  return usedSize + backingStorageSize;
}

const reaches = (page, step) => page.waitForFunction((least) => document.body.dataset.phase === 'running' && Number(document.getElementById('step').value) >= least, step, { timeout: 120_000 });

test('a run goes on to the same pixels when its GPU is destroyed, and when the browser loses its GPU process', async () => {
  const address = `${server.url}counted/?model=models/digits&backend=gpu&count=1&steps=30&seed=8&class=4`;
  const whole = await openPage(browser, address);
  await generate(whole);
  const expected = await pixels(whole);
  await closePage(whole);
  for (const [what, lose] of [
    ['destroyed', (page) => page.evaluate(() => new BroadcastChannel('lasting').postMessage('destroy'))],
    ['killed', async () => {
      const all = (await descendants(process.pid)).map(async (pid) => [pid, await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')]);
      // That of the browser that was opened last: the others go on.
      const found = (await Promise.all(all)).filter(([, line]) => line.includes('--type=gpu-process'));
      assert.ok(found.length > 0, 'there is a GPU process');
      process.kill(Math.max(...found.map(([pid]) => pid)), 'SIGKILL');
    }],
  ]) {
    const own = await launch();
    try {
      const page = await openPage(own, address);
      await controls(page).generate.click();
      await reaches(page, 8);
      await lose(page);
      await page.waitForSelector('body[data-phase="loading"]', { timeout: 60_000 }).catch((error) => {
        throw new Error(`${what}: the page did not notice.`, { cause: error });
      });
      await ready(page);
      assert.equal(await controls(page).step.inputValue(), '30', `${what}: to the end`);
      equal(await pixels(page), expected, `${what}: the same pictures`);
      assert.ok(await page.locator('.notice.error').isHidden());
    } finally {
      await own.close();
    }
  }
});

test('a page that is reloaded in the midst of a run offers to make it again', async () => {
  const page = await openPage(browser, `${server.url}counted/?model=models/digits&backend=cpu&count=2&steps=40&class=4`);
  // The page itself does it, so that the run is not over before, however fast the machine is.
  await page.evaluate(() => {
    new MutationObserver((_, observer) => {
      if (document.body.dataset.phase !== 'running' || Number(document.getElementById('step').value) < 3) return;
      observer.disconnect();
      sessionStorage.setItem('seed of the test', document.getElementById('seed').value);
      location.reload();
    }).observe(document.body, { subtree: true, childList: true, characterData: true, attributes: true });
  });
  await Promise.all([page.waitForEvent('load'), controls(page).generate.click()]);
  await ready(page);
  const seed = await page.evaluate(() => sessionStorage.getItem('seed of the test'));
  const notice = page.locator('.notice', { hasText: 'A run was under way' });
  assert.match(await notice.textContent(), /DDIM · 40 steps · class 4 · seed \d+ was not done when the page was closed/);
  await generate(page, () => notice.getByRole('button', { name: 'Make it again' }).click());
  assert.equal(await controls(page).seed.inputValue(), seed);
  const again = await pixels(page);
  await page.reload();
  await ready(page);
  assert.ok(await notice.isHidden(), 'it is done now');
  await closePage(page);
  const whole = await openPage(browser, `${server.url}?model=models/digits&backend=cpu&count=2&steps=40&class=4&seed=${seed}`);
  await generate(whole);
  equal(again, await pixels(whole), 'the same pictures');
  await closePage(whole);
});

test(`${RUNS} runs and ${CHANGES} other models leave no more behind than a few`, async () => {
  const page = await openPage(browser, `${server.url}counted/?model=models/digits&backend=gpu&count=4&steps=1`);
  const run = async (times) => {
    for (let i = 0; i < times; i++) await generate(page);
  };
  const change = async (times) => {
    for (let i = 0; i < times; i++) {
      await loadModel(page, i % 2 ? 'models/digits' : 'models/sprites');
      await page.waitForFunction((name) => document.getElementById('model-name').textContent === name && document.body.dataset.phase === 'ready', i % 2 ? 'Digits' : 'Sprites', { timeout: 120_000 });
    }
  };
  await run(5);
  await change(2);
  await run(1);
  const before = { ...await held(page), heap: await heapOf(page) };
  await run(RUNS);
  await change(CHANGES);
  await run(1);
  const now = { ...await held(page), heap: await heapOf(page) };
  console.log(`${RUNS} runs, ${CHANGES} models: ${before.buffers} → ${now.buffers} buffers of ${(before.bytes / 1e6).toFixed(1)} → ${(now.bytes / 1e6).toFixed(1)} MB; heap ${(before.heap / 1e6).toFixed(1)} → ${(now.heap / 1e6).toFixed(1)} MB`);
  assert.equal(now.buffers, before.buffers, 'as many buffers');
  assert.equal(now.bytes, before.bytes, 'of as many bytes');
  // The history grows up to its bound: a thumbnail and a picture a run.
  assert.ok(now.heap - before.heap < 5e6, `the heap grew by ${((now.heap - before.heap) / 1e6).toFixed(1)} MB`);
  assert.ok(await page.locator('#entries button').count() <= 60, 'the history is bounded');
  await closePage(page);
});
