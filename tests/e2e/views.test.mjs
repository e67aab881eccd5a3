// Looking at a run: its four views, the numbers of a pixel, the plots, playing it, the notes and the tour.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { DESKTOP, PHONE, closePage, controls, differ, equal, generate, launch, openPage, pixels, servePage } from './harness.mjs';

let browser;
let server;
before(async () => {
  [browser, server] = await Promise.all([launch({ gpu: false }), servePage()]);
});
after(async () => {
  await browser?.close();
  server?.close();
});

const made = async (viewport, query = 'backend=cpu&steps=6&count=4&seed=5&class=3') => {
  const page = await openPage(browser, `${server.url}?${query}`, { viewport });
  await generate(page);
  return page;
};
const scrubTo = (page, step) => controls(page).step.evaluate((slider, value) => {
  slider.value = String(value);
  slider.dispatchEvent(new Event('input'));
}, step);

/** One of the large pictures. */
const loupe = (page, view) => page.locator(`#loupe-${view}`).evaluate((canvas) => [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data].filter((_, i) => i % 4 === 0));

test('x_t, x̂0, ε̂ and the change are shown in the grid and side by side', async () => {
  const page = await made(DESKTOP);
  await scrubTo(page, 3);
  const shown = {};
  for (const [view, name] of [['x', 'x_t'], ['x0', 'x̂0'], ['eps', 'ε̂'], ['change', 'Change of the last step']]) {
    await controls(page).view(name).check({ force: true });
    shown[view] = await pixels(page);
    equal(await loupe(page, view), shown[view][0], `the large ${name} is the chosen one`);
    assert.ok(await page.locator(`#loupe-${view}`).isVisible(), `${name} has room`);
  }
  for (const [a, b] of [['x', 'x0'], ['x', 'eps'], ['x0', 'eps'], ['eps', 'change']]) differ(shown[a], shown[b], `${a} and ${b}`);
  assert.match(page.url(), /view=change/);
  assert.match(await page.locator('#loupe-change-note').textContent(), /^since step 2(, ×\d+)?$/);
  await page.reload();
  await page.waitForSelector('body[data-phase="ready"]');
  assert.ok(await controls(page).view('Change of the last step').isChecked(), 'the address knows it');
  await closePage(page);
});

test('the inspector has the numbers that the pictures are made of', async () => {
  const page = await made(DESKTOP);
  await scrubTo(page, 6);
  const canvas = page.locator('#loupe-x');
  const box = await canvas.boundingBox();
  await page.mouse.move(box.x + (10.5 / 32) * box.width, box.y + (20.5 / 32) * box.height);
  const inspector = page.locator('#inspector');
  await inspector.waitFor({ state: 'visible' });
  const text = (await inspector.textContent()).replaceAll('−', '-').replaceAll('\u2007', '');
  const found = text.match(/^pixel (\d+), (\d+) xt (\S+) x0 (\S+) ε (\S+) Δx (\S+)$/);
  assert.ok(found, text);
  assert.deepEqual(found.slice(1, 3), ['10', '20']);
  const [x, x0] = [Number(found[3]), Number(found[4])];
  assert.equal(x, x0, 'x̂0 of x_0 is x_0');
  const byte = (await pixels(page))[0][20 * 32 + 10];
  assert.ok(Math.abs(byte - Math.min(255, Math.max(0, (x / 2 + 0.5) * 255))) <= 1, `${x} is shown as ${byte}`);
  assert.ok(await page.locator('#loupe-x + .pixel').isVisible());
  // The keys do as much as the pointer.
  await page.mouse.move(5, 5);
  await inspector.waitFor({ state: 'hidden' });
  await canvas.focus();
  await page.keyboard.press('ArrowRight');
  await page.keyboard.press('ArrowDown');
  assert.match(await inspector.textContent(), /^pixel 17, 17 /);
  await closePage(page);
});

test('the plots follow the step', async () => {
  const page = await made(DESKTOP);
  const plot = (name) => page.getByRole('radiogroup', { name: 'Plot' }).getByRole('radio', { name, exact: true }).check({ force: true });
  const caption = page.locator('#chart-caption');
  await scrubTo(page, 2);
  await plot('SNR');
  assert.match(await caption.textContent(), /dB here/);
  await plot('Size of ε̂');
  assert.match(await caption.textContent(), /Size of ε̂ .*; 0\.9\d+ here|; 1\.0\d+ here/);
  assert.equal((await page.locator('#chart polyline.signal').getAttribute('points')).split(' ').length, 6, 'a point an evaluation');
  await plot('Change of x̂0');
  assert.equal((await page.locator('#chart polyline.signal').getAttribute('points')).split(' ').length, 6, 'a point for each but the first, and the picture itself');
  await plot('Spread');
  assert.equal(await page.locator('#chart rect').count(), 40);
  const heights = () => page.locator('#chart rect').evaluateAll((bars) => bars.map((bar) => Number(bar.getAttribute('height'))));
  // What it shows is drawn at the next frame.
  const drawn = () => page.evaluate(() => new Promise((done) => { requestAnimationFrame(() => requestAnimationFrame(done)); }));
  await scrubTo(page, 0);
  await drawn();
  const noise = await heights();
  await scrubTo(page, 6);
  await drawn();
  const digit = await heights();
  assert.ok(noise[20] > 10 && noise[10] > 0, 'noise is normal');
  assert.ok(digit[10] === 0 && Math.max(...digit) > 50, 'a digit is black and white');
  await closePage(page);
});

