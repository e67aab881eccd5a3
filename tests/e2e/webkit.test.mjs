// The page in WebKitGTK, Safari's engine, on the CPU: it has no WebGPU there. It speaks WebDriver, and needs a display.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { closePage, equal, generate, launch, openPage, pixels, servePage } from './harness.mjs';

const DRIVER = '/usr/bin/WebKitWebDriver';
const BROWSER = ['4.1', '4.0', '6.0'].map((version) => `/usr/lib/${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu/webkit2gtk-${version}/MiniBrowser`).find(existsSync);
const skip = !existsSync(DRIVER) || !BROWSER ? 'WebKitGTK and its driver are not installed here' : false;

let chromium, server, display, driver, session;

/** A port that nobody listens on. */
async function freePort() {
  const listener = createServer().listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const { port } = listener.address();
  listener.close();
  await once(listener, 'close');
  return port;
}

/** A screen that nobody sees, by its number. */
async function startDisplay() {
  display = spawn('Xvfb', ['-displayfd', '1', '-screen', '0', '1440x900x24'], { stdio: ['ignore', 'pipe', 'ignore'] });
  const [number] = await Promise.race([
    once(display.stdout, 'data'),
    once(display, 'exit').then(() => Promise.reject(new Error('Xvfb has ended before there was a screen.'))),
    sleep(30_000, null, { ref: false }).then(() => Promise.reject(new Error('Xvfb has no screen after half a minute.'))),
  ]);
  return `:${String(number).trim()}`;
}

/** A session of WebDriver, as a function that has it do something. */
async function startSession() {
  const port = await freePort();
  // Root has no sandbox to put the page into.
  driver = spawn(DRIVER, [`--port=${port}`], { stdio: 'ignore', env: { ...process.env, DISPLAY: await startDisplay(), LIBGL_ALWAYS_SOFTWARE: '1', WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS: '1' } });
  const ask = async (method, path, body) => {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, { method, body: body && JSON.stringify(body) });
    const { value } = await response.json();
    if (value?.error) throw new Error(`${value.error}: ${value.message}`);
    return value;
  };
  for (let tries = 100; ; tries--) {
    const found = await ask('GET', '/status').catch((error) => (tries ? null : Promise.reject(error)));
    if (found?.ready) break;
    await sleep(100);
  }
  const { sessionId } = await ask('POST', '/session', { capabilities: { alwaysMatch: { 'webkitgtk:browserOptions': { binary: BROWSER, args: ['--automation'] } } } });
  return (method, path, body) => ask(method, `/session/${sessionId}${path}`, body);
}

before(async () => {
  if (skip) return;
  // Each by itself, so that what has started is ended where another has not.
  const starting = [
    launch({ gpu: false }).then((started) => (chromium = started)),
    servePage().then((started) => (server = started)),
    startSession().then((started) => (session = started)),
  ];
  await Promise.allSettled(starting);
  await Promise.all(starting);
});
after(async () => {
  await session?.('DELETE', '').catch(() => {});
  driver?.kill();
  display?.kill();
  await chromium?.close();
  await server?.close();
});

/** As a page of Playwright's, what the harness needs of one. */
const page = { evaluate: (what, argument) => session('POST', '/execute/sync', { script: `return (${what})(...arguments);`, args: [argument ?? null] }) };

async function until(what) {
  for (let tries = 600; !await page.evaluate(what); tries--) {
    assert.ok(tries, `${what} within a minute`);
    await sleep(200);
  }
}

test('WebKit makes the pictures that Chromium makes, bit for bit', { skip }, async () => {
  const query = '?model=models/letters&steps=4&class=FOX&seed=7';
  await session('POST', '/url', { url: server.url + query });
  await until(() => document.body?.dataset.phase === 'ready');
  assert.match(await page.evaluate(() => document.getElementById('notes').textContent), /WebGPU is not available in this browser, so the CPU does the work/);
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'nothing is wider than the screen');
  await page.evaluate(() => document.getElementById('generate').click());
  await until(() => document.getElementById('status-text').textContent === 'Done');
  const made = await pixels(page, 0);
  assert.equal(await page.evaluate(() => document.getElementById('errors').textContent), '');

  const other = await openPage(chromium, `${server.url}${query}&backend=cpu`);
  await generate(other);
  equal(made, await pixels(other), 'WebKit and Chromium');
  await closePage(other);
});
