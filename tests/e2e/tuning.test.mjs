// The fastest kernels of a GPU are looked for once, and only if that is wanted.

import assert from 'node:assert/strict';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { wrapEngine } from './engines.mjs';
import { closePage, folderOf, generate, launch, openPage, ready, servePage } from './harness.mjs';

let browser;
let server;
let folder;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'denoise-tuning-'));
  await cp(folderOf('tests/golden/unet_tiny_class'), join(folder, 'tiny/unet'), { recursive: true });
  const pkg = await wrapEngine(join(folder, 'pkg'), `
    for (const [{ prototype }, name] of [[Engine, 'tune'], [Engine, 'set_tuning'], [Loading, 'compile']]) {
      const method = prototype[name];
      prototype[name] = function (...given) {
        console.info('engine.' + name);
        return method.apply(this, given);
      };
    }
  `);
  const worker = await readFile(folderOf('www/engine/worker.js'), 'utf8');
  await writeFile(join(folder, 'worker.js'), `Object.defineProperty(self, 'indexedDB', { value: undefined });\n${worker}`);
  const page = { '/fixtures/': folder, '/pkg/': pkg };
  server = await servePage({ ...page, '/forgetful/engine/worker.js': join(folder, 'worker.js'), '/forgetful/pkg/': pkg, '/forgetful/': folderOf('www') });
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await server?.close();
  if (folder) await rm(folder, { recursive: true, force: true });
});

/** Opens the page; `asked` lists what the engine is asked for, from every visit. */
async function open(path) {
  const asked = [];
  const page = await openPage(browser, server.url + path, { before: (page) => {
    page.on('console', (message) => {
      const [, name] = message.text().match(/^engine\.(\w+)$/) ?? [];
      if (name) asked.push(name);
    });
  } });
  /** What a visit more asks for. */
  const visit = async () => {
    asked.length = 0;
    await page.reload();
    await ready(page);
    return asked.slice();
  };
  return { page, asked: asked.slice(), visit };
}

/** What the page keeps of tunings; with a text, after that was put in the place of each. */
const kept = (page, text) => page.evaluate((text) => new Promise((done, failed) => {
  const opening = indexedDB.open('denoise');
  opening.onerror = failed;
  opening.onsuccess = () => {
    const store = opening.result.transaction('tunings', 'readwrite').objectStore('tunings');
    store.getAllKeys().onsuccess = ({ target: { result: keys } }) => {
      if (text !== undefined) for (const key of keys) store.put(text, key);
      store.getAll().onsuccess = ({ target: { result: texts } }) => {
        opening.result.close();
        done({ keys, texts });
      };
    };
  };
}), text);

const QUERY = '?backend=gpu&count=1&steps=2&model=./fixtures/tiny';

test('the second visit takes what the first has found', async () => {
  const { page, asked, visit } = await open(QUERY);
  assert.deepEqual(asked, ['tune', 'compile']);
  const { keys, texts } = await kept(page);
  assert.equal(keys.length, 1);
  assert.match(keys[0], /swiftshader/);
  const tuning = /^\d+ (shared|serial) /;
  assert.match(texts[0], tuning);
  assert.deepEqual(await visit(), ['set_tuning', 'compile']);
  await generate(page);

  // What is damaged is found anew.
  for (const [damaged, first] of [['nonsense', ['set_tuning']], ['', ['set_tuning']], [7, []], [null, []]]) {
    await kept(page, damaged);
    assert.deepEqual(await visit(), [...first, 'tune', 'compile'], JSON.stringify(damaged));
    assert.match((await kept(page)).texts[0], tuning);
  }
  await closePage(page);
});

test('autotune=0 looks for nothing', async () => {
  const { page, asked } = await open(`${QUERY}&autotune=0`);
  assert.deepEqual(asked, ['compile']);
  assert.match(page.url(), /autotune=0/);
  await generate(page);
  assert.match(page.url(), /autotune=0/);
  await closePage(page);
});

test('without a place to store it, it is found each time', async () => {
  const { page, asked, visit } = await open(`forgetful/${QUERY.replace('./', '../')}`);
  assert.deepEqual(asked, ['tune', 'compile']);
  assert.deepEqual(await visit(), ['tune', 'compile']);
  await generate(page);
  await closePage(page);
});
