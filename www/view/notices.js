// Messages in the page: what happened, what to do, and buttons that do it. Never a modal.

import { make } from './dom.js';

export class Notices {
  #errors;
  #notes;
  #shown = new Map();

  /**
   * Two live regions: errors answer a click, so they stand by the button; notes come by themselves,
   * so they stand where they move nothing.
   * @param {{errors: HTMLElement, notes: HTMLElement}} places
   */
  constructor({ errors, notes }) {
    this.#errors = errors;
    this.#notes = notes;
  }

  /**
   * @param {object} notice
   * @param {string} notice.key  a notice replaces an older one with its key
   * @param {string} notice.text
   * @param {string} [notice.title]
   * @param {boolean} [notice.error]
   * @param {{label: string, act: () => void}[]} [notice.actions]
   */
  show({ key, text, title, error = false, actions = [] }) {
    this.clear(key);
    const close = make('button', { type: 'button', class: 'close', 'aria-label': 'Dismiss' }, '×');
    const notice = make('div', { class: error ? 'notice error' : 'notice' }, close);
    if (title) notice.append(make('h2', {}, title));
    notice.append(make('p', {}, text));
    close.addEventListener('click', () => this.clear(key));
    if (actions.length) {
      notice.append(make('div', { class: 'actions' }, ...actions.map(({ label, act }) => {
        const button = make('button', { type: 'button', class: 'secondary' }, label);
        button.addEventListener('click', act);
        return button;
      })));
    }
    this.#shown.set(key, notice);
    (error ? this.#errors : this.#notes).append(notice);
  }

  /** @param {string} key */
  clear(key) {
    this.#shown.get(key)?.remove();
    this.#shown.delete(key);
  }
}
