// The pictures: the grid of a batch, and beside it the chosen image, large, in both views.

import { imageData, make } from './dom.js';

export class Gallery {
  /** Index of the image that the loupes and the scrubber's strip show. */
  chosen = 0;
  #canvas;
  #list;
  #loupes;
  #onchoose;
  #shape = { count: 0, width: 0, height: 0, columns: 1 };

  /**
   * @param {{canvas: HTMLCanvasElement, list: HTMLElement, loupes: HTMLCanvasElement[], onchoose: () => void}} parts
   *   `list` is a listbox that lies over the canvas: one option an image, so that keys can choose too.
   */
  constructor({ canvas, list, loupes, onchoose }) {
    this.#canvas = canvas;
    this.#list = list;
    this.#loupes = loupes;
    this.#onchoose = onchoose;
    list.addEventListener('click', (event) => {
      const option = event.target.closest('[role=option]');
      if (option) this.#choose([...list.children].indexOf(option), true);
    });
    list.addEventListener('keydown', (event) => this.#key(event));
  }

  /** Makes room for a batch; the same shape as before changes nothing. */
  setShape(count, width, height) {
    const old = this.#shape;
    if (old.count === count && old.width === width && old.height === height) return;
    const columns = Math.ceil(Math.sqrt(count));
    const rows = Math.ceil(count / columns);
    this.#shape = { count, width, height, columns };
    this.#canvas.width = columns * width;
    this.#canvas.height = rows * height;
    for (const loupe of this.#loupes) Object.assign(loupe, { width, height });
    // Small pictures are looked at pixel by pixel; large ones may be shown smaller than they are.
    this.#canvas.classList.toggle('smooth', Math.max(width, height) >= 128);
    const frame = this.#canvas.parentElement;
    frame.style.setProperty('--columns', columns);
    frame.style.setProperty('--aspect', (columns * width) / (rows * height));
    this.#list.replaceChildren(...Array.from({ length: count }, (_, i) => make('div', { role: 'option', 'aria-label': `Image ${i + 1}` })));
    this.#choose(Math.min(this.chosen, count - 1), false);
  }

  /** @param {Uint8Array} pixels  the batch as the grid shows it */
  draw(pixels) {
    const { count, width, height, columns } = this.#shape;
    const context = this.#canvas.getContext('2d');
    for (let i = 0; i < count; i++) {
      context.putImageData(imageData(pixels, i, width, height), (i % columns) * width, Math.floor(i / columns) * height);
    }
  }

  /** @param {Uint8Array} x @param {Uint8Array} x0  batches in both views, for the loupes */
  drawLoupes(x, x0) {
    const { width, height } = this.#shape;
    [x, x0].forEach((pixels, i) => {
      this.#loupes[i].getContext('2d').putImageData(imageData(pixels, this.chosen, width, height), 0, 0);
    });
  }

  /** @param {string} text  what the grid shows, for those who cannot see it */
  describe(text) {
    this.#canvas.setAttribute('aria-label', text);
  }

  #choose(index, focus) {
    this.chosen = index;
    [...this.#list.children].forEach((option, i) => {
      option.setAttribute('aria-selected', i === index);
      option.tabIndex = i === index ? 0 : -1;
    });
    if (focus) {
      this.#list.children[index].focus();
      this.#onchoose();
    }
  }

  #key(event) {
    const { count, columns } = this.#shape;
    const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, Home: -this.chosen, End: count - 1 - this.chosen };
    const move = moves[event.key];
    if (move === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const index = this.chosen + move;
    if (index >= 0 && index < count) this.#choose(index, true);
  }
}

let noise = { pixels: new Uint8Array(), count: 0, width: 0, height: 0 };

/** Grey noise in the shape of a batch, for when there is nothing to show yet. Always the same. */
export function noiseBatch(count, width, height) {
  if (noise.count === count && noise.width === width && noise.height === height) return noise;
  const pixels = new Uint8Array(count * width * height * 4).fill(255);
  let state = 7;
  for (let i = 0; i < pixels.length; i += 4) {
    let sum = 0;
    for (let k = 0; k < 3; k++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      sum += state / 2 ** 32;
    }
    pixels[i] = pixels[i + 1] = pixels[i + 2] = sum * 85;
  }
  noise = { pixels, count, width, height };
  return noise;
}
