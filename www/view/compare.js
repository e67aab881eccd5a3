// Two runs side by side: the chosen image of the selected run, and that of the pinned one at the same step, or where there
// is as much noise in it.

import { branchWords, compared } from '../store/forking.js';
import { selectedRun } from '../store/select.js';
import { atNextFrame, byId, changes, contextOf, imageData } from './dom.js';

/** @typedef {import('../store/recording.js').Recording} Recording */
/** @typedef {import('../store/state.js').State} State */

export class Compare {
  #pictures = byId('compared').parentElement;
  #changed = changes();
  /** @type {State} */
  #state;
  #request = atNextFrame(() => this.#paint());

  /** @param {State} state */
  constructor(state) {
    this.#state = state;
  }

  /** @param {State} state */
  render(state) {
    this.#state = state;
    const { pinned, selection, runs } = state;
    if (!this.#changed(pinned, selection, runs)) return;
    const is = compared(state) !== null;
    this.#pictures.classList.toggle('comparing', is);
    byId('compared').hidden = !is;
    byId('compare-hint').hidden = !is || runs.order.length < 3; // of two there is nothing to choose
    if (is) this.#request();
  }

  #paint() {
    const { selection } = this.#state;
    const run = selectedRun(this.#state);
    const other = compared(this.#state);
    if (!run || !other) return;
    this.#show('this', run.recording, selection.index, branchWords(this.#state, run));
    this.#show('other', other.run.recording, other.index, branchWords(this.#state, other.run));
  }

  /** @param {'this'|'other'} which @param {Recording} recording @param {number} index @param {string} words */
  #show(which, recording, index, words) {
    const { image, view } = this.#state.selection;
    const { width, height } = recording;
    const { step } = recording.states[index];
    const canvas = byId(`compared-${which}`);
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    canvas.setAttribute('aria-label', `${words}, at step ${step}`);
    contextOf(canvas).putImageData(imageData(recording.image(index, view, image), 0, width, height), 0, 0);
    byId(`compared-${which}-words`).textContent = words;
    byId(`compared-${which}-step`).textContent = `step ${step}`;
  }
}
