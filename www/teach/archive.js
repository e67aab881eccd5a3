// A run as a folder of files, in a zip: the model in diffusers' layout, and in checkpoint/ what `denoise train --resume` and this page
// go on from, with the images that it learned from and the losses.

import { fromNpz, toNpz } from './npz.js';
import { zip } from '../model/zip.js';

/** @typedef {import('../model/source.js').Found} Found */
/** @typedef {import('./store/state.js').Checkpoint} Checkpoint */
/** @typedef {import('./store/state.js').Run} Run */

const CHECKPOINT = 'checkpoint/';
const RECORD = 'training.json';
const IMAGES = 'images.npz';
const LOSSES = 'losses.csv';

/** @param {Run} run @param {Checkpoint} checkpoint */
export async function archiveOf({ name, images, curve }, { step, files, model }) {
  const rows = curve.steps.flatMap((at, i) => (at <= step ? [`${at},${curve.losses[i]}\n`] : []));
  const inside = {
    ...model,
    ...Object.fromEntries(Object.entries(files).map(([path, blob]) => [CHECKPOINT + path, blob])),
    [IMAGES]: await toNpz(images),
    [LOSSES]: new Blob([`step,loss\n${rows.join('')}`]),
  };
  return zip(Object.fromEntries(Object.entries(inside).map(([path, blob]) => [`${name}/${path}`, blob])));
}

/** The run of training that is among some files, if one is. @param {readonly Found[]} found */
export async function checkpointIn(found) {
  const record = found.find(({ path }) => path.endsWith(`/${RECORD}`) || path === RECORD);
  if (!record) return null;
  const folder = record.path.slice(0, -RECORD.length);
  const root = folder.endsWith(`/${CHECKPOINT}`) || folder === CHECKPOINT ? folder.slice(0, -CHECKPOINT.length) : folder;
  const at = (/** @type {string} */ path) => found.find((file) => file.path === path)?.file;
  const files = Object.fromEntries(found.filter(({ path }) => path.startsWith(folder) && !path.slice(folder.length).includes('/')).map(({ path, file }) => [path.slice(folder.length), file]));
  /** @type {{step: number, recipe: import('./store/state.js').Recipe}} */
  const { step, recipe } = JSON.parse(await record.file.text());
  if (!Number.isInteger(step) || typeof recipe?.config !== 'string') throw new Error(`${record.path} does not say what a run of training was asked to be. Download the run again.`);
  const [images, losses] = [at(root + IMAGES), at(root + LOSSES)];
  const title = JSON.parse(recipe.card || '{}').title || 'A run of training';
  return { title, files, step, recipe, images: images ? await fromNpz(images) : null, losses: losses ? lossesIn(await losses.text()) : null };
}

/** What of a run's files is the model: another run has its own checkpoint, images and losses. @param {readonly Found[]} found */
export const modelIn = (found) => found.filter(({ path }) => !`/${path}`.includes(`/${CHECKPOINT}`) && ![IMAGES, LOSSES].includes(path.split('/').at(-1) ?? ''));

/** @param {string} text */
function lossesIn(text) {
  const rows = text.trim().split('\n').slice(1).map((row) => row.split(',').map(Number)).filter(([step, loss]) => Number.isInteger(step) && Number.isFinite(loss));
  return { steps: Uint32Array.from(rows, ([step]) => step), losses: Float32Array.from(rows, ([, loss]) => loss) };
}
