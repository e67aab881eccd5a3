// Beginning with a picture: drawn, chosen or dropped, with noise on it, with a part made anew, or with the noise that it
// came from; and the strips between two noises and two classes.

import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { closePage, controls, DESKTOP, differ, equal, generate, launch, openPage, PHONE, pixels, ready, servePage } from './harness.mjs';

let browser;
let server;
let folder;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'denoise-picture-'));
  server = await servePage();
  browser = await launch({ gpu: false });
});

after(async () => {
  await browser?.close();
  await server?.close();
  if (folder) await rm(folder, { recursive: true, force: true });
});

const open = (query, options) => openPage(browser, `${server.url}?backend=cpu&${query}`, options);

const parts = (page) => ({
  section: page.locator('#picture'),
  summary: page.locator('#picture > summary'),
  board: page.getByLabel('Drawing', { exact: true }),
  tool: (name) => page.getByRole('radiogroup', { name: 'Tool' }).getByRole('radio', { name, exact: true }),
  button: (name) => page.locator('#picture').getByRole('button', { name, exact: true }),
  begins: (name) => page.getByRole('group', { name: 'Generate begins with' }).getByRole('radio', { name }),
  time: page.getByRole('slider', { name: 'Noise t' }),
  file: page.locator('#picture-choose'),
});

/** A canvas's red channel. */
const red = (page, id) => page.evaluate((id) => {
  const canvas = document.getElementById(id);
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  return Array.from({ length: data.length / 4 }, (_, i) => data[4 * i]);
}, id);

/** Draws a line with the mouse, in pixels of the picture. */
async function draw(page, ...points) {
  const board = parts(page).board;
  await board.scrollIntoViewIfNeeded();
  const box = await board.boundingBox();
  const side = await board.evaluate(({ width }) => width);
  const to = ([x, y]) => [box.x + (x / side) * box.width, box.y + (y / side) * box.height];
  await page.mouse.move(...to(points[0]));
  await page.mouse.down();
  for (const point of points.slice(1)) await page.mouse.move(...to(point), { steps: 4 });
  await page.mouse.up();
}

/** A picture as a file: white on the left, black on the right. */
const halves = (page, { width = 60, height = 40, name = 'halves.png' } = {}) => page.evaluate(async ({ width, height }) => {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext('2d');
  context.fillRect(0, 0, width, height);
  context.fillStyle = '#ffffff';
  context.fillRect(0, 0, width / 2, height);
  return [...new Uint8Array(await (await canvas.convertToBlob({ type: 'image/png' })).arrayBuffer())];
}, { width, height }).then((bytes) => ({ name, mimeType: 'image/png', buffer: Buffer.from(bytes) }));

/** Lets a file go over the page, or pastes it. */
const drop = (page, { name, buffer }, event = 'drop') => page.evaluate(({ name, bytes, event }) => {
  const data = new DataTransfer();
  data.items.add(new File([new Uint8Array(bytes)], name, { type: 'image/png' }));
  const options = { bubbles: true, cancelable: true };
  document.body.dispatchEvent(event === 'drop' ? new DragEvent('drop', { dataTransfer: data, ...options }) : new ClipboardEvent('paste', { clipboardData: data, ...options }));
}, { name, bytes: [...buffer], event });

async function save(page, way) {
  await page.getByRole('button', { name: 'Save', exact: true }).click();
  const [download] = await Promise.all([page.waitForEvent('download', { timeout: 60_000 }), page.locator(`[data-way=${way}]`).click()]);
  const path = join(folder, `${Math.random()}-${download.suggestedFilename()}`);
  await download.saveAs(path);
  return { name: download.suggestedFilename(), buffer: await readFile(path) };
}

const setTime = (page, t) => parts(page).time.evaluate((slider, t) => {
  slider.value = t;
  slider.dispatchEvent(new Event('input', { bubbles: true }));
}, t);

