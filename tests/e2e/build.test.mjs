// What is made of the page's files when it is built.

import assert from 'node:assert/strict';
import { cp, mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { test } from 'node:test';
import { bundle, stripped } from '../../scripts/bundle.mjs';
import { catalogueOf } from '../../scripts/catalogue.mjs';
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
    ['// first\nlet a = 1; // trailing\n', 'let a=1;\n'],
    ['const name = (/** @type {number} */ argument) => argument;\n', 'const name=argument=>argument;\n'],
    ['let a = "// no", b = `/* ${ 1 /* yes */ }  no */ ü`, c = /[/*]\\/\\//;\n', 'let a="// no",b=`/* ${1}  no */ ü`,c=/[/*]\\/\\//;\n'],
  ]) assert.equal(await stripped(text, 'js'), expected);
  assert.equal(await stripped('/* a */\n.b { color: red; }\n', 'css'), '.b{color:red}\n');
});

test('of the page’s modules one file a program is left, and the way back to them', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'denoise-bundle-'));
  t.after(() => rm(folder, { recursive: true }));
  await cp(folderOf('www'), folder, { recursive: true });
  const scripts = async () => (await readdir(folder, { recursive: true })).filter((path) => path.endsWith('.js') && !path.startsWith('examples/'));
  const modules = await scripts();
  await bundle(folder);
  const left = await scripts();
  assert.deepEqual(left.sort(), ['bench/main.js', 'embed/element.js', 'embed/index.js', 'engine/learning-worker.js', 'engine/measuring-worker.js', 'engine/worker.js', 'keep/gif-worker.js', 'main.js', 'measuring/main.js', 'service-worker.js', 'teach/data-worker.js', 'teach/main.js', 'theme.js', 'view/comparisons.js', 'words/notes.js']);
  const originals = new Set(['service-worker.js', 'theme.js']);
  for (const path of left) {
    const text = await readFile(join(folder, path), 'utf8');
    assert.doesNotMatch(text, /@param/);
    if (originals.has(path)) continue;
    assert.match(text, new RegExp(`\n//# sourceMappingURL=${basename(path)}\\.map\n$`));
    const { sources, sourcesContent } = JSON.parse(await readFile(join(folder, `${path}.map`), 'utf8'));
    for (const [i, source] of sources.entries()) {
      const original = join(dirname(path), source);
      originals.add(original);
      assert.equal(sourcesContent[i], await readFile(join(folderOf('www'), original), 'utf8'), `${path} leads to ${original} as it is`);
    }
  }
  assert.deepEqual([...originals].sort(), modules.sort(), 'every module is in some program');
});

test('a module that no program has is not left out in silence', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'denoise-bundle-'));
  t.after(() => rm(folder, { recursive: true }));
  await cp(folderOf('www'), folder, { recursive: true });
  await writeFile(join(folder, 'view/lonely.js'), 'export const nobody = 1;\n');
  await assert.rejects(bundle(folder), /No program imports view\/lonely\.js/);
});
