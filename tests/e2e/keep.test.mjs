// What is made can be kept: as pictures that carry their settings, as a link, in the history, and as a moving picture.

import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { readTexts, withTexts } from '../../www/keep/png.js';
import { closePage as close, controls, DESKTOP, equal, generate, launch, longestTask, openPage, PHONE, pixels, ready, servePage } from './harness.mjs';

let browser;
let server;
let folder;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'denoise-keep-'));
  server = await servePage();
  browser = await launch({ gpu: false });
});

after(async () => {
  await browser?.close();
  await server?.close();
  if (folder) await rm(folder, { recursive: true, force: true });
});

const open = (query, options) => openPage(browser, `${server.url}?backend=cpu&${query}`, options);

/** Chooses a way to save from the menu. */
async function choose(page, way, which = null) {
  await page.getByRole('button', { name: 'Save', exact: true }).click();
  if (which) await page.getByRole('radio', { name: which }).check();
  await page.locator(`[data-way=${way}]`).click();
}

/** The file that the browser would save. */
async function save(page, way, which) {
  const [download] = await Promise.all([page.waitForEvent('download', { timeout: 60_000 }), choose(page, way, which)]);
  const path = join(folder, `${Math.random()}-${download.suggestedFilename()}`);
  await download.saveAs(path);
  return { path, name: download.suggestedFilename(), bytes: new Uint8Array(await readFile(path)) };
}

/** Lets a file go over the page, or pastes it. */
const drop = (page, { name, bytes }, event = 'drop') => page.evaluate(({ name, bytes, event }) => {
  const data = new DataTransfer();
  data.items.add(new File([new Uint8Array(bytes)], name, { type: name.endsWith('.txt') ? 'text/plain' : 'image/png' }));
  const options = { bubbles: true, cancelable: true };
  document.body.dispatchEvent(event === 'drop' ? new DragEvent('drop', { dataTransfer: data, ...options }) : new ClipboardEvent('paste', { clipboardData: data, ...options }));
}, { name, bytes: [...bytes], event });

/** A PNG's red channel as the browser decodes it, and its size. */
const decode = (page, bytes) => page.evaluate(async (bytes) => {
  const image = await createImageBitmap(new Blob([new Uint8Array(bytes)], { type: 'image/png' }));
  const context = new OffscreenCanvas(image.width, image.height).getContext('2d');
  context.drawImage(image, 0, 0);
  const { data } = context.getImageData(0, 0, image.width, image.height);
  return { width: image.width, height: image.height, red: Array.from({ length: data.length / 4 }, (_, i) => data[4 * i]) };
}, [...bytes]);

const grid = (page) => page.evaluate(() => {
  const canvas = document.getElementById('images');
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  return { width: canvas.width, height: canvas.height, red: Array.from({ length: data.length / 4 }, (_, i) => data[4 * i]) };
});

/** Where the parts of the page are. */
const places = (page) => page.evaluate(() => ['.mat', '.scrubber', '.history', '.panel'].map((part) => JSON.stringify(document.querySelector(part).getBoundingClientRect())));

const entries = (page) => page.locator('#entries button');

