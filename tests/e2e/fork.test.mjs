// The tree of runs: forks from any step, branches to choose and compare, and runs that outlive their engine.

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { wrapEngine } from './engines.mjs';
import { closePage, controls, DESKTOP, differ, equal, folderOf, generate, launch, openPage, PHONE, pixels, ready, servePage } from './harness.mjs';

let browser;
let server;
let frail;

before(async () => {
  frail = await mkdtemp(join(tmpdir(), 'denoise-frail-'));
  // An engine that is lost when a test says so; the next one is well.
  await wrapEngine(frail, `
    let lost = false;
    new BroadcastChannel('lose').onmessage = () => { lost = true; };
    const told = new BroadcastChannel('resumed');
    const { resume, start } = Engine.prototype;
    const frailly = (begin) => async function (...of) {
      const run = await begin.apply(this, of);
      const next = run.next.bind(run);
      run.next = () => (lost ? Promise.reject(new Error('The GPU was lost.')) : next());
      return run;
    };
    const goOn = frailly(resume);
    Object.assign(Engine.prototype, { start: frailly(start), resume(settings, snapshot) {
      told.postMessage(snapshot.row);
      return goOn.call(this, settings, snapshot);
    } });
  `);
  server = await servePage({ '/frail/pkg/': frail, '/frail/': folderOf('www') });
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await server?.close();
  if (frail) await rm(frail, { recursive: true, force: true });
});

const open = (query, options) => openPage(browser, server.url + query, options);

const tree = (page) => ({
  fork: page.getByRole('button', { name: 'Fork here' }),
  compare: page.getByRole('button', { name: 'Compare branches' }),
  lanes: page.getByRole('listbox', { name: 'Branches' }).getByRole('option'),
  hint: page.locator('#fork-hint'),
});

/** Has the page note the rows that the engine resumes runs at, and how often it is told where a run stands. */
const watchResumed = (page) => page.addInitScript(() => {
  Object.assign(globalThis, { resumed: [], told: 0 });
  new BroadcastChannel('resumed').onmessage = ({ data }) => globalThis.resumed.push(data);
  globalThis.Worker = class extends Worker {
    constructor(...of) {
      super(...of);
      this.addEventListener('message', ({ data }) => {
        if (data.type === 'snapshot') globalThis.told++;
      });
    }
  };
});

/**
 * Has the engine be lost when a run has come so far, and sees that another one is loaded, however soon that is.
 * @param {import('playwright-core').Page} page
 * @param {number} step
 * @param {{told?: boolean}} [options]  only after the page was told where the run stands
 */
async function lose(page, step, { told = false } = {}) {
  await page.waitForFunction(([least, waits]) => document.body.dataset.phase === 'running' && Number(document.getElementById('step').value) >= least && (!waits || globalThis.told > 0), [step, told], { timeout: 60_000 });
  await page.evaluate(() => new Promise((done) => {
    new MutationObserver((_, observer) => {
      if (document.body.dataset.phase !== 'loading') return;
      observer.disconnect();
      globalThis.told = 0;
      done();
    }).observe(document.body, { attributeFilter: ['data-phase'] });
    new BroadcastChannel('lose').postMessage('now');
  }));
}

/** Moves the slider by its value, as a drag would. */
const scrub = (page, step) => page.evaluate((to) => {
  const slider = document.getElementById('step');
  slider.value = to;
  slider.dispatchEvent(new Event('input', { bubbles: true }));
}, step);

/** The pictures at a step. */
async function at(page, step) {
  await scrub(page, step);
  assert.equal(await controls(page).step.inputValue(), String(step));
  return pixels(page);
}

/** Forks from a step, and waits for the end. */
async function fork(page, step) {
  await scrub(page, step);
  await generate(page, () => tree(page).fork.click());
  assert.ok(await page.locator('.notice.error').isHidden(), await page.locator('#errors').textContent());
  return pixels(page);
}

/** Has the worker load the model again, and forget where runs stood. */
async function reload(page) {
  await page.locator('#backend-button').click();
  const precision = controls(page).precision('32 bit');
  await precision.check();
  await page.keyboard.press('Escape');
  await ready(page);
}

