// What is made of the page's files when it is built.

import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { catalogueOf } from '../../scripts/catalogue.mjs';
import { stripped } from '../../scripts/strip.mjs';
import { folderOf } from './harness.mjs';

test('the shipped models are listed as their cards say', async () => {
  const listed = await catalogueOf(folderOf('www/models'));
  assert.deepEqual(listed.slice(0, 3).map(({ folder, title, class_count, null_class, guidance }) => [folder, title, class_count, null_class, guidance]), [
    ['models/letters', 'Letters', 26, 26, null],
    ['models/digits', 'Digits', 10, 10, null],
    ['models/sprites', 'Sprites', 15, 15, 2],
  ]);
});

test('a folder with a card is one more model', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'denoise-models-'));
  const add = async (name, card) => {
    await mkdir(join(folder, name), { recursive: true });
    await writeFile(join(folder, name, 'card.json'), JSON.stringify(card));
  };
  await add('a', { title: 'Last', about: 'plain', order: 9 });
  await add('z', { title: 'First', about: 'A to C', order: 1, class_names: [...'ABC'] });
  const [first, last] = await catalogueOf(folder);
  assert.deepEqual([first.folder, first.class_kind, first.class_count, first.null_class], ['models/z', 'label', 3, null]);
  assert.deepEqual([last.folder, last.class_kind], ['models/a', null]);
  await add('b', { title: 'Nothing is known about it', order: 2 });
  await assert.rejects(catalogueOf(folder), /card\.json has no "about"/);
  await rm(folder, { recursive: true });
});

test('comments and spaces go, names and texts stay', async () => {
  for (const [text, expected] of [
    ['// first\nexport let a = 1; // trailing\n', 'export let a=1;\n'],
    ['export const name = (/** @type {number} */ argument) => argument;\n', 'export const name=argument=>argument;\n'],
    ['export let a = "// no", b = `/* ${ 1 /* yes */ }  no */ ü`, c = /[/*]\\/\\//;\n', 'export let a="// no",b=`/* ${1}  no */ ü`,c=/[/*]\\/\\//;\n'],
  ]) assert.equal(await stripped(text, 'js'), expected);
  assert.equal(await stripped('/* a */\n.b { color: red; }\n', 'css'), '.b{color:red}\n');
  for (const name of await readdir(folderOf('www'), { recursive: true })) {
    if (name.endsWith('.js')) assert.doesNotMatch(await stripped(await readFile(join(folderOf('www'), name), 'utf8'), 'js'), /@param/);
  }
});
