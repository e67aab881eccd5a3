// The control that looks through the images of a strip, back and forth, in the large view.

import { selectedRun } from '../store/select.js';
import { byId, changes } from './dom.js';

export class Leaf {
  #button = byId('leaf');
  #changed = changes();

  /** @param {import('../controller.js').Controller} controller */
  constructor(controller) {
    this.#button.addEventListener('click', () => controller.dispatch({ type: 'toggleLeafing' }));
  }

  /** @param {import('../store/state.js').State} state */
  render(state) {
    const strip = selectedRun(state)?.strip ?? false;
    const leafing = strip && state.selection.leafing !== 0;
    if (!this.#changed(strip, leafing)) return;
    this.#button.hidden = !strip;
    this.#button.setAttribute('aria-pressed', String(leafing));
    // Where there is no room for both, what is looked through takes the grid's.
    byId('loupe-x').closest('.pictures').classList.toggle('leafing', leafing);
  }
}
