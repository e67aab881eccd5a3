// Every state of the page: what each is called, and how it is reached from the one before. The states are gone through in one
// page, in this order; states.test.mjs measures them and screenshots.mjs takes their pictures.

import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { wrapEngine } from './engines.mjs';
import { controls, DESKTOP, folderOf, generate, PHONE, ready, servePage } from './harness.mjs';
import { makeTiny, WEIGHTS } from './tiny.mjs';

/** @typedef {import('playwright-core').Page} Page */
/** What a state is reached with: the page, files to give to it, and what lets the first download go. @typedef {{page: Page, files: Files, release: () => void}} World */
/** @typedef {{nothing: string, several: string, picture: string}} Files  paths */

export const SIZES = {
  desktop: { viewport: DESKTOP },
  phone: { viewport: PHONE, hasTouch: true, isMobile: true },
};

/** A run with this seed is always lost. */
const LOST = 666;

/** The page with an engine on the CPU that calls itself a GPU: it passes its first check, fails the next, and loses some runs. */
const ENGINE = `
  const { create } = Engine;
  let isGpu = true;
  Engine.create = (backend) => {
    isGpu = backend !== 'cpu';
    return create.call(Engine, 'cpu');
  };
  const { backend, start, resume } = Engine.prototype;
  const layers = () => Array.from({ length: 100 }, (_, i) => ({ name: 'down_blocks.' + i + '.resnets.0.conv1', op: 'fused_conv2d', error: 1e-8 * (1 + (i * 37) % 100) }));
  let checks = 0;
  const frailly = (begin) => async function (settings, ...rest) {
    const run = await begin.call(this, settings, ...rest);
    if (Number(settings.seed) !== ${LOST}) return run;
    run.next = () => Promise.reject(new Error('The engine was lost: the driver was reset.'));
    return run;
  };
  Object.assign(Engine.prototype, {
    backend() {
      return isGpu ? { kind: 'gpu', name: 'WebGPU · example (Example 9000)', note: null, half: false } : backend.call(this);
    },
    async check(progress) {
      const all = layers();
      const wrong = checks++ > 0;
      if (wrong) all[40] = { name: 'mid_block.attentions.0', op: 'softmax', error: NaN };
      progress('check', 100, 100);
      return { device: 'Example', tolerance: 1e-3, ok: !wrong, output_error: wrong ? 0.25 : 2e-7, layers: all, worst: all[wrong ? 40 : 27] };
    },
    start: frailly(start),
    resume: frailly(resume),
  });
`;

/** Serves the page with that engine, and makes the files that are given to it. */
export async function serveStates() {
  const folder = await mkdtemp(join(tmpdir(), 'denoise-states-'));
  const files = { nothing: join(folder, 'photos'), several: join(folder, 'several'), picture: join(folder, 'a picture whose name is rather long.png') };
  await mkdir(files.nothing);
  await writeFile(join(files.nothing, 'config.json'), '{"_class_name": "AutoencoderKL"}');
  await makeTiny(folder, 'several', { _class_name: 'NoSuchScheduler', num_train_timesteps: 1000 }, 3);
  await cp(join(files.several, 'unet'), join(files.several, 'unet_ema'), { recursive: true });
  await cp(join(files.several, WEIGHTS), join(files.several, 'unet/diffusion_pytorch_model.fp16.safetensors'));
  await writeFile(files.picture, await readFile(folderOf('www/icon-512.png')));
  const server = await servePage({ '/pkg/': await wrapEngine(join(folder, 'pkg'), ENGINE), '/models/digits/classifier/': folderOf('tests/golden/classifier_attention') });
  return { url: server.url, files, close: () => Promise.all([server.close(), rm(folder, { recursive: true, force: true })]) };
}

/**
 * Opens the page, which stays loading until the first state is left.
 * @param {import('playwright-core').Browser} browser
 * @param {{url: string, files: Files}} served
 * @param {object} options  of the context
 * @param {(page: Page) => Promise<void>} [before]  is done before it is opened
 * @returns {Promise<World>}
 */
