// A word condenses out of noise: each of its letters is an image of a batch, and all are made at once.

import { loadModel } from '../../embed/index.js'; // from npm: 'denoise'

const canvas = /** @type {HTMLCanvasElement} */ (document.querySelector('canvas'));
const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
const form = /** @type {HTMLFormElement} */ (document.querySelector('form'));
const field = /** @type {HTMLInputElement} */ (document.getElementById('word'));
const button = /** @type {HTMLButtonElement} */ (document.querySelector('button'));
const status = /** @type {HTMLElement} */ (document.getElementById('status'));
const say = (/** @type {string} */ text) => { status.textContent = text; };

/** @type {import('../../embed/index.js').DenoiseModel|null} */
let model = null;

form.addEventListener('submit', async (event) => {
  event.preventDefault();
  button.disabled = true;
  const letters = [...field.value.toUpperCase()];
  try {
    model ??= await loadModel('../../models/letters', { count: letters.length, onprogress: ({ done, total }) => say(`Loading: ${total ? Math.round((100 * done) / total) : 0} %`) });
    const { width, height } = model.info;
    Object.assign(canvas, { width: letters.length * width, height });
    const settings = { sampler: 'ddim', steps: 30, seed: Math.floor(Math.random() * 1e6), count: letters.length, class: letters };
    for await (const { x, step, steps } of model.generate(settings)) {
      const bytes = width * height * 4;
      letters.forEach((_, i) => context.putImageData(new ImageData(x.slice(i * bytes, (i + 1) * bytes), width, height), i * width, 0));
      canvas.setAttribute('aria-label', `${letters.join('')} at step ${step + 1} of ${steps}`);
      say(`${step + 1} of ${steps}`);
    }
    say('Done');
  } catch (error) {
    say(String(error)); // a DenoiseError says what to do
  }
  button.disabled = false;
});
