// The page's title: how far a run is, for whoever looks at another tab.

import { phase } from '../store/select.js';
import { changes } from './dom.js';

const TITLE = document.title;

export class Title {
  #changed = changes();

  /** @param {import('../store/state.js').State} state */
  render(state) {
    const { count } = state.status;
    const title = phase(state) === 'running' && count ? `${count.replace(/ left$/, '')} – ${TITLE}` : TITLE;
    if (this.#changed(title)) document.title = title;
  }
}
