// The scrubber: a native range input over a strip that is drawn from the run itself.

import { selectedRun } from '../store/select.js';
import { byId, changes } from './dom.js';
import { Strip } from './strip.js';

export class Scrubber {
  /** @type {HTMLInputElement} */
  #slider = byId('step');
  #play = byId('play');
  #views = document.querySelectorAll(/** @type {'input'} */ ('input[name=view]'));
  #strip;
  #changed = changes();

  /** @param {import('../controller.js').Controller} controller @param {import('../store/state.js').State} state */
  constructor(controller, state) {
    const slider = this.#slider;
    this.#strip = new Strip(byId('strip'), state);
    slider.addEventListener('input', () => controller.dispatch({ type: 'scrub', index: Number(slider.value) }));
    // Arrows, Home and End are the browser's own; browsers disagree about the pages.
    slider.addEventListener('keydown', (event) => {
      const page = Math.max(1, Math.round(Number(slider.max) / 10));
      const move = event.key === 'PageUp' ? page : event.key === 'PageDown' ? -page : 0;
      if (!move) return;
      event.preventDefault();
      controller.dispatch({ type: 'scrub', index: Math.max(0, Number(slider.value) + move) });
    });
    this.#play.addEventListener('click', () => controller.dispatch({ type: 'togglePlay' }));
    for (const input of this.#views) {
      input.addEventListener('change', () => controller.chooseView(input.value === 'x' ? 'x' : 'x0'));
    }
  }

  /** @param {import('../store/state.js').State} state */
  render(state) {
    this.#strip.render(state);
    const run = selectedRun(state);
    const { selection } = state;
    if (!this.#changed(selection, run)) return;
    for (const input of this.#views) input.checked = input.value === selection.view;
    const slider = this.#slider;
    const recording = run?.recording;
    if (recording) slider.max = String(recording.end);
    slider.value = String(selection.index);
    slider.disabled = !recording;
    const max = Number(slider.max);
    const bubble = byId('bubble');
    bubble.textContent = recording ? recording.states[selection.index].step : '';
    bubble.style.setProperty('--at', max > 0 ? selection.index / max : 0);
    slider.setAttribute('aria-valuetext', recording ? `step ${recording.states[selection.index].step} of ${recording.steps}` : 'nothing recorded yet');

    this.#play.disabled = !recording?.newest;
    const label = selection.playing ? 'Pause' : 'Play';
    if (this.#play.getAttribute('aria-label') === label) return;
    this.#play.setAttribute('aria-label', label);
    this.#play.classList.toggle('playing', selection.playing);
  }
}
