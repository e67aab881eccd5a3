// The pictures: the grid of a batch, and beside it the chosen image, large, in every view.

import { captionOf, phase, selectedRun, shownLayout, shownShape } from '../store/select.js';
import { number } from '../words/format.js';
import { atNextFrame, byId, changes, contextOf, imageData, make } from './dom.js';

/** @typedef {import('../store/state.js').State} State */

/** What the views are called. */
const VIEWS = { x: 'x_t', x0: 'x̂0', eps: 'ε̂', change: 'the last change', gradient: 'the gradient of the classifier' };
const ALL = /** @type {import('../store/recording.js').View[]} */ (Object.keys(VIEWS));

export class Gallery {
  #canvas = byId('images');
  /** A listbox that lies over the canvas: one option an image, so that keys can choose too. @type {HTMLElement} */
  #list = byId('options');
  /** One a view. @type {Record<import('../store/recording.js').View, HTMLCanvasElement>} */
  #loupes = { x: byId('loupe-x'), x0: byId('loupe-x0'), eps: byId('loupe-eps'), change: byId('loupe-change'), gradient: byId('loupe-gradient') };
  #controller;
  /** @type {State} */
  #state;
  #changed = { shape: changes(), image: changes(), look: changes(), frame: changes(), caption: changes() };
  /** Whether what is to be shown has not been drawn yet. */
  #waiting = false;
  #requestDraw = atNextFrame(() => {
    if (this.#waiting) this.#draw();
  });

  /** @param {import('../controller.js').Controller} controller @param {State} state */
  constructor(controller, state) {
    this.#controller = controller;
    this.#state = state;
    this.#list.addEventListener('click', (/** @type {any} */ { target }) => {
      const option = target.closest('[role=option]');
      if (option) this.#choose([...this.#list.children].indexOf(option));
    });
    this.#list.addEventListener('keydown', (event) => this.#key(event));
  }

  /** @param {State} state */
  render(state) {
    this.#state = state;
    const { selection, preview } = state;
    const { width, height } = shownShape(state);
    const run = selectedRun(state);
    const layout = shownLayout(state);
    const reshaped = this.#changed.shape(width, height, layout);
    if (reshaped) this.#setShape(layout, width, height);
    if (this.#changed.image(selection.image) || reshaped) this.#mark(selection.image);
    if (this.#changed.caption(captionOf(state))) byId('caption').textContent = captionOf(state);

    // Frames may come faster than the screen shows them; whatever the visitor does is shown at once.
    const looksElsewhere = this.#changed.look(selection.image, selection.view, selection.following);
    const grows = selection.following && phase(state) === 'running';
    const others = this.#changed.frame(run?.id, selection.index, run?.revision, preview);
    if (others || looksElsewhere || reshaped) this.#waiting = true;
    if (!this.#waiting) return;
    if (grows && !looksElsewhere) this.#requestDraw();
    else this.#draw();
  }

  /** Makes room for a batch. @param {import('../store/layout.js').Layout} layout @param {number} width @param {number} height */
  #setShape({ columns, rows, cells }, width, height) {
    this.#canvas.width = columns * width;
    this.#canvas.height = rows * height;
    for (const loupe of Object.values(this.#loupes)) Object.assign(loupe, { width, height });
    // Small pictures are looked at pixel by pixel; large ones may be shown smaller than they are.
    this.#canvas.classList.toggle('smooth', Math.max(width, height) >= 128);
    const pictures = this.#canvas.parentElement.parentElement;
    pictures.style.setProperty('--columns', columns);
    pictures.style.setProperty('--aspect', (columns * width) / (rows * height));
    // Beside the line of a word there is little room, under it much.
    pictures.classList.toggle('wide', columns * width >= 2 * rows * height);
    this.#list.replaceChildren(...cells.map(({ column, row }, i) => {
      const option = make('div', { role: 'option', 'aria-label': `Image ${i + 1}` });
      option.style.gridArea = `${row + 1} / ${column + 1}`;
      return option;
    }));
  }

  #draw() {
    this.#waiting = false;
    const { selection, preview } = this.#state;
    const run = selectedRun(this.#state);
    if (!run) {
      const { batch, real } = preview;
      this.#drawGrid(batch.pixels);
      // Nothing was computed yet: only the finished picture is there, if it is.
      for (const view of ALL) this.#drawLoupe(view, real && view === 'x0' ? batch.pixels : null, selection.image);
      this.#note('after a run', real ? (preview.recipe ? 'as it was kept' : 'a sample') : 'after a run', 'after a run', 'after a run', '');
      this.#describe(real ? `${batch.count} images made by this model` : 'Noise: nothing was generated yet');
      return;
    }
    const { recording } = run;
    const { index, view, image } = selection;
    const { step, x0, x0Step } = recording.states[index];
    this.#drawGrid(recording.batch(index, view));
    for (const one of ALL) this.#drawLoupe(one, recording.numbers(index, one, 0, 1) && recording.image(index, one, image), 0);
    this.#describe(`${recording.count} images, ${VIEWS[recording.numbers(index, view, 0, 1) ? view : 'x']} at step ${step} of ${recording.steps}`);
    // The newest step of a run has no prediction of its own yet.
    const at = recording.evaluation(index)?.step ?? step;
    const before = recording.before(index);
    const gain = recording.gain(index);
    const peak = recording.peak(index, image);
    this.#note(
      'what the model sees',
      x0 && x0Step !== step ? `expected at step ${x0Step}` : 'what it expects',
      at === step ? 'the noise it sees' : `seen at step ${at}`,
      before ? `since step ${before.step}${gain > 1 ? `, ×${gain}` : ''}` : 'nothing yet',
      peak ? `up to ±${number(peak)}` : 'no classifier here',
    );
  }

  /** What stands beside x_t, x̂0, ε̂, the change and the gradient. @param {...string} notes */
  #note(...notes) {
    for (const [i, id] of ['loupe-x-note', 'loupe-note', 'loupe-noise-note', 'loupe-change-note', 'loupe-gradient-note'].entries()) {
      if (byId(id).textContent !== notes[i]) byId(id).textContent = notes[i];
    }
  }

  /** @param {Uint8Array|Uint8ClampedArray} pixels  the batch as the grid shows it */
  #drawGrid(pixels) {
    const { width, height } = shownShape(this.#state);
    const context = contextOf(this.#canvas);
    for (const [i, { column, row }] of shownLayout(this.#state).cells.entries()) {
      context.putImageData(imageData(pixels, i, width, height), column * width, row * height);
    }
  }

  /** @param {import('../store/recording.js').View} view @param {Uint8Array|Uint8ClampedArray|null} pixels  null: there is nothing to show @param {number} image  of them */
  #drawLoupe(view, pixels, image) {
    const { width, height } = shownShape(this.#state);
    const context = contextOf(this.#loupes[view]);
    if (pixels) context.putImageData(imageData(pixels, image, width, height), 0, 0);
    else context.clearRect(0, 0, width, height);
  }

  /** @param {string} text  what the grid shows, for those who cannot see it */
  #describe(text) {
    this.#canvas.setAttribute('aria-label', text);
  }

  /** @param {number} image  that is chosen */
  #mark(image) {
    for (const [i, option] of [...this.#list.children].entries()) {
      option.setAttribute('aria-selected', String(i === image));
      /** @type {HTMLElement} */ (option).tabIndex = i === image ? 0 : -1;
    }
  }

  /** @param {number} image */
  #choose(image) {
    this.#controller.dispatch({ type: 'chooseImage', image });
    /** @type {HTMLElement} */ (this.#list.children[image]).focus();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const { image } = this.#state.selection;
    const { cells } = shownLayout(this.#state);
    const moves = { ArrowLeft: image - 1, ArrowRight: image + 1, ArrowUp: inRow(cells, image, -1), ArrowDown: inRow(cells, image, 1), Home: 0, End: cells.length - 1 };
    const next = moves[/** @type {keyof typeof moves} */ (event.key)];
    if (next === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    if (next in cells) this.#choose(next);
  }
}

/** The image nearest to another in the row above or below, or −1. @param {import('../store/layout.js').Layout['cells']} cells @param {number} image @param {number} move */
function inRow(cells, image, move) {
  const { column, row } = cells[image];
  const off = (/** @type {number} */ i) => (cells[i].row === row + move ? Math.abs(cells[i].column - column) : Infinity);
  const nearest = cells.reduce((best, _, i) => (off(i) < off(best) ? i : best), 0);
  return off(nearest) === Infinity ? -1 : nearest;
}
