// The Save menu: what is shown as a file, on the clipboard or to share, and the way back from a file.

import { hasWebm } from '../keep/animation.js';
import { chosenFiles } from '../model/folder.js';
import { selectedRun, shownShape } from '../store/select.js';
import { byId, changes } from './dom.js';

/** @typedef {import('../keep/keeper.js').Way} Way */

/** What the browser can do. @type {Record<Way, () => boolean>} */
const CAN = {
  png: () => true,
  gif: () => true,
  loop: () => true,
  webm: hasWebm,
  copy: () => 'clipboard' in navigator && 'ClipboardItem' in globalThis,
  share: () => Boolean(navigator.canShare?.({ files: [new File([], 'picture.png', { type: 'image/png' })] })),
};

export class SaveMenu {
  #menu = byId('save-menu');
  #which = byId('save-which');
  /** @type {HTMLButtonElement[]} */
  #ways = [...byId('save-ways').querySelectorAll('button')];
  #changed = changes();
  #busy = false;

  /** @param {import('../controller.js').Controller} controller @param {import('../keep/keeper.js').Keeper} keeper */
  constructor(controller, keeper) {
    for (const button of this.#ways) {
      button.addEventListener('click', async () => {
        if (this.#busy) return;
        this.#menu.hidePopover();
        this.#setBusy(true);
        await keeper.save(/** @type {Way} */ (button.dataset.way), this.#which.querySelector('input:checked').value);
        this.#setBusy(false);
      });
    }
    const input = byId('open-picture');
    input.addEventListener('change', () => {
      const found = chosenFiles(input);
      input.value = ''; // so that the same choice is a change again
      if (!found.length) return;
      this.#menu.hidePopover();
      controller.takeFiles(found);
    });
    addEventListener('paste', (event) => {
      const files = [...event.clipboardData?.files ?? []];
      // What has text as well is pasted into a field.
      if (!files.length || event.clipboardData?.types.includes('text/plain')) return;
      event.preventDefault();
      controller.takeFiles(files.map((file) => ({ path: file.name, file })));
    });
  }

  /** One thing after another. @param {boolean} busy */
  #setBusy(busy) {
    this.#busy = busy;
    // The button keeps the focus that comes back to it.
    for (const button of this.#ways) button.setAttribute('aria-disabled', String(busy));
  }

  /** @param {import('../store/state.js').State} state */
  render(state) {
    const made = selectedRun(state) !== null || Boolean(state.preview.recipe);
    const moves = Boolean(selectedRun(state));
    const several = shownShape(state).count > 1;
    const strip = selectedRun(state)?.strip ?? false;
    if (!this.#changed(made, moves, several, strip)) return;
    byId('save-nothing').hidden = made;
    byId('save-ways').hidden = !made;
    this.#which.hidden = !made || !several;
    for (const button of this.#ways) {
      const way = /** @type {Way} */ (button.dataset.way);
      const { parentElement: item } = button;
      if (item) item.hidden = !CAN[way]() || (!moves && (way === 'gif' || way === 'webm')) || (way === 'loop' && !strip);
    }
  }
}
