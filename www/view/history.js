// The history: the finished runs as a strip of thumbnails, the newest last, so that none moves when one comes (but that of
// the sixty-first, for which the oldest makes way).

import { sameRecipe, shownRecipe } from '../store/recipe.js';
import { size } from '../words/format.js';
import { byId, changes, contextOf, make } from './dom.js';

/** @typedef {import('../store/state.js').Entry} Entry */
/** @typedef {import('../store/state.js').State} State */

export class History {
  /** @type {HTMLElement} */
  #list = byId('entries');
  #keeper;
  /** @type {Map<number, HTMLButtonElement>} */
  #buttons = new Map();
  /** As they stand in the strip. @type {readonly Entry[]} */
  #entries = [];
  /** The one whose pictures are shown. @type {Entry|null} */
  #shown = null;
  #changed = { entries: changes(), shown: changes() };

  /** @param {import('../keep/keeper.js').Keeper} keeper */
  constructor(keeper) {
    this.#keeper = keeper;
    this.#list.addEventListener('click', ({ target }) => {
      const entry = this.#entryOf(target);
      if (entry) keeper.open(entry);
    });
    this.#list.addEventListener('keydown', (event) => this.#key(event));
    // A wheel that turns one way only.
    this.#list.addEventListener('wheel', (event) => {
      if (event.deltaX || event.ctrlKey || this.#list.scrollWidth <= this.#list.clientWidth) return;
      event.preventDefault();
      this.#list.scrollLeft += event.deltaY;
    }, { passive: false });
    byId('history-remove').addEventListener('click', () => {
      if (this.#shown) keeper.remove(this.#shown);
      byId('history-menu').hidePopover();
    });
    byId('history-clear').addEventListener('click', () => {
      keeper.clear();
      byId('history-menu').hidePopover();
    });
  }

  /** @param {State} state */
  render(state) {
    const { history, selection, runs, preview } = state;
    const others = this.#changed.entries(history);
    if (others) this.#show(history);
    if (!this.#changed.shown(selection.run, preview, runs.order, state.phase.activity) && !others) return;
    const recipe = shownRecipe(state);
    this.#shown = (recipe && this.#entries.find((entry) => sameRecipe(entry.recipe, recipe))) ?? null;
    for (const [key, button] of this.#buttons) {
      const isShown = key === this.#shown?.key;
      if (isShown) button.setAttribute('aria-current', 'true');
      else button.removeAttribute('aria-current');
    }
    byId('history-remove').disabled = !this.#shown;
    this.#bringInSight(this.#entryOf(document.activeElement) ?? this.#shown ?? this.#entries.at(-1));
  }

  /** @param {Entry|undefined} entry */
  #bringInSight(entry) {
    const { offsetLeft: left = 0, offsetWidth: width = 0 } = this.#buttons.get(entry?.key ?? 0) ?? {};
    const from = left - this.#list.offsetLeft;
    this.#list.scrollLeft = Math.max(Math.min(this.#list.scrollLeft, from - 4), from + width + 4 - this.#list.clientWidth);
  }

  /** @param {State['history']} history */
  #show({ entries: newestFirst, kept }) {
    const entries = [...newestFirst].reverse();
    const newest = newestFirst[0]?.key;
    const before = this.#entries;
    this.#entries = entries;
    const focused = this.#list.contains(document.activeElement);
    for (const [key, button] of this.#buttons) {
      if (entries.some((entry) => entry.key === key)) continue;
      button.parentElement?.remove();
      this.#buttons.delete(key);
    }
    for (const [i, entry] of entries.entries()) {
      const known = this.#buttons.get(entry.key);
      if (known) {
        if (!before.some(({ thumbnail }) => thumbnail === entry.thumbnail)) paint(known.querySelector('canvas'), entry.thumbnail);
        continue;
      }
      const button = this.#make(entry);
      this.#buttons.set(entry.key, button);
      this.#list.insertBefore(make('li', {}, button), this.#list.children[i] ?? null);
    }
    this.#choose(this.#entryOf(document.activeElement)?.key ?? newest);
    if (focused && !this.#list.contains(document.activeElement)) this.#buttons.get(newest)?.focus();
    const bytes = entries.reduce((sum, { thumbnail, picture }) => sum + thumbnail.length + (picture?.length ?? 0), 0);
    const runs = entries.length === 1 ? 'One run' : `${entries.length} runs`;
    byId('history-about').textContent = `${runs}, ${size(bytes)}${kept ? ', kept in this browser. The last 60 stay.' : '. This browser does not let the page keep them: they go when it is closed.'}`;
    const hint = byId('history-hint');
    hint.hidden = entries.length > 0;
    hint.textContent = kept ? 'Finished runs stay here, also when the page is closed.' : 'Finished runs stay here until the page is closed: this browser does not let it keep them.';
    byId('history-button').hidden = entries.length === 0;
  }

  /** @param {Entry} entry */
  #make({ key, caption, thumbnail }) {
    const canvas = /** @type {HTMLCanvasElement} */ (make('canvas', { width: 1, height: 1, 'aria-hidden': 'true' }));
    paint(canvas, thumbnail);
    const when = new Date(key).toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'short' });
    return /** @type {HTMLButtonElement} */ (make('button', { type: 'button', 'aria-label': `${caption}, ${when}`, 'data-tip': `${caption} (${when})`, 'data-key': String(key), tabindex: '-1' }, canvas));
  }

  /** @param {unknown} target */
  #entryOf(target) {
    const key = target instanceof Element ? target.closest('button')?.dataset.key : undefined;
    return this.#entries.find((entry) => String(entry.key) === key) ?? null;
  }

  /** Which one the Tab key comes to. @param {number|undefined} key */
  #choose(key) {
    for (const [each, button] of this.#buttons) button.tabIndex = each === key ? 0 : -1;
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const entry = this.#entryOf(event.target);
    if (!entry || event.ctrlKey || event.metaKey || event.altKey) return;
    const at = this.#entries.indexOf(entry);
    const last = this.#entries.length - 1;
    const goals = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: last, Delete: at };
    const goal = goals[/** @type {keyof typeof goals} */ (event.key)];
    if (goal === undefined) return;
    event.preventDefault();
    if (event.key === 'Delete') this.#keeper.remove(entry);
    const next = this.#entries[event.key === 'Delete' ? (at < last ? at + 1 : at - 1) : Math.max(0, Math.min(last, goal))];
    if (!next) return;
    this.#choose(next.key);
    this.#buttons.get(next.key)?.focus();
  }
}

/** @param {any} canvas @param {Uint8Array<ArrayBuffer>} thumbnail */
async function paint(canvas, thumbnail) {
  try {
    const image = await createImageBitmap(new Blob([thumbnail], { type: 'image/png' }));
    Object.assign(canvas, { width: image.width, height: image.height });
    contextOf(canvas).drawImage(image, 0, 0);
  } catch (error) {
    console.warn('A thumbnail is damaged:', error);
  }
}
