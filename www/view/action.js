// The button that begins and ends a run, what is under way, and how far it is.

import { phase } from '../store/select.js';
import { byId, changes } from './dom.js';

/** On a phone a run may be begun from far below the pictures: then the page goes to them. */
function showPictures() {
  const { top, bottom } = byId('grid').getBoundingClientRect();
  if (bottom > 0 && top < innerHeight) return;
  const behavior = matchMedia('(prefers-reduced-motion: reduce)').matches ? 'instant' : 'smooth';
  byId('grid').closest('.mat').scrollIntoView({ behavior, block: 'start' });
}

export class Action {
  #button = byId('generate');
  #changed = { phase: changes(), status: changes(), announcement: changes() };

  /** @param {import('../controller.js').Controller} controller */
  constructor(controller) {
    this.#button.addEventListener('click', () => controller.generateOrStop());
  }

  /** @param {import('../store/state.js').State} state */
  render(state) {
    const { status, announcement } = state;
    if (this.#changed.status(status)) {
      byId('status-text').textContent = status.text;
      byId('status-number').textContent = status.count;
      byId('progress').value = status.fraction;
    }
    if (this.#changed.announcement(announcement)) byId('announcer').textContent = announcement.text;
    const now = phase(state);
    if (!this.#changed.phase(now)) return;
    if (now === 'starting' && state.starting) showPictures();
    const active = now === 'starting' || now === 'running' || now === 'stopping';
    byId('generate-label').textContent = active ? 'Stop' : 'Generate';
    this.#button.classList.toggle('stop', active);
    this.#button.disabled = now === 'loading' || now === 'checking';
    // It keeps the focus of who has just pressed it.
    this.#button.setAttribute('aria-disabled', String(now === 'stopping'));
    document.body.dataset.phase = now;
  }
}
