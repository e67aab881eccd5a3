// The strip under the scrubber: the run itself as a row of pictures, with a tick a step. Before there is a run, faintly, noise
// that becomes an image.

import { noiseBatch } from '../store/noise.js';
import { selectedRun } from '../store/select.js';
import { atNextFrame, changes, contextOf, imageData } from './dom.js';

/** The width of the slider's thumb in style.css. */
export const THUMB = 14;
const TICKS = 9; // height under the pictures
/** How much is seen of what no run has made. */
const FAINT = 0.16;

/** @typedef {import('../store/recording.js').Recording} Recording */
/** @typedef {import('../store/state.js').State} State */
/** Where a tile is. @typedef {{left: number, width: number, size: number}} Place */

export class Strip {
  #canvas;
  #picture = document.createElement('canvas');
  /** @type {State} */
  #state;
  #changed = changes();
  #request = atNextFrame(() => this.#paint());

  /** @param {HTMLCanvasElement} canvas @param {State} state */
  constructor(canvas, state) {
    this.#canvas = canvas;
    this.#state = state;
    new ResizeObserver(() => this.#request()).observe(canvas);
  }

  /** @param {State} state */
  render(state) {
    this.#state = state;
    const run = selectedRun(state);
    const { image, view } = state.selection;
    if (this.#changed(run?.id, run?.revision, state.preview, image, view)) this.#request();
  }

  #paint() {
    const { clientWidth, clientHeight } = this.#canvas;
    if (!clientWidth) return;
    const scale = devicePixelRatio;
    const width = Math.round(clientWidth * scale);
    const height = Math.round(clientHeight * scale);
    if (this.#canvas.width !== width || this.#canvas.height !== height) Object.assign(this.#canvas, { width, height });
    const context = contextOf(this.#canvas);
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, clientWidth, clientHeight);
    context.imageSmoothingEnabled = false;

    const size = clientHeight - TICKS;
    context.save();
    context.beginPath();
    context.roundRect(0, 0, clientWidth, size, 8);
    context.clip();
    // As many tiles as fit when each is at most a little cropped; the first is noise, the last the end.
    const tiles = Math.max(2, Math.ceil(clientWidth / size));
    const tileWidth = clientWidth / tiles;
    const recording = selectedRun(this.#state)?.recording;
    for (let tile = 0; tile < tiles; tile++) {
      const place = { left: tile * tileWidth, width: tileWidth, size };
      if (recording) this.#paintTile(context, recording, place, tile / (tiles - 1));
      else this.#paintPlaceholder(context, place, tile / (tiles - 1));
    }
    context.restore();
    if (!recording) paintWords(context, clientWidth / 2, size / 2);
    if (recording) paintTicks(context, recording, clientWidth, size + 3);
  }

  /** @param {CanvasRenderingContext2D} context @param {Place} place @param {number} fraction  of the way from noise to image */
  #paintPlaceholder(context, place, fraction) {
    const { batch, real } = this.#state.preview;
    const noise = noiseBatch(1, batch.width, batch.height);
    if (real) this.#paintImage(context, batch.pixels, batch, Math.min(this.#state.selection.image, batch.count - 1), place, FAINT * fraction ** 2);
    this.#paintImage(context, noise.pixels, noise, 0, place, FAINT * (1 - fraction ** 2));
  }

  /** @param {CanvasRenderingContext2D} context @param {Recording} recording @param {Place} place @param {number} fraction  of the run */
  #paintTile(context, recording, place, fraction) {
    const index = Math.round(fraction * recording.end);
    const ready = index <= recording.newest;
    const { view, image } = this.#state.selection;
    this.#paintImage(context, recording.image(ready ? index : 0, ready ? view : 'x', image), recording, 0, place, ready ? 1 : FAINT);
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {Uint8Array|Uint8ClampedArray} pixels
   * @param {{width: number, height: number}} shape
   * @param {number} image  of those that the pixels are of
   * @param {Place} place
   * @param {number} alpha
   */
  #paintImage(context, pixels, { width, height }, image, place, alpha) {
    const data = imageData(pixels, image, width, height);
    Object.assign(this.#picture, { width, height });
    contextOf(this.#picture).putImageData(data, 0, 0);
    // The middle of the picture, in the tile's proportions.
    const aspect = place.width / place.size;
    const shown = Math.min(width, height * aspect);
    const high = shown / aspect;
    context.globalAlpha = alpha;
    context.drawImage(this.#picture, (width - shown) / 2, (height - high) / 2, shown, high, place.left, 0, place.width, place.size);
    context.globalAlpha = 1;
  }
}

/** What is to be seen here; the slider says it to those who cannot see it. @param {CanvasRenderingContext2D} context @param {number} x  of their middle @param {number} y */
function paintWords(context, x, y) {
  const { fontFamily } = getComputedStyle(document.body);
  Object.assign(context, { font: `13px ${fontFamily}`, fillStyle: '#d9dcdd', textAlign: 'center', textBaseline: 'middle' });
  context.fillText('Generate shows the way here', x, y);
}

/** @param {CanvasRenderingContext2D} context @param {Recording} recording @param {number} width @param {number} top */
function paintTicks(context, { end, newest }, width, top) {
  const gap = (width - THUMB) / end;
  // Ticks closer than 4 px would be a grey bar: then only every 5th, 10th, … is drawn.
  const every = [1, 5, 10, 25, 50].find((n) => n * gap >= 4) ?? 50;
  context.fillStyle = '#878d90'; // readable on either theme
  for (let i = 0; i <= end; i += every) {
    context.globalAlpha = i <= newest ? 0.9 : 0.35;
    const long = i % (every * 5) === 0;
    context.fillRect(THUMB / 2 + i * gap - 0.5, top, 1, long ? 6 : 3);
  }
  context.globalAlpha = 1;
}