for (const [name, viewport] of [['desktop', DESKTOP], ['phone', PHONE]]) {
  test(`a picture is drawn and seen with noise on it: ${name}`, async () => {
    const page = await open('count=2', { viewport });
    const on = parts(page);
    assert.equal(await on.section.evaluate(({ open }) => open), false, 'closed until it is asked for');
    await on.summary.click();
    await draw(page, [8, 16], [24, 16]);
    const drawn = await red(page, 'drawing');
    assert.equal(drawn[16 * 32 + 16], 255);
    assert.equal(drawn[4 * 32 + 16], 0);
    await setTime(page, 0);
    const clean = await red(page, 'noised');
    assert.ok(drawn.every((level, i) => Math.abs(level - clean[i]) < 16), 'at t = 0 there is hardly any noise');
    await setTime(page, 999);
    assert.match(await page.locator('#forward').textContent(), /x_999 = 0\.00\d+ .*x_0.* \+ 1\.0000 /s);
    const noisy = await red(page, 'noised');
    assert.ok(noisy.filter((level) => level > 64 && level < 192).length > 300, 'and at the end nothing else');
    await on.button('Undo').click();
    assert.ok((await red(page, 'drawing')).every((level) => level === 0), 'the line is taken back as a whole');
    await on.board.focus();
    await page.keyboard.press('ArrowRight');
    await page.keyboard.press('Space');
    assert.equal((await red(page, 'drawing'))[16 * 32 + 17], 255, 'keys draw as well');
    await on.button('Invert').click();
    assert.equal((await red(page, 'drawing'))[0], 255);
    await on.button('Clear').click();
    assert.ok((await red(page, 'drawing')).every((level) => level === 0));
    await closePage(page);
  });
}

test('a finger draws and does not scroll the page', async () => {
  const page = await open('count=2', { viewport: { width: 320, height: 640 } });
  const on = parts(page);
  await on.summary.click();
  await on.board.evaluate((board) => board.scrollIntoView({ block: 'center' }));
  const { x, y, width, height } = await on.board.boundingBox();
  const scrolled = await page.evaluate(() => scrollY);
  const client = await page.context().newCDPSession(page);
  await client.send('Emulation.setTouchEmulationEnabled', { enabled: true });
  const touch = (type, ...points) => client.send('Input.dispatchTouchEvent', { type, touchPoints: points.map(([right, down]) => ({ x: x + right * width, y: y + down * height })) });
  await touch('touchStart', [0.5, 0.9]);
  for (const down of [0.7, 0.5, 0.3, 0.1]) await touch('touchMove', [0.5, down]);
  await touch('touchEnd');
  const drawn = await red(page, 'drawing');
  assert.deepEqual([5, 16, 27].map((row) => drawn[row * 32 + 16]), [255, 255, 255]);
  assert.equal(await page.evaluate(() => scrollY), scrolled);
  await closePage(page);
});

test('a file becomes the picture, chosen, dropped or pasted; what is none is refused', async () => {
  const page = await open('count=2');
  const on = parts(page);
  const file = await halves(page);
  await drop(page, file);
  await page.locator('#errors').getByText('halves.png has no settings of Denoise in it').waitFor();
  await on.summary.click();
  await drop(page, file);
  await page.locator('#picture-name', { hasText: 'halves.png' }).waitFor();
  const picture = await red(page, 'drawing');
  assert.deepEqual([picture[5], picture[26]], [255, 0], 'its middle, in the model’s size');
  await on.file.setInputFiles({ name: 'notes.png', mimeType: 'image/png', buffer: Buffer.from('no picture') });
  await page.locator('#errors').getByText(/notes\.png could not be read as a picture/).waitFor();
  equal(await red(page, 'drawing'), picture, 'what was there stays');
  await on.file.setInputFiles(await halves(page, { width: 32, height: 32, name: 'other.png' }));
  await page.locator('#picture-name', { hasText: 'other.png' }).waitFor();
  await drop(page, { ...file, name: 'pasted.png' }, 'paste');
  await page.locator('#picture-name', { hasText: 'pasted.png' }).waitFor();
  await closePage(page);
});

