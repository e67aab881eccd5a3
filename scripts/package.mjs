// Makes of pkg/, where wasm-pack has put the engine, the npm package: with the worker that drives the engine, what loads models,
// and `loadModel` and <denoise-demo> for other pages, all with their types.
//
//   node scripts/package.mjs

import { execFileSync } from 'node:child_process';
import { cp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const [WWW, PKG] = [join(ROOT, 'www'), join(ROOT, 'pkg')];
/** Rooms of the page that a page of one's own needs too. */
const ROOMS = ['embed', 'engine', 'model', 'words'];

for (const room of ROOMS) {
  await rm(join(PKG, room), { recursive: true, force: true });
  await cp(join(WWW, room), join(PKG, room), { recursive: true });
}
execFileSync('tsc', ['--project', 'tsconfig.package.json'], { cwd: ROOT, stdio: 'inherit' });
// Beside the page the engine is in pkg/; here it is at the root.
for (const room of ROOMS) {
  for (const name of await readdir(join(PKG, room))) {
    if (!/\.(js|d\.ts)$/.test(name)) continue;
    const file = join(PKG, room, name);
    await writeFile(file, (await readFile(file, 'utf8')).replaceAll('../pkg/', '../'));
  }
}
// Both declare `Symbol.dispose`, which not every project's settings know.
for (const name of ['denoise.d.ts', 'learning/denoise.d.ts', 'embed/index.d.ts']) {
  const file = join(PKG, name);
  const reference = '/// <reference lib="esnext.disposable" />\n';
  const text = await readFile(file, 'utf8');
  if (!text.startsWith(reference)) await writeFile(file, reference + text);
}
// Beside the engine of the page is the one that computes gradients too; both are one package.
for (const name of await readdir(join(PKG, 'learning'))) {
  if (!/^(denoise|snippets$)/.test(name)) await rm(join(PKG, 'learning', name), { force: true });
}
await cp(join(WWW, 'embed/README.md'), join(PKG, 'README.md'));
await rm(join(PKG, 'embed/README.md'));

const engine = JSON.parse(await readFile(join(PKG, 'package.json'), 'utf8'));
const entry = (path) => ({ types: `./${path}.d.ts`, default: `./${path}.js` });
delete engine.main;
Object.assign(engine, {
  types: './embed/index.d.ts',
  exports: {
    '.': entry('embed/index'),
    './element': entry('embed/element'),
    './engine': entry('denoise'),
    './learning': entry('learning/denoise'),
    './worker': './engine/worker.js',
    './denoise_bg.wasm': './denoise_bg.wasm',
    './learning/denoise_bg.wasm': './learning/denoise_bg.wasm',
    './package.json': './package.json',
  },
  files: ['denoise_bg.wasm', 'denoise.js', 'denoise.d.ts', 'learning', 'LICENSE-APACHE', 'LICENSE-MIT', 'snippets', ...ROOMS],
  sideEffects: ['./snippets/*', './learning/snippets/*', './embed/element.js', './engine/worker.js'],
});
await writeFile(join(PKG, 'package.json'), `${JSON.stringify(engine, null, 2)}\n`);
