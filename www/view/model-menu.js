// The Model menu: shipped models, the hub and other addresses, the visitor's own files, what is loaded and what is stored.

import { chosenFiles, droppedFiles } from '../model/folder.js';
import { nameOfVariant, shortNames } from '../model/networks.js';
import { short, size } from '../words/format.js';
import { byId, changes, make } from './dom.js';

/** @typedef {import('../controller.js').Controller} Controller */
/** @typedef {import('../model/source.js').Source} Source */
/** @typedef {import('../store/state.js').Loaded} Loaded */
/** @typedef {import('../store/state.js').State} State */

/** What the model is called that is there, or on its way. @param {State} state */
function nameOf({ loaded, shipped, wanted, phase }) {
  if (loaded && (phase.loading === null || loaded.source.id === wanted.id)) return loaded.title;
  return shipped.find(({ folder }) => folder === wanted.id)?.title ?? (wanted.kind === 'files' || wanted.kind === 'taught' ? wanted.name : wanted.id);
}

const ADDRESS_HINT = 'A repository like owner/name, its page’s address, or the address of any folder that diffusers saved.';

export class ModelMenu {
  #menu = byId('model-menu');
  #controller;
  #changed = { name: changes(), shipped: changes(), facts: changes(), stored: changes() };

  /** @param {Controller} controller */
  constructor(controller) {
    this.#controller = controller;
    this.#setUpAddress();
    this.#setUpFiles();
    this.#menu.addEventListener('beforetoggle', (/** @type {ToggleEvent} */ { newState }) => {
      if (newState === 'open') controller.listStored();
    });
    byId('stored-clear').addEventListener('click', () => controller.listStored(null));
  }

  /** @param {State} state */
  render(state) {
    const { loaded, shipped, wanted, stored, phase } = state;
    const name = nameOf(state);
    if (this.#changed.name(name)) byId('model-name').textContent = name;
    const inUse = loaded?.source.id ?? wanted.id;
    if (this.#changed.shipped(inUse)) this.#showShipped(shipped, inUse);
    // Also when a load has ended: what was chosen among the facts may not be what is loaded.
    if (this.#changed.facts(loaded, phase.loading === null) && loaded && phase.loading === null) this.#showFacts(loaded);
    if (stored && this.#changed.stored(stored)) this.#showStored(stored);
  }

  /** @param {readonly import('../store/state.js').Shipped[]} shipped @param {string} id  of the model in use */
  #showShipped(shipped, id) {
    byId('shipped').replaceChildren(...shipped.map(({ folder, title: name, about }) => {
      const button = make('button', { type: 'button', 'aria-pressed': String(id === folder) }, make('b', {}, name), ` ${about}`);
      button.addEventListener('click', () => {
        this.#menu.hidePopover();
        this.#controller.loadNamed(folder);
      });
      return make('li', {}, button);
    }));
  }

  /** @param {Loaded} loaded */
  #showFacts({ source, networks, network, variant, model, title }) {
    const where = { folder: source.id, hub: source.id, taught: 'taught in this browser, which keeps it', files: 'this computer; a link cannot carry it' }[source.kind];
    const folders = networks.map(({ folder }) => folder);
    const variants = networks.find(({ folder }) => folder === network)?.variants ?? [];
    /** What stands in a line; nothing is left out. @type {[string, (string|Node|null)[]][]} */
    const facts = [
      ['Loaded', [title]],
      ['From', [where]],
      ['About', [model.description]],
      ['Network', [this.#select('Network', folders, shortNames(folders), network, (chosen) => ({ ...source, network: chosen, variant: null }))]],
      ['Weights', [this.#select('Weights', variants, variants.map(nameOfVariant), variant, (chosen) => ({ ...source, variant: chosen }))]],
      ['Size', [`${model.width} × ${model.height}, ${short(model.parameters)} parameters, ${short(model.macs)} multiplications an image and step`]],
      ['Memory', [`needs ${size(model.bytes)}, in ${model.precision === 'f16' ? 16 : 32} bit`]],
      ['Credits', [model.credits]],
      ['Licence', [model.licence]],
      ['Notes', [model.scheduler_problem, ...model.notes]],
    ];
    const rows = facts.map(([name, says]) => ({ name, lines: says.flatMap((line) => line || []) })).filter(({ lines }) => lines.length);
    const focused = document.activeElement?.closest('#model-facts select')?.getAttribute('aria-label');
    byId('model-facts').replaceChildren(...rows.map(({ name, lines }) => make('div', {}, make('dt', {}, name), ...lines.map((line) => make('dd', {}, line)))));
    // Who chose with the keyboard can go on.
    if (focused) byId('model-facts').querySelector(`select[aria-label=${focused}]`)?.focus();
  }

  /**
   * A choice among what the model has, if there is one.
   * @param {string} label
   * @param {string[]} values
   * @param {string[]} names  what they are called
   * @param {string} chosen
   * @param {(value: string|null) => Source} sourceOf  null for the first
   */
  #select(label, values, names, chosen, sourceOf) {
    if (values.length < 2) return null;
    const select = /** @type {HTMLSelectElement} */ (make('select', { 'aria-label': label }, ...values.map((value, i) => make('option', { value, selected: value === chosen }, names[i]))));
    select.addEventListener('change', () => this.#controller.load(sourceOf(select.selectedIndex ? select.value : null)));
    return select;
  }

  /** @param {import('../model/cache.js').StoredModels} stored */
  #showStored({ models, quota }) {
    const all = models.reduce((sum, { bytes }) => sum + bytes, 0);
    byId('stored-size').textContent = models.length ? size(all) : 'none';
    byId('stored-list').replaceChildren(...models.map(({ id, bytes, total }) => {
      const remove = make('button', { type: 'button', class: 'secondary', 'aria-label': `Remove ${id}` }, 'Remove');
      remove.addEventListener('click', () => {
        this.#controller.listStored(id);
        byId('stored').querySelector('summary').focus();
      });
      return make('li', {}, make('span', { class: 'name' }, id), make('span', { class: 'number' }, bytes < total ? `${size(bytes)} of ${size(total)}` : size(bytes)), remove);
    }));
    byId('stored-room').textContent = models.length
      ? `Stored models load without the network.${quota ? ` The browser allows this page ${size(quota)}.` : ''}`
      : 'Models are stored in the browser when they are loaded, so that the next time needs no network.';
    byId('stored-clear').hidden = models.length < 2;
  }

  #setUpAddress() {
    const hint = byId('address-hint');
    hint.textContent = ADDRESS_HINT;
    byId('address-form').addEventListener('submit', (/** @type {Event} */ event) => {
      event.preventDefault();
      const problem = this.#controller.loadNamed(byId('address').value);
      byId('address').setAttribute('aria-invalid', String(Boolean(problem)));
      hint.classList.toggle('problem', Boolean(problem));
      hint.textContent = problem || ADDRESS_HINT;
      if (!problem) this.#menu.hidePopover();
    });
  }

  #setUpFiles() {
    for (const id of ['own-folder', 'own-files']) {
      const input = byId(id);
      input.addEventListener('change', () => {
        const found = chosenFiles(input);
        input.value = ''; // so that the same choice is a change again
        if (!found.length) return;
        this.#menu.hidePopover();
        this.#controller.takeFiles(found);
      });
    }

    // Wherever a file is let go, the browser must not open it in place of the page.
    const filesOf = (/** @type {DragEvent} */ { dataTransfer }) => (dataTransfer?.types.includes('Files') ? dataTransfer : null);
    const dragging = (/** @type {boolean} */ now) => document.body.classList.toggle('dragging', now);
    addEventListener('dragover', (event) => {
      const files = filesOf(event);
      if (!files) return;
      event.preventDefault();
      files.dropEffect = 'copy';
      dragging(true);
    });
    addEventListener('dragleave', ({ relatedTarget }) => {
      if (!relatedTarget) dragging(false); // it left the window, not just an element
    });
    addEventListener('drop', (event) => {
      dragging(false);
      const files = filesOf(event);
      if (!files) return;
      event.preventDefault();
      this.#controller.takeFiles(droppedFiles(files));
    });
  }
}
