// Pictures of the page in every state, to be looked at: node tests/e2e/screenshots.mjs FOLDER [--size desktop|phone]
//   [--page main|teach] [--scheme light|dark] [--state WORDS] [--width 3840 --height 2160] [--whole]
// Those for the README are made by scripts/pictures.mjs.

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { launch } from './harness.mjs';
import { eachState, openStates, serveStates, SIZES, STATES } from './states.mjs';
import { openTeachStates, serveTeachStates, TEACH_STATES } from './teach-states.mjs';

const text = { type: 'string' };
const { values: { size: onlySize, page: onlyPage, scheme, state: words, width, height, whole }, positionals: [folder] } = parseArgs({
  allowPositionals: true,
  options: { size: text, page: text, scheme: text, state: text, width: text, height: text, whole: { type: 'boolean' } },
});
if (!folder) {
  console.error('Usage: node tests/e2e/screenshots.mjs FOLDER [--size desktop|phone] [--page main|teach] [--scheme light|dark] [--state WORDS] [--width W --height H] [--whole]');
  process.exit(2);
}
await mkdir(folder, { recursive: true });

const PAGES = {
  main: { states: STATES, serve: serveStates, open: openStates },
  teach: { states: TEACH_STATES, serve: serveTeachStates, open: openTeachStates },
};
const browser = await launch({ gpu: false });
try {
  for (const [of, { states, serve, open }] of Object.entries(PAGES)) {
    if (onlyPage && onlyPage !== of) continue;
    const served = await serve();
    for (const [size, options] of Object.entries(SIZES)) {
      if (onlySize && onlySize !== size) continue;
      const world = await open(browser, served, options);
      const { page } = world;
      await eachState(world, async (name) => {
        if (words && !name.includes(words)) return;
        const number = String(states.findIndex((state) => state.name === name) + 1).padStart(2, '0');
        if (width) await page.setViewportSize({ width: Number(width), height: Number(height) });
        for (const colorScheme of ['light', 'dark']) {
          if (scheme && scheme !== colorScheme) continue;
          await page.emulateMedia({ colorScheme });
          await page.screenshot({ path: join(folder, `${size}-${colorScheme}-${number}-${name.replace(/[^a-z0-9]+/gi, '-')}.png`), fullPage: whole });
        }
        if (width) await page.setViewportSize(options.viewport);
      }, states);
      await page.context().close();
    }
    await served.close();
  }
} finally {
  await browser.close();
}
