// Times the shipped model in headless Chromium, from a cold page to finished pictures, on both backends.
// WebGPU runs in software here: its figures say nothing about a graphics card.
//
//   npm run bench [-- --steps 50 --count 16 --backend gpu --model FOLDER --sampler ddim]

import { basename, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { generate, launch, ready, servePage } from '../tests/e2e/harness.mjs';

const { values } = parseArgs({
  options: {
    steps: { type: 'string', default: '50' },
    count: { type: 'string', default: '16' },
    sampler: { type: 'string', default: 'ddim' },
    model: { type: 'string', default: 'www/models/digits' },
    backend: { type: 'string', multiple: true, default: ['gpu', 'cpu'] },
  },
});
const { steps, count, sampler } = values;

const server = await servePage({ '/bench-model/': resolve(values.model) });
console.log(`${basename(values.model)}, ${sampler}, ${steps} steps, ${count} images; seconds`);
console.log('backend  page ready  first step  all steps  median step');
for (const backend of values.backend) {
  const browser = await launch();
  const page = await browser.newPage({ viewport: { width: 1440, height: 900 } });
  const opened = performance.now();
  await page.goto(`${server.url}?model=./bench-model&backend=${backend}&sampler=${sampler}&steps=${steps}&count=${count}&seed=1234`);
  await ready(page, 0);
  const loaded = performance.now();
  await page.evaluate(() => {
    globalThis.times = [performance.now()];
    const number = document.getElementById('status-number');
    new MutationObserver(() => globalThis.times.push(performance.now())).observe(number, { childList: true, characterData: true, subtree: true });
  });
  page.setDefaultTimeout(0);
  await generate(page);
  const times = await page.evaluate(() => globalThis.times);
  // times: the click, "starting", "0 of n", then every step; the last is the summary.
  const frames = times.slice(-Number(steps) - 1, -1);
  const between = frames.slice(1).map((time, i) => time - frames[i]).sort((a, b) => a - b);
  const seconds = (milliseconds) => (milliseconds / 1000).toFixed(2);
  console.log([
    backend.padEnd(7),
    seconds(loaded - opened).padStart(11),
    seconds(frames[0] - times[0]).padStart(11),
    seconds(frames.at(-1) - times[0]).padStart(10),
    seconds(between[between.length >> 1]).padStart(12),
  ].join(' '));
  await browser.close();
}
await server.close();