export async function openStates(browser, { url, files }, options, before = async () => {}) {
  const context = await browser.newContext({ reducedMotion: 'reduce', ...options });
  await context.addInitScript(() => localStorage.setItem('tour', 'seen'));
  const page = await context.newPage();
  /** @type {() => void} */
  let release = () => {};
  const held = new Promise((done) => {
    release = () => done(undefined);
  });
  await page.route('**/*.safetensors', async (route) => {
    await held;
    await route.continue();
  });
  await before(page);
  await page.goto(`${url}?model=models/letters&backend=gpu&autotune=0&seed=1234&steps=8&lock=1`);
  return { page, files, release };
}

const named = (page, name) => page.waitForFunction((n) => document.getElementById('model-name').textContent === n, name);
const menu = (page, id) => page.locator(`#${id}-button`).click();
/** What has been asked to be drawn is there. */
export const settle = (page) => page.evaluate(() => new Promise((done) => { requestAnimationFrame(() => requestAnimationFrame(done)); }));

/** Leaves what a state has opened and pointed at. */
async function rest(page) {
  await page.mouse.move(0, 0);
  await page.evaluate(() => {
    for (const popover of document.querySelectorAll(':popover-open')) popover.hidePopover();
    document.activeElement?.blur();
    scrollTo(0, 0);
    document.querySelector('.panel').scrollTop = 0;
  });
}

/** Moves a slider by its value, as a drag would. */
const slide = (page, id, value) => page.evaluate(([id, value]) => {
  const slider = document.getElementById(id);
  slider.value = value;
  slider.dispatchEvent(new Event('input', { bubbles: true }));
}, [id, value]);

async function loadShipped(page, name) {
  await menu(page, 'model');
  await page.locator('#shipped').getByRole('button', { name: new RegExp(`^${name}`) }).click();
  await named(page, name);
  await ready(page);
  // Its pictures have another shape: that they take other room is what was asked for.
  await page.evaluate(() => globalThis.takeShifts?.());
}

async function fork(page, step) {
  await slide(page, 'step', step);
  await generate(page, () => page.getByRole('button', { name: 'Fork here' }).click());
}

/** Chooses what guides runs; the first time another engine comes for that. */
async function guided(page, kind) {
  await page.getByLabel('Guided by', { exact: true }).selectOption(kind);
  await ready(page);
}

/** Draws a line, in parts of the board. */
async function draw(page, ...points) {
  const board = page.getByLabel('Drawing', { exact: true });
  await board.evaluate((element) => element.scrollIntoView({ block: 'center' }));
  const { x, y, width, height } = await board.boundingBox();
  const to = ([right, down]) => [x + right * width, y + down * height];
  await page.mouse.move(...to(points[0]));
  await page.mouse.down();
  for (const point of points.slice(1)) await page.mouse.move(...to(point), { steps: 4 });
  await page.mouse.up();
}

const picture = (page) => ({
  tool: (name) => page.getByRole('radiogroup', { name: 'Tool' }).getByRole('radio', { name, exact: true }),
  begins: (name) => page.getByRole('group', { name: 'Generate begins with' }).getByRole('radio', { name }),
  find: page.getByRole('button', { name: 'Find its noise', exact: true }),
});
const measuring = (page) => page.getByRole('region', { name: 'What the picture costs' });
const plot = (page, name) => page.getByRole('radiogroup', { name: 'Plot' }).getByRole('radio', { name, exact: true });
/** A comparison is made, one run after another, with several ends. */
const compared = (page) => page.waitForFunction(() => document.getElementById('status-text').textContent === 'Done');

