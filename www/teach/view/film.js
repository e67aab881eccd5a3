// Samples of the same noise, before anything was learned and at a step of the training that one chooses, or the newest.

import { rgbaOf } from '../../model/image.js';
import { byId, changes, contextOf } from '../../view/dom.js';
import { shownFrame } from '../store/film.js';

/** @typedef {import('../store/film.js').Frame} Frame */
/** @typedef {import('../store/film.js').FilmShape} FilmShape */

export class Film {
  #time = byId('time');
  #changed = { before: changes(), now: changes(), time: changes() };
  /** @type {readonly Frame[]} */
  #frames = [];

  /** @param {import('../controller.js').Controller} controller */
  constructor(controller) {
    byId('play').addEventListener('click', () => controller.togglePlay());
    byId('newest').addEventListener('click', () => controller.show(null));
    this.#time.addEventListener('input', () => {
      const index = Number(this.#time.value);
      controller.dispatch({ type: 'play', playing: false });
      controller.show(index === this.#frames.length - 1 ? null : this.#frames[index].step);
    });
  }

  /** @param {import('../store/state.js').State} state */
  render({ run, shown, playing }) {
    byId('live').hidden = run === null;
    if (!run) return;
    const { frames, shape } = run;
    this.#frames = frames;
    const [before] = frames;
    const now = shownFrame(frames, shown);
    if (!shape || !before || !now) {
      // Those of another run are not this one's.
      if (this.#changed.before(null)) clear('before', 'Before');
      if (this.#changed.now(null)) clear('now', 'Samples');
      byId('now-word').textContent = 'now';
    } else if (this.#changed.before(before)) {
      draw(byId('before'), before, shape);
      byId('before-step').textContent = `step ${before.step.toLocaleString('en')}`;
    }
    if (shape && now && this.#changed.now(now, shown)) {
      draw(byId('now'), now, shape);
      byId('now-word').textContent = shown === null ? 'now' : 'then';
      byId('now-step').textContent = `step ${now.step.toLocaleString('en')}`;
      byId('now').setAttribute('aria-label', `${shape.count} samples at step ${now.step}`);
      byId('before').setAttribute('aria-label', `${shape.count} samples before, at step ${before?.step}`);
    }
    if (!this.#changed.time(frames, shown, playing)) return;
    const several = frames.length > 1;
    for (const id of ['play', 'time']) byId(id).disabled = !several;
    byId('newest').setAttribute('aria-disabled', String(shown === null)); // it keeps the focus of who has just pressed it
    this.#time.max = String(Math.max(0, frames.length - 1));
    this.#time.value = String(now ? frames.indexOf(now) : 0);
    this.#time.setAttribute('aria-valuetext', now ? `step ${now.step}` : 'nothing yet');
    byId('over-time').classList.toggle('playing', playing);
    byId('play').setAttribute('aria-label', playing ? 'Pause the film' : 'Play the film');
  }
}

/** @param {'before'|'now'} name @param {string} label */
function clear(name, label) {
  const canvas = byId(name);
  Object.assign(canvas, { width: 1, height: 1 }); // which empties it
  canvas.setAttribute('aria-label', label);
  byId(`${name}-step`).textContent = '';
}

/** @param {HTMLCanvasElement} canvas @param {Frame} frame @param {FilmShape} shape */
function draw(canvas, { levels }, { count, channels, width, height }) {
  const columns = Math.ceil(Math.sqrt(count));
  const [wide, high] = [columns * width, Math.ceil(count / columns) * height];
  if (canvas.width !== wide || canvas.height !== high) Object.assign(canvas, { width: wide, height: high });
  const context = contextOf(canvas);
  const size = channels * width * height;
  for (let i = 0; i < count; i++) {
    context.putImageData(new ImageData(rgbaOf(levels.subarray(i * size, (i + 1) * size), { channels, width, height }), width, height), (i % columns) * width, Math.floor(i / columns) * height);
  }
}
