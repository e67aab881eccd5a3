// Guidance by a classifier in the page: the same pictures as PyTorch makes, on the CPU and on WebGPU; its belief and its gradient;
// models without one, and with one that cannot be used.

import assert from 'node:assert/strict';
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { PHONE, closePage, controls, differ, equal, folderOf, generate, launch, loadModel, openPage, pixels, ready, servePage } from './harness.mjs';

/** A classifier of the digits, with random weights. */
const CLASSIFIER = folderOf('tests/golden/classifier_attention');
/** The scheduler's own spacing, as the golden runs have it. */
const OWN = 'spacing=leading&count=1&scale=20';

/** A page of somebody's own. */
const EMBEDDED = `<!doctype html><title>Mine</title><link rel="icon" href="data:,"><script type="module">
import { loadModel } from './embed/index.js';
const last = async (model, settings) => {
  let step;
  for await (step of model.generate({ sampler: 'ddim', steps: 20, seed: 3, timestep_spacing: 'leading', ...settings }));
  return step;
};
const problem = (promise) => promise.then(() => '', ({ code, message }) => code + ': ' + message);
const model = await loadModel('./models/digits', { backend: 'cpu', classifier: true });
const { x, numbers: { gradient, logits } } = await last(model, { classifier: { scale: 20, class: '3' } });
const alone = await loadModel('./models/digits', { backend: 'cpu' });
globalThis.found = {
  pixels: [...x].filter((_, i) => i % 4 === 0), sizes: [gradient.length, logits.length],
  problems: [await problem(last(alone, { classifier: { scale: 1, class: 3 } })), await problem(last(model, { classifier: { scale: 1, class: 10 } })), await problem(loadModel('./plain', { backend: 'cpu', classifier: true }))],
};
</script>`;

let browser;
let server;
let folder;
let golden;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'denoise-guide-'));
  await cp(folderOf('www/models/digits'), join(folder, 'damaged'), { recursive: true });
  await cp(CLASSIFIER, join(folder, 'damaged/classifier'), { recursive: true });
  await writeFile(join(folder, 'damaged/classifier/diffusion_pytorch_model.safetensors'), 'nothing of the kind');
  await cp(folderOf('www/models/digits'), join(folder, 'own'), { recursive: true });
  await cp(CLASSIFIER, join(folder, 'own/classifier'), { recursive: true });
  await cp(folderOf('www/models/sprites'), join(folder, 'plain'), { recursive: true });
  await rm(join(folder, 'plain/classifier'), { recursive: true });
  await cp(folderOf('tests/golden/unet_learned'), join(folder, 'classless/unet'), { recursive: true });
  await cp(folderOf('tests/golden/classifier_adaptive'), join(folder, 'classless/classifier'), { recursive: true });
  await mkdir(join(folder, 'classless/scheduler'));
  await writeFile(join(folder, 'classless/scheduler/scheduler_config.json'), '{"_class_name": "DDPMScheduler", "variance_type": "learned_range"}');
  await writeFile(join(folder, 'embedded.html'), EMBEDDED);
  server = await servePage({ '/models/digits/classifier/': CLASSIFIER, '/damaged/': join(folder, 'damaged'), '/plain/': join(folder, 'plain'), '/classless/': join(folder, 'classless'), '/embedded.html': join(folder, 'embedded.html') });
  browser = await launch({ gpu: false });
  golden = await tensors(folderOf('tests/golden/classifier.safetensors'));
});
after(async () => {
  await browser?.close();
  server?.close();
  if (folder) await rm(folder, { recursive: true, force: true });
});

/** The numbers of a safetensors file by their names. @param {string} path @returns {Promise<(name: string) => Float32Array>} */
async function tensors(path) {
  const bytes = await readFile(path);
  const start = 8 + Number(bytes.readBigUInt64LE());
  const header = JSON.parse(bytes.subarray(8, start));
  return (name) => {
    const { dtype, data_offsets: [from, to] } = header[name];
    const data = bytes.buffer.slice(bytes.byteOffset + start + from, bytes.byteOffset + start + to);
    return dtype === 'F64' ? Float32Array.from(new Float64Array(data)) : new Float32Array(data);
  };
}

/** The bytes that the first image of a golden run is shown as. */
const expected = (name, size = 1024) => [...golden(`${name}.x_0`).subarray(0, size)].map((x) => Math.min(255, Math.max(0, Math.round((x / 2 + 0.5) * 255))));
const furthest = (a, b) => a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), 0);