/** @type {{name: string, reach: (world: World) => Promise<unknown>}[]} */
export const STATES = [
  { name: 'loading', reach: ({ page }) => page.getByText('Downloading the model').waitFor() },
  { name: 'opening', reach: async ({ page, release }) => {
    release();
    await ready(page);
  } },
  { name: 'running', reach: async ({ page }) => {
    const on = controls(page);
    await page.getByLabel('Word', { exact: true }).fill('OUT OF NOISE');
    await on.steps.fill('400');
    await on.generate.click();
    await page.waitForFunction(() => Number(document.getElementById('step').value) >= 4);
  } },
  { name: 'stopped', reach: async ({ page }) => {
    await controls(page).stop.click();
    await ready(page);
  } },
  { name: 'done', reach: async ({ page }) => {
    await controls(page).steps.fill('8');
    await generate(page);
  } },
  { name: 'a pixel inspected', reach: async ({ page }) => {
    await slide(page, 'step', 5);
    await plot(page, 'Spread').check();
    const loupe = page.locator('#loupe-x');
    if (await loupe.isVisible()) {
      await loupe.focus();
      await page.keyboard.press('ArrowRight');
    } else {
      // There a finger chooses image and pixel at once.
      await page.locator('#options [role=option]').nth(3).tap();
    }
    await page.locator('#inspector').waitFor();
  } },
  { name: 'a tree of forks', reach: async ({ page }) => {
    await plot(page, 'Mixture').check();
    await controls(page).guidance.fill('3');
    await fork(page, 3);
    await controls(page).guidance.fill('6');
    await fork(page, 5);
  } },
  { name: 'branches compared', reach: async ({ page }) => {
    await page.getByRole('button', { name: 'Compare branches' }).click();
    await page.getByRole('listbox', { name: 'Branches' }).getByRole('option').first().click();
    await slide(page, 'step', 7);
  } },
  { name: 'history menu', reach: async ({ page }) => {
    await page.getByRole('button', { name: 'Compare branches' }).click();
    await menu(page, 'history');
  } },
  { name: 'save menu', reach: ({ page }) => menu(page, 'save') },
  { name: 'a note', reach: ({ page }) => page.getByRole('button', { name: 'About: How much the class counts' }).click() },
  { name: 'a tooltip', reach: ({ page }) => page.locator('.readouts .term').nth(1).click() },
  { name: 'help', reach: ({ page }) => page.getByRole('button', { name: 'Help' }).click() },
  ...[1, 2, 3, 4].map((stop) => ({ name: `tour ${stop}`, reach: async ({ page }) => {
    if (stop === 1) {
      await page.getByRole('button', { name: 'Help' }).click();
      await page.getByRole('button', { name: 'Show me around' }).click();
    } else {
      await page.locator('#tour').getByRole('button', { name: 'Next' }).click();
    }
    await page.locator('#tour').getByText(`${stop} of 4`).waitFor();
  } })),
  { name: 'four views', reach: async ({ page }) => {
    await page.locator('#tour').getByRole('button', { name: 'Done' }).click();
    await loadShipped(page, 'Digits');
    const on = controls(page);
    await on.count.fill('16');
    await on.class('3').check();
    await generate(page);
    await slide(page, 'step', 4);
    await on.view('x̂0').check();
    await plot(page, 'Change of x̂0').check();
  } },
  { name: 'guided by a classifier', reach: async ({ page }) => {
    await guided(page, 'both');
    await page.getByLabel('Scale s', { exact: true }).fill('5');
    await page.getByLabel('And class', { exact: true }).selectOption('8');
    await slide(page, 'weightAnd', 30);
    await generate(page);
    await slide(page, 'step', 4);
    await controls(page).view('Gradient of the classifier').check();
    await plot(page, 'Belief').check();
  } },
  { name: 'a classifier and no class', reach: async ({ page }) => {
    await guided(page, 'classifier');
    await controls(page).class('any').check();
  } },
  { name: 'a strip leafed through', reach: async ({ page }) => {
    const on = controls(page);
    await on.class('3').check();
    await guided(page, 'free');
    await generate(page);
    await on.view('x_t').check();
    await plot(page, 'Mixture').check();
    await on.count.fill('5');
    await on.seed.fill('987654');
    await page.getByLabel('Seed to', { exact: true }).fill('123456');
    await generate(page);
    await page.getByRole('button', { name: 'Leaf through' }).click();
  } },
  { name: 'a comparison planned', reach: async ({ page }) => {
    await page.getByRole('button', { name: 'Leaf through' }).click();
    await page.getByLabel('Seed to', { exact: true }).fill('');
    await controls(page).seed.fill('1234');
    await page.getByRole('button', { name: 'Compare…' }).click();
    await page.locator('#comparing').waitFor();
    await page.locator('#comparing-count').fill('1');
  } },
  { name: 'compared side by side', reach: async ({ page }) => {
    await page.getByRole('combobox', { name: 'What varies' }).selectOption({ label: 'Steps' });
    await page.getByLabel('Values: Steps').fill('2, 4, 8, 12');
    await page.getByRole('button', { name: 'Run', exact: true }).click();
    await compared(page);
  } },
  { name: 'a matrix planned', reach: async ({ page }) => {
    await page.getByRole('radio', { name: 'Matrix', exact: true }).check();
    await page.getByRole('combobox', { name: 'Rows' }).selectOption({ label: 'Sampler' });
    await page.getByRole('combobox', { name: 'Columns' }).selectOption({ label: 'Steps' });
    await page.getByLabel('Values: Steps').fill('2, 4, 8');
    for (const sampler of await page.getByLabel('Values: Sampler').getByRole('checkbox').all()) await sampler.setChecked(['ddim', 'unipc'].includes(await sampler.inputValue()));
  } },
  { name: 'a matrix', reach: async ({ page }) => {
    await page.getByRole('button', { name: 'Run', exact: true }).click();
    await compared(page);
  } },
  { name: 'a picture drawn', reach: async ({ page }) => {
    await page.getByRole('button', { name: /^Back/ }).click();
    await page.getByRole('button', { name: 'Compare…' }).click();
    await page.locator('#picture > summary').click();
    await draw(page, [0.3, 0.25], [0.65, 0.25], [0.45, 0.48], [0.66, 0.7], [0.3, 0.78]);
    await slide(page, 'time', 499);
  } },
  { name: 'begun with the picture', reach: async ({ page }) => {
    await picture(page).begins(/the picture/).check();
    await generate(page);
  } },
  { name: 'a part made anew', reach: async ({ page }) => {
    await picture(page).tool('Mark').check();
    await page.locator('#brush').fill('10');
    await draw(page, [0.3, 0.75], [0.7, 0.75]);
    await picture(page).begins(/where it is marked/).check();
    await generate(page);
  } },
  { name: 'its noise found', reach: async ({ page }) => {
    await generate(page, () => picture(page).find.click());
    await page.locator('#inversion-error b').waitFor();
    await picture(page).begins(/noise that was found/).check();
    await page.locator('#inverted').evaluate((element) => element.scrollIntoView({ block: 'center' }));
  } },
  { name: 'its costs computed', reach: async ({ page }) => {
    await page.locator('#measure-picture').click();
    await page.waitForFunction(() => document.getElementById('measuring-sum')?.textContent.includes('±'), null, { timeout: 120_000 });
    await slide(page, 'step', 4);
    await measuring(page).evaluate((element) => element.scrollIntoView({ block: 'center' }));
  } },
  { name: 'its costs, stopped', reach: async ({ page }) => {
    // All of it may have been computed by now.
    const again = measuring(page).getByRole('button', { name: 'Again' });
    if (await again.isVisible()) {
      await again.click();
      await page.waitForFunction(() => document.getElementById('measuring-sum')?.textContent.includes('±'), null, { timeout: 120_000 });
    }
    await measuring(page).getByRole('button', { name: 'Stop' }).click();
    await measuring(page).getByRole('slider').focus();
    await measuring(page).evaluate((element) => element.scrollIntoView({ block: 'center' }));
  } },
  { name: 'its likelihood', reach: async ({ page }) => {
    await measuring(page).getByRole('combobox').selectOption('20');
    await page.waitForFunction(() => document.getElementById('measuring-likelihood').textContent.includes('±'), null, { timeout: 120_000 });
    await measuring(page).evaluate((element) => element.scrollIntoView({ block: 'center' }));
  } },
  { name: 'sprites', reach: async ({ page }) => {
    await measuring(page).getByRole('button', { name: 'Close' }).click();
    await picture(page).begins(/^noise$/).check();
    await page.locator('#picture > summary').click();
    await loadShipped(page, 'Sprites');
    await controls(page).count.fill('9');
    await generate(page);
  } },
  { name: 'schedule', reach: async ({ page }) => {
    await controls(page).sampler.selectOption('ddpm');
    await page.locator('#advanced summary').click();
  } },
  { name: 'a wrong setting', reach: async ({ page }) => {
    await page.locator('#advanced summary').click();
    await controls(page).sampler.selectOption('dpm_solver_singlestep');
    await controls(page).seed.fill('4294967296');
    await controls(page).steps.fill('0');
  } },
  { name: 'stored models', reach: async ({ page }) => {
    await controls(page).seed.fill('1234');
    await controls(page).steps.fill('8');
    await menu(page, 'model');
    await page.locator('#stored summary').click();
    await page.locator('#stored-list li').first().waitFor();
  } },
  { name: 'a wrong folder', reach: async ({ page, files }) => {
    await page.locator('#own-folder').setInputFiles(files.nothing);
    await page.locator('.notice.error').waitFor();
    await ready(page);
  } },
  { name: 'a model of one’s own', reach: async ({ page, files }) => {
    await page.getByRole('button', { name: 'Dismiss' }).click();
    await page.locator('#own-folder').setInputFiles(files.several);
    await named(page, 'several');
    await ready(page);
  } },
  { name: 'a condition missing', reach: async ({ page }) => {
    await controls(page).generate.click();
    await page.locator('.notice.error').waitFor();
  } },
  { name: 'a condition given', reach: async ({ page, files }) => {
    await page.locator('#condition').setInputFiles(files.picture);
    await page.waitForFunction(() => !document.getElementById('condition-picture').hidden);
    await generate(page);
  } },
  { name: 'model menu', reach: ({ page }) => menu(page, 'model') },
  { name: 'a folder held over the page', reach: ({ page }) => page.evaluate(() => document.body.classList.add('dragging')) },
  { name: 'GPU checked', reach: async ({ page }) => {
    await page.evaluate(() => document.body.classList.remove('dragging'));
    for (const button of await page.getByRole('button', { name: 'Dismiss' }).all()) await button.click();
    await menu(page, 'backend');
    await page.getByRole('button', { name: 'Check my GPU' }).click();
    await page.locator('#check-report table').waitFor();
  } },
  { name: 'GPU wrong', reach: async ({ page }) => {
    await menu(page, 'backend');
    await page.getByRole('button', { name: 'Check my GPU' }).click();
    await page.locator('.notice.error').waitFor();
    await ready(page);
  } },
  { name: 'the report', reach: ({ page }) => page.getByRole('button', { name: 'Show report' }).click() },
  { name: 'the engine lost', reach: async ({ page }) => {
    for (const button of await page.getByRole('button', { name: 'Dismiss' }).all()) await button.click();
    await controls(page).seed.fill(String(LOST));
    await controls(page).generate.click();
    await page.getByRole('button', { name: 'Try again' }).waitFor();
  } },
];

/**
 * Goes from state to state.
 * @param {World} world
 * @param {(name: string) => Promise<void>} see  is called in each
 * @param {{name: string, reach: (world: World) => Promise<unknown>}[]} states
 */
export async function eachState(world, see, states = STATES) {
  for (const { name, reach } of states) {
    await rest(world.page);
    try {
      await reach(world);
      await settle(world.page);
    } catch (error) {
      throw new Error(`The state “${name}” was not reached: ${error.message}`, { cause: error });
    }
    await see(name);
  }
}