for (const [name, viewport] of [['desktop', DESKTOP], ['phone', PHONE]]) {
  test(`a PNG makes its pictures again elsewhere, bit for bit: ${name}`, async () => {
    const page = await open('model=models/sprites&count=4&steps=4&seed=11&class=beast&guidance=1.5&sampler=ddim&eta=0.5&spacing=leading', { viewport });
    await generate(page);
    const made = await pixels(page);
    const { name: file, bytes } = await save(page, 'png');
    assert.equal(file, 'sprites-beast-11.png');

    // Enlarged by a whole number, laid out as on the page.
    const [shown, saved] = [await grid(page), await decode(page, bytes)];
    const scale = saved.width / shown.width;
    assert.ok(Number.isInteger(scale) && scale > 1 && saved.height === scale * shown.height, `${saved.width} × ${saved.height}`);
    const small = shown.red.map((_, i) => saved.red[Math.floor(i / shown.width) * scale * saved.width + (i % shown.width) * scale]);
    equal(small, shown.red, 'the picture and its file');
    const texts = readTexts(bytes);
    assert.equal(texts.get('Software'), 'Denoise');
    assert.match(texts.get('parameters'), /^beast\nSteps: 4, Sampler: DDIM, CFG scale: 1\.5, Seed: 11, Size: 32x32, Model: Sprites, /);

    // Somebody else, with another model and other settings.
    const other = await open('count=1&steps=2&seed=5', { viewport });
    await generate(other, () => drop(other, { name: 'given.png', bytes }));
    assert.equal(await other.locator('#model-name').textContent(), 'Sprites');
    equal(await pixels(other), made, 'the same pictures');
    assert.match(other.url(), /model=models\/sprites/);
    assert.equal(await controls(other).guidance.inputValue(), '1.5');
    assert.equal(await other.locator('.notice').count(), 0, 'nothing is to be said');
    // And by its address.
    const third = await openPage(browser, other.url(), { viewport });
    await generate(third);
    equal(await pixels(third), made, 'the same pictures by the address');
    for (const each of [page, other, third]) await close(each);
  });

  test(`the history survives a reload, and can be cleared: ${name}`, async () => {
    const page = await open('count=4&steps=2&seed=1', { viewport });
    const before = await places(page);
    await generate(page);
    await entries(page).first().waitFor();
    assert.deepEqual(await places(page), before, 'nothing moves when the first run is kept');
    const first = await pixels(page);
    await controls(page).seed.fill('2');
    await generate(page);
    await generate(page); // the same run once more is no other run
    await page.waitForFunction(() => document.querySelectorAll('#entries button').length === 2);
    if (viewport === DESKTOP) assert.ok(await page.evaluate(() => document.documentElement.scrollHeight) <= viewport.height, 'one screen');

    await page.reload();
    await ready(page);
    await page.waitForFunction(() => document.querySelectorAll('#entries button').length === 2);
    assert.match(await entries(page).nth(1).getAttribute('aria-label'), /^Digits · DDIM · 2 steps · class any · seed 2, /, 'the newest last');
    await entries(page).nth(0).click();
    await page.waitForFunction(() => document.getElementById('seed').value === '1');
    equal(await pixels(page), first, 'the pictures are shown at once');
    assert.equal(await entries(page).nth(0).getAttribute('aria-current'), 'true');
    assert.ok(await controls(page).step.isDisabled(), 'their steps are gone');
    await generate(page);
    equal(await pixels(page), first, 'and made again');
    assert.equal(await entries(page).nth(0).getAttribute('aria-current'), 'true', 'it stays where it is');
    assert.equal(await controls(page).step.inputValue(), '2');

    // Keys: from one to the next, and away with it.
    await entries(page).first().focus();
    await page.keyboard.press('ArrowRight');
    assert.equal(await entries(page).nth(1).evaluate((e) => e === document.activeElement), true);
    await page.keyboard.press('Delete');
    await page.waitForFunction(() => document.querySelectorAll('#entries button').length === 1);
    await page.locator('#notes').getByRole('button', { name: 'Undo' }).click();
    await page.waitForFunction(() => document.querySelectorAll('#entries button').length === 2);
    assert.match(await entries(page).nth(1).getAttribute('aria-label'), /seed 2, /, 'it is back where it was');
    await entries(page).nth(1).focus();
    await page.keyboard.press('Delete');
    await page.waitForFunction(() => document.querySelectorAll('#entries button').length === 1);
    await page.getByRole('button', { name: 'About the history' }).click();
    assert.match(await page.locator('#history-about').textContent(), /^One run, \d+ kB, kept in this browser/);
    await page.getByRole('button', { name: 'Clear all' }).click();
    await page.waitForFunction(() => document.querySelectorAll('#entries button').length === 0);
    // What was removed one after another comes back together.
    await page.getByText('2 runs were removed from the history.').waitFor();
    await page.locator('#notes').getByRole('button', { name: 'Undo' }).click();
    await page.waitForFunction(() => document.querySelectorAll('#entries button').length === 2);
    await page.getByRole('button', { name: 'About the history' }).click();
    await page.getByRole('button', { name: 'Clear all' }).click();
    await page.waitForFunction(() => document.querySelectorAll('#entries button').length === 0);
    assert.match(await page.locator('#history-hint').textContent(), /also when the page is closed/);
    await page.getByText('2 runs were removed from the history.').waitFor(); // they are gone from the disk, too
    await page.reload();
    await ready(page);
    await page.waitForTimeout(300);
    assert.equal(await entries(page).count(), 0);
    await close(page);
  });

  test(`the Save menu: ${name}`, async () => {
    const page = await open('count=2&steps=2&seed=1', { viewport });
    await page.getByRole('button', { name: 'Save', exact: true }).click();
    assert.ok(await page.getByText('Nothing was made yet.').isVisible());
    assert.ok(await page.locator('[data-way=png]').isHidden());
    await page.keyboard.press('Escape');
    await generate(page);
    await page.getByRole('button', { name: 'Save', exact: true }).click();
    assert.ok(await page.locator('[data-way=gif]').isVisible());
    await close(page);
  });
}

