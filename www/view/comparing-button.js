// The button that opens comparisons, and what they are planned and shown with once somebody has asked for it.

import { messageOf } from '../words/messages.js';
import { byId } from './dom.js';

/** @typedef {import('../store/state.js').State} State */

export class ComparingButton {
  #controller;
  #ask;
  /** @type {State} */
  #state;
  /** @type {{render: (state: State) => void}[]|null} */
  #views = null;

  /** @param {import('../controller.js').Controller} controller @param {State} state @param {() => Promise<typeof import('./comparisons.js')>} ask */
  constructor(controller, state, ask) {
    this.#controller = controller;
    this.#state = state;
    this.#ask = ask;
    byId('comparing-button').addEventListener('click', () => this.#toggle());
  }

  /** @param {State} state */
  render(state) {
    this.#state = state;
    for (const view of this.#views ?? []) view.render(state);
  }

  async #toggle() {
    if (!this.#views) {
      try {
        const { viewsOf } = await this.#ask();
        this.#views ??= viewsOf(this.#controller, this.#state);
      } catch (error) {
        this.#controller.dispatch({ type: 'notify', notice: { key: 'comparing', text: `Comparisons could not be loaded (${messageOf(error)}). Check the connection, and reload the page.` } });
        return;
      }
    }
    const open = !this.#state.comparing.open;
    this.#controller.dispatch({ type: 'openComparing', open });
    if (open) /** @type {HTMLElement|null} */ (document.querySelector('input[name=comparing-kind]:checked'))?.focus({ preventScroll: true });
  }
}
