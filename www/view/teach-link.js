// The way to the page on which a network learns, with the model that is loaded if it has a name.

import { byId } from './dom.js';

/**
 * @param {import('../model/source.js').Source|undefined} source  that is loaded
 * @param {string|null} hub  the server that is named in place of the hub
 */
export function teachAddress(source, hub) {
  // Files of the visitor's are gone when the page is left.
  if (!source || source.kind === 'files') return 'teach.html';
  const { id: model, network, variant } = source;
  const named = Object.entries({ model, network, variant, hub }).flatMap(([name, value]) => (value ? [[name, value]] : []));
  return `teach.html?${new URLSearchParams(named)}`;
}

export class TeachLink {
  #link = byId('teach-link');
  #hub;

  /** @param {string|null} hub */
  constructor(hub) {
    this.#hub = hub;
  }

  /** @param {import('../store/state.js').State} state */
  render({ loaded }) {
    const address = teachAddress(loaded?.source, this.#hub);
    if (this.#link.getAttribute('href') !== address) this.#link.href = address;
  }
}