test('a picture is saved as it is looked at, and comes back so', async () => {
  const page = await open('count=4&steps=6&seed=3&class=3');
  const on = controls(page);
  await generate(page);
  await page.getByRole('option', { name: 'Image 3' }).click();
  await on.view('x̂0').check();
  await on.step.press('Home');
  await on.step.press('ArrowRight');
  await on.step.press('ArrowRight');
  const looked = (await pixels(page))[2];
  const { bytes } = await save(page, 'png', 'Chosen image');
  const saved = await decode(page, bytes);
  const scale = saved.width / 32;
  equal(looked.map((_, i) => saved.red[Math.floor(i / 32) * scale * saved.width + (i % 32) * scale]), looked, 'the chosen image');
  const recipe = JSON.parse(readTexts(bytes).get('denoise'));
  assert.deepEqual([recipe.step, recipe.view, recipe.image, recipe.settings.steps, recipe.backend, recipe.precision], [2, 'x0', 2, 6, 'cpu', 'f32']);

  const other = await open('count=1&steps=2&seed=5');
  // By the menu this time.
  const path = join(folder, 'again.png');
  await writeFile(path, bytes);
  await generate(other, () => other.locator('#open-picture').setInputFiles(path));
  assert.equal(await controls(other).step.inputValue(), '2');
  equal((await pixels(other))[2], looked, 'the same step, view and image');
  assert.equal(await other.locator('#options [aria-selected=true]').getAttribute('aria-label'), 'Image 3');
  assert.ok(await controls(other).view('x̂0').isChecked());
  // The view and the lock are in the address.
  assert.match(other.url(), /view=x0/);
  await other.reload();
  await ready(other);
  assert.ok(await controls(other).view('x̂0').isChecked());
  await close(page);
  await close(other);
});

test('a word is saved as it stands, and spelled again elsewhere', async () => {
  const page = await open('model=models/letters&steps=3&seed=2&class=ON+AIR&typeface=1');
  await generate(page);
  const { name, bytes } = await save(page, 'png');
  assert.equal(name, 'letters-on-air-2.png');
  const [shown, saved] = [await grid(page), await decode(page, bytes)];
  assert.deepEqual([saved.width % shown.width, saved.height / shown.height], [0, saved.width / shown.width]);
  const other = await open('count=4&steps=2&seed=5');
  await generate(other, () => drop(other, { name, bytes }, 'paste'));
  equal((await grid(other)).red, shown.red, 'the same letters in the same places');
  assert.match(other.url(), /class=ON\+AIR/);
  // The history shows it in the same lines.
  await entries(other).first().waitFor();
  await other.reload();
  await ready(other);
  await controls(other).steps.fill('2');
  await generate(other);
  await entries(other).nth(0).click();
  await other.waitForFunction(() => document.getElementById('steps').value === '3');
  equal((await grid(other)).red, shown.red, 'from the history');
  await close(page);
  await close(other);
});

test('pictures that bring nothing back say why, and nothing is lost', async () => {
  const page = await open('count=1&steps=2&seed=5');
  await generate(page);
  const made = await pixels(page);
  const { bytes } = await save(page, 'png');
  const of = async (texts) => new Uint8Array(await withTexts(await plainPng(page), texts).arrayBuffer());
  const recipe = JSON.parse(readTexts(bytes).get('denoise'));
  const error = page.locator('.notice.error');
  for (const [name, content, message] of [
    ['foreign.png', await of({ parameters: 'Steps: 3' }), /foreign\.png has no settings of Denoise in it.*saved on this page/],
    ['note.txt', new Uint8Array([65]), /note\.txt is neither a model’s folder nor a picture\. Digits is still loaded and works/],
    ['photo.jpg', new Uint8Array([255, 216, 255]), /photo\.jpg has no settings/],
    ['cut.png', bytes.subarray(0, 700), /cut\.png is cut off.*Give a PNG as it was saved/],
    ['bent.png', bytes.map((byte, i) => (i === 60 ? byte ^ 1 : byte)), /bent\.png is damaged: the checksum/],
    ['new.png', await of({ denoise: JSON.stringify({ ...recipe, version: 99 }) }), /newer Denoise.*version 99.*version 1/],
    ['hostile.png', await of({ denoise: JSON.stringify({ ...recipe, settings: { ...recipe.settings, steps: 1e9, count: '<b>' } }) }), /steps is 1000000000, which is not a whole number from 1 to 1000; count is "<b>"/],
    ['lost.png', await of({ denoise: JSON.stringify({ ...recipe, model: { id: null, title: 'Mine', network: '', variant: '' } }) }), /made with “Mine”, a model from somebody’s own files.*Drop its folder/],
    ['odd.png', await of({ denoise: JSON.stringify({ ...recipe, model: { ...recipe.model, id: 'javascript:alert(1)' } }) }), /odd\.png was made with the model javascript/],
  ]) {
    await drop(page, { name, bytes: content });
    await error.waitFor({ timeout: 10_000 });
    assert.match(await error.textContent(), message, name);
    await error.getByRole('button', { name: 'Dismiss' }).click();
    equal(await pixels(page), made, 'nothing is lost');
    assert.equal(await controls(page).seed.inputValue(), '5');
  }
  await close(page);
});

