// Makes a GIF, frame by frame, beside the page. Each frame is answered once it is in, the last with the whole file.

import { Gif } from './gif.js';

/** @typedef {{pixels: Uint8ClampedArray, width: number, height: number, delay: number, last: boolean}} Frame */

/** @type {Gif|null} */
let gif = null;

addEventListener('message', (/** @type {MessageEvent<Frame>} */ { data: { pixels, width, height, delay, last } }) => {
  gif ??= new Gif(width, height);
  gif.add(pixels, delay);
  postMessage(last ? gif.finish() : null);
});
