// The Teach page: a network learns in the browser, is paused, reloaded, stopped, used, downloaded and taught further.

import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import axe from 'axe-core';
import { unzip } from '../../www/model/zip.js';
import { checkLook, closePage, comesTrue, folderOf, generate, launch, openPage, PHONE, pixels, ready, servePage } from './harness.mjs';

/** A network so small that its steps take no time; what is tested does not depend on how well it learns. */
const TINY = 'backend=cpu&widths=8+16&batch=4&seed=3';

let browser;
let server;
let folder;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'denoise-teach-'));
  server = await servePage();
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await server?.close();
  if (folder) await rm(folder, { recursive: true, force: true });
});

const open = (query, options = {}) => openPage(browser, `${server.url}teach.html?${query}`, options);
const button = (page, name) => page.getByRole('button', { name, exact: true });
const text = (page, id) => page.locator(`#${id}`).textContent();
const stepOf = async (page) => Number((await text(page, 'read-step')).split(' ')[0]);

/** Waits until the run is in a phase; says what the page says if it fails instead. */
async function reach(page, phase, timeout = 60_000) {
  await page.waitForFunction((wanted) => [wanted, 'failed'].includes(document.body.dataset.phase), phase, { timeout });
  assert.equal(await page.evaluate(() => document.body.dataset.phase), phase, await text(page, 'errors'));
}

/** Clicks Teach once there is something to learn from. */
async function teach(page) {
  await page.waitForFunction(() => !document.getElementById('teach').disabled);
  await button(page, 'Teach').click();
}

const atStep = (page, step) => page.waitForFunction((least) => parseInt(document.getElementById('read-step').textContent) >= least, step, { timeout: 60_000 });
const isKept = (page) => page.waitForFunction(() => document.getElementById('read-kept').textContent === `step ${parseInt(document.getElementById('read-step').textContent)}`);