test('a run is played faster, and in a loop', async () => {
  const page = await made(DESKTOP);
  const { play, pause } = controls(page);
  await page.getByRole('button', { name: 'Speed: 1 times' }).click();
  await page.getByRole('button', { name: 'Speed: 2 times' }).click();
  await page.getByRole('button', { name: 'Loop' }).click();
  await play.click();
  // It begins again.
  await page.waitForFunction(() => {
    const now = Number(document.getElementById('step').value);
    const before = globalThis.lastStep;
    globalThis.lastStep = now;
    return now < before;
  });
  await pause.click();
  await closePage(page);
});

test('a question mark explains the control beside it', async () => {
  for (const viewport of [DESKTOP, PHONE]) {
    const page = await made(viewport);
    for (const title of ['How much the class counts', 'How noise is taken away', 'One step, in numbers', 'Four ways to look at a step']) {
      const button = page.getByRole('button', { name: `About: ${title}` });
      await button.click();
      const note = page.getByRole('dialog', { name: title });
      await note.waitFor();
      assert.ok((await note.locator('.formula').textContent()).length > 5);
      assert.match(await note.getByRole('link').getAttribute('href'), /^https:\/\/arxiv\.org\/abs\//);
      const box = await note.boundingBox();
      assert.ok(box.x >= 0 && box.x + box.width <= viewport.width && box.y >= 0 && box.y + box.height <= viewport.height, `${title} is on the screen`);
      await page.keyboard.press('Tab');
      assert.equal(await note.getByRole('link').evaluate((link) => link === document.activeElement), true, 'its link is the next thing there is');
      await page.keyboard.press('Escape');
      await note.waitFor({ state: 'hidden' });
      assert.equal(await button.evaluate((it) => it === document.activeElement), true, 'and the focus comes back');
    }
    await closePage(page);
  }
});

test('the tour shows itself once, and leaves the page usable', async () => {
  for (const viewport of [DESKTOP, PHONE]) {
    const context = await browser.newContext({ viewport, reducedMotion: 'reduce' });
    const page = await context.newPage();
    const errors = [];
    page.on('pageerror', ({ message }) => errors.push(message));
    const address = `${server.url}?model=models/digits&backend=cpu&steps=2&count=1`;
    await page.goto(address);
    const tour = page.locator('#tour');
    await tour.waitFor();
    assert.match(await tour.textContent(), /1 of 4/);
    await page.waitForSelector('body[data-phase="ready"]');
    assert.equal(await page.evaluate(() => document.activeElement === document.body), true, 'it takes no focus');
    await tour.getByRole('button', { name: 'Next' }).click();
    assert.match(await tour.textContent(), /2 of 4/);
    // Doing it is as good as reading on.
    await generate(page);
    assert.match(await tour.textContent(), /3 of 4/);
    const box = await tour.boundingBox();
    assert.ok(box.x >= 0 && box.x + box.width <= viewport.width && box.y >= 0 && box.y + box.height <= viewport.height, 'it is on the screen');
    await tour.getByRole('button', { name: 'Next' }).click();
    await tour.getByRole('button', { name: 'Done' }).click();
    await tour.waitFor({ state: 'hidden' });
    await page.reload();
    await page.waitForSelector('body[data-phase="ready"]');
    assert.ok(await tour.isHidden(), 'not a second time');
    await page.getByRole('button', { name: 'Help' }).click();
    await page.getByRole('button', { name: 'Show me around' }).click();
    assert.match(await tour.textContent(), /1 of 4/);
    await page.keyboard.press('Escape');
    assert.ok(await tour.isHidden());
    // On a phone a run that is begun from below shows itself.
    await page.evaluate(() => scrollTo(0, document.body.scrollHeight));
    await generate(page, () => page.getByLabel('Steps', { exact: true }).press('Enter'));
    const { top } = await page.evaluate(() => document.getElementById('grid').getBoundingClientRect().toJSON());
    assert.ok(top >= 0 && top < viewport.height, `the pictures are in sight: ${top}`);
    assert.deepEqual(errors, []);
    await context.close();
  }
});
