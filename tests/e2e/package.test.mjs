// The npm package, packed and installed in a fresh project: types, Vite, esbuild, and a plain page with the element.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { serve } from '../../scripts/serve.mjs';
import { closePage, folderOf, launch, openPage } from './harness.mjs';

const run = promisify(execFile);
const tool = (name) => folderOf(`node_modules/.bin/${name}`);

/** What the project's page does, in TypeScript: a digit, an abort, and every kind of error. */
const MAIN = `
import { loadModel, DenoiseError, type Step } from 'denoise';

const say = (name: string, value: unknown) => { document.body.dataset[name] = String(value); };
const codeOf = (error: unknown) => (error instanceof DenoiseError ? error.code : error instanceof Error ? error.name : 'none');
const worker: (() => Worker) | undefined = location.search === '?own-worker' ? () => new Worker('/denoise-worker.js', { type: 'module' }) : undefined;

const stages = new Set<string>();
const model = await loadModel('./my-model', { backend: 'cpu', count: 2, worker, onprogress: ({ stage }) => stages.add(stage) });
const { width, height } = model.info;
const context = document.querySelector('canvas')!.getContext('2d')!;
const draw = (step: Step) => context.putImageData(new ImageData(step.x0.slice(0, width * height * 4), width, height), 0, 0);
let seen = 0;
for await (const step of model.generate({ sampler: 'ddim', steps: 8, seed: 1, class: '3', timestep_spacing: 'trailing' })) {
  if (step.step === 0) await model.generate({ steps: 2 }).next().catch((error) => say('busy', codeOf(error)));
  draw(step);
  seen = step.step + 1;
}
say('steps', seen);
say('stages', [...stages].includes('download'));
const abort = new AbortController();
try {
  for await (const step of model.generate({ steps: 500, class: [1, 2] }, { signal: abort.signal })) if (step.step === 1) abort.abort();
} catch (error) {
  say('aborted', codeOf(error));
}
for await (const step of model.generate({ steps: 500 })) if (step.step === 1) break;
for await (const step of model.generate({ steps: 2 })) say('again', step.steps);
await model.generate({ steps: 2, class: 'oak' }).next().catch((error) => say('class', error.message));
await model.generate({ steps: 5000 }).next().catch((error) => say('start', codeOf(error)));
model.free();
model.free();
await model.generate({ steps: 2 }).next().catch((error) => say('freed', codeOf(error)));
await loadModel('./nothing', { backend: 'cpu', worker }).catch((error) => say('load', codeOf(error)));
await loadModel('no address at all').catch((error) => say('name', codeOf(error)));
say('done', 'yes');
`;
const HTML = (script) => `<!doctype html><title>Fresh</title><link rel="icon" href="data:,"><canvas width="32" height="32"></canvas>${script}`;

let browser, folder;
before(async () => {
  [browser, folder] = await Promise.all([launch({ gpu: false }), mkdtemp(join(tmpdir(), 'denoise-package-'))]);
  const { stdout } = await run('npm', ['pack', '--silent', '--pack-destination', folder], { cwd: folderOf('pkg') });
  await writeFile(join(folder, 'package.json'), '{ "name": "fresh", "private": true, "type": "module" }');
  await run('npm', ['install', '--offline', '--no-audit', '--no-fund', `./${stdout.trim()}`], { cwd: folder });
  await writeFile(join(folder, 'main.ts'), MAIN);
});
after(async () => {
  await browser?.close();
  if (folder) await rm(folder, { recursive: true, force: true });
});

/** Opens what was built, and checks what it says. @param {string} dist */
async function check(dist, query = '') {
  const server = await serve({ port: 0, mounts: { '/': dist, '/my-model/': folderOf('www/models/digits') } });
  const page = await openPage(browser, `${server.url}index.html${query}`, { wait: false });
  await page.waitForSelector('body[data-done]', { timeout: 120_000 }).catch(() => {
    throw new Error(`It got no further than ${page.complaints.join()}`);
  });
  const said = await page.evaluate(() => ({ ...document.body.dataset }));
  assert.match(said.class, /no class “oak”. It has: 0, 1, 2/);
  delete said.class;
  assert.deepEqual(said, { busy: 'start', steps: '8', stages: 'true', aborted: 'AbortError', again: '2', start: 'start', freed: 'run', load: 'load', name: 'load', done: 'yes' });
  const grey = await page.evaluate(() => [...document.querySelector('canvas').getContext('2d').getImageData(0, 0, 32, 32).data].filter((_, i) => i % 4 === 0));
  assert.ok(grey.filter((value) => value < 50).length > 512 && grey.filter((value) => value > 200).length > 40, 'a digit is light on dark');
  await closePage(page, [/404/]);
  await server.close();
}

