// "Picture": what a run can begin with in place of noise, what the forward process makes of it, and the noise that it
// would have come from.

import { isDrawable, numbersOf, rgbaOf, shownLevels, sameShape, sizeOf } from '../model/image.js';
import { leftOut } from '../store/beginning.js';
import { noised, normals } from '../store/forward.js';
import { hasData } from '../model/data.js';
import { inversionAdvice, inversionOf, inversionProblem } from '../store/picture.js';
import { timeOf } from '../store/picture-state.js';
import { mostStepsNow, phase, selectedRun, shownShape } from '../store/select.js';
import { number, snr } from '../words/format.js';
import { byId, changes, contextOf, make } from './dom.js';
import { Drawing } from './drawing.js';
import { term } from './maths.js';

/** @typedef {import('../model/image.js').Levels} Levels */
/** @typedef {import('../model/image.js').Shape} Shape */
/** @typedef {import('../store/picture-state.js').Picture} Picture */
/** @typedef {import('../store/state.js').State} State */

export class PicturePanel {
  #drawing;
  #section = byId('picture');
  #tools = document.querySelectorAll(/** @type {'input'} */ ('input[name=tool]'));
  #begins = document.querySelectorAll(/** @type {'input'} */ ('input[name=begins]'));
  #changed = { says: changes(), tools: changes(), shape: changes(), forward: changes(), noise: changes(), begins: changes(), inversion: changes(), found: changes() };
  /** ε, which is drawn once a seed and size. @type {Float32Array} */
  #epsilon = new Float32Array();

