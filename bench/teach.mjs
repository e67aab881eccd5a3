// What a network makes while it learns in the page, with the time: node bench/teach.mjs OUT [--from digits|handwriting]
//   [--minutes 15] [--backend cpu|gpu] [--steps N]
// OUT/samples.json has every grid of samples, for bench/judge.py to look at; OUT/page.png is how the page ended, and of a handwriting
// OUT/drawings.png what it was taught. A handwriting is drawn with the mouse, in strokes that no digit of the model's has.

import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { launch, servePage } from '../tests/e2e/harness.mjs';

const text = { type: 'string' };
const { values: { from = 'digits', minutes = '15', backend = 'cpu', steps }, positionals: [out] } = parseArgs({
  allowPositionals: true,
  options: { from: text, minutes: text, backend: text, steps: text },
});
if (!out || !['digits', 'handwriting'].includes(from)) {
  console.error('Usage: node bench/teach.mjs OUT [--from digits|handwriting] [--minutes 15] [--backend cpu|gpu] [--steps N]');
  process.exit(2);
}
await mkdir(out, { recursive: true });

/** The strokes of each digit in a square, across and down: angular, leaning to the left, as nobody writes. */
const STROKES = [
  [[[0.3, 0.2], [0.55, 0.2], [0.75, 0.8], [0.5, 0.8], [0.3, 0.2]]],
  [[[0.3, 0.35], [0.4, 0.2], [0.6, 0.8]]],
  [[[0.25, 0.3], [0.45, 0.2], [0.6, 0.35], [0.4, 0.8], [0.75, 0.8]]],
  [[[0.25, 0.2], [0.6, 0.2], [0.45, 0.45], [0.7, 0.6], [0.65, 0.8], [0.4, 0.8]]],
  [[[0.35, 0.2], [0.35, 0.55], [0.75, 0.55]], [[0.5, 0.3], [0.65, 0.85]]],
  [[[0.65, 0.2], [0.3, 0.2], [0.4, 0.45], [0.65, 0.5], [0.7, 0.8], [0.4, 0.8]]],
  [[[0.5, 0.2], [0.35, 0.55], [0.45, 0.8], [0.7, 0.8], [0.65, 0.55], [0.38, 0.55]]],
  [[[0.25, 0.2], [0.65, 0.2], [0.6, 0.8]], [[0.45, 0.5], [0.75, 0.5]]],
  [[[0.3, 0.2], [0.6, 0.2], [0.4, 0.8], [0.7, 0.8], [0.3, 0.2]]],
  [[[0.6, 0.45], [0.35, 0.45], [0.3, 0.2], [0.55, 0.2], [0.7, 0.85]]],
];

const server = await servePage();
const browser = await launch({ gpu: backend === 'gpu' });
try {
  const page = await (await browser.newContext({ viewport: { width: 1440, height: 1100 } })).newPage();
  /** @type {{seconds: number, step: number, labels: number[], shape: number[], levels: string}[]} */
  const frames = [];
  let finished = false;
  await page.exposeFunction('noted', (/** @type {any} */ frame) => {
    frames.push(frame);
    console.log(`${frame.seconds.toFixed(1)} s: step ${frame.step}`);
  });
  await page.exposeFunction('ended', () => {
    finished = true;
  });
  // The page's worker, with somebody who listens to what goes to and fro.
  await page.addInitScript(() => {
    const Plain = globalThis.Worker;
    globalThis.Worker = class extends Plain {
      constructor(/** @type {ConstructorParameters<typeof Plain>} */ ...of) {
        super(...of);
        let labels = [];
        let begun = 0;
        const { postMessage } = this;
        this.postMessage = (message, ...rest) => {
          if (message.type === 'learn') {
            labels = [...message.samples.settings.class_labels];
            begun = performance.now();
          }
          return postMessage.call(this, message, ...rest);
        };
        this.addEventListener('message', ({ data }) => {
          if (data.type === 'samples') {
            const { step, levels, count, channels, width, height } = data;
            globalThis.noted({ seconds: (performance.now() - begun) / 1000, step, labels, shape: [count, channels, height, width], levels: btoa(String.fromCharCode(...levels)) });
          }
          if (data.type === 'finished') globalThis.ended();
        });
      }
    };
  });
  const query = new URLSearchParams({ backend, ...(from === 'handwriting' && { from }), ...(steps && { steps }) });
  await page.goto(`${server.url}teach.html?${query}`);
  if (from === 'handwriting') {
    const boxes = page.locator('#boxes canvas');
    await boxes.first().waitFor();
    for (let i = 0; i < await boxes.count(); i++) {
      await boxes.nth(i).scrollIntoViewIfNeeded();
      const { x, y, width } = await boxes.nth(i).boundingBox();
      const label = Number(/, (\d)/.exec(await boxes.nth(i).getAttribute('aria-label'))[1]);
      for (const [first, ...others] of STROKES[label]) {
        await page.mouse.move(x + first[0] * width, y + first[1] * width);
        await page.mouse.down();
        for (const [across, down] of others) await page.mouse.move(x + across * width, y + down * width, { steps: 4 });
        await page.mouse.up();
      }
    }
    await page.locator('#boxes').screenshot({ path: join(out, 'drawings.png') });
  }
  await page.waitForFunction(() => !document.getElementById('teach').disabled);
  await page.getByRole('button', { name: 'Teach', exact: true }).click();
  const end = performance.now() + 60_000 * Number(minutes);
  while (!finished && performance.now() < end) {
    await page.waitForTimeout(1000);
    if (await page.evaluate(() => document.body.dataset.phase === 'failed')) throw new Error(await page.locator('#errors').textContent());
  }
  await page.screenshot({ path: join(out, 'page.png') });
  await writeFile(join(out, 'samples.json'), JSON.stringify(frames));
} finally {
  await browser.close();
  await server.close();
}
