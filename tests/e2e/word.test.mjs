// A word, typed: the page's opening. Each letter is an image, and the grid becomes its lines.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { DESKTOP, PHONE, closePage, controls, generate, launch, openPage, servePage } from './harness.mjs';

let browser, server;
before(async () => {
  [browser, server] = await Promise.all([launch({ gpu: false }), servePage()]);
});
after(async () => {
  await browser?.close();
  await server?.close();
});

const open = (query = '', options = {}) => openPage(browser, `${server.url}?model=models/letters&backend=cpu&steps=4${query}`, options);
const field = (page) => page.getByLabel('Word', { exact: true });

/** Where the letters are: their columns and rows, and the size of the picture in them. */
const layout = (page) => page.evaluate(() => {
  const canvas = document.getElementById('images');
  const options = [...document.querySelectorAll('#options [role=option]')];
  return { cells: options.map(({ style }) => style.gridArea.replaceAll(' ', '')), columns: canvas.width / 32, rows: canvas.height / 32 };
});

/** The pixels of one letter. */
const pixels = (page, [column, row]) => page.evaluate(([x, y]) => {
  const canvas = document.getElementById('images');
  return canvas.getContext('2d').getImageData(x * 32, y * 32, 32, 32).data.join();
}, [column, row]);

for (const [name, viewport] of [['a desktop', DESKTOP], ['a phone', PHONE]]) {
  test(`on ${name} the page greets with a word, and makes the one that is typed`, async () => {
    const page = await open('', { viewport });
    assert.equal(await field(page).inputValue(), 'DENOISE');
    assert.deepEqual(await layout(page), { cells: Array.from({ length: 7 }, (_, i) => `1/${i + 1}`), columns: 7, rows: 1 });
    assert.equal(await controls(page).count.isVisible(), false, 'a word has as many images as letters');

    await field(page).fill('on air!');
    assert.equal(await field(page).inputValue(), 'ON AIR');
    await generate(page, () => field(page).press('Enter'));
    assert.deepEqual(await layout(page), { cells: ['1/1', '1/2', '2/1', '2/2', '2/3'], columns: 3, rows: 2 });
    assert.match(await page.locator('#caption').textContent(), /^“ON AIR” · DDIM · 4 steps · seed 1234$/);
    assert.ok((await pixels(page, [2, 0])).split(',').every((byte) => byte === '0'), 'a space is left free');
    assert.equal(new URL(page.url()).searchParams.get('class'), 'ON AIR');
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true, 'nothing is wider than the screen');

    // From a letter of one line the arrows lead to the nearest of the next.
    await page.locator('#options [role=option]').nth(1).click();
    await page.keyboard.press('ArrowDown');
    assert.equal(await page.locator('#options [aria-selected=true]').getAttribute('aria-label'), 'Image 4');
    await closePage(page);
  });
}

test('one typeface: the same letter is the same picture, wherever it stands', async () => {
  const page = await open('&class=ABBA&typeface=1');
  assert.equal(await page.getByLabel('One typeface', { exact: true }).isChecked(), true);
  await generate(page);
  assert.equal(await pixels(page, [1, 0]), await pixels(page, [2, 0]));
  assert.notEqual(await pixels(page, [0, 0]), await pixels(page, [1, 0]));
  await page.getByLabel('One typeface', { exact: true }).uncheck();
  await generate(page);
  assert.notEqual(await pixels(page, [1, 0]), await pixels(page, [2, 0]));
  await closePage(page);
});

test('what cannot be spelled is not taken, and nothing is lost', async () => {
  const page = await open();
  await field(page).fill('42');
  assert.equal(await field(page).inputValue(), '');
  await page.keyboard.press('Tab');
  assert.match(await page.locator('#word-hint').textContent(), /^Word: type at least one letter\.$/);
  await controls(page).generate.click();
  assert.equal(await field(page).evaluate((input) => input === document.activeElement), true, 'what is missing has the focus');
  assert.equal(await page.evaluate(() => document.body.dataset.phase), 'ready', 'and no other word is made');
  await field(page).fill('R2D2');
  assert.match(await page.locator('#word-hint').textContent(), /^Left out: 2\. There is only A to Z\.$/);
  // In the middle of a word the place where one types stays.
  await field(page).fill('NOSE');
  await field(page).evaluate((input) => input.setSelectionRange(2, 2));
  await page.keyboard.type('i7');
  assert.equal(await field(page).inputValue(), 'NOISE');
  assert.equal(await field(page).evaluate((input) => input.selectionStart), 3);
  await closePage(page);
  const wrong = await open('&class=D3NO1SE');
  assert.equal(await field(wrong).inputValue(), 'DENOISE');
  assert.match(await wrong.locator('#notes').textContent(), /no class “D3NO1SE”; DENOISE is used/);
  await closePage(wrong);
});