/** Runs that classifier.json has, of whose images the first is made. */
const CASES = [
  ['ddpm_large', 'sampler=ddpm&steps=10&seed=4&class=0&guide=classifier&variance=fixed_large'],
  ['ddim', 'sampler=ddim&steps=20&seed=3&class=3&guide=classifier'],
  ['ddim_with_guidance', 'sampler=ddim&steps=10&seed=3&class=3&guide=both&guidance=2'],
  ['ddim_mixed', 'sampler=ddim&steps=10&seed=6&class=3&classAnd=8&weightAnd=75&guide=classifier'],
];

for (const [name, query] of CASES) {
  test(`on the CPU a guided run is PyTorch’s: ${name}`, async () => {
    const page = await openPage(browser, `${server.url}?backend=cpu&${OWN}&${query}`);
    await generate(page);
    const [made] = await pixels(page);
    assert.ok(furthest(made, expected(name)) <= 1, `${furthest(made, expected(name))} of 255`);
    // What guides is what makes it so.
    await page.locator('#guide').selectOption('none');
    await generate(page);
    assert.ok(furthest((await pixels(page))[0], expected(name)) > 40, 'without the classifier it is another picture');
    await closePage(page);
  });
}

test('on WebGPU guided runs are what they are on the CPU', async () => {
  const software = await launch();
  try {
    // In software the shaders take a minute, so there are few steps and both kinds of shift in one page.
    const query = `autotune=0&count=1&scale=20&steps=2&seed=5&class=3&guide=classifier&lock=1`;
    const [cpu, gpu] = [await openPage(browser, `${server.url}?backend=cpu&${query}`), await openPage(software, `${server.url}?backend=gpu&${query}`)];
    for (const sampler of ['ddpm', 'ddim']) {
      const [alone, made] = await Promise.all([cpu, gpu].map(async (page) => {
        await controls(page).sampler.selectOption(sampler);
        await generate(page);
        return (await pixels(page))[0];
      }));
      assert.ok(furthest(made, alone) <= 1, `${sampler}: ${furthest(made, alone)} of 255`);
    }
    assert.match(await gpu.locator('#backend-name').textContent(), /WebGPU/);
    await closePage(cpu);
    await closePage(gpu);
  } finally {
    await software.close();
  }
});

test('choosing the classifier brings the engine with gradients once, and the address the same pictures', async () => {
  const asked = [];
  const page = await openPage(browser, `${server.url}?backend=cpu&steps=6&count=4&seed=5&class=3&lock=1`, { before: async (page) => page.on('request', (request) => asked.push(request.url())) });
  const learning = () => asked.filter((url) => url.endsWith('/pkg/learning/denoise_bg.wasm')).length;
  assert.equal(learning(), 0, 'who does not ask for it does not load it');
  await generate(page);
  const alone = await pixels(page);
  await page.locator('#guide').selectOption('classifier');
  await ready(page);
  equal(await pixels(page), alone, 'the run that was there is there still');
  await page.locator('#scale').fill('15');
  await generate(page);
  const guided = await pixels(page);
  differ(guided, alone, 'guided and not');
  assert.match(await page.locator('#caption').textContent(), /class 3 · classifier 15 · seed 5/);
  // The worker that owns the engine, and each of its team.
  const workers = learning();
  assert.ok(workers >= 1);

  // Going back and to it again loads nothing.
  await page.locator('#guide').selectOption('none');
  await page.locator('#guide').selectOption('classifier');
  await generate(page);
  equal(await pixels(page), guided, 'the same seed and settings');
  assert.equal(learning(), workers);

  // Its gradient and its belief.
  assert.ok(await page.locator('#loupe-gradient').isVisible());
  assert.match(await page.locator('#loupe-gradient-note').textContent(), /^up to ±[\d.e−]+/);
  await controls(page).view('Gradient of the classifier').check({ force: true });
  differ(await pixels(page), guided, 'the gradient and x_t');
  await page.locator('input[name=plot][value=belief]').check({ force: true });
  assert.equal(await page.locator('#chart polyline').count(), 5);
  const said = await page.locator('#chart-caption').textContent();
  assert.match(said, /^p\(k \| xt\) of the chosen image here:( \d [\d.e−-]+){5}$/);
  assert.match(await page.locator('#formulas').textContent(), /Dhariwal and Nichol 2021, Algorithm 2/);
  await controls(page).sampler.selectOption('ddpm');
  await generate(page);
  assert.match(await page.locator('#formulas').textContent(), /Dhariwal and Nichol 2021, Algorithm 1/);
  await controls(page).sampler.selectOption('ddim');

  // A fork goes on as it was guided; another scale is another branch.
  await generate(page);
  await controls(page).view('x_t').check({ force: true });
  await controls(page).step.evaluate((slider) => {
    slider.value = '3';
    slider.dispatchEvent(new Event('input'));
  });
  await page.locator('#scale').fill('0.5');
  assert.match(await page.locator('#fork-hint').textContent(), /with classifier 0\.5/);
  await generate(page, () => page.locator('#fork').click());
  differ(await pixels(page), guided, 'a fork with another scale');
  assert.equal(await page.locator('#lanes [role=option]').count(), 2);

  await page.locator('#scale').fill('15');
  const address = await page.evaluate(() => location.href);
  assert.match(address, /guide=classifier/);
  assert.match(address, /scale=15/);
  await closePage(page);
  const again = await openPage(browser, `${address.replace('forked=1', '')}&view=x`);
  await generate(again);
  equal(await pixels(again), guided, 'the address makes the same pictures');
  await closePage(again);
});

