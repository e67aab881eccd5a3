// Comparing settings as a visitor does it: columns side by side from the same noise, a matrix as one picture, and the way back.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import axe from 'axe-core';
import { checkLook, closePage as close, controls, DESKTOP, differ, equal, folderOf, generate, launch, loadModel, openPage, PHONE, pixels, ready, servePage } from './harness.mjs';

let browser, server;
before(async () => {
  // A model of 12 × 8 pixels, which even a thousand steps of take little time.
  [browser, server] = await Promise.all([launch({ gpu: false }), servePage({ '/tiny/': folderOf('tests/golden/unet_tiny_class') })]);
});
after(async () => {
  await browser?.close();
  await server?.close();
});

const open = (query, options) => openPage(browser, `${server.url}?backend=cpu&${query}`, options);
/** The model's notes, which say that it has no scheduler, have been read. */
const openTiny = async (query, options) => {
  const page = await open(`model=tiny&count=2&seed=5&class=1&steps=6&${query}`, options);
  await page.locator('#notes').getByRole('button', { name: 'Dismiss' }).click();
  return page;
};

const exact = (page, role, name) => page.getByRole(role, { name, exact: true });
const on = (page) => ({
  // What it is made of comes with the first click.
  openForm: async () => {
    await exact(page, 'button', 'Compare…').click();
    await page.locator('#comparing').waitFor();
  },
  run: exact(page, 'button', 'Run'),
  varies: exact(page, 'combobox', 'What varies'),
  rows: exact(page, 'combobox', 'Rows'),
  columns: exact(page, 'combobox', 'Columns'),
  kind: (name) => exact(page, 'radio', name),
  values: (label) => page.getByLabel(`Values: ${label}`),
  count: page.locator('#comparing-count'),
  hint: page.locator('#comparing-hint'),
  title: page.locator('#comparison-title'),
  column: page.locator('#columns li'),
  take: (name) => page.locator('#columns').getByRole('button', { name, exact: true }),
  slider: exact(page, 'slider', 'Part of the way'),
  view: (name) => page.getByRole('radiogroup', { name: 'View of the comparison' }).getByRole('radio', { name, exact: true }),
  measure: exact(page, 'button', 'Measure distances'),
  back: page.getByRole('button', { name: /^Back/ }),
  goOn: exact(page, 'button', 'Go on'),
});

/** What has been asked to be drawn is there. */
const settle = (page) => page.evaluate(() => new Promise((done) => { requestAnimationFrame(() => requestAnimationFrame(done)); }));
const done = async (page) => {
  await page.mouse.move(0, 0); // nothing under it tells what it is for
  await page.waitForFunction(() => document.getElementById('status-text').textContent === 'Done', null, { timeout: 120_000 });
  await settle(page);
};
/** The red channel of each column. */
const columns = async (page) => {
  await settle(page);
  return page.evaluate(() => [...document.querySelectorAll('#columns canvas')].map((canvas) => [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data].filter((_, i) => i % 4 === 0)));
};
/** The same of all images of the gallery, as they lie in its canvas. */
const gallery = (page) => page.evaluate(() => {
  const canvas = document.getElementById('images');
  return [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data].filter((_, i) => i % 4 === 0);
});
const texts = (page, index) => on(page).column.nth(index).locator('p').allTextContents();

