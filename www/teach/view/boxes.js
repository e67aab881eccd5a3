// Boxes to draw in with a mouse, a finger, a pen or keys, each of a class.

import { byId, changes, contextOf, make } from '../../view/dom.js';
import { BOARD, NAMES, isDrawn } from '../store/drawings.js';

/** How far the arrow keys move the pen, in pixels of a box. @type {Record<string, [number, number]>} */
const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const STRIDE = 4;

/** @typedef {import('../../store/strokes.js').Point} Point */
/** @typedef {import('../controller.js').Controller} Controller */
/** @typedef {import('../store/drawings.js').Box} Box */

export class Boxes {
  #controller;
  #changed = changes();
  #alphabet = '';
  /** @type {BoxView[]} */
  #views = [];
  /** @type {HTMLInputElement[]} */
  #choices = [...document.querySelectorAll(/** @type {'input'} */ ('input[name=alphabet]'))];

  /** @param {Controller} controller */
  constructor(controller) {
    this.#controller = controller;
    for (const input of this.#choices) input.addEventListener('change', () => controller.chooseAlphabet(/** @type {import('../store/drawings.js').Alphabet} */ (input.value)));
  }

  /** @param {import('../store/state.js').State} state */
  render({ from, drawings }) {
    if (from !== 'drawings' || !this.#changed(drawings)) return;
    const { alphabet, boxes } = drawings;
    for (const input of this.#choices) input.checked = input.value === alphabet;
    if (alphabet !== this.#alphabet) {
      this.#alphabet = alphabet;
      this.#views = boxes.map((_, i) => new BoxView(this.#controller, i, NAMES[alphabet]));
      byId('boxes').replaceChildren(...this.#views.map(({ element }) => element));
    }
    this.#views.forEach((view, i) => view.render(boxes[i]));
  }
}

class BoxView {
  #controller;
  #index;
  #names;
  #canvas = /** @type {HTMLCanvasElement} */ (make('canvas', { width: String(BOARD), height: String(BOARD), tabindex: '0', role: 'application', 'aria-describedby': 'drawing-keys' }));
  #label;
  #undo = /** @type {HTMLButtonElement} */ (make('button', { type: 'button', class: 'quiet' }, 'Undo'));
  #clear = /** @type {HTMLButtonElement} */ (make('button', { type: 'button', class: 'quiet' }, 'Clear'));
  #changed = changes();
  /** The pointer that draws, and where it was last. @type {{id: number, at: Point}|null} */
  #drawn = null;
  /** Where the keys have the pen, once they have moved it. @type {Point|null} */
  #pen = null;
  /** @type {Box|null} */
  #box = null;

  /** @param {Controller} controller @param {number} index @param {readonly string[]} names */
  constructor(controller, index, names) {
    this.#controller = controller;
    this.#index = index;
    this.#names = names;
    this.#label = /** @type {HTMLSelectElement} */ (make('select', { 'aria-label': `Class of drawing ${index + 1}` }, ...names.map((name, i) => make('option', { value: String(i) }, name))));
    this.element = make('li', {}, this.#canvas, make('div', { class: 'of-box' }, this.#label, this.#undo, this.#clear));
    this.#label.addEventListener('change', () => controller.draw({ type: 'label', box: index, label: Number(this.#label.value) }));
    this.#undo.addEventListener('click', () => this.#box?.past.length && controller.draw({ type: 'undo', box: index }));
    this.#clear.addEventListener('click', () => this.#box && isDrawn(this.#box) && controller.draw({ type: 'clear', box: index }));
    const canvas = this.#canvas;
    canvas.addEventListener('pointerdown', (event) => {
      if (event.button !== 0 || this.#drawn) return;
      canvas.setPointerCapture(event.pointerId);
      this.#pen = null;
      const at = this.#pointOf(event);
      this.#drawn = { id: event.pointerId, at };
      this.#line([at], true);
    });
    canvas.addEventListener('pointermove', (event) => {
      if (this.#drawn?.id !== event.pointerId) return;
      const events = event.getCoalescedEvents?.() ?? [];
      const points = (events.length ? events : [event]).map((each) => this.#pointOf(each));
      this.#line([this.#drawn.at, ...points], false);
      this.#drawn.at = points[points.length - 1];
    });
    for (const end of ['pointerup', 'pointercancel']) {
      canvas.addEventListener(end, (event) => {
        if (this.#drawn?.id === /** @type {PointerEvent} */ (event).pointerId) this.#drawn = null;
      });
    }
    canvas.addEventListener('keydown', (event) => this.#key(event));
    canvas.addEventListener('blur', () => {
      this.#pen = null;
      this.#draw();
    });
  }

  /** @param {Box} box */
  render(box) {
    if (!this.#changed(box)) return;
    this.#box = box;
    const name = this.#names[box.label];
    this.#label.value = String(box.label);
    this.#canvas.setAttribute('aria-label', `Drawing ${this.#index + 1}, ${name}${isDrawn(box) ? '' : ', empty'}`);
    this.#undo.setAttribute('aria-label', `Undo in drawing ${this.#index + 1}`);
    this.#clear.setAttribute('aria-label', `Clear drawing ${this.#index + 1}`);
    // They keep the focus of who has just pressed them.
    this.#undo.setAttribute('aria-disabled', String(box.past.length === 0));
    this.#clear.setAttribute('aria-disabled', String(!isDrawn(box)));
    this.#draw();
  }

  #draw() {
    const context = contextOf(this.#canvas);
    const image = new ImageData(BOARD, BOARD);
    const ink = this.#box?.ink;
    for (let i = 0; i < BOARD * BOARD; i++) {
      image.data[4 * i] = image.data[4 * i + 1] = image.data[4 * i + 2] = 255 * (ink?.[i] ?? 0);
      image.data[4 * i + 3] = 255;
    }
    context.putImageData(image, 0, 0);
    if (!this.#pen) return;
    context.lineWidth = 2;
    context.strokeStyle = '#4fd3bd';
    context.strokeRect(this.#pen.x - STRIDE, this.#pen.y - STRIDE, 2 * STRIDE, 2 * STRIDE);
  }

  /** @param {Point[]} line @param {boolean} begins */
  #line(line, begins) {
    this.#controller.draw({ type: 'draw', box: this.#index, line, begins });
  }

  /** @param {PointerEvent} event @returns {Point} */
  #pointOf({ clientX, clientY }) {
    const { left, top, width, height } = this.#canvas.getBoundingClientRect();
    return { x: ((clientX - left) / width) * BOARD, y: ((clientY - top) / height) * BOARD };
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const move = MOVES[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey || (!move && event.key !== ' ')) return;
    event.preventDefault();
    const from = this.#pen ?? { x: BOARD / 2, y: BOARD / 2 };
    const [right, down] = move ?? [0, 0];
    const within = (/** @type {number} */ at) => Math.min(BOARD - 2, Math.max(2, at));
    this.#pen = { x: within(from.x + STRIDE * right), y: within(from.y + STRIDE * down) };
    // With Shift the pen draws on its way.
    if (!move || event.shiftKey) this.#line([from, this.#pen], true);
    this.#draw();
  }
}
