// <denoise-demo model="owner/name">: a model in another page, with a button and a slider to watch it by.
//
// Attributes: `model` (as `loadModel` takes it), `count` (1), `steps` (25), `sampler` (ddim), `class`, `seed` (another one each time,
// if it is not said), `guidance`, `backend`. The element loads nothing before its button is clicked, or `autoplay` is set.

import { DenoiseError, loadModel } from './index.js';

/** @typedef {import('./index.js').Step} Step */

const STYLE = `
:host { display: inline-grid; gap: 8px; width: 256px; font: 13px system-ui, sans-serif; color: inherit; }
:host([hidden]) { display: none; }
canvas { width: 100%; image-rendering: pixelated; background: #3a3e41; border-radius: 6px; aspect-ratio: var(--aspect, 1); }
.bar { display: grid; grid-template-columns: auto 1fr; gap: 8px; align-items: center; }
button { min-height: 44px; padding: 0 16px; border: 0; border-radius: 8px; background: var(--denoise-accent, #0a6e64); color: var(--denoise-on-accent, #fff); font: inherit; font-weight: 600; cursor: pointer; }
button:focus-visible, input:focus-visible { outline: 2px solid currentcolor; outline-offset: 2px; }
input { width: 100%; height: 44px; margin: 0; accent-color: var(--denoise-accent, #0a6e64); }
p { margin: 0; min-height: 1.4em; }
`;

export class DenoiseDemo extends HTMLElement {
  static observedAttributes = ['model', 'backend'];

  #canvas = document.createElement('canvas');
  #button = document.createElement('button');
  #slider = document.createElement('input');
  #status = document.createElement('p');
  /** @type {Promise<import('./index.js').DenoiseModel>|null} */
  #model = null;
  /** Ends the run, or the loading, that is under way. @type {AbortController|null} */
  #active = null;
  /** @type {Step[]} */
  #steps = [];

  constructor() {
    super();
    const root = this.attachShadow({ mode: 'open' });
    // A sheet of its own, which a strict Content-Security-Policy allows.
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    root.adoptedStyleSheets = [sheet];
    Object.assign(this.#button, { type: 'button', textContent: 'Generate' });
    Object.assign(this.#slider, { type: 'range', min: '0', max: '0', value: '0', disabled: true });
    this.#slider.setAttribute('aria-label', 'Step');
    this.#canvas.setAttribute('role', 'img');
    this.#canvas.setAttribute('aria-label', 'Nothing was generated yet');
    this.#status.setAttribute('role', 'status');
    const bar = document.createElement('div');
    bar.className = 'bar';
    bar.append(this.#button, this.#slider);
    root.append(this.#canvas, bar, this.#status);
    this.#button.addEventListener('click', () => (this.#active ? this.stop() : this.generate()));
    this.#slider.addEventListener('input', () => this.#show(this.#steps[Number(this.#slider.value)]));
  }

  connectedCallback() {
    if (this.hasAttribute('autoplay')) this.generate();
  }

  disconnectedCallback() {
    this.#forget();
  }

  /** @param {string} name @param {string|null} before @param {string|null} now */
  attributeChangedCallback(name, before, now) {
    if (before !== now && before !== null) this.#forget();
  }

  /** Loads the model if it is not there yet, and makes images. It ends when they are made, or it is stopped. */
  async generate() {
    if (this.#active) return;
    const active = this.#active = new AbortController();
    const { signal } = active;
    this.#button.textContent = 'Stop';
    this.#steps = [];
    let isLoaded = false;
    try {
      this.#model ??= this.#load(signal);
      const model = await this.#model;
      isLoaded = true;
      for await (const step of model.generate(this.#settings(), { signal })) {
        this.#steps.push(step);
        Object.assign(this.#slider, { max: String(step.steps - 1), value: String(step.step), disabled: false });
        this.#show(step);
        this.#status.textContent = `${step.step + 1} of ${step.steps}`;
      }
      this.#status.textContent = 'Done';
      this.dispatchEvent(new CustomEvent('done'));
    } catch (error) {
      if (this.#active !== active) return; // it was taken out of the page, or has another model
      const isGone = error instanceof DenoiseError && (error.code === 'run' || error.code === 'engine');
      if (!isLoaded || isGone) this.#forget();
      const message = error instanceof Error ? error.message : String(error);
      this.#status.textContent = signal.aborted ? 'Stopped' : message;
      if (!signal.aborted) this.dispatchEvent(new CustomEvent('failed', { detail: error }));
    } finally {
      if (this.#active === active || this.#active === null) {
        this.#active = null;
        this.#button.textContent = 'Generate';
      }
    }
  }

  /** Ends the run that is under way. */
  stop() {
    this.#active?.abort();
  }

  /** @param {AbortSignal} signal */
  #load(signal) {
    const backend = /** @type {'auto'|'gpu'|'cpu'|null} */ (this.getAttribute('backend')) ?? 'auto';
    return loadModel(this.getAttribute('model') ?? '', {
      backend,
      count: this.#number('count', 1),
      signal,
      onprogress: ({ done, total }) => {
        this.#status.textContent = total ? `Loading: ${Math.round((100 * done) / total)} %` : 'Loading';
      },
    });
  }

  #settings() {
    const chosen = this.getAttribute('class');
    const isLabel = chosen !== null && /^\d+$/.test(chosen);
    return {
      sampler: this.getAttribute('sampler') ?? 'ddim',
      steps: this.#number('steps', 25),
      count: this.#number('count', 1),
      seed: this.#number('seed', Math.floor(Math.random() * 1e6)),
      guidance: this.#number('guidance', 1),
      ...(chosen !== null && { class: isLabel ? Number(chosen) : chosen }),
    };
  }

  /** @param {string} name @param {number} otherwise */
  #number(name, otherwise) {
    const text = this.getAttribute(name);
    return text === null || !Number.isFinite(Number(text)) ? otherwise : Number(text);
  }

  /** @param {Step|undefined} step */
  #show(step) {
    if (!step) return;
    const { count, width, height, x, x0 } = step;
    const columns = Math.ceil(Math.sqrt(count));
    const rows = Math.ceil(count / columns);
    Object.assign(this.#canvas, { width: columns * width, height: rows * height });
    this.#canvas.style.setProperty('--aspect', String((columns * width) / (rows * height)));
    const context = /** @type {CanvasRenderingContext2D} */ (this.#canvas.getContext('2d'));
    // The last x is the picture; before it what the model expects tells more than noise.
    const pixels = step.step + 1 === step.steps ? x : x0;
    for (let i = 0; i < count; i++) {
      const image = new ImageData(pixels.slice(i * width * height * 4, (i + 1) * width * height * 4), width, height);
      context.putImageData(image, (i % columns) * width, Math.floor(i / columns) * height);
    }
    this.#canvas.setAttribute('aria-label', `${count === 1 ? 'An image' : `${count} images`} at step ${step.step + 1} of ${step.steps}`);
  }

  /** The model, and all that is under way with it. */
  #forget() {
    this.#active?.abort();
    this.#active = null;
    this.#model?.then((model) => model.free(), () => {}); // a model that never came needs no freeing
    this.#model = null;
  }
}

if (!customElements.get('denoise-demo')) customElements.define('denoise-demo', DenoiseDemo);
