// Takes the comments out of the page's JavaScript, as build.rs takes them out of the shaders: they are a third of what a
// visitor would have to download. Every other character stays.
//
//   node scripts/strip.mjs dist

import assert from 'node:assert/strict';
import { readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parse } from 'acorn';

/** The tokens of a program as text, and where its comments are. @param {string} text */
function read(text) {
  const tokens = [];
  const comments = [];
  const onToken = ({ type, value }) => tokens.push(`${type.label} ${value?.source ?? value}`);
  const onComment = (block, content, start, end) => comments.push({ start, end });
  parse(text, { ecmaVersion: 'latest', sourceType: 'module', onToken, onComment });
  return { tokens, comments };
}

/** @param {string} text  a program @returns {string} the same program */
export function withoutComments(text) {
  const { tokens, comments } = read(text);
  let stripped = '';
  let at = 0;
  for (const { start, end } of comments) {
    const line = text.lastIndexOf('\n', start - 1) + 1;
    const next = text.indexOf('\n', end) + 1 || text.length;
    const first = line >= at && text.slice(line, start).trim() === '';
    const last = text.slice(end, next).trim() === '';
    if (first && last) {
      // It has its lines to itself, so they go too.
      stripped += text.slice(at, line);
      at = next;
    } else {
      stripped += last ? text.slice(at, start).trimEnd() : `${text.slice(at, start)}${text.slice(start, end).includes('\n') ? '\n' : ' '}`;
      at = end;
    }
  }
  stripped += text.slice(at);
  assert.deepEqual(read(stripped).tokens, tokens, 'a program without its comments is another one');
  return stripped;
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [folder = fileURLToPath(new URL('../dist', import.meta.url))] = process.argv.slice(2);
  for (const name of await readdir(folder, { recursive: true })) {
    if (!name.endsWith('.js')) continue;
    const file = join(folder, name);
    await writeFile(file, withoutComments(await readFile(file, 'utf8')));
  }
}
