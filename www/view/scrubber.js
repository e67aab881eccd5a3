// The scrubber: a native range input over a strip that is drawn from the run itself.

import { selectedRun } from '../store/select.js';
import { byId, changes } from './dom.js';
import { Strip } from './strip.js';

/** How fast a run can be played. */
const SPEEDS = [1, 2, 4, 0.25, 0.5];

export class Scrubber {
  /** @type {HTMLInputElement} */
  #slider = byId('step');
  #play = byId('play');
  #views = document.querySelectorAll(/** @type {'input'} */ ('input[name=view]'));
  #strip;
  #changed = changes();
  #playback = { speed: 1, loop: false };

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
    byId('speed').addEventListener('click', () => controller.dispatch({ type: 'setPlayback', speed: SPEEDS[(SPEEDS.indexOf(this.#playback.speed) + 1) % SPEEDS.length] }));
    byId('loop').addEventListener('click', () => controller.dispatch({ type: 'setPlayback', loop: !this.#playback.loop }));
    for (const input of this.#views) {
      input.addEventListener('change', () => controller.chooseView(/** @type {import('../store/recording.js').View} */ (input.value)));
    }
  }

  /** @param {import('../store/state.js').State} state */
  render(state) {
    this.#strip.render(state);
    const run = selectedRun(state);
    const { selection, playback } = state;
    if (!this.#changed(selection, run, playback)) return;
    this.#playback = playback;
    byId('speed').textContent = `${playback.speed}×`;
    byId('speed').setAttribute('aria-label', `Speed: ${playback.speed} times`);
    byId('loop').setAttribute('aria-pressed', String(playback.loop));
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
    slider.setAttribute('aria-valuetext', recording ? `step ${recording.states[selection.index].step} of ${recording.steps}` : 'nothing recorded yet; Generate shows the way here');

    this.#play.disabled = !recording?.newest;
    const label = selection.playing ? 'Pause' : 'Play';
    if (this.#play.getAttribute('aria-label') === label) return;
    this.#play.setAttribute('aria-label', label);
    this.#play.classList.toggle('playing', selection.playing);
  }
}
