// What comes first on a narrow screen: the settings, or what there is to watch once a run is there. Elements are moved, not only
// their boxes, so that keys and readers come to them in the order in which they are seen.

export class Order {
  #narrow = matchMedia('(max-width: 959px)');
  #panel = /** @type {HTMLElement} */ (document.querySelector('.panel'));
  #stage = /** @type {HTMLElement} */ (document.querySelector('.stage'));
  #hasRun = false;

  constructor() {
    this.#narrow.addEventListener('change', () => this.#arrange());
  }

  /** @param {import('../store/state.js').State} state */
  render({ run }) {
    if (this.#hasRun === (run !== null)) return;
    this.#hasRun = run !== null;
    this.#arrange();
  }

  #arrange() {
    const isFirst = this.#narrow.matches && this.#hasRun;
    if (isFirst === (this.#stage.nextElementSibling === this.#panel)) return;
    if (isFirst) this.#panel.before(this.#stage);
    else this.#panel.after(this.#stage);
  }
}
