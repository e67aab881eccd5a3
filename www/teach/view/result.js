// What can be done with what was learned.

import { byId, changes } from '../../view/dom.js';
import { isActive } from '../store/select.js';

export class Result {
  #changed = changes();

  /** @param {import('../controller.js').Controller} controller */
  constructor(controller) {
    byId('download').addEventListener('click', () => controller.download());
    byId('go-on').addEventListener('click', () => controller.goOn());
    byId('forget').addEventListener('click', () => controller.forget());
  }

  /** @param {import('../store/state.js').State} state */
  render(state) {
    const { run } = state;
    if (!run) return;
    const active = isActive(state);
    const { checkpoint, kept, unkept, recipe, activity, name } = run;
    if (!this.#changed(active, checkpoint, kept, unkept, recipe, activity)) return;
    // While it learns, only what stands still can be had.
    const resting = checkpoint !== null && (!active || activity === 'paused');
    byId('result').hidden = !resting;
    if (!checkpoint) return;
    // It has its place before it is kept, and can be used.
    const use = byId('use');
    const isKept = kept === checkpoint.step;
    use.hidden = !isKept && unkept;
    use.setAttribute('aria-disabled', String(!isKept));
    if (isKept) use.href = `./?model=taught:${name}`;
    else use.removeAttribute('href');
    const isDone = recipe !== null && checkpoint.step >= recipe.steps;
    byId('go-on').hidden = active || isDone || run.diverged;
    byId('forget').hidden = active;
    const size = Object.values(checkpoint.model).reduce((sum, blob) => sum + blob.size, 0);
    byId('result-says').textContent = `The model has ${(size / 1e6).toFixed(1)} MB. The download is a folder that diffusers loads; dropped on this page ${isDone ? 'it learns more' : 'it goes on learning'}.`;
  }
}