const plainPng = async (page) => new Uint8Array(await page.evaluate(async () => {
  const canvas = new OffscreenCanvas(2, 2);
  canvas.getContext('2d').fillRect(0, 0, 2, 2);
  return [...new Uint8Array(await (await canvas.convertToBlob()).arrayBuffer())];
}));

test('a GIF of the run plays to its last picture', async () => {
  const page = await open('count=4&steps=12&seed=3&class=3');
  await generate(page);
  const shown = await grid(page);
  let saved;
  // A task that is long by accident, on a machine that does much else, is not long every time.
  const longest = [];
  while (longest.length < 3 && !(longest.at(-1) < 50)) {
    longest.push(await longestTask(browser, async () => {
      saved = await save(page, 'gif');
      return page;
    }));
  }
  assert.ok(longest.at(-1) < 50, `the page was busy for ${longest.map(Math.round).join(', ')} ms`);
  const { name, bytes } = saved;
  assert.equal(name, 'digits-3-3.gif');
  assert.equal(Buffer.from(bytes.subarray(0, 6)).toString(), 'GIF89a');
  const gif = await page.evaluate(async (bytes) => {
    const decoder = new ImageDecoder({ data: new Uint8Array(bytes), type: 'image/gif' });
    await decoder.tracks.ready;
    const { frameCount, repetitionCount } = decoder.tracks.selectedTrack;
    const { image } = await decoder.decode({ frameIndex: frameCount - 1 });
    const context = new OffscreenCanvas(image.displayWidth, image.displayHeight).getContext('2d');
    context.drawImage(image, 0, 0);
    const { data } = context.getImageData(0, 0, image.displayWidth, image.displayHeight);
    return { frameCount, repetitionCount, duration: image.duration, width: image.displayWidth, height: image.displayHeight, red: Array.from({ length: data.length / 4 }, (_, i) => data[4 * i]) };
  }, [...bytes]);
  assert.equal(gif.frameCount, 13);
  assert.equal(gif.repetitionCount, Infinity, 'for ever');
  assert.equal(gif.duration, 1_500_000);
  assert.ok(gif.width >= 256);
  const scale = gif.width / shown.width;
  equal(shown.red.map((_, i) => gif.red[Math.floor(i / shown.width) * scale * gif.width + (i % shown.width) * scale]), shown.red, 'the last frame');
  await close(page);
});

test('a WebM of the chosen image', async () => {
  const page = await open('count=2&steps=3&seed=3&class=3');
  await generate(page);
  const { name, bytes } = await save(page, 'webm', 'Chosen image');
  assert.equal(name, 'digits-3-3.webm');
  assert.deepEqual([...bytes.subarray(0, 4)], [0x1a, 0x45, 0xdf, 0xa3]);
  assert.ok(bytes.length > 500);
  await close(page);
});

test('a picture is copied', async () => {
  const page = await open('count=1&steps=2&seed=3&class=3');
  await page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
  await generate(page);
  const shown = await grid(page);
  await page.bringToFront();
  await choose(page, 'copy');
  await page.waitForFunction(() => document.getElementById('status-text').textContent === 'Picture copied');
  const bytes = await page.evaluate(async () => {
    const [item] = await navigator.clipboard.read();
    return [...new Uint8Array(await (await item.getType('image/png')).arrayBuffer())];
  });
  const copied = await decode(page, bytes);
  const scale = copied.width / shown.width;
  equal(shown.red.map((_, i) => copied.red[Math.floor(i / shown.width) * scale * copied.width + (i % shown.width) * scale]), shown.red, 'the copy');
  await close(page);
});

