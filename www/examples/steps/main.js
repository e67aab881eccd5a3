// A digit, drawn at every step; Stop ends the run through the signal of an AbortController.

import { loadModel } from '../../embed/index.js'; // from npm: 'denoise'

const canvas = /** @type {HTMLCanvasElement} */ (document.querySelector('canvas'));
const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
const [go, stop] = document.querySelectorAll('button');
const status = /** @type {HTMLElement} */ (document.getElementById('status'));
const say = (/** @type {string} */ text) => { status.textContent = text; };

/** @type {import('../../embed/index.js').DenoiseModel|null} */
let model = null;
/** Ends the run that is under way. */
let abort = new AbortController();

go.addEventListener('click', async () => {
  abort = new AbortController();
  const { signal } = abort;
  [go.disabled, stop.disabled] = [true, false];
  try {
    model ??= await loadModel('../../models/digits', { signal, onprogress: ({ stage, done, total }) => say(`${stage}: ${total ? Math.round((100 * done) / total) : 0} %`) });
    const settings = { sampler: 'ddim', steps: 50, seed: Math.floor(Math.random() * 1e6), class: '3' };
    for await (const { x0, step, steps, width, height } of model.generate(settings, { signal })) {
      // What the model expects of the finished picture, as RGBA; x is the picture as it is at the step.
      context.putImageData(new ImageData(x0, width, height), 0, 0);
      canvas.setAttribute('aria-label', `A digit at step ${step + 1} of ${steps}`);
      say(`${step + 1} of ${steps}`);
    }
    say('Done');
  } catch (error) {
    say(signal.aborted ? 'Stopped' : String(error)); // a DenoiseError says what to do
  }
  [go.disabled, stop.disabled] = [false, true];
});
stop.addEventListener('click', () => abort.abort());
