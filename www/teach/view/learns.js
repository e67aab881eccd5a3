// Some of the images that a network learns from.

import { rgbaOf } from '../../model/image.js';
import { byId, changes, contextOf } from '../../view/dom.js';
import { chosenImages, hasOwnImages, isActive } from '../store/select.js';

const COLUMNS = 16;
const MOST = 96;

export class Learns {
  #changed = changes();

  /** @param {import('../store/state.js').State} state */
  render(state) {
    const { from, data, pictures, beginning, run } = state;
    byId('learns').hidden = isActive(state);
    if (!this.#changed(from, data, pictures, beginning, run === null)) return;
    const draws = from === 'drawings' && !hasOwnImages(state);
    byId('drawing').hidden = !draws;
    const images = draws ? null : chosenImages(state);
    byId('learns-says').textContent = draws ? 'Draw each as large as you like: it is centred and scaled. A few are enough.' : saysOf(state, images);
    const canvas = byId('preview');
    canvas.hidden = images === null;
    if (images) draw(canvas, images);
  }
}

/** @param {import('../store/state.js').State} state @param {import('../store/state.js').Images|null} images */
function saysOf({ from, data: { reading } }, images) {
  if (reading) return from === 'files' ? `Reading ${reading.done} of ${reading.total} pictures` : 'Fetching the images';
  if (!images) return from === 'files' ? 'Choose a folder of pictures, drop one anywhere on the page, or paste one.' : '';
  const [count, channels, height, width] = images.shape;
  const classes = images.labels ? new Set(images.labels).size : 0;
  return `${count.toLocaleString('en')} ${channels === 1 ? 'grey' : 'coloured'} images of ${width} × ${height}${classes ? `, of ${classes} ${classes === 1 ? 'class' : 'classes'}` : ''}.`;
}

/** As many of each class as there is room for. @param {HTMLCanvasElement} canvas @param {import('../store/state.js').Images} images */
function draw(canvas, { shape: [count, channels, height, width], pixels }) {
  const shown = Math.min(count, MOST);
  const columns = Math.min(COLUMNS, shown);
  Object.assign(canvas, { width: columns * width, height: Math.ceil(shown / columns) * height });
  const context = contextOf(canvas);
  const size = channels * height * width;
  for (let i = 0; i < shown; i++) {
    const index = Math.floor((i * count) / shown);
    const levels = new Uint8ClampedArray(pixels.slice(index * size, (index + 1) * size));
    context.putImageData(new ImageData(rgbaOf(levels, { channels, width, height }), width, height), (i % columns) * width, Math.floor(i / columns) * height);
  }
}