test('Generate begins with the picture, and a PNG brings it back', async () => {
  const page = await open('count=3&steps=10&seed=5&class=3&sampler=ddim');
  const on = parts(page);
  await on.summary.click();
  await draw(page, [10, 8], [20, 8], [14, 15], [20, 22], [10, 25]);
  await on.begins(/the picture/).check();
  await setTime(page, 499);
  assert.match(await page.locator('#picture-says').textContent(), /Generate begins at t 499/);
  await generate(page);
  assert.match(await page.locator('#caption').textContent(), /from a picture at t 499$/);
  assert.equal(await page.locator('#at-step').textContent(), '5 of 5', 'the rest of the steps');
  const made = await pixels(page);
  const drawing = await red(page, 'drawing');
  const likeness = (image) => image.filter((level, i) => (level > 127) === (drawing[i] > 127)).length / image.length;
  assert.ok(made.every((image) => likeness(image) > 0.75), `${made.map(likeness)}`);
  differ(made[0], made[1], 'variations');
  const png = await save(page, 'png');
  await on.begins(/^noise$/).check();
  await generate(page);
  differ(await pixels(page), made, 'without the picture');
  await generate(page, () => drop(page, png));
  equal(await pixels(page), made, 'from the file');
  equal(await red(page, 'drawing'), drawing, 'with its picture');
  assert.match(page.url(), /begins=picture/);
  const address = page.url();
  await closePage(page);
  const later = await openPage(browser, address);
  await later.getByText(/began with a picture, which an address cannot carry/).waitFor();
  await closePage(later);
});

test('the chosen image is the picture, and nothing is missing without being said', async () => {
  const page = await open('count=2&steps=4&seed=5');
  const on = parts(page);
  await on.summary.click();
  await generate(page);
  const [, second] = await pixels(page);
  await page.getByRole('option', { name: 'Image 2' }).click();
  await on.button('Use this image').click();
  equal(await red(page, 'drawing'), second, 'as it is shown');
  await on.begins(/where it is marked/).check();
  await controls(page).generate.click();
  await page.locator('#errors').getByText(/Nothing is marked to be made anew/).waitFor();
  await closePage(page);
});

test('an image that the model has learned from is the picture, of the chosen class', async () => {
  const page = await open('model=models/digits&class=3&count=1');
  await parts(page).summary.click();
  await parts(page).button('From the data').click();
  await page.waitForFunction(() => document.getElementById('picture-name').textContent === '3 of the data');
  const drawn = await red(page, 'drawing');
  const rows = Array.from({ length: 32 }, (_, y) => drawn.slice(32 * y, 32 * y + 32));
  assert.ok(rows.some((row) => row.some((level) => level > 200)), 'there is a digit');
  for (const edge of [rows[0], rows[1], rows[30], rows[31], rows.map((row) => row[0]), rows.map((row) => row[31])]) assert.ok(edge.every((level) => level === 0), 'with its border');
  await page.route('**/teach/data/**', (route) => route.abort());
  await parts(page).button('From the data').click();
  await page.locator('#errors').getByText(/digits\.json could not be fetched/).waitFor();
  assert.deepEqual(await red(page, 'drawing'), drawn, 'and the other stays');
  await page.context().close(); // the console says that a file was not fetched
});

test('the noise of a picture is found, and generated from', async () => {
  const page = await open('count=2&steps=20&seed=5&class=3&sampler=ddim');
  const on = parts(page);
  await on.summary.click();
  await generate(page);
  await on.button('Use this image').click();
  await generate(page, () => on.button('Find its noise').click());
  await ready(page);
  await page.locator('#inversion-error b').waitFor({ timeout: 60_000 });
  const error = Number(await page.locator('#inversion-error b').textContent());
  assert.ok(error > 0 && error < 0.3, `error ${error}`);
  const again = await red(page, 'made-again');
  const noise = await red(page, 'found-noise');
  assert.ok(noise.filter((level) => level > 48 && level < 208).length > 400, 'noise');
  await on.begins(/noise that was found/).check();
  await generate(page);
  assert.match(await page.locator('#caption').textContent(), /from the noise of a picture/);
  const made = await pixels(page);
  assert.ok(made[0].every((level, i) => Math.abs(level - again[i]) <= 1), 'the same picture, made again');
  equal(made[0], made[1], 'all of the same noise and class');
  await closePage(page);
});

