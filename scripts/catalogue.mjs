// Writes www/models/catalogue.js: what the page knows of the shipped models before they are loaded, so that their controls
// do not appear late and push the rest down. It is made from their cards: a folder with a card.json is a shipped model.
//
//   node scripts/catalogue.mjs

import { existsSync } from 'node:fs';
import { readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

/** What the card of a shipped model has to say besides what any card may say. */
const NEEDED = ['title', 'about', 'order'];

/** @param {string} folder  with a folder for each model @returns {Promise<object[]>} what the page lists, in its order */
export async function catalogueOf(folder) {
  const models = (await readdir(folder, { withFileTypes: true })).filter((entry) => entry.isDirectory());
  const entries = await Promise.all(models.map(async ({ name }) => {
    const path = join(folder, name, 'card.json');
    const card = JSON.parse(await readFile(path, 'utf8'));
    const missing = NEEDED.find((key) => card[key] === undefined);
    if (missing) throw new Error(`${path} has no "${missing}", which the card of a shipped model needs.`);
    const { title, about, order, class_names = [], null_class = null, guidance = null } = card;
    const class_kind = class_names.length ? 'label' : null;
    const has_classifier = existsSync(join(folder, name, 'classifier', 'config.json'));
    return { order, entry: { folder: `models/${name}`, title, about, class_names, class_count: class_names.length, class_kind, null_class, guidance, has_classifier } };
  }));
  return entries.sort((a, b) => a.order - b.order).map(({ entry }) => entry);
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const folder = fileURLToPath(new URL('../www/models', import.meta.url));
  await writeFile(join(folder, 'catalogue.js'), `// Made by scripts/catalogue.mjs from the models' cards.

/** @type {readonly import('../store/state.js').Shipped[]} */
export const SHIPPED = ${JSON.stringify(await catalogueOf(folder))};
`);
}
