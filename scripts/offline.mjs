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
/** The benchmark, what a network learns with and from, what other pages embed, examples of that, texts about the page and source maps are not what the page is made of. */
const isShell = (path) => path !== WORKER && !/^(bench|teach\/data\/|pkg\/learning\/|engine\/learning-worker|embed\/|examples\/)|\.(md|map)$/.test(path) && (!path.startsWith('models/') || path.endsWith('/preview.png'));

/** The engine with gradients: kept once it was asked for. */
const isLater = (path) => /^pkg\/learning\/.*\.(js|wasm)$/.test(path);

/** @param {string} folder  with the built page @returns {Promise<string>} its version */
export async function keepForOffline(folder) {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const names = entries.filter((entry) => entry.isFile()).map(({ parentPath, name }) => join(parentPath, name).slice(join(folder, '/').length).replaceAll('\\', '/'));
  const hashes = async (paths) => Object.fromEntries(await Promise.all(paths.sort().map(async (path) => [path, hashOf(await readFile(join(folder, path)))])));
  const read = () => hashes(names.filter(isShell));
  const later = JSON.stringify(await hashes(names.filter(isLater)));
  // What the files are without a version is the version that they are given.
  const version = hashOf(JSON.stringify(await read()) + later + await readFile(join(folder, WORKER), 'utf8')).slice(0, 12);
  const index = join(folder, 'index.html');
  const html = await readFile(index, 'utf8');
  const marked = html.replace('<meta name="viewport"', `<meta name="version" content="${version}">\n<meta name="viewport"`);
  if (marked === html) throw new Error('index.html has no place for its version.');
  await writeFile(index, marked);
  const list = JSON.stringify(await read());
  await writeFile(join(folder, WORKER), `self.VERSION = '${version}';\nself.FILES = ${list};\nself.LATER = ${later};\n${await readFile(join(folder, WORKER), 'utf8')}`);
  return version;
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [folder = fileURLToPath(new URL('../dist', import.meta.url))] = process.argv.slice(2);
  console.log(`version ${await keepForOffline(folder)}`);
}