for (const [name, viewport] of [['desktop', DESKTOP], ['phone', PHONE]]) {
  test(`columns from the same noise, in step, measured, and taken: ${name}`, async () => {
    const page = await openTiny('', { viewport });
    await page.evaluate(axe.source);
    const it = on(page);
    await generate(page);
    const [run, caption, address] = [await gallery(page), await page.locator('#caption').textContent(), page.url()];
    await it.openForm();
    assert.equal(await page.evaluate(() => document.activeElement.name), 'comparing-kind', 'the focus is in the form');
    assert.equal(await it.hint.textContent(), '3 runs, one after another, all from the noise of seed 5.');
    await it.varies.selectOption({ label: 'Steps' });
    await it.values('Steps').fill('3, 6, 12');
    await it.run.click();
    await done(page);
    assert.equal(await it.title.textContent(), '3 runs from the same noise');
    assert.equal(await it.column.count(), 3);
    assert.match((await texts(page, 0)).join(' | '), /^step 3 of 3 \| 3 evaluations · (\d+ ms|\d+\.\d s) \| $/);
    const ends = await columns(page);
    equal(ends[1], run, 'six steps, as the run has');
    differ(ends[0], ends[1], 'other steps');

    await it.slider.press('Home');
    const noise = await columns(page);
    equal(noise[1], noise[0], 'all begin with the same noise');
    equal(noise[2], noise[0], 'all begin with the same noise');
    assert.match((await texts(page, 2))[0], /^step 0 of 12 · t = 999$/);
    for (let i = 0; i < 6; i++) await it.slider.press('ArrowRight');
    await settle(page);
    assert.deepEqual(await Promise.all([0, 1, 2].map(async (i) => (await texts(page, i))[0].split(' · ')[0])), ['step 2 of 3', 'step 3 of 6', 'step 6 of 12'], 'half way, all of them');
    const half = await columns(page);
    await it.view('x̂0').check();
    differ((await columns(page))[2], half[2], 'another view');
    await it.slider.press('End');

    assert.match(await page.locator('#measure-hint').textContent(), /^Makes a reference from the same noise: 1000 steps of Euler, without chance\. That takes about [\d.]+ (s|min)[^,]*\.$/);
    await it.measure.click();
    await done(page);
    const distances = await Promise.all([0, 1, 2].map(async (i) => Number((await texts(page, i))[2].match(/^RMS ([\d.]+)$/)[1])));
    assert.ok(distances[0] > distances[1] && distances[1] > distances[2] && distances[2] > 0, `more steps come nearer: ${distances}`);
    await checkLook(page, 'measured');

    await it.take('12 steps').click();
    assert.equal(await controls(page).steps.inputValue(), '12');
    assert.equal(await it.take('12 steps').getAttribute('aria-pressed'), 'true');
    assert.match(page.url(), /steps=12/);
    await controls(page).steps.fill('6');
    await it.back.click();
    assert.ok(await page.locator('#comparison').isHidden());
    equal(await gallery(page), run, 'the run is as it was');
    assert.deepEqual([await page.locator('#caption').textContent(), page.url()], [caption, address]);
    assert.equal(await page.locator('#entries li').count(), 1, 'nothing of it is in the history');
    assert.match(await page.evaluate(() => document.activeElement.id), /^comparing-(run|show)$/, 'the focus is where it came from');
    await exact(page, 'button', 'Show the last one').click();
    assert.ok(await it.title.isVisible());
    await close(page);
  });

  test(`a matrix is drawn run by run, and saved as one picture: ${name}`, async () => {
    const page = await openTiny('', { viewport, colorScheme: 'dark' });
    const it = on(page);
    await it.openForm();
    await it.kind('Matrix').check();
    await it.rows.selectOption({ label: 'Sampler' });
    await it.columns.selectOption({ label: 'Steps' });
    await it.values('Steps').fill('2, 4');
    const samplers = await it.values('Sampler').getByRole('checkbox').all();
    for (const sampler of samplers) await sampler.setChecked(['DDIM', 'DDPM', 'Heun'].includes(await sampler.evaluate((input) => input.parentElement.textContent)));
    assert.equal(await it.hint.textContent(), '6 runs, one after another, all from the noise of seed 5.');
    await it.run.click();
    await done(page);
    const picture = page.getByRole('img', { name: /^Matrix of 6 runs, 6 of them made; rows: D\w+, D\w+, Heun; columns: 2 steps, 4 steps$/ });
    await picture.waitFor();
    const [download] = await Promise.all([page.waitForEvent('download'), exact(page, 'button', 'Save PNG').click()]);
    assert.equal(download.suggestedFilename(), 'tiny-sampler-steps.png');
    const bytes = await readFile(await download.path());
    const saved = await page.evaluate(async (bytes) => {
      const image = await createImageBitmap(new Blob([new Uint8Array(bytes)], { type: 'image/png' }));
      const context = new OffscreenCanvas(image.width, image.height).getContext('2d');
      context.drawImage(image, 0, 0);
      const cell = (column, row) => [...context.getImageData(image.width - 16 - 256 * (2 - column) - 4 * (1 - column), 16 + 64 + row * 260, 256, 256).data].filter((_, i) => i % 4 === 0);
      return { size: [image.width, image.height], cells: [0, 1, 2].flatMap((row) => [cell(0, row), cell(1, row)]).map((cell) => new Set(cell).size), same: cell(0, 0).join() === cell(1, 0).join() };
    }, [...bytes]);
    assert.equal(saved.size[1], 16 + 64 + 3 * 260 - 4 + 48 + 16);
    assert.ok(saved.cells.every((colours) => colours > 4), `each cell has its picture: ${saved.cells}`);
    assert.equal(saved.same, false);
    await close(page);
  });
}