test('its types are checked, in a project with plain settings', async () => {
  const options = { strict: true, noEmit: true, target: 'es2022', module: 'esnext', moduleResolution: 'bundler', lib: ['es2022', 'dom', 'dom.iterable'] };
  await writeFile(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions: options, include: ['*.ts'] }));
  await run(tool('tsc'), ['--project', folder]);
  await writeFile(join(folder, 'wrong.ts'), "import { loadModel } from 'denoise';\n(await loadModel('a/b')).generate({ steps: 'many' });\nloadModel('a/b', { backend: 'tpu' });\n");
  const problem = await run(tool('tsc'), ['--project', folder]).then(() => '', ({ stdout }) => stdout);
  assert.match(problem, /wrong\.ts\(2,.*\n?[^]*wrong\.ts\(3,/);
  await rm(join(folder, 'wrong.ts'));
});

test('Vite builds a page with it', async () => {
  await writeFile(join(folder, 'index.html'), HTML('<script type="module" src="/main.ts"></script>'));
  await run(tool('vite'), ['build', '--logLevel', 'error'], { cwd: folder });
  await check(join(folder, 'dist'));
});

test('esbuild does, with the worker as a file of its own', async () => {
  const out = join(folder, 'out');
  await mkdir(out);
  const options = ['--bundle', '--format=esm', '--target=es2022', '--log-level=error'];
  await run(tool('esbuild'), ['main.ts', ...options, `--outfile=${join(out, 'main.js')}`], { cwd: folder });
  await run(tool('esbuild'), ['node_modules/denoise/engine/worker.js', ...options, `--outfile=${join(out, 'denoise-worker.js')}`], { cwd: folder });
  await writeFile(join(out, 'denoise_bg.wasm'), await readFile(join(folder, 'node_modules/denoise/denoise_bg.wasm')));
  await writeFile(join(out, 'index.html'), HTML('<script type="module" src="main.js"></script>'));
  await check(out, '?own-worker');
});

test('the element works in a plain page, under a strict policy', async () => {
  const plain = join(folder, 'plain');
  await mkdir(plain);
  const policy = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; style-src 'self'; img-src data:; connect-src 'self'";
  await writeFile(join(plain, 'index.html'), `<!doctype html><title>Plain</title><link rel="icon" href="data:,">
    <meta http-equiv="Content-Security-Policy" content="${policy}">
    <script type="module" src="/denoise/embed/element.js"></script>
    <denoise-demo model="./my-model" backend="cpu" steps="6" count="4" class="7" seed="3"></denoise-demo>`);
  const server = await serve({ port: 0, mounts: { '/': plain, '/denoise/': join(folder, 'node_modules/denoise'), '/my-model/': folderOf('www/models/digits') } });
  const page = await openPage(browser, `${server.url}index.html`, { wait: false });
  await page.getByRole('button', { name: 'Generate' }).click();
  await page.getByText('Done').waitFor({ timeout: 60_000 });
  assert.deepEqual(await page.getByRole('img').evaluate((canvas) => [canvas.width, canvas.height]), [64, 64]);
  assert.equal(await page.getByRole('slider', { name: 'Step' }).evaluate(({ max, value }) => `${value} of ${max}`), '5 of 5');
  const pixels = () => page.getByRole('img').evaluate((canvas) => canvas.getContext('2d').getImageData(0, 0, 64, 64).data.join());
  const last = await pixels();
  await page.getByRole('slider', { name: 'Step' }).press('Home');
  assert.notEqual(await pixels(), last);
  // Taken out of the page in mid-run it ends, and put back it begins anew.
  await page.evaluate(() => document.querySelector('denoise-demo').setAttribute('steps', '500'));
  await page.getByRole('button', { name: 'Generate' }).click();
  await page.getByText(/^\d+ of 500/).waitFor({ timeout: 60_000 });
  await page.evaluate(() => {
    const demo = document.querySelector('denoise-demo');
    demo.remove();
    demo.setAttribute('steps', '2');
    document.body.append(demo);
  });
  await page.getByRole('button', { name: 'Generate' }).click();
  await page.getByText('Done').waitFor({ timeout: 60_000 });
  await closePage(page);
  await server.close();
});