test('the target can be a mix of two classes, on a phone too', async () => {
  const page = await openPage(browser, `${server.url}?backend=cpu&steps=4&count=2&seed=5&class=3&guide=both&scale=10`, { viewport: PHONE });
  assert.ok(await page.locator('#weightAnd').isDisabled());
  await page.locator('#classAnd').selectOption('8');
  assert.ok(await page.locator('#weightAnd').isEnabled());
  await page.locator('#weightAnd').evaluate((slider) => {
    slider.value = '30';
    slider.dispatchEvent(new Event('input'));
  });
  assert.equal(await page.locator('#weight-and').textContent(), '30 %');
  await generate(page);
  assert.match(await page.locator('#caption').textContent(), /classifier 10 to 70 % 3 and 30 % 8/);
  // Without a class there is nothing to be guided to: that is said, and no run of another kind begins.
  await controls(page).class('any').check({ force: true });
  assert.match(await page.locator('#hint').textContent(), /choose a class/);
  await controls(page).generate.click();
  assert.equal(await page.evaluate(() => document.activeElement.id), 'guide');
  await closePage(page);
});

test('a model without a classifier offers none, and one that cannot be used is told of', async () => {
  const asked = await openPage(browser, `${server.url}?backend=cpu&steps=2&count=1&model=plain&guide=classifier`);
  assert.ok(await asked.locator('#guide').isHidden());
  assert.match(await asked.locator('#notes').textContent(), /no classifier\/ beside this model/);
  await generate(asked);
  await closePage(asked, [/404/]);
  const page = await openPage(browser, `${server.url}?backend=cpu&steps=2&count=1&model=models/sprites`);
  await loadModel(page, 'damaged');
  await page.waitForFunction(() => document.getElementById('model-name').textContent === 'Digits');
  await ready(page);
  assert.ok(await page.locator('#guide').isVisible());
  await controls(page).class('3').check({ force: true });
  await page.locator('#guide').selectOption('classifier');
  await ready(page);
  assert.match(await page.locator('#notes').textContent(), /The classifier beside this model cannot be used: /);
  assert.equal(await page.locator('#guide').inputValue(), 'free');
  assert.match(await page.locator('#guide option[value=classifier]:disabled').textContent(), /cannot be used/);
  await generate(page);
  await closePage(page, [/404/]);
});

test('an engine that does not come is said to be missing, and runs can go on without', async () => {
  // A first visit.
  const page = await openPage(browser, `${server.url}?backend=cpu&steps=2&count=1&class=3&seed=5`, { before: (page) => page.addInitScript(() => localStorage.removeItem('tour')) });
  await page.route('**/pkg/learning/*', (route) => route.abort());
  await page.locator('#tour').waitFor();
  await page.locator('#guide').selectOption('classifier');
  await page.waitForSelector('body[data-phase="broken"]');
  assert.match(await page.locator('#backend-name').textContent(), /^Not running/);
  assert.ok(await page.locator('#tour').isHidden(), 'the tour does not lie over an error');
  assert.match(await page.locator('#errors').textContent(), /The engine that computes gradients could not be fetched/);
  await page.getByRole('button', { name: 'Go on without the classifier' }).click();
  await ready(page);
  assert.equal(await page.locator('#guide').inputValue(), 'free');
  assert.equal(await page.locator('#errors').textContent(), '');
  assert.match(await page.locator('#backend-name').textContent(), /^CPU/);
  await page.locator('#tour').getByRole('button', { name: 'Skip' }).click();
  await generate(page);
  await closePage(page, [/ERR_FAILED/]);
});

