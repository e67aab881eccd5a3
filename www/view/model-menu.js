// The Model menu: shipped models, the hub and other addresses, the visitor's own files, what is loaded and what is stored.

import { byId, make } from './dom.js';
import { short, size } from '../words/format.js';
import { chosenFiles, droppedFiles } from '../model/folder.js';
import { nameOfVariant, shortNames } from '../model/networks.js';
import { openPopover } from './shell.js';

const ADDRESS_HINT = 'A repository like owner/name, its page’s address, or the address of any folder that diffusers saved.';

export class ModelMenu {
  #onload;
  #onfiles;
  #onfailed;
  #onstored;
  #read;

  /**
   * @param {object} page
   * @param {(text: string) => ReturnType<import('../model/source.js').readSource>} page.read
   * @param {(source: import('../model/source.js').Source) => void} page.onload
   * @param {(found: import('../model/folder.js').Found[]) => void} page.onfiles  files of the visitor's were given
   * @param {(message: string) => void} page.onfailed  they could not be read
   * @param {(remove?: string|null) => void} page.onstored  asks for the list of stored models
   */
  constructor({ read, onload, onfiles, onfailed, onstored }) {
    this.#read = read;
    this.#onload = onload;
    this.#onfiles = onfiles;
    this.#onfailed = onfailed;
    this.#onstored = onstored;
    this.#setUpAddress();
    this.#setUpFiles();
    byId('model-menu').addEventListener('beforetoggle', ({ newState }) => {
      if (newState === 'open') onstored();
    });
    byId('stored-clear').addEventListener('click', () => onstored(null));
  }

  /** Opens the menu where another model can be named. */
  open() {
    openPopover(byId('model-menu'));
    byId('address').select();
  }

  /** @param {{folder: string, title: string, about: string}[]} shipped @param {string} id  of the model in use */
  showShipped(shipped, id) {
    byId('shipped').replaceChildren(...shipped.map(({ folder, title: name, about }) => {
      const button = make('button', { type: 'button', 'aria-pressed': String(id === folder) }, make('b', {}, name), ` ${about}`);
      button.addEventListener('click', () => this.#choose(this.#read(folder).source));
      return make('li', {}, button);
    }));
  }

  /** @param {{source: import('../model/source.js').Source, networks: import('../model/networks.js').Choice[], network: string, variant: string, model: import('../engine/protocol.js').Model, title: string}} loaded */
  showFacts({ source, networks, network, variant, model, title }) {
    const where = { folder: source.id, hub: source.id, files: 'this computer; a link cannot carry it' }[source.kind];
    const folders = networks.map(({ folder }) => folder);
    const { variants } = networks.find(({ folder }) => folder === network);
    const facts = [
      ['Loaded', title],
      ['From', where],
      ['About', model.description],
      ['Network', this.#select('Network', folders, shortNames(folders), network, (chosen) => ({ ...source, network: chosen, variant: null }))],
      ['Weights', this.#select('Weights', variants, variants.map(nameOfVariant), variant, (chosen) => ({ ...source, variant: chosen }))],
      ['Size', `${model.width} × ${model.height}, ${short(model.parameters)} parameters, ${short(model.macs)} multiplications an image and step`],
      ['Memory', `needs ${size(model.bytes)}, in ${model.precision === 'f16' ? 16 : 32} bit`],
      ['Credits', model.credits],
      ['Licence', model.licence],
      ['Notes', [model.scheduler_problem, ...model.notes].filter(Boolean)],
    ];
    const rows = facts.map(([name, says]) => [name, [says].flat().filter(Boolean)]).filter(([, lines]) => lines.length);
    const focused = document.activeElement?.closest('#model-facts select')?.getAttribute('aria-label');
    byId('model-facts').replaceChildren(...rows.map(([name, lines]) => make('div', {}, make('dt', {}, name), ...lines.map((line) => make('dd', {}, line)))));
    // Who chose with the keyboard can go on.
    if (focused) byId('model-facts').querySelector(`select[aria-label=${focused}]`)?.focus();
  }

  /**
   * A choice among what the model has, if there is one.
   * @param {string} label
   * @param {string[]} values
   * @param {string[]} names  what they are called
   * @param {string} chosen
   * @param {(value: string|null) => import('../model/source.js').Source} sourceOf  null for the first
   */
  #select(label, values, names, chosen, sourceOf) {
    if (values.length < 2) return null;
    const select = make('select', { 'aria-label': label }, ...values.map((value, i) => make('option', { value, selected: value === chosen }, names[i])));
    select.addEventListener('change', () => this.#onload(sourceOf(select.selectedIndex ? select.value : null)));
    return select;
  }

  /** @param {{models: {id: string, bytes: number, total: number}[], quota: number|null}} stored */
  showStored({ models, quota }) {
    const all = models.reduce((sum, { bytes }) => sum + bytes, 0);
    byId('stored-size').textContent = models.length ? size(all) : 'none';
    byId('stored-list').replaceChildren(...models.map(({ id, bytes, total }) => {
      const remove = make('button', { type: 'button', class: 'secondary', 'aria-label': `Remove ${id}` }, 'Remove');
      remove.addEventListener('click', () => {
        this.#onstored(id);
        byId('stored').querySelector('summary').focus();
      });
      return make('li', {}, make('span', { class: 'name' }, id), make('span', { class: 'number' }, bytes < total ? `${size(bytes)} of ${size(total)}` : size(bytes)), remove);
    }));
    byId('stored-room').textContent = models.length
      ? `Stored models load without the network.${quota ? ` The browser allows this page ${size(quota)}.` : ''}`
      : 'Models are stored in the browser when they are loaded, so that the next time needs no network.';
    byId('stored-clear').hidden = models.length < 2;
  }

  #choose(source) {
    byId('model-menu').hidePopover();
    this.#onload(source);
  }

  #setUpAddress() {
    const hint = byId('address-hint');
    hint.textContent = ADDRESS_HINT;
    byId('address-form').addEventListener('submit', (event) => {
      event.preventDefault();
      const { source, problem } = this.#read(byId('address').value);
      byId('address').setAttribute('aria-invalid', Boolean(problem));
      hint.classList.toggle('problem', Boolean(problem));
      hint.textContent = problem || ADDRESS_HINT;
      if (source) this.#choose(source);
    });
  }

  #setUpFiles() {
    for (const id of ['own-folder', 'own-files']) {
      const input = byId(id);
      input.addEventListener('change', () => {
        const found = chosenFiles(input);
        input.value = ''; // so that the same choice is a change again
        if (!found.length) return;
        byId('model-menu').hidePopover();
        this.#take(found);
      });
    }

    // Wherever a file is let go, the browser must not open it in place of the page.
    const carriesFiles = ({ dataTransfer }) => dataTransfer?.types.includes('Files');
    const dragging = (now) => document.body.classList.toggle('dragging', now);
    addEventListener('dragover', (event) => {
      if (!carriesFiles(event)) return;
      event.preventDefault();
      event.dataTransfer.dropEffect = 'copy';
      dragging(true);
    });
    addEventListener('dragleave', ({ relatedTarget }) => {
      if (!relatedTarget) dragging(false); // it left the window, not just an element
    });
    addEventListener('drop', (event) => {
      dragging(false);
      if (!carriesFiles(event)) return;
      event.preventDefault();
      this.#take(droppedFiles(event.dataTransfer));
    });
  }

  /** @param {import('../model/folder.js').Found[] | Promise<import('../model/folder.js').Found[]>} found */
  async #take(found) {
    try {
      this.#onfiles(await found);
    } catch (error) {
      this.#onfailed(error.message);
    }
  }
}
