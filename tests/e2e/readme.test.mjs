// What the README tells whoever embeds the engine.

import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { closePage, folderOf, launch, openPage, servePage } from './harness.mjs';

for (const [number, what] of ['a model', 'the engine'].entries()) test(`the README’s page of one’s own makes a digit, with ${what}`, async (t) => {
  const readme = await readFile(folderOf('README.md'), 'utf8');
  const [, code] = [...readme.matchAll(/```js\n([^]*?)```/g)][number];
  const folder = await mkdtemp(join(tmpdir(), 'denoise-readme-'));
  await writeFile(join(folder, 'index.html'), `<!doctype html>
    <title>A page of one’s own</title>
    <link rel="icon" href="data:,">
    <canvas width="32" height="32"></canvas>
    <script type="importmap">{ "imports": { "denoise": "/pkg/embed/index.js", "denoise/engine": "/pkg/denoise.js" } }</script>
    <script type="module">
      const context = document.querySelector('canvas').getContext('2d');
      ${code}
      document.body.dataset.done = 'yes';
    </script>`);
  const server = await servePage({ '/own/': folder, '/own/my-model/': folderOf('www/models/digits') });
  const browser = await launch();
  t.after(async () => {
    await browser.close();
    await server.close();
    await rm(folder, { recursive: true, force: true });
  });
  const page = await openPage(browser, `${server.url}own/`, { wait: false });
  await page.waitForSelector('body[data-done]', { timeout: 120_000 });
  const pixels = await page.evaluate(() => [...document.querySelector('canvas').getContext('2d').getImageData(0, 0, 32, 32).data]);
  const grey = pixels.filter((_, i) => i % 4 === 0);
  const [dark, light] = [grey.filter((value) => value < 50), grey.filter((value) => value > 200)];
  assert.ok(dark.length > 512 && light.length > 40, `a digit is light on dark; ${dark.length} and ${light.length} of 1024 pixels are`);
  await closePage(page);
});
