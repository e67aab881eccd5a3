// What a picture costs, under the scrubber: the curve of the terms, the bound and its parts as numbers, and the likelihood.

import { rgbaOf, shownLevels } from '../model/image.js';
import { atNextFrame, byId, contextOf, make } from '../view/dom.js';
import { Curve, bits } from './curve.js';
import { STEPS, bytesOf } from './state.js';

/** @typedef {import('../engine/measuring-protocol.js').MeasuringStage} Stage */
/** @typedef {import('../pkg/learning/denoise.js').Mean} Mean */
/** @typedef {import('./state.js').State} State */

/** @type {Record<Stage, string>} */
const STAGES = {
  engine: 'Fetching the engine that computes it',
  download: 'Reading the model',
  compile: 'Preparing the network',
  bound: 'The bound, evaluations of the network',
  likelihood: 'The likelihood, along the ODE',
};

const sub = (/** @type {string} */ letter, /** @type {string} */ below) => make('span', { class: 'math' }, letter, make('sub', {}, below));

/** The parts of the bound: their symbols, and what each is in plain words. @type {{part: 'prior'|'denoising'|'decoder', symbol: () => Node[], words: string}[]} */
const PARTS = [
  { part: 'prior', symbol: () => [sub('L', 'T')], words: 'how far x_T is from noise' },
  { part: 'denoising', symbol: () => [make('span', {}, 'Σ '), sub('L', 't−1')], words: 'what the steps between cost' },
  { part: 'decoder', symbol: () => [sub('L', '0')], words: 'the last step, to one of 256 levels' },
];

export class Panel {
  #section;
  #curve;
  #title = make('h2', { id: 'measuring-title', tabindex: '-1' }, 'What the picture costs');
  #words = make('p', { class: 'caption' });
  #picture = document.createElement('canvas');
  #noise = document.createElement('canvas');
  #stop = make('button', { type: 'button', class: 'secondary' }, 'Stop');
  #again = make('button', { type: 'button', class: 'secondary' }, 'Again');
  #says = make('p', { class: 'says', id: 'measuring-says' });
  #bar = /** @type {HTMLProgressElement} */ (make('progress', { max: '1', value: '0', 'aria-labelledby': 'measuring-says' }));
  #problem = make('p', { class: 'problem' });
  #sum = make('dd', { class: 'number', id: 'measuring-sum' });
  #whole = make('small');
  /** @type {Record<string, HTMLElement>} */
  #parts = {};
  #likelihood = make('dd', { class: 'number', id: 'measuring-likelihood' });
  #refusal = make('p', { class: 'problem' });
  #steps = /** @type {HTMLSelectElement} */ (make('select', { 'aria-label': 'Steps of the ODE' }, ...STEPS.map((steps) => make('option', { value: String(steps) }, `${steps} steps`))));
  #begin = make('button', { type: 'button', class: 'secondary', 'data-tip': 'Without chance (DDIM, η = 0) it leads back to about this picture.' }, 'Generate from this noise');
  #compute = make('button', { type: 'button', class: 'secondary' }, 'Compute the likelihood');
  #found;
  /** @type {State|null} */
  #state = null;
  #request = atNextFrame(() => this.#draw());
  /** What is drawn on the canvases. @type {unknown} */
  #drawn = { levels: null, noise: null };