/** SHA-256 of the files of the checkpoint that the browser keeps. */
const kept = (page) => page.evaluate(async () => {
  const settled = (request) => new Promise((done, failed) => {
    request.onsuccess = () => done(request.result);
    request.onerror = () => failed(request.error);
  });
  const database = await settled(indexedDB.open('denoise-taught', 1));
  const { files } = await settled(database.transaction('taught').objectStore('taught').get('run'));
  database.close();
  const hash = async (blob) => [...new Uint8Array(await crypto.subtle.digest('SHA-256', await blob.arrayBuffer()))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  return Object.fromEntries(await Promise.all(Object.keys(files).sort().map(async (name) => [name, await hash(files[name])])));
});

/** The bytes of what is downloaded. */
async function download(page, path) {
  const [arriving] = await Promise.all([page.waitForEvent('download'), button(page, 'Download').click()]);
  await arriving.saveAs(path);
  return new File([await readFile(path)], arriving.suggestedFilename());
}

/** Waits until the hint says this; tells what it says instead. @param {RegExp} pattern */
async function hints(page, pattern) {
  await page.waitForFunction((source) => new RegExp(source).test(document.getElementById('hint').textContent), pattern.source).catch(() => {});
  assert.match(await text(page, 'hint'), pattern);
}

/** Waits until the browser keeps what was drawn in these boxes. @param {number[]} boxes */
const areKept = (page, boxes, alphabet = 'digits') => comesTrue(page, async ([wanted, of]) => {
  const { keptDrawings } = await import('./model/taught.js');
  const { drawings } = await keptDrawings() ?? {};
  return drawings?.alphabet === of && wanted.every((box) => drawings.boxes[box].ink.some((share) => share > 0.5));
}, [boxes, alphabet]);

/** Gives the page files as if they were chosen. */
const choose = (page, ...paths) => page.locator('#own-files').setInputFiles(paths);

/** @param {string} id  of a canvas */
const colours = (page, id) => page.evaluate((of) => {
  const canvas = document.getElementById(of);
  return [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data].filter((_, i) => i % 4 === 0);
}, id);

test('a run that is paused, reloaded and goes on has the bits of one that is not; it is used, and downloaded', async () => {
  const steps = 24;
  const query = `${TINY}&steps=${steps}`.replace('batch=4', 'batch=8');
  const whole = await open(query);
  await teach(whole);
  await reach(whole, 'finished');
  await isKept(whole);
  const expected = await kept(whole);
  assert.deepEqual(Object.keys(expected), ['average.safetensors', 'epochs.bin', 'generator.bin', 'm.safetensors', 'parameters.safetensors', 'training.json', 'v.safetensors']);
  const before = await colours(whole, 'before');
  assert.notDeepEqual(await colours(whole, 'now'), before, 'what it makes of the noise has changed');
  assert.ok(Number(await text(whole, 'read-loss')) > 0);
  await closePage(whole);

  const page = await open(query);
  // However fast or busy the machine is, it does not take all of its steps before it is told to pause.
  await page.evaluate(() => {
    new MutationObserver((_, observer) => {
      if (document.body.dataset.phase !== 'learning') return;
      observer.disconnect();
      document.getElementById('pause').click();
    }).observe(document.body, { attributes: true, attributeFilter: ['data-phase'] });
  });
  await teach(page);
  await reach(page, 'paused');
  const first = await stepOf(page);
  await page.evaluate(() => {
    document.getElementById('pause').click();
    document.getElementById('pause').click();
  });
  await reach(page, 'paused');
  const paused = await stepOf(page);
  assert.ok(paused > first && paused < steps, `paused at ${first} and ${paused}`);
  await isKept(page);
  assert.match(await page.title(), /^\d+ % – Denoise/);
  const early = join(folder, 'early.zip');
  await download(page, early);

  await page.reload();
  await reach(page, 'stopped');
  assert.equal(await stepOf(page), paused);
  assert.deepEqual(await colours(page, 'before'), before, 'the film is there again');
  assert.ok(await page.locator('#loss .smooth').getAttribute('points'), 'and the losses are');
  await button(page, 'Go on').click();
  await reach(page, 'finished');
  await isKept(page);
  assert.deepEqual(await kept(page), expected);
  assert.equal(await page.locator('#time').getAttribute('max').then(Number) >= 1, true, 'one can look back');

  // The slider goes over training time; what is before stays.
  await page.locator('#time').focus();
  await page.keyboard.press('Home');
  assert.equal(await text(page, 'now-step'), 'step 0');
  assert.deepEqual(await colours(page, 'now'), before);
  await button(page, 'Newest').click();
  assert.equal(await text(page, 'now-step'), `step ${steps}`);

  const archive = await download(page, process.env.TEACH_ZIP ?? join(folder, 'taught.zip'));
  const found = await unzip(archive);
  const root = `${found[0].path.split('/')[0]}/`;
  const paths = found.map(({ path }) => path.slice(root.length));
  for (const path of ['unet/config.json', 'unet/diffusion_pytorch_model.safetensors', 'scheduler/scheduler_config.json', 'model_index.json', 'card.json', 'checkpoint/training.json', 'images.npz', 'losses.csv']) {
    assert.ok(paths.includes(path), path);
  }
  const losses = await found.find(({ path }) => path.endsWith('losses.csv')).file.text();
  assert.equal(losses.trim().split('\n').length, steps + 1);

  // What was downloaded in the midst of it goes on where nothing is kept, as exactly.
  const other = await open('backend=cpu');
  await choose(other, early);
  await other.waitForFunction((at) => document.getElementById('hint').textContent.startsWith(`It goes on from step ${at} of`), paused);
  await teach(other);
  await reach(other, 'finished');
  await isKept(other);
  assert.deepEqual(await kept(other), expected);
  await closePage(other);

  // Elsewhere the main page takes what was downloaded as it is.
  const elsewhere = await openPage(browser, `${server.url}?backend=cpu`, { wait: false });
  await elsewhere.locator('#own-files').setInputFiles(process.env.TEACH_ZIP ?? join(folder, 'taught.zip'));
  await elsewhere.waitForFunction(() => document.getElementById('model-name').textContent === 'Digits, taught here', null, { timeout: 60_000 });
  await closePage(elsewhere);

  // A run that has taken all of its steps learns more as a model.
  const more = await open('backend=cpu&steps=2');
  await choose(more, process.env.TEACH_ZIP ?? join(folder, 'taught.zip'));
  await more.waitForFunction(() => document.querySelector('#beginning option:checked').textContent === 'Digits, taught here' && document.getElementById('hint').textContent === '2 steps of 16 images.');
  await teach(more);
  await reach(more, 'finished');
  await closePage(more);

  await page.getByRole('link', { name: 'Use it' }).click();
  await page.waitForURL(/\?model=taught:/);
  await ready(page);
  assert.equal(await text(page, 'model-name'), 'Digits, taught here');
  await page.getByLabel('Steps', { exact: true }).fill('4');
  await generate(page);
  const [image] = await pixels(page);
  assert.equal(image.length, 28 * 28);
  assert.ok(new Set(image).size > 1);
  await closePage(page);

  const gone = await openPage(browser, `${server.url}?model=taught:digits-0000&backend=cpu`, { wait: false });
  await gone.locator('.notice.error').waitFor();
  assert.match(await text(gone, 'errors'), /digits-0000 that was taught in this browser is gone/);
  await closePage(gone);
});

test('it learns on the GPU too, and stops within a step', async () => {
  const page = await open('backend=gpu&widths=8+16&batch=4&steps=500');
  await teach(page);
  await reach(page, 'learning', 120_000);
  assert.equal(await page.evaluate(() => document.getElementById('backend-badge').dataset.kind), 'gpu');
  await atStep(page, 2);
  const asked = await stepOf(page);
  await button(page, 'Stop').click();
  await reach(page, 'stopped');
  const stopped = await stepOf(page);
  assert.ok(stopped >= asked && stopped < 500);
  await isKept(page);
  await page.waitForFunction((step) => document.getElementById('now-step').textContent === `step ${step}`, stopped, { timeout: 60_000 });
  // Another run does not replace what is kept unasked.
  await button(page, 'Teach').click();
  await page.getByText('One run is kept at a time').waitFor();
  assert.equal(await page.evaluate(() => document.body.dataset.phase), 'stopped');
  // Its engine arrives only after it was told to stop, however fast the machine is.
  let arrive;
  const stoppedThen = new Promise((done) => { arrive = done; });
  await page.route('**/learning/denoise_bg.wasm', async (route) => {
    await stoppedThen;
    await route.continue();
  });
  await button(page, 'Begin anew').click();
  await reach(page, 'starting');
  assert.equal(await text(page, 'now-step'), '', 'the samples of the other run are gone');
  assert.equal(await page.getByRole('img', { name: 'Samples', exact: true }).evaluate(({ width }) => width), 1);
  // Stopped before it has learned anything, it leaves what was there.
  await button(page, 'Stop').click();
  await reach(page, 'stopped');
  arrive();
  assert.equal(await stepOf(page), stopped);
  await closePage(page);
});

test('what a button does does not take the focus away; settings are explained', async () => {
  const page = await open(`${TINY}&steps=100000&prediction=x`);
  await page.getByText('It predicts has to be v (v_prediction) or ε, the noise (epsilon).').waitFor();
  await button(page, 'What “Average keeps” means').focus();
  await page.keyboard.press('Shift+Tab');
  await page.keyboard.press('Tab');
  await page.getByRole('tooltip').getByText('a moving average of the weights').waitFor();
  await page.getByLabel('It predicts', { exact: true }).selectOption('v');
  const focused = () => page.evaluate(() => document.activeElement.id || document.activeElement.getAttribute('aria-label'));

  // What is typed stays while the images are read.
  await page.getByLabel('Images a step', { exact: true }).fill('');
  await page.evaluate(() => document.querySelector('input[name=from][value=letters]').click());
  await page.waitForFunction(() => document.getElementById('learns-says').textContent.startsWith('5,200'));
  assert.equal(await page.getByLabel('Images a step', { exact: true }).inputValue(), '');
  await page.getByLabel('Images a step', { exact: true }).pressSequentially('4');
  await page.getByLabel('Images a step', { exact: true }).blur();

  await teach(page);
  await reach(page, 'learning');
  await button(page, 'Pause').focus();
  await page.keyboard.press('Enter');
  await reach(page, 'paused');
  assert.equal(await focused(), 'pause');
  await isKept(page);
  await button(page, 'Stop').focus();
  await page.keyboard.press('Enter');
  await reach(page, 'stopped');
  assert.equal(await focused(), 'teach');
  await button(page, 'Delete').click();
  await button(page, 'Delete it').focus();
  await page.keyboard.press('Enter');
  await reach(page, 'ready');
  assert.equal(await focused(), 'teach');

  await page.getByRole('radio', { name: 'Drawings made here' }).check({ force: true });
  await page.locator('#boxes canvas').first().focus();
  await page.keyboard.press('Space');
  await button(page, 'Clear drawing 1').focus();
  await page.keyboard.press('Enter');
  await page.getByRole('application', { name: 'Drawing 1, 0, empty' }).waitFor();
  assert.equal(await focused(), 'Clear drawing 1');
  await closePage(page);
});

test('one tab neither deletes nor replaces what another has begun', async () => {
  const page = await open(TINY);
  const names = await page.evaluate(async () => {
    const { keepRun, forgetRun, keptRun } = await import('./model/taught.js');
    const run = (name, step) => ({ name, title: name, step, files: {}, model: {}, shown: null });
    const images = { shape: [1, 1, 1, 1], pixels: new Blob(['x']), labels: null, names: [] };
    const now = async (what) => `${await what.then(() => 'done', ({ message }) => message)}: ${(await keptRun())?.name ?? 'nothing'} ${(await keptRun())?.step ?? ''}`;
    return [
      await now(keepRun(run('a', 1), images)),
      await now(keepRun(run('b', 1), images)),
      await now(keepRun(run('b', 1), images, { replaces: 'a' })),
      await now(forgetRun('a', 1)),
      await now(keepRun(run('a', 2), null, { known: 1 })),
      await now(keepRun(run('b', 2), null, { known: 1 })),
      await now(keepRun(run('c', 1), { ...images, pixels: () => {} }, { replaces: 'b' })),
      await now(keepRun(run('b', 3), null, { known: 1 })),
      await now(forgetRun('b', 1)),
      await now(forgetRun('b', 2)),
      await now(keepRun(run('b', 3), null, { known: 2 })),
    ];
  });
  assert.match(names.splice(6, 1)[0], /could not be cloned.*: b 2$/s, 'what fails leaves what was there');
  const further = 'Another tab has gone on with this run and keeps its step 2. Reload the page to see that one.';
  const other = (name) => `Another run is kept now, and one is kept at a time: another tab has begun ${name}.`;
  assert.deepEqual(names, ['done: a 1', `${other('a')}: a 1`, 'done: b 1', 'done: b 1', `${other('b')}: b 1`, 'done: b 2', `${further}: b 2`, `${further}: b 2`, 'done: nothing ', 'Another tab has deleted this run.: nothing ']);
  await closePage(page);
});

test('pictures of the visitor’s are learned from, a folder a class; what is damaged is told', async () => {
  const page = await open(`${TINY}&steps=3`);
  const png = (colour) => page.evaluate(async (style) => {
    const canvas = new OffscreenCanvas(50, 40);
    const context = canvas.getContext('2d');
    context.fillStyle = style;
    context.fillRect(0, 0, 50, 40);
    return [...new Uint8Array(await (await canvas.convertToBlob()).arrayBuffer())];
  }, colour);
  const pets = join(folder, 'pets');
  for (const [name, colour] of [['cats', '#ff0000'], ['dogs', '#0000ff']]) {
    await mkdir(join(pets, name), { recursive: true });
    const bytes = Uint8Array.from(await png(colour));
    for (const i of [1, 2]) await writeFile(join(pets, name, `${i}.png`), bytes);
  }
  await writeFile(join(pets, 'dogs', 'broken.png'), 'no picture');

  await page.getByRole('radio', { name: 'Pictures of mine' }).check({ force: true });
  await hints(page, /^Choose pictures first/);
  assert.ok(await button(page, 'Teach').isDisabled());
  await page.getByLabel('A folder…').setInputFiles(pets);
  await page.getByText('1 file was left out').waitFor();
  assert.match(await page.locator('#notes').textContent(), /broken\.png could not be read as a picture/);
  assert.equal(await text(page, 'learns-says'), '4 grey images of 32 × 32, of 2 classes.');
  await page.getByLabel('Colours').selectOption('colour');
  await page.getByLabel('Size').selectOption('28 × 28');
  await page.waitForFunction(() => document.getElementById('learns-says').textContent === '4 coloured images of 28 × 28, of 2 classes.');
  assert.equal((await colours(page, 'preview'))[0], 255, 'the first is a red one');

  // What does not fit a model is told before it begins; a new network takes it.
  await page.getByLabel('It begins with').selectOption('models/digits');
  await page.waitForFunction(() => document.getElementById('learns-says').textContent === '4 grey images of 32 × 32, of 2 classes.');
  await page.getByLabel('It begins with').selectOption('');
  await page.getByText('Expert').click();
  await page.getByLabel('Images a step', { exact: true }).fill('9');
  await page.getByLabel('Images a step', { exact: true }).blur();
  await hints(page, /^There are 4 images, fewer than a batch of 9/);
  await page.getByLabel('Images a step', { exact: true }).fill('2');
  await page.getByLabel('Images a step', { exact: true }).blur();
  await teach(page);
  await reach(page, 'finished');
  assert.ok(await page.evaluate(() => document.getElementById('now').width > 1));

  // A model's folder is something to begin with.
  await page.getByLabel('A folder…').setInputFiles(folderOf('www/models/sprites'));
  await page.waitForFunction(() => document.getElementById('learns-says').textContent.startsWith('4 coloured images of 32 × 32'));
  assert.equal(await page.locator('#beginning option:checked').textContent(), 'sprites');

  await page.getByLabel('Files…').setInputFiles([{ name: 'notes.txt', mimeType: 'text/plain', buffer: Buffer.from('words') }]);
  await page.locator('.notice.error').waitFor();
  assert.match(await text(page, 'errors'), /notes\.txt could not be read as a picture/);
  await page.getByLabel('Files…').setInputFiles([{ name: 'run.zip', mimeType: 'application/zip', buffer: Buffer.from('no zip') }]);
  await page.getByText('These files cannot be used').waitFor();
  assert.match(await text(page, 'errors'), /run\.zip is no zip archive/);
  await closePage(page);
});

test('a browser that has no room for a run is told of, and the run goes on', async () => {
  const page = await open(`${TINY}&steps=3`, {
    before: (fresh) => fresh.addInitScript(() => {
      IDBObjectStore.prototype.put = () => {
        throw new DOMException('full', 'QuotaExceededError');
      };
    }),
  });
  await teach(page);
  await reach(page, 'finished');
  await page.getByText('It is not kept').waitFor();
  await page.getByText('The browser has no more room for this page. Download it, or it is gone').waitFor();
  assert.ok(await page.getByRole('link', { name: 'Use it' }).isHidden());
  const found = await unzip(await download(page, join(folder, 'unkept.zip')));
  assert.ok(found.some(({ path }) => path.endsWith('/unet/config.json')));
  await closePage(page);
});

test('the digits model learns a handwriting', async () => {
  const page = await open('backend=cpu&from=handwriting');
  await page.getByRole('application', { name: 'Drawing 8, 7, empty' }).waitFor();
  await hints(page, /^Draw in a box or two first/);
  const box = page.locator('#boxes canvas').nth(7);
  await box.scrollIntoViewIfNeeded();
  const { x, y, width } = await box.boundingBox();
  await page.mouse.move(x + 0.3 * width, y + 0.2 * width);
  await page.mouse.down();
  for (const [across, down] of [[0.7, 0.2], [0.4, 0.8]]) await page.mouse.move(x + across * width, y + down * width, { steps: 4 });
  await page.mouse.up();
  await page.getByRole('application', { name: 'Drawing 8, 7', exact: true }).waitFor();
  // With the keyboard too.
  const second = page.locator('#boxes canvas').nth(1);
  await second.focus();
  for (let i = 0; i < 5; i++) await page.keyboard.press('Shift+ArrowDown');
  await page.getByRole('application', { name: 'Drawing 2, 1', exact: true }).waitFor();
  await hints(page, /^80 steps of 8 images\.$/);

  // Drawings outlive the page.
  await areKept(page, [1, 7]);
  await page.goto(`${server.url}teach.html?backend=cpu&from=handwriting&steps=2&batch=2`);
  await page.getByRole('application', { name: 'Drawing 8, 7', exact: true }).waitFor();
  await teach(page);
  await reach(page, 'finished', 120_000);
  const [was, is] = [await colours(page, 'before'), await colours(page, 'now')];
  assert.equal(was.length, 128 * 128, 'the model’s own size');
  assert.ok(was.filter((value) => value > 160).length > 500, 'it made digits before');
  assert.notDeepEqual(is, was);
  await closePage(page);
});

test('drawings are kept as they are left, with their alphabet; another tab has them too', async () => {
  const page = await open('backend=cpu');
  const other = await page.context().newPage();
  await other.goto(page.url());
  const empty = (of, number, name) => of.getByRole('application', { name: `Drawing ${number}, ${name}, empty` });
  for (const each of [page, other]) await each.getByRole('radio', { name: 'Drawings made here' }).check({ force: true });
  await empty(other, 1, '0').waitFor();
  await page.locator('#boxes canvas').first().focus();
  await page.keyboard.press('Space');
  await page.getByRole('application', { name: 'Drawing 1, 0', exact: true }).waitFor();
  await areKept(page, [0]);
  // No window has the focus where there is no screen.
  await other.evaluate(() => dispatchEvent(new Event('focus')));
  await other.getByRole('application', { name: 'Drawing 1, 0', exact: true }).waitFor();

  // It is left before what is drawn has rested.
  await other.evaluate(() => {
    globalThis.setTimeout = () => 1;
  });
  await other.locator('input[name=alphabet][value=letters]').check({ force: true });
  await empty(other, 2, 'B').waitFor();
  await other.locator('#boxes canvas').nth(1).focus();
  await other.keyboard.press('Space');
  await other.getByRole('application', { name: 'Drawing 2, B', exact: true }).waitFor();
  await other.evaluate(() => {
    Object.defineProperty(document, 'visibilityState', { value: 'hidden' });
    document.dispatchEvent(new Event('visibilitychange'));
  });
  await areKept(page, [1], 'letters');
  // A window may get the focus while it still reads.
  await other.addInitScript(() => {
    const { open } = indexedDB;
    indexedDB.open = (...of) => {
      indexedDB.open = open;
      dispatchEvent(new Event('focus'));
      return indexedDB.open(...of);
    };
  });
  await other.reload();
  await other.getByRole('radio', { name: 'Drawings made here' }).check({ force: true });
  await other.getByRole('application', { name: 'Drawing 2, B', exact: true }).waitFor();

  // The first window knows nothing of it when it is drawn in again.
  await page.locator('#boxes canvas').nth(2).focus();
  await page.keyboard.press('Space');
  await page.getByRole('application', { name: 'Drawing 3, 2', exact: true }).waitFor();
  await areKept(page, [0, 2]);
  await comesTrue(page, async () => {
    const { keptDrawings } = await import('./model/taught.js');
    const { aside } = await keptDrawings();
    return aside.boxes[1].ink.some((share) => share > 0.5);
  });
  await other.close();
  await closePage(page);
});

for (const colorScheme of ['light', 'dark']) {
  test(`it is accessible and fits a phone, ${colorScheme}`, async () => {
    const page = await open(`${TINY}&steps=6`, { viewport: PHONE, colorScheme });
    await page.evaluate(axe.source);
    await page.waitForFunction(() => !document.getElementById('teach').disabled);
    await page.getByText('Expert').click();
    await checkLook(page, 'ready');
    await page.getByRole('radio', { name: 'Drawings made here' }).check({ force: true });
    await checkLook(page, 'drawing');
    await page.getByRole('radio', { name: 'Digits 4,000' }).check({ force: true });
    await teach(page);
    await reach(page, 'finished');
    await isKept(page);
    await checkLook(page, 'done');
    await button(page, 'Delete').click();
    await button(page, 'Delete it').waitFor();
    await checkLook(page, 'asked');
    await page.setViewportSize({ width: 320, height: 640 });
    await checkLook(page, '320 pixels');
    await button(page, 'Delete it').click();
    await reach(page, 'ready');
    await page.reload();
    await page.waitForFunction(() => !document.getElementById('teach').disabled);
    assert.ok(await page.locator('#live').isHidden(), 'it is gone');
    await closePage(page);
  });
}