  /** @param {import('../controller.js').Controller} controller */
  constructor(controller) {
    this.#drawing = new Drawing(controller);
    const on = (/** @type {string} */ id, /** @type {string} */ event, /** @type {(control: any) => void} */ act) => byId(id).addEventListener(event, () => act(byId(id)));
    on('picture', 'toggle', ({ open }) => controller.change({ do: 'open', open }));
    on('brush', 'input', ({ value }) => controller.change({ do: 'size', size: Number(value) }));
    on('ink', 'input', ({ value }) => controller.change({ do: 'ink', ink: value }));
    on('time', 'input', ({ value }) => controller.change({ do: 'time', t: Number(value) }));
    on('picture-undo', 'click', () => controller.change({ do: 'undo' }));
    on('picture-clear', 'click', () => controller.change({ do: 'clear' }));
    on('picture-negate', 'click', () => controller.change({ do: 'negate' }));
    on('picture-shown', 'click', () => controller.change({ do: 'takeShown' }));
    on('picture-data', 'click', () => controller.takeFromData());
    on('find-noise', 'click', () => controller.findNoise());
    on('measure-picture', 'click', () => controller.measurePicture());
    on('picture-choose', 'change', (input) => {
      const [file] = input.files;
      if (file) controller.takePicture(file);
      input.value = ''; // so that the same choice is a change again
    });
    for (const input of this.#tools) input.addEventListener('change', () => controller.change({ do: 'tool', tool: /** @type {Picture['tool']} */ (input.value) }));
    for (const input of this.#begins) input.addEventListener('change', () => controller.change({ do: 'begin', with: /** @type {Picture['begins']} */ (input.value || null) }));
  }

  /** @param {State} state */
  render(state) {
    const { picture, settings, loaded } = state;
    const { open, shape, begins, t } = picture;
    const total = loaded?.model.num_train_timesteps ?? 1000;
    const at = loaded ? timeOf(t, loaded.model) : t ?? 0;
    if (this.#changed.says(begins, at, open, settings.steps, total, picture.levels, picture.inversion)) {
      this.#section.open = open;
      byId('picture-says').textContent = begins ? SAYS[begins](at, inversionOf(state)?.levels === state.picture.levels) : '';
    }
    if (!open) return;
    if (this.#changed.shape(shape)) this.#setShape(shape);
    if (!shape || !isDrawable(shape)) return;
    this.#drawing.render(state);
    this.#showTools(state, shape);
    this.#showForward(state, shape, at, total);
    this.#showBegins(state, at, total);
    this.#showInversion(state, shape);
  }

  /** @param {Shape|null} shape */
  #setShape(shape) {
    const drawable = !shape || isDrawable(shape);
    byId('picture-none').hidden = drawable;
    byId('picture-parts').hidden = !shape || !drawable;
    if (!shape || !drawable) return;
    const { width, height, channels } = shape;
    for (const id of ['noised', 'found-noise', 'made-again']) Object.assign(byId(id), { width, height });
    byId('brush').max = String(Math.max(4, Math.floor(Math.max(width, height) / 2)));
    byId('ink-label').hidden = channels === 1;
  }

  /** @param {State} state @param {Shape} shape */
  #showTools(state, shape) {
    const { picture: { tool, size, ink, earlier, levels, mask, name }, selection, loaded } = state;
    const source = loaded?.source ?? null;
    const { width, height } = shownShape(state);
    const hasShown = width === shape.width && height === shape.height && (selectedRun(state) !== null || state.preview.real);
    if (!this.#changed.tools(tool, size, ink, earlier, levels === null, mask === null, name, hasShown, selection.image, source)) return;
    for (const input of this.#tools) input.checked = input.value === tool;
    byId('brush').value = String(size);
    byId('ink').value = ink;
    byId('picture-undo').disabled = !earlier.length;
    byId('picture-clear').disabled = !levels && !mask;
    byId('picture-negate').disabled = !levels;
    byId('picture-shown').disabled = !hasShown;
    byId('picture-data').hidden = !source || !hasData(source);
    byId('picture-name').textContent = name || 'draw here';
  }

  /** x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε, with its numbers. @param {State} state @param {Shape} shape @param {number} at @param {number} total */
  #showForward({ picture: { levels }, settings: { seed }, loaded }, shape, at, total) {
    const alphas = loaded?.model.alphas_cumprod ?? [];
    if (!this.#changed.forward(levels, seed, alphas, shape, at, total)) return;
    Object.assign(byId('time'), { max: String(total - 1), value: String(at) });
    byId('noised-t').textContent = `t = ${at}`;
    const alpha = alphas[at];
    byId('noised').parentElement.hidden = alpha === undefined;
    if (alpha === undefined) {
      byId('forward').className = 'hint';
      byId('forward').textContent = 'This model counts its noise otherwise than by ᾱ_t; how much there is at the beginning the slider says all the same.';
      return;
    }
    byId('forward').className = 'formula';
    if (this.#changed.noise(seed, shape)) this.#epsilon = normals(seed, sizeOf(shape));
    show('noised', noised(numbersOf(levels ?? new Uint8ClampedArray(sizeOf(shape))), this.#epsilon, alpha), shape);
    const product = (/** @type {number} */ value, /** @type {Node} */ symbol) => make('span', { class: 'product' }, make('span', { class: 'number' }, number(value)), ' ', symbol);
    byId('forward').replaceChildren(
      term('xt'), ' = √', term('abar'), ' ', term('clean'), ' + ', term('sigma'), ' ', term('noise'), make('br'),
      term('xt', String(at)), ' = ', product(Math.sqrt(alpha), term('clean')), ' + ', product(Math.sqrt(1 - alpha), term('noise')),
    );
  }

  /** @param {State} state @param {number} at @param {number} total */
  #showBegins(state, at, total) {
    const { picture: { begins, levels }, settings: { steps }, loaded } = state;
    const found = inversionOf(state)?.stage === 'done';
    if (!this.#changed.begins(begins, levels === null, found, steps, at, total, loaded)) return;
    const alpha = loaded?.model.alphas_cumprod?.[at];
    byId('share').textContent = `t ${at} of ${total}${alpha === undefined ? '' : ` · SNR ${snr(alpha)}`}`;
    const left = steps - leftOut(steps, (at + 1) / total);
    byId('begins-steps').textContent = `${left} of ${steps} steps`;
    for (const input of this.#begins) {
      input.checked = input.value === (begins ?? '');
      // What is chosen stays so, and Generate says what is missing.
      input.disabled = !input.checked && ((input.value === 'noise' && !found) || ((input.value === 'picture' || input.value === 'part') && !levels));
    }
  }

  /** @param {State} state @param {Shape} shape */
  #showInversion(state, shape) {
    const inversion = inversionOf(state);
    const problem = inversionProblem(state);
    const now = phase(state);
    if (this.#changed.found(problem, now)) byId('find-noise').disabled = problem !== '' || now !== 'ready';
    byId('measure-picture').disabled = !state.picture.levels || !state.loaded;
    if (!this.#changed.inversion(inversion)) return;
    byId('inverted').hidden = !inversion;
    if (!inversion || !sameShape(inversion.shape, shape)) return;
    const { noise, made, error } = inversion;
    const black = new Float32Array(sizeOf(shape)).fill(-1);
    show('found-noise', shownLevels(noise ?? black), shape);
    show('made-again', shownLevels(made ?? black), shape);
    byId('made-again').parentElement.hidden = made === null && inversion.stage === 'done'; // the noise came with a file
    const norm = (/** @type {(Node|string)[]} */ ...inside) => make('span', { class: 'product' }, '‖', ...inside, '‖');
    byId('inversion-error').replaceChildren(...(error === null ? [] : [norm(term('again'), ' − ', term('clean')), ' / ', norm(term('clean')), ' = ', make('b', { class: 'number' }, number(error))]));
    byId('inversion-says').textContent = error === null ? '' : `0 is the very same picture. ${inversionAdvice(inversion, mostStepsNow(state))}`;
  }
}

/** What is said beside the section's name, so that it is seen while it is closed: in one line, because it comes while somebody draws below it. @type {Record<NonNullable<Picture['begins']>, (t: number, isOfThis: boolean) => string>} */
const SAYS = {
  picture: (t) => `· Generate begins at t ${t}`,
  part: () => '· the marked part is made anew',
  noise: (t, isOfThis) => (isOfThis ? '· Generate begins with its noise' : '· Generate begins with the noise of another picture'),
};

/** @param {string} id  of a canvas @param {Levels} levels @param {Shape} shape */
function show(id, levels, shape) {
  contextOf(byId(id)).putImageData(new ImageData(rgbaOf(levels, shape), shape.width, shape.height), 0, 0);
}
