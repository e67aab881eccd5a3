// Messages in the page: what happened, what to do, and buttons that do it. Never a modal.

import { byId, make } from './dom.js';

/** A message: a newer one replaces an older one with its key. What its buttons ask for is the page's; `answers` a click, as errors do. @template Intent @typedef {{key: string, text: string, title?: string, error?: boolean, answers?: boolean, actions?: {label: string, intent: Intent}[]}} NoticeOf */

/** @template Intent */
export class Notices {
  // Two live regions: errors and questions answer a click; notes come by themselves.
  #errors = byId('errors');
  #notes = byId('notes');
  #controller;
  #next;
  /** @type {Map<NoticeOf<Intent>, HTMLElement>} */
  #shown = new Map();
  /** How many there were. */
  #count = 0;

  /** @param {{dismiss: (key: string) => void, act: (intent: Intent) => void}} controller @param {HTMLElement|null} [next]  what gets the focus when the notice that has it goes */
  constructor(controller, next = null) {
    this.#controller = controller;
    this.#next = next;
  }

  /** @param {{notices: readonly NoticeOf<Intent>[]}} state */
  render({ notices }) {
    for (const [notice, element] of this.#shown) {
      if (notices.includes(notice)) continue;
      const had = element.contains(document.activeElement);
      element.remove();
      if (had) this.#next?.focus({ preventScroll: true });
      this.#shown.delete(notice);
    }
    for (const notice of notices) {
      if (this.#shown.has(notice)) continue;
      const element = this.#make(notice);
      // Where both regions lie in one column, those of both stand in the order in which they came.
      element.style.order = String(this.#count++);
      this.#shown.set(notice, element);
      (notice.error || notice.answers ? this.#errors : this.#notes).append(element);
    }
  }

  /** @param {NoticeOf<Intent>} notice */
  #make({ key, text, title, error = false, actions = [] }) {
    const close = make('button', { type: 'button', class: 'close', 'aria-label': 'Dismiss' }, '×');
    const notice = make('div', { class: error ? 'notice error' : 'notice' }, close);
    if (title) notice.append(make('h2', {}, title));
    notice.append(make('p', {}, text));
    close.addEventListener('click', () => this.#controller.dismiss(key));
    if (actions.length) {
      notice.append(make('div', { class: 'actions' }, ...actions.map(({ label, intent }) => {
        const button = make('button', { type: 'button', class: 'secondary' }, label);
        button.addEventListener('click', () => this.#controller.act(intent));
        return button;
      })));
    }
    return notice;
  }
}