  /** @param {import('./main.js').Measuring} measuring */
  constructor(measuring) {
    this.#curve = new Curve((t) => measuring.point(t));
    this.#picture.setAttribute('aria-hidden', 'true');
    this.#noise.setAttribute('role', 'img');
    this.#noise.setAttribute('aria-label', 'The noise that the picture is followed to');
    const close = make('button', { type: 'button', class: 'secondary' }, 'Close');
    this.#stop.addEventListener('click', () => measuring.stop());
    this.#again.addEventListener('click', () => measuring.again(true));
    close.addEventListener('click', () => measuring.close());
    this.#steps.addEventListener('change', () => measuring.chooseSteps(Number(this.#steps.value)));
    this.#compute.addEventListener('click', () => measuring.again(false));
    this.#begin.addEventListener('click', () => measuring.takeNoise());
    const rows = PARTS.map(({ part, symbol, words }) => {
      this.#parts[part] = make('dd', { class: 'number' });
      return make('div', { class: 'of-bound' }, make('dt', {}, ...symbol(), make('small', {}, words)), this.#parts[part]);
    });
    this.#found = make('div', { class: 'found' }, this.#noise, make('span', {}, sub('x', 'T'), ' its noise'), this.#begin);
    this.#section = make('section', { class: 'measuring', 'aria-labelledby': 'measuring-title', hidden: true },
      make('div', { class: 'head' }, this.#picture, make('div', {}, this.#title, this.#words), this.#stop, this.#again, close),
      make('div', { class: 'under-way' }, this.#says, this.#bar),
      this.#problem,
      this.#refusal,
      make('div', { class: 'body' },
        this.#curve.element,
        make('dl', {},
          make('div', { class: 'sum of-bound' }, make('dt', {}, 'At most', this.#whole), this.#sum),
          ...rows,
          make('div', { class: 'sum of-likelihood' }, make('dt', {}, make('span', { class: 'math' }, '−log p'), make('small', {}, 'its likelihood, along the ODE'), this.#steps), this.#likelihood),
        ),
        make('div', { class: 'foot of-likelihood' }, this.#found, this.#compute),
        make('p', { class: 'hint' }, 'In bits for each number of the picture (bits/dim). The bound is what −log p is at most if DDPM makes the picture, step by step. What the ODE tells is −log p itself, of the picture with noise of half a level (dequantised) and by one random vector; its ± is how far half as many steps are off.'),
      ));
    byId('scrubber').after(this.#section);
  }

  /** Where the page is long, it is not in sight. */
  focus() {
    this.#draw();
    this.#title.focus();
  }

  /** @param {State} state */
  render(state) {
    this.#state = state;
    this.#request();
  }

  #draw() {
    const state = this.#state;
    if (!state) return;
    const { open, subject, phase, problems, estimate, encoded, message, isOfPage, hasLikelihood } = state;
    this.#section.hidden = !open;
    if (!open || !subject) return;
    const isUnderWay = phase === 'under way';
    this.#words.textContent = subject.words;
    this.#swap(isUnderWay, isOfPage);
    this.#says.textContent = saysOf(state);
    const { done, total } = state.progress;
    this.#bar.value = isUnderWay ? (total ? done / total : 0) : 1;
    this.#bar.hidden = !isUnderWay;
    this.#problem.textContent = phase === 'failed' ? message : problems.bound ?? '';
    this.#problem.hidden = !this.#problem.textContent;
    this.#refusal.textContent = problems.likelihood === problems.bound ? '' : problems.likelihood ?? '';
    this.#refusal.hidden = !this.#refusal.textContent;
    this.#section.classList.toggle('failed', phase === 'failed');
    this.#section.classList.toggle('without-bound', problems.bound !== null && !estimate);
    this.#section.classList.toggle('without-likelihood', !hasLikelihood);
    this.#sum.textContent = estimate ? withError(estimate.sum) : '–';
    this.#whole.textContent = `the variational bound: ${estimate ? Math.round(bytesOf(subject, estimate.sum.mean)) : '–'} bytes for all of it`;
    for (const { part } of PARTS) this.#parts[part].textContent = estimate ? withError(estimate[part]) : '–';
    this.#likelihood.textContent = encoded ? withError({ mean: encoded.bits, standard_error: Math.abs(encoded.bits - encoded.halfBits) }) : '–';
    this.#steps.value = String(state.steps);
    this.#steps.disabled = isUnderWay || !isOfPage;
    this.#found.hidden = !encoded;
    this.#compute.hidden = isUnderWay || encoded !== null || !isOfPage;
    /** @type {HTMLButtonElement} */ (this.#begin).disabled = !isOfPage;
    this.#paint(state);
    this.#curve.render(state);
  }

  /** Stop or Again, whichever can be used; the focus is on it if it was on what is gone. @param {boolean} isUnderWay @param {boolean} isOfPage */
  #swap(isUnderWay, isOfPage) {
    const [shown, gone] = isUnderWay ? [this.#stop, this.#again] : [this.#again, this.#stop];
    const hadFocus = document.activeElement === gone || (isUnderWay && document.activeElement === this.#compute);
    shown.hidden = false;
    gone.hidden = true;
    /** @type {HTMLButtonElement} */ (this.#again).disabled = !isOfPage;
    if (hadFocus) (isUnderWay || isOfPage ? shown : this.#title).focus();
  }

  /** @param {State} state */
  #paint({ subject, encoded }) {
    if (!subject) return;
    const { shape, levels } = subject;
    const drawn = { levels, noise: encoded?.noise ?? null };
    const before = /** @type {typeof drawn} */ (this.#drawn);
    if (levels !== before.levels) show(this.#picture, levels, shape);
    if (encoded && encoded.noise !== before.noise) show(this.#noise, shownLevels(encoded.noise), shape);
    this.#drawn = drawn;
  }
}

/** @param {HTMLCanvasElement} canvas @param {import('../model/image.js').Levels} levels @param {import('../model/image.js').Shape} shape */
function show(canvas, levels, shape) {
  const { width, height } = shape;
  Object.assign(canvas, { width, height });
  contextOf(canvas).putImageData(new ImageData(rgbaOf(levels, shape), width, height), 0, 0);
}

/** @param {Mean} mean */
const withError = ({ mean, standard_error: error }) => `${bits(mean)}${error ? ` ± ${bits(error)}` : ''}`;

/** What is under way, or how it ended. @param {State} state */
function saysOf({ phase, progress: { stage, done, total }, estimate, subject, problems }) {
  if (phase === 'under way') {
    const count = stage === 'engine' ? (done ? ` · ${(done / 1e6).toFixed(1)} MB` : '') : total === null ? '' : stage === 'download' ? ` · ${Math.round((100 * done) / total)} %` : ` · ${done}/${total}`;
    return `${STAGES[stage]}${count}`;
  }
  const known = !estimate || !subject ? '' : estimate.curve.length === subject.timesteps ? `all ${subject.timesteps} timesteps are computed` : `${estimate.curve.length} of ${subject.timesteps} timesteps are computed`;
  if (phase === 'failed') return 'It could not be computed.';
  if (phase === 'stopped') return `Stopped${known ? `: ${known}` : ' before there was an estimate'}.`;
  if (phase === 'replaced') return `The model was changed${known ? `: ${known}` : ' before there was an estimate'}.`;
  if (problems.bound !== null && problems.likelihood !== null && !known) return 'Neither of the two could be computed.';
  if (problems.bound !== null && !known) return 'Its likelihood is computed.';
  return known && `${known[0].toUpperCase()}${known.slice(1)}.`;
}