test('Stop ends all runs, and they go on', async () => {
  const page = await openTiny('');
  const it = on(page);
  await it.openForm();
  await it.varies.selectOption({ label: 'Steps' });
  await it.values('Steps').fill('2, 900');
  // The page itself does it, so that the second run is not over before, however fast the machine is.
  await page.evaluate(() => {
    const number = document.getElementById('status-number');
    new MutationObserver((_, observer) => {
      if (!/^2 of 2 · \d+\/900/.test(number.textContent)) return;
      observer.disconnect();
      document.getElementById('generate').click();
    }).observe(number, { childList: true, characterData: true, subtree: true });
  });
  await it.run.click();
  await page.waitForFunction(() => document.getElementById('status-text').textContent === 'Stopped', null, { timeout: 60_000 });
  await ready(page);
  assert.match(await controls(page).status.textContent(), /^Stopped1 of 2 made$/);
  await settle(page);
  assert.match((await texts(page, 1)).join(), /stopped/);
  await it.goOn.click();
  await done(page);
  assert.match((await texts(page, 1))[1], /^900 evaluations/);
  assert.ok(await it.goOn.isHidden());
  assert.equal(await it.back.textContent(), 'Back', 'there was no run');
  await generate(page);
  assert.ok(await page.locator('#comparison').isHidden(), 'what Generate makes is shown');
  await close(page);
});

test('the tour waits for what it speaks of', async () => {
  const page = await openTiny('');
  const it = on(page);
  await page.getByRole('button', { name: 'Help' }).click();
  await page.locator('#tour-start').click();
  assert.ok(await page.locator('#tour').isVisible());
  await it.openForm();
  await it.run.click();
  await done(page);
  assert.ok(await page.locator('#tour').isHidden());
  await it.back.click();
  assert.ok(await page.locator('#tour').isVisible());
  await close(page);
});

test('what is wrong is said, and nothing is offered that does nothing', async () => {
  const page = await openTiny('');
  const it = on(page);
  await it.openForm();
  assert.deepEqual(await it.varies.locator('option').allTextContents(), ['Sampler', 'Steps', 'η'], 'this model knows no “no class”, so no guidance');
  await it.varies.selectOption({ label: 'Steps' });
  await it.values('Steps').fill('5, 5000');
  assert.equal(await it.hint.textContent(), '“5000” is not a whole number from 1 to 1000.');
  assert.equal(await it.values('Steps').getAttribute('aria-invalid'), 'true');
  assert.ok(await it.run.isDisabled());
  await it.values('Steps').fill('5, 10');
  await it.count.fill('0');
  assert.equal(await it.hint.textContent(), 'Images each: a whole number from 1 to 64.');
  await it.count.fill('1');
  assert.ok(await it.run.isEnabled());
  await controls(page).seed.fill('x').catch(() => {}); // a number field takes no letters
  await controls(page).steps.fill('0');
  await it.run.click();
  assert.equal(await page.evaluate(() => document.activeElement.id), 'steps', 'what is wrong in the settings has the focus');
  assert.ok(await page.locator('#comparison').isHidden());
  await close(page);
});

test('words are compared whole, and another model takes its comparison along', async () => {
  const page = await open('model=models/letters&class=ON&steps=4&seed=5');
  const it = on(page);
  await it.openForm();
  assert.ok(await it.count.isHidden(), 'a word has as many images as letters');
  await it.kind('Matrix').check();
  await it.rows.selectOption({ label: 'Word' });
  await it.values('Word').fill('A, BE');
  await it.columns.selectOption({ label: 'Seed' });
  await it.values('Seed').fill('1, 2');
  assert.match(await it.hint.textContent(), /from the noise of their seed\.$/);
  await it.run.click();
  await done(page);
  await page.getByRole('img', { name: /^Matrix of 4 runs, 4 of them made; rows: A, BE; columns: seed 1, seed 2$/ }).waitFor();
  await loadModel(page, 'models/digits');
  await page.waitForFunction(() => document.getElementById('model-name').textContent === 'Digits');
  await ready(page);
  assert.ok(await page.locator('#comparison').isHidden());
  assert.ok(await exact(page, 'button', 'Show the last one').isHidden());
  assert.equal((await pixels(page)).length, 16);
  await close(page);
});

test('on the GPU the runs are those that Generate makes', async (t) => {
  const withGpu = await launch();
  t.after(() => withGpu.close());
  const page = await openPage(withGpu, `${server.url}?backend=gpu&autotune=0&model=tiny&count=2&seed=5&class=1&steps=4`);
  const it = on(page);
  await generate(page);
  const run = await gallery(page);
  await it.openForm();
  for (const sampler of await it.values('Sampler').getByRole('checkbox').all()) await sampler.setChecked(['DDIM', 'UniPC'].includes(await sampler.evaluate((input) => input.parentElement.textContent)));
  await it.run.click();
  await done(page);
  assert.deepEqual(await it.column.locator('b').allTextContents(), ['DDIM', 'UniPC']);
  const [ddim, unipc] = await columns(page);
  equal(ddim, run, 'the same settings');
  await it.take('UniPC').click();
  await generate(page);
  equal(await gallery(page), unipc, 'the settings that were taken');
  await close(page);
});
