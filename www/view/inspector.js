// The pixel inspector: what the numbers are, in every view, of the pixel of the chosen image that the pointer is over, a finger
// touched or the arrow keys moved to.

import { selectedRun } from '../store/select.js';
import { byId, changes, make } from './dom.js';
import { symbol } from './maths.js';

/** @typedef {import('../store/recording.js').View} View */
/** @typedef {import('../store/state.js').State} State */

/** As in the loupes: where a classifier guides, its gradient is in the place of the change. @param {boolean} isClassified @returns {[View, string][]} */
const viewsOf = (isClassified) => [['x', 'xt'], ['x0', 'x0'], ['eps', 'eps'], isClassified ? ['gradient', 'gradient'] : ['change', 'change']];

export class Inspector {
  #controller;
  /** @type {State} */
  #state;
  #text = byId('inspector');
  #loupes = /** @type {HTMLCanvasElement[]} */ ([...document.querySelectorAll('#loupes canvas')]);
  #changed = { all: changes(), views: changes() };
  /** Where the numbers of each view go. @type {HTMLElement[]} */
  #values = [];
  #place = make('span', { class: 'number' });

  /** @param {import('../controller.js').Controller} controller @param {State} state */
  constructor(controller, state) {
    this.#controller = controller;
    this.#state = state;
    for (const loupe of this.#loupes) {
      loupe.addEventListener('pointermove', (event) => this.#point(loupe, event));
      loupe.addEventListener('pointerdown', (event) => this.#point(loupe, event));
      loupe.addEventListener('pointerleave', ({ pointerType }) => {
        if (pointerType === 'mouse') this.#inspect(null);
      });
      loupe.addEventListener('keydown', (event) => this.#key(event));
      // Said aloud to those who go from pixel to pixel by the keys, not at every move of a pointer.
      loupe.addEventListener('focus', () => this.#text.setAttribute('aria-live', 'polite'));
      loupe.addEventListener('blur', () => {
        this.#text.setAttribute('aria-live', 'off');
        this.#inspect(null);
      });
    }
    // In the grid too, where a finger chooses image and pixel at once.
    const options = byId('options');
    for (const type of ['pointermove', 'click']) {
      options.addEventListener(type, (/** @type {any} */ event) => {
        const option = event.target.closest('[role=option]');
        const chosen = option?.getAttribute('aria-selected') === 'true';
        if (chosen && (event.clientX || event.clientY)) this.#point(option, event);
        else if (type === 'pointermove') this.#inspect(null);
      });
    }
    options.addEventListener('pointerleave', (/** @type {PointerEvent} */ event) => {
      if (event.pointerType === 'mouse') this.#inspect(null);
    });
  }

  /** @param {State} state */
  render(state) {
    this.#state = state;
    const { pixel, index, image } = state.selection;
    const run = selectedRun(state);
    if (!this.#changed.all(pixel, index, image, run?.id, run?.revision)) return;
    const is = Boolean(pixel && run);
    this.#text.hidden = !is;
    byId('caption').hidden = is;
    for (const loupe of this.#loupes) {
      const mark = /** @type {HTMLElement} */ (loupe.nextElementSibling);
      mark.hidden = !is;
      if (!pixel || !run) continue;
      const { width, height } = run.recording;
      for (const [name, value] of Object.entries({ '--x': pixel.x / width, '--y': pixel.y / height, '--w': 1 / width, '--h': 1 / height })) mark.style.setProperty(name, String(value));
    }
    if (!pixel || !run) return;
    const { recording } = run;
    const { width, height, channels, count } = recording;
    this.#place.textContent = `${pixel.x}, ${pixel.y}`;
    const views = viewsOf(recording.isClassified);
    if (this.#changed.views(recording.isClassified)) {
      this.#values = views.map(() => make('b', { class: 'number' }));
      this.#text.replaceChildren('pixel ', this.#place, ...views.flatMap(([, term], i) => [' ', make('span', { class: 'reading' }, symbol(term), ' ', this.#values[i])]));
    }
    for (const [i, [view]] of views.entries()) {
      const numbers = recording.numbers(index, view, Math.min(image, count - 1), 1);
      const at = (/** @type {number} */ c) => (numbers ? short(numbers[c * width * height + pixel.y * width + pixel.x]) : '–');
      this.#values[i].textContent = numbers ? Array.from({ length: channels }, (_, c) => at(c)).join(' ') : '–';
    }
  }

  /** @param {{x: number, y: number}|null} pixel */
  #inspect(pixel) {
    const { pixel: now } = this.#state.selection;
    if (pixel?.x !== now?.x || pixel?.y !== now?.y) this.#controller.dispatch({ type: 'inspect', pixel });
  }

  /** @param {HTMLElement} element  that shows the whole image @param {{clientX: number, clientY: number}} event */
  #point(element, { clientX, clientY }) {
    const recording = selectedRun(this.#state)?.recording;
    if (!recording) return;
    const { left, top, width, height } = element.getBoundingClientRect();
    const within = (/** @type {number} */ part, /** @type {number} */ size) => Math.min(size - 1, Math.max(0, Math.floor(part * size)));
    this.#inspect({ x: within((clientX - left) / width, recording.width), y: within((clientY - top) / height, recording.height) });
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const recording = selectedRun(this.#state)?.recording;
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const move = moves[/** @type {keyof typeof moves} */ (event.key)];
    if (!recording || !move || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const { width, height } = recording;
    const from = this.#state.selection.pixel ?? { x: Math.floor(width / 2), y: Math.floor(height / 2) };
    const within = (/** @type {number} */ at, /** @type {number} */ size) => Math.min(size - 1, Math.max(0, at));
    this.#inspect({ x: within(from.x + move[0], width), y: within(from.y + move[1], height) });
  }
}

/** Three decimals and always a place for the sign, so that what changes while a run is played does not move. @param {number} value */
const short = (value) => `${value < 0 ? '−' : '\u2007'}${Math.abs(value).toFixed(Math.abs(value) < 10 ? 3 : 1)}`;
