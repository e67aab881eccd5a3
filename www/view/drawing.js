// The board: the visitor's picture enlarged, pixel by pixel, to be drawn on with a mouse, a finger, a pen or keys. Over it
// lies a hatching where it is marked.

import { isDrawable, rgbaOf, sizeOf } from '../model/image.js';
import { byId, changes, contextOf } from './dom.js';

/** Pixels of the hatching over a pixel of the picture. */
const HATCH = 8;
/** How far the arrow keys move the pen. @type {Record<string, [number, number]>} */
const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** @typedef {import('../store/strokes.js').Point} Point */

export class Drawing {
  /** @type {HTMLCanvasElement} */
  #board = byId('drawing');
  /** @type {HTMLCanvasElement} */
  #marks = byId('marks');
  #controller;
  #changed = { levels: changes(), marks: changes() };
  /** The pointer that draws, and where it was last. @type {{id: number, at: Point}|null} */
  #drawn = null;
  /** Where the keys have the pen, once they have moved it. @type {Point|null} */
  #pen = null;
  #size = { width: 1, height: 1 };
  /** @type {Uint8Array|null} */
  #mask = null;

  /** @param {import('../controller.js').Controller} controller */
  constructor(controller) {
    this.#controller = controller;
    const board = this.#board;
    board.addEventListener('pointerdown', (event) => {
      if (event.button !== 0 || this.#drawn) return;
      board.setPointerCapture(event.pointerId);
      this.#pen = null;
      const at = this.#pointOf(event);
      this.#drawn = { id: event.pointerId, at };
      this.#line(at, at, true);
    });
    board.addEventListener('pointermove', (event) => {
      if (this.#drawn?.id !== event.pointerId) return;
      for (const each of event.getCoalescedEvents?.() ?? []) this.#drawTo(this.#pointOf(each));
      this.#drawTo(this.#pointOf(event));
    });
    for (const end of ['pointerup', 'pointercancel']) board.addEventListener(end, (event) => this.#lift(/** @type {PointerEvent} */ (event).pointerId));
    board.addEventListener('keydown', (event) => this.#key(event));
    board.addEventListener('blur', () => {
      this.#pen = null;
      this.#drawMarks();
    });
  }

  /** @param {import('../store/state.js').State} state */
  render({ picture: { open, shape, levels, mask } }) {
    if (!open || !shape || !isDrawable(shape)) return;
    const { width, height } = shape;
    if (this.#changed.levels(shape, levels)) {
      if (this.#board.width !== width || this.#board.height !== height) Object.assign(this.#board, { width, height });
      contextOf(this.#board).putImageData(new ImageData(rgbaOf(levels ?? new Uint8ClampedArray(sizeOf(shape)), shape), width, height), 0, 0);
    }
    if (!this.#changed.marks(shape, mask)) return;
    this.#size = { width, height };
    this.#mask = mask;
    this.#drawMarks();
  }

  #drawMarks() {
    const { width, height } = this.#size;
    Object.assign(this.#marks, { width: width * HATCH, height: height * HATCH }); // which also clears it
    const context = contextOf(this.#marks);
    if (this.#mask) {
      context.fillStyle = hatching(context);
      for (const [i, anew] of this.#mask.entries()) if (anew) context.fillRect((i % width) * HATCH, Math.floor(i / width) * HATCH, HATCH, HATCH);
    }
    if (!this.#pen) return;
    context.lineWidth = HATCH / 2;
    context.strokeStyle = '#4fd3bd';
    context.strokeRect(this.#pen.x * HATCH - HATCH, this.#pen.y * HATCH - HATCH, 2 * HATCH, 2 * HATCH);
  }

  /** @param {Point} at */
  #drawTo(at) {
    if (!this.#drawn) return;
    this.#line(this.#drawn.at, at, false);
    this.#drawn.at = at;
  }

  /** @param {Point} from @param {Point} to @param {boolean} begins */
  #line(from, to, begins) {
    this.#controller.change({ do: 'line', from, to, begins });
  }

  /** @param {number} pointer */
  #lift(pointer) {
    if (this.#drawn?.id !== pointer) return;
    this.#drawn = null;
    this.#controller.change({ do: 'lift' });
  }

  /** @param {PointerEvent} event @returns {Point} */
  #pointOf({ clientX, clientY }) {
    const { left, top, width, height } = this.#board.getBoundingClientRect();
    return { x: ((clientX - left) / width) * this.#board.width, y: ((clientY - top) / height) * this.#board.height };
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { width, height } = this.#board;
    const move = MOVES[event.key];
    if (event.key === 'Escape' && this.#drawn) {
      // What is being drawn is taken back.
      this.#drawn = null;
      this.#controller.change({ do: 'undo' });
    } else if (move || event.key === ' ') {
      const from = this.#pen ?? { x: Math.floor(width / 2) + 0.5, y: Math.floor(height / 2) + 0.5 };
      const [right, down] = move ?? [0, 0];
      this.#pen = { x: Math.min(width - 0.5, Math.max(0.5, from.x + right)), y: Math.min(height - 0.5, Math.max(0.5, from.y + down)) };
      if (!move) this.#line(this.#pen, this.#pen, true);
      this.#drawMarks();
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation(); // Space would play the run
  }
}

/** Stripes of the page's accent, through which the picture is seen. @param {CanvasRenderingContext2D} context */
function hatching(context) {
  const tile = new OffscreenCanvas(HATCH, HATCH);
  const stripes = /** @type {OffscreenCanvasRenderingContext2D} */ (tile.getContext('2d'));
  stripes.fillStyle = 'rgb(79 211 189 / 0.35)';
  stripes.fillRect(0, 0, HATCH, HATCH);
  stripes.fillStyle = 'rgb(79 211 189 / 0.9)';
  for (let i = 0; i < HATCH; i++) stripes.fillRect(i, HATCH - 1 - i, 2, 1);
  return /** @type {CanvasPattern} */ (context.createPattern(tile, 'repeat'));
}
