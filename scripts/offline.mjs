// Makes the built page one that is kept for use without the network: gives it a version, and its service worker the list of
// files that belong to it. Weights are not among them: a model is kept when it has been loaded.
//
//   node scripts/offline.mjs dist

import { createHash } from 'node:crypto';
import { readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const WORKER = 'service-worker.js';
const hashOf = (bytes) => createHash('sha256').update(bytes).digest('hex');
/** What the page asks for later, if ever: the engine with gradients, what a network learns with, and what computes a picture's costs. */
const isLater = (path) => /^(pkg\/learning\/|measuring\/|engine\/(learning|measuring)-worker).*\.(js|wasm|css)$/.test(path);
/** Nor are the benchmark, what a network learns from, what other pages embed, examples of that, texts about the page and source maps what the page is made of. */
const isShell = (path) => path !== WORKER && !isLater(path) && !/^(bench|teach\/data\/|embed\/|examples\/)|\.(md|map)$/.test(path) && (!path.startsWith('models/') || path.endsWith('/preview.png'));

/** @param {string} folder  with the built page @returns {Promise<string>} its version */
export async function keepForOffline(folder) {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const names = entries.filter((entry) => entry.isFile()).map(({ parentPath, name }) => join(parentPath, name).slice(join(folder, '/').length).replaceAll('\\', '/'));
  const paths = names.sort();
  const hashes = async (belongs) => Object.fromEntries(await Promise.all(paths.filter(belongs).map(async (path) => [path, hashOf(await readFile(join(folder, path)))])));
  const later = await hashes(isLater);
  // What the files are without a version is the version that they are given.
  const version = hashOf(JSON.stringify([await hashes(isShell), later]) + await readFile(join(folder, WORKER), 'utf8')).slice(0, 12);
  const index = join(folder, 'index.html');
  const html = await readFile(index, 'utf8');
  const marked = html.replace('<meta name="viewport"', `<meta name="version" content="${version}">\n<meta name="viewport"`);
  if (marked === html) throw new Error('index.html has no place for its version.');
  await writeFile(index, marked);
  const list = JSON.stringify(await hashes(isShell));
  await writeFile(join(folder, WORKER), `self.VERSION = '${version}';\nself.FILES = ${list};\nself.LATER = ${JSON.stringify(later)};\n${await readFile(join(folder, WORKER), 'utf8')}`);
  return version;
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [folder = fileURLToPath(new URL('../dist', import.meta.url))] = process.argv.slice(2);
  console.log(`version ${await keepForOffline(folder)}`);
}