test('what is not marked is kept, with any sampler', async () => {
  for (const sampler of ['ddim', 'dpm_solver']) {
    const page = await open(`count=2&steps=8&seed=5&class=3&sampler=${sampler}`);
    const on = parts(page);
    await on.summary.click();
    await on.file.setInputFiles(await halves(page, { width: 32, height: 32 }));
    await page.locator('#picture-name', { hasText: 'halves.png' }).waitFor();
    await on.tool('Mark').check();
    await page.locator('#brush').fill('16');
    await draw(page, [24, 0], [24, 31]);
    const mask = await page.evaluate(() => {
      const canvas = document.getElementById('marks');
      const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
      return Array.from({ length: 1024 }, (_, i) => data[4 * (Math.floor(i / 32) * 8 * canvas.width + (i % 32) * 8) + 3] > 0);
    });
    assert.ok(mask.filter(Boolean).length > 300 && !mask[5]);
    await on.begins(/where it is marked/).check();
    await generate(page);
    const picture = await red(page, 'drawing');
    for (const image of await pixels(page)) {
      assert.ok(image.every((level, i) => mask[i] || level === picture[i]), `${sampler}: the rest is kept`);
      assert.ok(image.some((level, i) => mask[i] && level !== picture[i]), `${sampler}: the marked part is another`);
    }
    await closePage(page);
  }
});

for (const [name, viewport] of [['desktop', DESKTOP], ['phone', PHONE]]) {
  test(`a strip goes from one seed to another, and is looked through: ${name}`, async () => {
    const page = await open('count=1&steps=4&seed=9&lock=1&class=3', { viewport });
    await generate(page);
    const [last] = await pixels(page);
    await controls(page).seed.fill('5');
    await generate(page);
    const [first] = await pixels(page);
    assert.equal(await page.getByRole('button', { name: 'Leaf through' }).isVisible(), false);
    await controls(page).count.fill('5');
    await page.getByLabel('Seed to', { exact: true }).fill('9');
    await generate(page);
    const strip = await pixels(page);
    equal(strip[0], first, 'one end');
    equal(strip[4], last, 'the other end');
    differ(strip[2], first, 'between');
    assert.match(page.url(), /seedTo=9/);
    assert.match(await page.locator('#caption').textContent(), /seed 5 → 9/);
    await page.getByRole('button', { name: 'Leaf through' }).click();
    await page.waitForFunction(() => document.querySelectorAll('#options [aria-selected=true]').length && [...document.getElementById('options').children].findIndex((option) => option.getAttribute('aria-selected') === 'true') === 3);
    if (name === 'phone') assert.ok(await page.locator('#loupe-x').isVisible(), 'large');
    await page.getByRole('button', { name: 'Leaf through' }).click();
    const gif = await save(page, 'loop');
    assert.match(gif.buffer.subarray(0, 6).toString(), /GIF89a/);
    await closePage(page);
  });
}

test('a strip goes from one class to another', async () => {
  const page = await open('count=3&steps=4&seed=5&lock=1&class=3&seedTo=5');
  await page.getByLabel('Class to', { exact: true }).selectOption('8');
  await generate(page);
  const strip = await pixels(page);
  assert.match(await page.locator('#caption').textContent(), /class 3 → 8/);
  await controls(page).class('8').check();
  await page.getByLabel('Class to', { exact: true }).selectOption('');
  await generate(page);
  const [eight] = await pixels(page);
  equal(strip[2], eight, 'the far end is the other class, from the same noise');
  differ(strip[0], eight, 'and the near end is not');
  await closePage(page);
});
