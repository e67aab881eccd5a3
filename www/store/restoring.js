// Going back: to how a saved picture was made, and to a model's own settings.

import { readBeginning } from './beginning.js';
import { choose, set, takeFields, withClasses, withDefaultEta, withGuide } from './choosing.js';
import { classesOf } from './guide.js';
import { withAnnouncement, withNotice, withoutNotices } from './messages.js';
import { withBeginning } from './picture.js';
import { RUN_SETTINGS, SAMPLING_SETTINGS, recipeOf, sameRecipe } from './recipe.js';
import { imageCount, isSpelling, loadedOf, modelDefaults, shownShape } from './select.js';
import { DEFAULTS, SAMPLERS } from './settings.js';
import { sameShape } from '../model/image.js';

/** @typedef {import('./recipe.js').Recipe} Recipe */
/** @typedef {import('./state.js').Restoring} Restoring */
/** @typedef {import('./state.js').State} State */

/** @type {Record<string, string>} */
const DEVICES = { gpu: 'the GPU', cpu: 'the CPU' };

/** The model that a recipe is of is loaded. @param {State} state @param {Restoring} restoring @returns {State} */
export function restore(state, { recipe, preview, name }) {
  const { model } = loadedOf(state);
  let next = withoutNotices({ ...state, restoring: null, keepSeed: true, texts: { ...state.texts } }, 'failure', 'restored');
  const { precision = 'auto' } = recipe.settings;
  next = set(next, { ...recipe.settings, precision: precision === 'f16' && !state.backend?.half ? 'auto' : precision });
  for (const setting of RUN_SETTINGS) next = choose(next, setting);
  next = withGuide(withClasses(next, classesOf(model), true), loadedOf(state).classifier);
  // How many letters a word has says nothing of other models.
  if (isSpelling(next)) next = choose(set(next, { count: state.settings.count }), 'count', Boolean(state.chosen.count));
  /** @type {string[]} */
  const notes = [];
  const { sampler } = next.settings;
  if (!model.samplers.includes(sampler)) {
    next = withDefaultEta(set(next, { sampler: modelDefaults(next).sampler }));
    notes.push(`${SAMPLERS[sampler]} cannot sample this model, so ${SAMPLERS[next.settings.sampler]} does.`);
  }
  const { backend } = state;
  if (backend && backend.kind !== recipe.backend) notes.push(`It was made on ${DEVICES[recipe.backend]} and is made on ${DEVICES[backend.kind]} now, so it may differ by a shade.`);
  else if (model.precision !== recipe.precision) notes.push(`It was made in ${recipe.precision === 'f16' ? 16 : 32} bit and is made in ${model.precision === 'f16' ? 16 : 32} bit now, so it may differ by a shade.`);
  const beginning = recipe.begins ? readBeginning(recipe.begins) : null;
  const { channels, width, height } = model;
  const fits = !beginning || sameShape(beginning.shape, { channels, width, height });
  next = withBeginning(next, fits ? beginning : null);
  if (recipe.begins && (!beginning || !fits)) notes.push(beginning ? 'It began with a picture of another size than this model’s: made from noise, it is another picture.' : 'It began with a picture that was too large to be kept in the file: made from noise, it is another picture.');
  if (recipe.forkedAt !== null) notes.push(`It went on from step ${recipe.forkedAt} of another run, which a picture cannot carry: made from its beginning, it is another picture.`);
  if (notes.length) {
    const actions = backend?.kind === 'gpu' && recipe.backend === 'cpu' ? [{ label: 'Use the CPU', intent: /** @type {const} */ ({ do: 'changeBackend', kind: 'cpu', next: 'generate' }) }] : [];
    next = withNotice(next, { key: 'restored', text: `${name}: ${notes.join(' ')}`, actions });
  }
  // Of what is shown now, until there is something else to choose from.
  const image = Math.min(recipe.image, imageCount(next) - 1, shownShape(next).count - 1);
  next = { ...next, selection: { ...next.selection, view: recipe.view, image, playing: false } };
  if (preview) next = withKept(next, preview);
  return withAnnouncement(next, `The settings of ${name} are back.`);
}

/** Shows pictures that were kept: their run, if that is there still. @param {State} state @param {import('./state.js').Preview} preview @returns {State} */
export function withKept(state, preview) {
  const { recipe } = preview;
  const run = Object.values(state.runs.byId).find((one) => one.recording.finished && recipe && sameRecipe(recipeOf(one, { ...state.selection, index: 0 }), recipe));
  if (run) {
    const image = Math.min(state.selection.image, run.recording.count - 1);
    return { ...state, selection: { ...state.selection, run: run.id, index: run.recording.newest, following: true, playing: false, image } };
  }
  const image = Math.min(state.selection.image, preview.batch.count - 1);
  return { ...state, preview, selection: { ...state.selection, run: null, index: 0, following: true, playing: false, image } };
}

/** All that a run is made with is the model's choice again. @param {State} state @returns {State} */
export function reset(state) {
  const { loaded } = state;
  if (!loaded) return state;
  const chosen = { ...state.chosen };
  for (const name of SAMPLING_SETTINGS) delete chosen[name];
  const sampler = modelDefaults(state).sampler;
  const defaults = modelDefaults({ ...state, settings: { ...state.settings, sampler } });
  const changes = Object.fromEntries(SAMPLING_SETTINGS.map((name) => [name, defaults[name]]));
  const next = set({ ...withBeginning(state, null), shared: false, chosen, keepSeed: false, lastSeed: null }, { ...changes, seed: DEFAULTS.seed, count: isSpelling(state) ? DEFAULTS.count : loaded.count });
  return withAnnouncement(takeFields(withoutNotices(next, 'class', 'sampler', 'restored')), 'The settings are the model’s own again.');
}
