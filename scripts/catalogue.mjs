// Writes www/models/catalogue.js: what the page knows of the shipped models before they are loaded, so that their controls
// do not appear late and push the rest down. It is made from their cards: a folder with a card.json is a shipped model.
//
//   node scripts/catalogue.mjs

import { readFile, readdir, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

const MODELS = new URL('../www/models/', import.meta.url);

/** The entry of a model. @param {string} name  of its folder */
async function entryOf(name) {
  const card = JSON.parse(await readFile(new URL(`${name}/card.json`, MODELS), 'utf8'));
  const { order, title, about, class_names = [], null_class = null, guidance = null } = card;
  for (const [key, value] of Object.entries({ order, title, about })) {
    if (value === undefined) throw new Error(`${fileURLToPath(MODELS)}${name}/card.json has no "${key}", which a shipped model needs.`);
  }
  const class_kind = class_names.length ? 'label' : null;
  return { order, entry: { folder: `models/${name}`, title, about, class_names, class_count: class_names.length, class_kind, null_class, guidance } };
}

const folders = (await readdir(MODELS, { withFileTypes: true })).filter((file) => file.isDirectory());
const models = await Promise.all(folders.map(({ name }) => entryOf(name)));
models.sort((a, b) => a.order - b.order || (a.entry.folder < b.entry.folder ? -1 : 1));
await writeFile(new URL('catalogue.js', MODELS), `// Made by scripts/catalogue.mjs from the models' cards.

/** @type {readonly import('../store/state.js').Shipped[]} */
export const SHIPPED = ${JSON.stringify(models.map(({ entry }) => entry))};
`);
