// A run as a moving picture: a GIF, which is made in a worker, or a WebM that the browser records.

import { draw } from './pictures.js';

/** @typedef {import('./pictures.js').Picture} Picture */

/** A run takes as long as it is played on the page, in milliseconds; its last picture stays. */
const WHOLE = 4000;
const LAST = 1500;
const [SHORTEST, LONGEST] = [40, 200];

/** How long an image of a loop is shown. */
const EACH = 120;

/** @param {number} frames @param {number} i */
const delayOf = (frames, i) => (i === frames - 1 ? LAST : Math.min(LONGEST, Math.max(SHORTEST, WHOLE / frames)));

/**
 * @param {(() => Picture)[]} moments
 * @param {number} scale
 * @param {(done: number) => void} progress
 * @returns {Promise<Blob>}
 */
export const toGif = (moments, scale, progress) => gifOf(moments, scale, progress, (i) => delayOf(moments.length, i));

/** The same, each for as long, so that it has no beginning and no end. @type {typeof toGif} */
export const toLoop = (moments, scale, progress) => gifOf(moments, scale, progress, () => EACH);

/** @param {(() => Picture)[]} moments @param {number} scale @param {(done: number) => void} progress @param {(i: number) => number} delay */
async function gifOf(moments, scale, progress, delay) {
  const canvas = canvasFor(new OffscreenCanvas(1, 1), moments[0](), scale);
  const { width, height } = canvas;
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext('2d', { willReadFrequently: true }));
  // Relative to the page: the built page has this module in a file elsewhere.
  const worker = new Worker(new URL('keep/gif-worker.js', document.baseURI), { type: 'module' });
  try {
    let gif = null;
    for (const [i, moment] of moments.entries()) {
      draw(canvas, moment(), scale);
      const pixels = context.getImageData(0, 0, width, height).data;
      /** @type {Promise<Uint8Array<ArrayBuffer>|null>} */
      const answer = new Promise((done, failed) => {
        worker.onmessage = ({ data }) => done(data);
        worker.onerror = ({ message }) => failed(new Error(message || 'its worker could not be loaded'));
      });
      worker.postMessage({ pixels, width, height, delay: Math.round(delay(i) / 10), last: i === moments.length - 1 }, [pixels.buffer]);
      gif = await answer;
      progress(i + 1);
    }
    if (!gif) throw new Error('there is nothing to show');
    return new Blob([gif], { type: 'image/gif' });
  } finally {
    worker.terminate();
  }
}

/** Whether this browser records WebM. */
export const hasWebm = () => 'captureStream' in HTMLCanvasElement.prototype && 'MediaRecorder' in globalThis && MediaRecorder.isTypeSupported('video/webm');

/** The same, recorded while it is drawn, so it takes as long as it plays. @type {typeof toGif} */
export async function toWebm(moments, scale, progress) {
  const canvas = canvasFor(document.createElement('canvas'), moments[0](), scale);
  draw(canvas, moments[0](), scale);
  const stream = canvas.captureStream();
  const recorder = new MediaRecorder(stream, { mimeType: 'video/webm', videoBitsPerSecond: 8e6 });
  /** @type {Blob[]} */
  const parts = [];
  recorder.addEventListener('dataavailable', ({ data }) => parts.push(data));
  /** @type {Promise<void>} */
  const stopped = new Promise((done, failed) => {
    recorder.addEventListener('stop', () => done());
    recorder.addEventListener('error', () => failed(new Error('the browser stopped recording')));
  });
  recorder.start();
  for (const [i, moment] of moments.entries()) {
    draw(canvas, moment(), scale);
    progress(i + 1);
    await new Promise((done) => setTimeout(done, delayOf(moments.length, i)));
  }
  draw(canvas, moments[moments.length - 1](), scale); // so that its last frame lasts as long
  recorder.stop();
  await stopped;
  for (const track of stream.getTracks()) track.stop();
  return new Blob(parts, { type: 'video/webm' });
}

/**
 * @template {OffscreenCanvas|HTMLCanvasElement} Canvas
 * @param {Canvas} canvas
 * @param {Picture} picture
 * @param {number} scale
 */
function canvasFor(canvas, { width, height }, scale) {
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  return canvas;
}