test('a classifier that came damaged can be asked for again', async () => {
  let isBroken = true;
  const page = await openPage(browser, `${server.url}?backend=cpu&steps=2&count=1&class=3&seed=5&guide=classifier`, {
    before: (page) => page.route('**/classifier/*.safetensors', (route) => (isBroken ? route.fulfill({ body: 'half of it' }) : route.continue())),
  });
  const notes = page.locator('#notes');
  await notes.getByText('The classifier beside this model cannot be used').waitFor();
  assert.equal(await page.locator('#guide').inputValue(), 'free');
  isBroken = false;
  await notes.getByRole('button', { name: 'Try again' }).click();
  await page.locator('#guide option[value=classifier]:enabled').waitFor({ state: 'attached' });
  await ready(page);
  assert.equal(await notes.textContent(), '');
  await page.locator('#guide').selectOption('classifier');
  await ready(page);
  await generate(page);
  assert.match(await page.locator('#caption').textContent(), /classifier/);
  await closePage(page);
});

test('a network that knows no classes is guided by those of its classifier, with the variance that it has learned', async () => {
  const page = await openPage(browser, `${server.url}?backend=cpu&model=classless&sampler=ddpm&steps=10&count=2&seed=2&spacing=leading`);
  assert.ok(await page.locator('#classes').isHidden(), 'no classes without the classifier');
  await page.locator('#guide').selectOption('classifier');
  await ready(page);
  assert.ok(await page.locator('#guide option[value=both]').isDisabled());
  assert.deepEqual(await page.locator('#classes label').allTextContents(), ['0', '1', '2', '3', 'mixed']);
  await controls(page).class('mixed').check({ force: true });
  await page.locator('#scale').fill('20');
  await generate(page);
  const [made] = await pixels(page);
  assert.ok(furthest(made, expected('ddpm_learned', 64)) <= 1, `${furthest(made, expected('ddpm_learned', 64))} of 255`);
  await closePage(page, [/404/]);
});

test('a page of one’s own guides its runs too', async () => {
  const page = await openPage(browser, `${server.url}embedded.html`, { wait: false });
  const { pixels: made, sizes, problems } = await (await page.waitForFunction(() => globalThis.found, null, { timeout: 60_000 })).jsonValue();
  assert.ok(furthest(made, expected('ddim')) <= 1, `${furthest(made, expected('ddim'))} of 255`);
  assert.deepEqual(sizes, [1024, 10]);
  assert.match(problems[0], /^start: This model was loaded without its classifier/);
  assert.match(problems[1], /^start: Class 10 does not exist; this classifier has 0 to 9/);
  assert.match(problems[2], /^load: There is no classifier/);
  await closePage(page, [/404/]);
});

test('a run goes on from a step, and is shared out, to the same pictures', async () => {
  const page = await openPage(browser, `${server.url}?backend=cpu&sampler=ddpm&steps=8&count=3&seed=5&class=mixed&guide=classifier&scale=15&lock=1`);
  await generate(page);
  const whole = await pixels(page);
  await controls(page).step.evaluate((slider) => {
    slider.value = '3';
    slider.dispatchEvent(new Event('input'));
  });
  await generate(page, () => page.locator('#fork').click());
  equal(await pixels(page), whole, 'the same once more from step 3');
  await closePage(page);
  // With one core there is no team.
  const alone = await openPage(browser, `${server.url}?backend=cpu&sampler=ddpm&steps=8&count=3&seed=5&class=mixed&guide=classifier&scale=15&lock=1`, { before: (page) => page.route('**/engine/worker.js', async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, body: `Object.defineProperty(navigator, 'hardwareConcurrency', { value: 1 });\n${await response.text()}` });
  }) });
  await generate(alone);
  equal(await pixels(alone), whole, 'alone');
  await closePage(alone);
});

test('a dropped folder that has a classifier is guided by it', async () => {
  const page = await openPage(browser, `${server.url}?backend=cpu&steps=3&count=1&seed=5&class=3&model=models/sprites`);
  await page.locator('#own-folder').setInputFiles(join(folder, 'own'));
  await page.waitForFunction(() => document.getElementById('model-name').textContent === 'Digits');
  await ready(page);
  await controls(page).class('3').check({ force: true });
  await page.locator('#guide').selectOption('classifier');
  await ready(page);
  await generate(page);
  assert.ok(await page.locator('#loupe-gradient').isVisible());
  await closePage(page, [/404/]);
});
