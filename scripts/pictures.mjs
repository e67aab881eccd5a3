// Makes the README's pictures of the page: docs/page.png, a word half way in a tree of two branches with a pixel of a letter
// looked at, and docs/word.gif, a word that condenses out of noise.
//
//   node scripts/pictures.mjs

import { writeFile } from 'node:fs/promises';
import { folderOf, generate, launch, openPage, servePage } from '../tests/e2e/harness.mjs';

const server = await servePage();
const browser = await launch({ gpu: false });
const open = (query) => openPage(browser, `${server.url}?model=models/letters&backend=cpu&${query}`);
/** Moves the slider, as a drag would. */
const scrub = (page, step) => page.evaluate((step) => {
  const slider = document.getElementById('step');
  slider.value = step;
  slider.dispatchEvent(new Event('input', { bubbles: true }));
}, step);

try {
  const page = await open('steps=30&class=OUT+OF+NOISE&typeface=1&seed=11');
  await generate(page);
  await scrub(page, 12);
  await page.getByLabel('Guidance', { exact: true }).fill('3');
  await generate(page, () => page.getByRole('button', { name: 'Fork here' }).click());
  await scrub(page, 21);
  await page.locator('#options [role=option]').nth(5).click();
  await page.mouse.move(0, 0);
  // A pixel at the letter's edge, by the keys.
  await page.locator('#loupe-x').focus();
  for (const key of ['ArrowLeft', 'ArrowLeft', 'ArrowLeft', 'ArrowUp']) await page.keyboard.press(key);
  await page.screenshot({ path: folderOf('docs/page.png') });

  const word = await open('steps=40&class=DENOISE&seed=1234');
  await generate(word);
  await word.getByRole('button', { name: 'Save' }).click();
  const [download] = await Promise.all([word.waitForEvent('download'), word.getByRole('button', { name: /^GIF/ }).click()]);
  const chunks = [];
  for await (const chunk of await download.createReadStream()) chunks.push(chunk);
  await writeFile(folderOf('docs/word.gif'), Buffer.concat(chunks));
} finally {
  await browser.close();
  await server.close();
}
