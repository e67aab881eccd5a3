// Takes comments and needless spaces out of the page's programs and style, as build.rs takes them out of the shaders: they are a
// third of what a visitor would have to download. Names stay as they are.
//
//   node scripts/strip.mjs dist

import { readFile, readdir, writeFile } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { transform } from 'esbuild';

const LOADERS = { '.js': 'js', '.css': 'css' };

/** @param {string} text @param {'js'|'css'} loader @returns {Promise<string>} the same program or style */
export async function stripped(text, loader) {
  const { code } = await transform(text, { loader, target: 'esnext', charset: 'utf8', legalComments: 'none', minifyWhitespace: true });
  return code;
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [folder = fileURLToPath(new URL('../dist', import.meta.url))] = process.argv.slice(2);
  for (const name of await readdir(folder, { recursive: true })) {
    const loader = LOADERS[extname(name)];
    const file = join(folder, name);
    if (loader) await writeFile(file, await stripped(await readFile(file, 'utf8'), loader));
  }
}
