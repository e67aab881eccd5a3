// What some models take beside x_t: what is chosen, and the button that chooses it.

import { shortlyTaken } from '../model/condition.js';
import { conditionShape } from '../store/select.js';
import { byId, changes, contextOf } from './dom.js';

export class ConditionRow {
  #changed = changes();

  /** @param {import('../controller.js').Controller} controller */
  constructor(controller) {
    byId('condition').addEventListener('change', (/** @type {any} */ { target }) => {
      const [file] = target.files;
      if (file) controller.takeCondition(file);
      target.value = ''; // so that the same choice is a change again
    });
  }

  /** @param {import('../store/state.js').State} state */
  render(state) {
    const { condition, loaded, picture: { open } } = state;
    if (!this.#changed(condition, loaded, open)) return;
    const shape = conditionShape(state);
    byId('condition-row').hidden = !shape;
    byId('drop-text').textContent = open || shape ? `Drop ${open ? 'a picture to begin with' : 'an image'}, a model’s folder, or a PNG from here to make it again` : 'Drop a model’s folder to load it, or a PNG from here to make it again';
    if (!shape) return;
    const { channels, width, height } = shape;
    byId('condition').accept = channels === 1 || channels === 3 ? '.png,.jpg,.jpeg,.webp,.safetensors' : '.safetensors';
    byId('condition-text').textContent = condition ? `${condition.name}${condition.images > 1 ? `, for ${condition.images} images` : ''}` : shortlyTaken(shape);
    const canvas = byId('condition-picture');
    canvas.hidden = !condition?.picture;
    if (!condition?.picture) return;
    Object.assign(canvas, { width, height });
    contextOf(canvas).putImageData(condition.picture, 0, 0);
  }
}
