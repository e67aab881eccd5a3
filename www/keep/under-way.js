// A run that the page is closed or reloaded in the midst of. How it is made is kept for as long as it is under way, so that the page
// can offer it when it comes back in the same tab: the seed and the settings make the same pictures again.

import { readRecipe, recipeOf } from '../store/recipe.js';
import { runOfCommand } from '../store/select.js';

/** @typedef {import('../store/state.js').State} State */

const KEY = 'under-way';

export class UnderWay {
  #store;
  /** Of the run that is kept. @type {number|null} */
  #kept = null;

  /** @param {import('../store/store.js').Store<State, import('../store/reduce.js').Action>} store */
  constructor(store) {
    this.#store = store;
    const text = kept((storage) => storage.getItem(KEY));
    kept((storage) => storage.removeItem(KEY));
    if (text) this.#offer(text);
    store.subscribe((state) => this.#notice(state));
  }

  /** @param {string} text  what was kept */
  #offer(text) {
    try {
      const { caption, recipe } = JSON.parse(text);
      const read = readRecipe(JSON.stringify(recipe));
      const isWhole = read.forkedAt === null && read.condition === null && read.begins?.data !== null;
      this.#store.dispatch({ type: 'notify', notice: {
        key: 'underWay',
        title: 'A run was under way',
        text: `${caption} was not done when the page was closed. ${isWhole ? 'Its seed and settings make the same pictures again.' : 'What it began with, or was given beside its noise, is gone: made from its seed and settings it is another picture.'}`,
        actions: [{ label: 'Make it again', intent: { do: 'makeAgain', recipe: read, name: String(caption) } }],
      } });
    } catch (error) {
      console.warn(error); // another version of the page wrote it
    }
  }

  /** @param {State} state */
  #notice(state) {
    const { activity, command } = state.phase;
    const run = activity === 'running' && command !== null ? runOfCommand(state, command) : undefined;
    if (run && run.id !== this.#kept) {
      this.#kept = run.id;
      const recipe = recipeOf(run, { index: 0, view: state.selection.view, image: state.selection.image });
      kept((storage) => storage.setItem(KEY, JSON.stringify({ caption: run.caption, recipe: { ...recipe, step: run.recording.steps } })));
    } else if (!run && this.#kept !== null && activity === 'idle' && !state.interrupted) {
      this.#kept = null;
      kept((storage) => storage.removeItem(KEY));
    }
  }
}

/** Where nothing can be kept, nothing is. @template Result @param {(storage: Storage) => Result} use @returns {Result|null} */
function kept(use) {
  try {
    return use(sessionStorage);
  } catch {
    return null;
  }
}
