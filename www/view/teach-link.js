// The way to the page on which a network learns, with the model that is loaded if it has a name.

import { byId } from './dom.js';

export class TeachLink {
  #link = byId('teach-link');

  /** @param {import('../store/state.js').State} state */
  render({ loaded }) {
    const source = loaded?.source;
    // Files of the visitor's are gone when the page is left.
    const query = !source || source.kind === 'files' ? '' : `?model=${source.id}`;
    if (this.#link.getAttribute('href') !== `teach.html${query}`) this.#link.href = `teach.html${query}`;
  }
}
