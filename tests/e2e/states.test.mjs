// How the page looks in every state, as far as it can be measured: on a desktop and a phone, in light and dark, from 320 px to
// 4K, with axe, and by where everything is.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { launch } from './harness.mjs';
import { axeFinds, layoutProblems, smallTargets, takeShifts, watchShifts } from './look.mjs';
import { eachState, openStates, serveStates, settle, SIZES, STATES } from './states.mjs';
import { openTeachStates, serveTeachStates, TEACH_STATES } from './teach-states.mjs';

/** Where else than at its own size the layout is looked at. */
const ALSO = { desktop: [{ width: 1024, height: 768 }, { width: 3840, height: 2160 }], phone: [{ width: 320, height: 568 }, { width: 1180, height: 820 }] };
/** Of any length: names of models, files, samplers and branches; a line elsewhere has all of it. */
const SHORTENED = '#model-name, #condition-text, #sampler, .caption, .compared b, #lanes .words';
/** WCAG 2.5.5 leaves out what stands in a sentence or formula, and what has to be where it is: the images in their picture. */
const EXEMPT = '.formulas a, .formulas .term, .formula .term, #options [role=option]';

const PAGES = {
  'the page': { states: STATES, serve: serveStates, open: openStates },
  'the Teach page': { states: TEACH_STATES, serve: serveTeachStates, open: openTeachStates },
};

let browser;
before(async () => {
  browser = await launch({ gpu: false });
});
after(() => browser?.close());

// Beside one another: each is a page of its own, and waits much.
describe('every state', { concurrency: true }, () => {
  for (const [of, { states, serve, open }] of Object.entries(PAGES)) for (const [name, options] of Object.entries(SIZES)) {
    test(`of ${of}, on a ${name}`, async (t) => {
      const isMain = states === STATES;
      const served = await serve();
      t.after(() => served.close());
      const foreign = [];
      const errors = [];
      const world = await open(browser, served, { ...options, colorScheme: 'light' }, async (page) => {
        page.on('request', (request) => {
          if (!request.url().startsWith(served.url) && !/^(data|blob):/.test(request.url())) foreign.push(request.url());
        });
        page.on('pageerror', ({ message }) => errors.push(message));
        await watchShifts(page);
      });
      const { page } = world;
      const problems = [];
      await eachState(world, async (state) => {
        const found = async (where, what) => problems.push(...(await what).map((problem) => `${state}, ${where}: ${problem}`));
        await found(name, takeShifts(page));
        await found('light', axeFinds(page));
        await page.emulateMedia({ colorScheme: 'dark' });
        // Of axe's rules only this one knows of colours.
        await found('dark', axeFinds(page, ['color-contrast']));
        await page.emulateMedia({ colorScheme: 'light' });
        for (const viewport of [options.viewport, ...ALSO[name]]) {
          const size = `${viewport.width} px`;
          if (viewport !== options.viewport) {
            await page.setViewportSize(viewport);
            await settle(page);
          }
          await found(size, layoutProblems(page, { shortened: SHORTENED }));
          if (options.hasTouch) await found(size, smallTargets(page, { exempt: EXEMPT }));
        }
        await page.setViewportSize(options.viewport);
        await settle(page);
        if (isMain && name === 'desktop') assert.ok(await page.evaluate(() => document.documentElement.scrollHeight <= innerHeight), `${state}: one screen`);
        await takeShifts(page);
      }, states);
      assert.ok(problems.length === 0, `\n${problems.join('\n')}`);
      assert.deepEqual(foreign, [], 'nothing is asked of others');
      assert.deepEqual(errors, []);
      await page.context().close();
    });
  }
});