for (const backend of ['cpu', 'gpu']) {
  describe(`on the ${backend.toUpperCase()}`, () => {
    test('a fork in which nothing was changed ends in the very same pixels', async () => {
      for (const sampler of ['ddim', 'ddpm', 'dpm_solver']) {
        const page = await open(`?model=models/digits&backend=${backend}&count=2&steps=6&seed=1234&sampler=${sampler}&class=3`);
        await generate(page);
        const whole = await pixels(page);
        for (const step of [0, 1, 3, 5]) {
          equal(await fork(page, step), whole, `${sampler} from step ${step}`);
          assert.equal(await controls(page).step.inputValue(), '6');
        }
        await closePage(page);
      }
    });

    test('a fork shares what came before and differs in what comes after', async () => {
      const page = await open(`?model=models/digits&backend=${backend}&count=2&steps=6&seed=1&sampler=ddpm&class=3`);
      const on = controls(page);
      await generate(page);
      const parent = [];
      for (let step = 0; step <= 6; step++) parent.push(await at(page, step));
      await on.class('7').check();
      const seven = await fork(page, 3);
      differ(seven, parent[6], 'another class');
      for (const step of [0, 2, 3]) equal(await at(page, step), parent[step], `step ${step} is shared`);
      differ(await at(page, 5), parent[5], 'step 5');
      assert.equal(await page.locator('#at-step').textContent(), '5 of 6');

      // A fork of the fork, with another seed; another one of it from before it came into being is of the first run.
      await on.seed.fill('99');
      const other = await fork(page, 4);
      differ(other, seven, 'another seed');
      equal(await at(page, 3), parent[3], 'what the first run made');
      assert.deepEqual(await tree(page).lanes.locator('.words').allTextContents(), ['seed 1', 'class 7', 'seed 99']);
      assert.equal(await tree(page).lanes.nth(2).getAttribute('aria-label'), 'seed 99, from step 4');

      // Each lane brings back its run and its settings.
      await tree(page).lanes.first().click();
      await scrub(page, 6);
      equal(await pixels(page), parent[6], 'the first run is as it was');
      assert.equal(await on.seed.inputValue(), '1');
      assert.ok(await on.class('3').isChecked());
      await tree(page).lanes.first().press('ArrowDown');
      equal(await pixels(page), seven, 'the first fork');
      assert.ok(await on.class('7').isChecked());

      // Generate begins another tree.
      await generate(page);
      assert.equal(await tree(page).lanes.count(), 0);
      await closePage(page);
    });

    test('where a run stood is found again when nothing of it was kept', async () => {
      const page = await open(`?model=models/digits&backend=${backend}&count=3&steps=6&seed=5&sampler=ddpm&class=3`);
      const on = controls(page);
      await generate(page);
      await on.class('7').check();
      await fork(page, 2);
      await on.seed.fill('6');
      const made = await fork(page, 4);
      await tree(page).lanes.nth(1).click();
      await on.seed.fill('6');
      await reload(page);
      assert.equal(await tree(page).lanes.count(), 3, 'the tree is still there');
      equal(await fork(page, 4), made, 'a fork of a fork, once more from the beginning');
      await closePage(page);
    });

    test('another sampler goes on from where a run was', async () => {
      const page = await open(`?model=models/digits&backend=${backend}&count=2&steps=10&seed=1&class=3`);
      const on = controls(page);
      await generate(page);
      const [whole, middle] = [await pixels(page), await at(page, 5)];
      await on.sampler.selectOption('dpm_solver');
      await on.steps.fill('8');
      const other = await fork(page, 5);
      differ(other, whole, 'another sampler');
      const total = Number(await on.step.getAttribute('max'));
      assert.ok(total > 5 && total < 13, `it begins in the middle: ${total} steps`);
      assert.equal(await on.step.inputValue(), String(total));
      equal(await at(page, 4), await tree(page).lanes.first().click().then(() => at(page, 4)), 'what came before is the other’s');
      equal(await at(page, 5), middle, 'the first run is as it was');
      assert.match(await tree(page).lanes.nth(1).getAttribute('aria-label'), /DPM-Solver.* · 8 steps, from step 5/);
      // And a fork of that, along its own steps.
      await tree(page).lanes.nth(1).click();
      equal(await fork(page, total - 1), other, 'nothing was changed');
      await reload(page);
      equal(await fork(page, total - 2), other, 'nor from the beginning');
      await closePage(page);
    });

    // On the GPU, which is really lost there, lasting.test.mjs has it.
    test('a run outlives its engine', { skip: backend === 'gpu' }, async () => {
      // Long enough for the page to be told where it stands, however fast the machine is.
      const [steps, count] = [240, 8];
      const page = await open(`frail/?model=models/digits&backend=${backend}&count=${count}&steps=${steps}&seed=5&sampler=ddpm&class=3`, { before: watchResumed });
      const on = controls(page);
      await generate(page);
      const [whole, early] = [await pixels(page), await at(page, 5)];
      await on.generate.click();
      await lose(page, 1);
      await lose(page, 5, { told: true });
      await ready(page);
      const resumed = await page.evaluate(() => globalThis.resumed.flat());
      assert.ok(resumed.some((row) => row > 1), `it did not begin anew, but at evaluation ${resumed}`);
      assert.equal(await on.step.inputValue(), String(steps));
      equal(await pixels(page), whole, 'as if nothing had happened');
      equal(await at(page, 5), early, 'and on the way');

      // A fork too, for which the new worker first has to make what it goes on from.
      await on.class('7').check();
      const branch = await fork(page, 8);
      await tree(page).lanes.first().click();
      await on.class('7').check();
      await scrub(page, 8);
      await tree(page).fork.click();
      await lose(page, 10);
      await ready(page);
      assert.equal(await on.step.inputValue(), String(steps));
      equal(await pixels(page), branch, 'the fork is as the one before');
      await closePage(page);
    });
  });
}