test('sharing is offered where the browser shares files', async () => {
  const page = await open('count=1&steps=2&seed=3', { before: (page) => page.addInitScript(() => {
    navigator.canShare = ({ files }) => files.length === 1;
    navigator.share = async ({ files }) => {
      globalThis.shared = files.map(({ name, type, size }) => ({ name, type, size }));
    };
  }) });
  await generate(page);
  await choose(page, 'share');
  await page.waitForFunction(() => globalThis.shared);
  const [file] = await page.evaluate(() => globalThis.shared);
  assert.deepEqual([file.name, file.type], ['digits-any-3.png', 'image/png']);
  assert.ok(file.size > 500);
  await close(page);
});

test('Escape stops a run, and the title tells how far it is', async () => {
  const page = await open('count=2&steps=2&seed=7');
  await generate(page);
  await entries(page).first().waitFor();
  const kept = await pixels(page);
  await controls(page).steps.fill('400');
  await controls(page).generate.click();
  await page.waitForFunction(() => Number(document.getElementById('step').value) >= 3, null, { timeout: 60_000 });
  // What was kept can be looked at meanwhile.
  await entries(page).first().click();
  await page.waitForFunction(() => document.getElementById('steps').value === '2');
  equal(await pixels(page), kept, 'the run before');
  assert.equal(await page.evaluate(() => document.body.dataset.phase), 'running');
  assert.match(await page.title(), /^\d+\/400 · [\d.]+ (s|min \d+ s) – Denoise$/);
  // What is open is closed first.
  await page.getByRole('button', { name: 'Help' }).click();
  assert.match(await page.locator('#help').textContent(), /Escstop/);
  await page.keyboard.press('Escape');
  assert.equal(await page.evaluate(() => document.body.dataset.phase), 'running');
  await page.keyboard.press('Escape');
  await ready(page);
  assert.match(await controls(page).status.textContent(), /Stopped/);
  assert.equal(await page.title(), 'Denoise');
  assert.equal(await entries(page).count(), 1, 'only what was finished is kept');
  await close(page);
});

test('Reset returns to the model’s own settings', async () => {
  const page = await open('model=models/sprites&count=2&steps=7&seed=9&sampler=ddpm&class=tree&guidance=5&variance=fixed_small');
  const on = controls(page);
  assert.equal(await on.steps.inputValue(), '7');
  await page.getByRole('button', { name: 'Reset' }).click();
  assert.deepEqual([await on.steps.inputValue(), await on.seed.inputValue(), await on.sampler.inputValue(), await on.guidance.inputValue(), await on.count.inputValue()], ['50', '1234', 'ddim', '2', '16']);
  assert.ok(await on.class('mixed').isChecked());
  assert.equal(new URL(page.url()).search, '?backend=cpu&model=models/sprites&seed=1234&lock=0');
  await close(page);
});

test('without storage the history lasts as long as the page', async () => {
  const page = await open('count=1&steps=2&seed=1', { before: (page) => page.addInitScript(() => {
    Object.defineProperty(globalThis, 'indexedDB', { get: () => {
      throw new DOMException('No storage here.', 'SecurityError');
    } });
  }) });
  assert.match(await page.locator('#history-hint').textContent(), /until the page is closed/);
  await generate(page);
  await entries(page).first().waitFor();
  await page.getByRole('button', { name: 'About the history' }).click();
  assert.match(await page.locator('#history-about').textContent(), /does not let the page keep them/);
  await page.getByRole('button', { name: 'Clear all' }).click();
  await page.waitForFunction(() => document.querySelectorAll('#entries button').length === 0);
  await close(page);
});

test('a history is bounded', async () => {
  const page = await open('count=1&steps=1&seed=1');
  await generate(page);
  await entries(page).first().waitFor();
  // As if seventy runs had been kept by another tab.
  await page.evaluate(() => new Promise((done, failed) => {
    const opening = indexedDB.open('denoise-history');
    opening.onsuccess = () => {
      const transaction = opening.result.transaction('runs', 'readwrite');
      const store = transaction.objectStore('runs');
      store.getAll().onsuccess = ({ target }) => {
        const [entry] = target.result;
        for (let i = 0; i < 70; i++) store.put({ ...entry, key: 1000 + i, recipe: { ...entry.recipe, settings: { ...entry.recipe.settings, seed: i } } });
        store.put({ ...entry, key: 5, recipe: { version: 'other' } });
      };
      transaction.oncomplete = done;
      transaction.onabort = failed;
    };
  }));
  await page.reload();
  await ready(page);
  await page.waitForFunction(() => document.querySelectorAll('#entries button').length === 60);
  await controls(page).seed.fill('777');
  await generate(page);
  await page.waitForFunction(() => document.querySelector('#entries li:last-child button').ariaLabel.includes('seed 777'));
  assert.equal(await entries(page).count(), 60);
  await close(page);
});
