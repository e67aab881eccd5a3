// Where the model runs: the badge at the top and the menu behind it.

import { phase } from '../store/select.js';
import { byId, changes, make } from './dom.js';

/** @typedef {import('../engine/protocol.js').BackendInfo} BackendInfo */

export class BackendMenu {
  #check = byId('check');
  /** @type {HTMLInputElement[]} */
  #precisions = [...document.querySelectorAll(/** @type {'input'} */ ('input[name=precision]'))];
  #changed = { backend: changes(), precision: changes(), check: changes() };
  /** The kind of backend that it is not. @type {'gpu'|'cpu'} */
  #other = 'cpu';

  /** @param {import('../controller.js').Controller} controller */
  constructor(controller) {
    byId('backend-switch').addEventListener('click', () => controller.changeBackend(this.#other));
    this.#check.addEventListener('click', () => controller.check());
    for (const input of this.#precisions) {
      input.addEventListener('change', () => controller.choosePrecision(/** @type {'auto'|'f32'|'f16'} */ (input.value)));
    }
  }

  /** @param {import('../store/state.js').State} state */
  render(state) {
    const { backend, settings, checking } = state;
    const now = phase(state);
    if (this.#changed.backend(backend, now === 'broken')) this.#showBackend(backend, now === 'broken');
    if (this.#changed.precision(settings.precision)) {
      for (const input of this.#precisions) input.checked = input.value === settings.precision;
    }
    if (!this.#changed.check(now, checking)) return;
    const total = checking?.total;
    this.#check.disabled = now !== 'ready';
    this.#check.textContent = now !== 'checking' ? 'Check my GPU' : total ? `Checking layer ${checking.done} of ${total}` : 'Checking';
  }

  /** @param {BackendInfo|null} backend @param {boolean} isBroken  so that none is to come */
  #showBackend(backend, isBroken) {
    const badge = byId('backend-button');
    if (!backend) {
      const words = isBroken ? 'Not running' : 'Starting';
      byId('backend-name').replaceChildren(make('span', { class: 'wide-only' }, words), make('span', { class: 'narrow-only', role: 'img', 'aria-label': words }, isBroken ? '–' : '···'));
      byId('backend-text').textContent = `The engine is ${words.toLowerCase()}.`;
      badge.dataset.kind = '';
      return;
    }
    const { kind, name, note, half } = backend;
    const gpu = kind === 'gpu';
    const detail = name.match(/\((.+)\)$/)?.[1] ?? name;
    byId('backend-name').replaceChildren(kind.toUpperCase(), make('span', { class: 'wide-only' }, ` · ${detail}`));
    badge.dataset.kind = kind;
    byId('backend-text').textContent = note ?? (gpu
      ? 'The model runs on this computer’s graphics processor, through WebGPU.'
      : 'The model runs on this computer’s main processor. Graphics processors are usually many times faster.');
    this.#other = gpu ? 'cpu' : 'gpu';
    const other = byId('backend-switch');
    other.hidden = false;
    other.textContent = gpu ? 'Use the CPU' : 'Use the GPU';
    this.#check.hidden = !gpu;
    for (const input of this.#precisions) input.disabled = input.value === 'f16' && !half;
    byId('precision-hint').textContent = half
      ? '16 bit halves the memory; pictures differ a little. Auto takes it for large models.'
      : `16 bit is for graphics processors that calculate with it, which this ${gpu ? 'one does' : 'processor does'} not.`;
  }
}
