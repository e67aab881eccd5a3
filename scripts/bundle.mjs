// Makes of the built page's modules one file a program, minified, where its own first module stood, and takes comments and
// spaces out of what else is there: a visitor’s browser asks for few files in place of sixty, a third smaller. Beside each
// program is its source map, which only developer tools ask for.
//
//   node scripts/bundle.mjs dist

import { readFile, readdir, rm, rmdir, writeFile } from 'node:fs/promises';
import { join, relative, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build, transform } from 'esbuild';

/** Each program begins with one of these. Addresses relative to a module are relative to the program's file afterwards. */
const PROGRAMS = ['main.js', 'view/comparisons.js', 'words/notes.js', 'engine/worker.js', 'engine/learning-worker.js', 'engine/measuring-worker.js', 'measuring/main.js', 'keep/gif-worker.js', 'bench/main.js', 'teach/main.js', 'teach/data-worker.js', 'embed/index.js', 'embed/element.js'];
/** What a program asks for when it runs: the engine, what the page needs only now and then, and of the element what a page may import too. */
const ASKED_FOR = ['*/pkg/denoise.js', '*/pkg/learning/denoise.js', './view/comparisons.js', './words/notes.js', './measuring/main.js', './index.js'];
/** What is no module: names at its top level are the page's, so they stay. */
const SCRIPTS = ['theme.js', 'service-worker.js'];

/** @type {import('esbuild').CommonOptions} */
const COMMON = { target: 'esnext', charset: 'utf8', legalComments: 'none' };

/** @param {string} text @param {'js'|'css'} loader @returns {Promise<string>} the same program or style */
export async function stripped(text, loader) {
  return (await transform(text, { ...COMMON, loader, minifyWhitespace: true })).code;
}

/** @param {string} folder  with the page, and in pkg/ the engine */
export async function bundle(folder) {
  const { metafile } = await build({
    ...COMMON,
    absWorkingDir: resolve(folder), // as which the source maps' paths are told
    entryPoints: PROGRAMS,
    outdir: '.',
    outbase: '.',
    external: ASKED_FOR,
    allowOverwrite: true,
    bundle: true,
    format: 'esm',
    minify: true,
    sourcemap: true,
    metafile: true,
    logLevel: 'warning',
  });
  const all = (await readdir(folder, { recursive: true })).map((path) => path.replaceAll('\\', '/'));
  const isEngine = (/** @type {string} */ path) => path.startsWith('pkg/');
  // Examples are there to be read.
  const paths = all.filter((path) => !path.startsWith('examples/'));
  const forgotten = paths.find((path) => path.endsWith('.js') && !isEngine(path) && !SCRIPTS.includes(path) && !(path in metafile.inputs));
  if (forgotten) throw new Error(`No program imports ${forgotten}. If it is one itself, name it in scripts/bundle.mjs.`);
  for (const path of Object.keys(metafile.inputs)) if (!(path in metafile.outputs)) await rm(join(folder, path));
  for (const path of paths) {
    const file = join(folder, path);
    const write = async (/** @type {(text: string) => Promise<string>} */ make) => writeFile(file, await make(await readFile(file, 'utf8')));
    if (path.endsWith('.css')) await write((text) => stripped(text, 'css'));
    else if (SCRIPTS.includes(path)) await write((text) => stripped(text, 'js'));
    else if (path.endsWith('.js') && isEngine(path)) await write(async (text) => (await transform(text, { ...COMMON, minify: true })).code);
  }
  await removeEmpty(folder);
}

/** Folders whose modules are all in programs now. @param {string} folder @returns {Promise<boolean>} whether it went */
async function removeEmpty(folder) {
  let isEmpty = true;
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const gone = entry.isDirectory() && await removeEmpty(join(folder, entry.name));
    if (!gone) isEmpty = false;
  }
  if (isEmpty) await rmdir(folder);
  return isEmpty;
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [folder = fileURLToPath(new URL('../dist', import.meta.url))] = process.argv.slice(2);
  await bundle(folder);
  console.log(`bundled ${relative(process.cwd(), folder) || '.'}: ${PROGRAMS.join(', ')}`);
}