test('after three losses in a row the CPU goes on, and the page says so', async () => {
  const page = await open('frail/?model=models/digits&backend=gpu&count=1&steps=200&seed=5&class=3');
  await controls(page).generate.click();
  for (let i = 0; i < 3; i++) await lose(page, 2);
  await page.waitForSelector('[data-kind="cpu"]');
  await ready(page);
  const notes = await page.locator('#notes').textContent();
  assert.match(notes, /The CPU takes over.*3 times in a row/s);
  assert.match(notes, /goes on on the CPU/);
  assert.equal(await page.locator('#at-step').textContent(), '200 of 200');
  await closePage(page);
});

test('seeds are drawn for forks that would differ in nothing, and the page says when that is no use', async () => {
  const page = await open('?model=models/digits&backend=cpu&count=1&steps=5&class=3&sampler=ddpm');
  const on = controls(page);
  assert.ok(await tree(page).fork.isDisabled());
  await generate(page);
  assert.ok(await tree(page).fork.isDisabled(), 'nothing follows the end');
  const whole = await pixels(page);
  await scrub(page, 2);
  assert.equal(await tree(page).hint.textContent(), 'Goes on from step 2 with another seed.');
  const first = await on.seed.inputValue();
  await generate(page, () => page.keyboard.press('f'));
  assert.notEqual(await on.seed.inputValue(), first);
  differ(await pixels(page), whole, 'another seed');
  await on.class('4').check();
  await on.count.fill('2');
  await scrub(page, 3);
  assert.match(await tree(page).hint.textContent(), /^Goes on from step 3 with class 4\. It makes one image/);
  assert.match(page.url(), /[?&]forked=1/, 'an address cannot carry it');
  await on.sampler.selectOption('ddim');
  await on.count.fill('1');
  await generate(page);
  await scrub(page, 2);
  assert.equal(await tree(page).hint.textContent(), 'With DDIM and η 0 nothing is left to chance from here: another seed changes nothing. Set η above 0, or change the class, guidance or sampler.');
  assert.ok(await tree(page).fork.isDisabled());
  assert.doesNotMatch(page.url(), /forked/);
  await closePage(page);
});

for (const [name, viewport] of [['desktop', DESKTOP], ['phone', PHONE]]) {
  test(`branches can be compared: ${name}`, async () => {
    const page = await open('?model=models/digits&backend=cpu&count=4&steps=6&seed=1&class=3', { viewport });
    const on = controls(page);
    await generate(page);
    await on.class('7').check();
    await fork(page, 2);
    await on.class('5').check();
    await fork(page, 3);
    await tree(page).compare.click();
    await scrub(page, 6);
    // What is compared is drawn at the next frame.
    const settle = () => page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
    await settle();
    assert.deepEqual(await page.locator('#compared b').allTextContents(), ['class 5', 'class 7'], 'with the one that it leaves');
    await tree(page).lanes.first().click();
    await on.view('x_t').focus();
    const of = (id) => page.evaluate((canvas) => {
      const { width, height } = document.getElementById(canvas);
      return [...document.getElementById(canvas).getContext('2d').getImageData(0, 0, width, height).data].filter((_, i) => i % 4 === 0);
    }, id);
    await scrub(page, 6);
    await settle();
    const first = await pixels(page);
    equal(await of('compared-this'), first[0], 'the chosen one');
    differ(await of('compared-other'), first[0], 'and the pinned one');
    await scrub(page, 1);
    await settle();
    equal(await of('compared-other'), await of('compared-this'), 'they were the same then');
    await page.keyboard.press('c');
    assert.ok(await page.locator('#compared').isHidden());
    await closePage(page);
  });
}
