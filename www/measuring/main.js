// What a picture costs, fetched when it is first asked for: a store, a worker with an engine of its own, and the view under the
// scrubber.

import { send } from '../engine/measuring-protocol.js';
import { weightsOf } from '../store/select.js';
import { createStore } from '../store/store.js';
import { addStyle } from '../view/dom.js';
import { Panel } from './panel.js';
import { INITIAL, pictureOf, reduce, shownTime, subjectOf } from './state.js';

/** @typedef {import('../engine/measuring-protocol.js').MeasuringEvent} Event */
/** @typedef {import('../store/reduce.js').Action} PageAction */
/** @typedef {import('../store/state.js').State} PageState */
/** @typedef {import('./state.js').Action} Action */
/** @typedef {import('./state.js').State} State */
/** @typedef {import('../store/store.js').Store<PageState, PageAction>} PageStore */
/** @typedef {Pick<import('../controller.js').Controller, 'change'|'dispatch'>} PageController */

/** @type {Measuring|null} */
let measuring = null;

/** @type {Promise<void>|null} */
let style = null;

/** Computes what the picture of the page costs, and shows it. @param {PageStore} page @param {PageController} controller */
export async function measure(page, controller) {
  style ??= addStyle(new URL('./style.css', import.meta.url));
  await style.catch((error) => {
    style = null;
    throw error;
  });
  measuring ??= new Measuring(page, controller);
  measuring.begin();
}

export class Measuring {
  #page;
  #controller;
  /** @type {import('../store/store.js').Store<State, Action>} */
  #store = createStore(reduce, INITIAL);
  /** @type {Worker|null} */
  #worker = null;
  #panel;

  /** @param {PageStore} page @param {PageController} controller */
  constructor(page, controller) {
    this.#page = page;
    this.#controller = controller;
    this.#panel = new Panel(this);
    this.#store.subscribe((state) => this.#panel.render(state));
    page.subscribe((state) => this.#follow(state));
  }

  /** @returns {State} */
  get #state() {
    return this.#store.state;
  }

  /** Measures what is the picture now. */
  begin() {
    const subject = subjectOf(this.#page.state);
    if (!subject) return;
    this.#connect(subject, true);
    this.#follow(this.#page.state);
    this.#panel.focus();
  }

  /** Measures what is the picture by now, or the likelihood of the same one. @param {boolean} bound */
  again(bound) {
    const subject = (bound && subjectOf(this.#page.state)) || this.#state.subject;
    if (subject && this.#state.isOfPage) this.#connect(subject, bound);
  }

  stop() {
    this.#disconnect();
    this.#store.dispatch({ type: 'stop' });
  }

  close() {
    this.#disconnect();
    this.#store.dispatch({ type: 'close' });
    const button = document.getElementById('measure-picture');
    if (button?.checkVisibility()) button.focus();
  }

  /** @param {number} steps  of the likelihood's solver */
  chooseSteps(steps) {
    if (this.#store.dispatch({ type: 'steps', steps })) this.again(false);
  }

  /** @param {number|null} t  whose term is to be told */
  point(t) {
    this.#store.dispatch({ type: 'point', t });
  }

  /** Runs begin with the noise that the picture was followed to. */
  takeNoise() {
    const { encoded, subject, isOfPage } = this.#state;
    if (!encoded || !subject || !isOfPage) return;
    const { shape, levels } = subject;
    this.#controller.change({ do: 'noise', noise: encoded.noise, shape, levels });
    this.#controller.dispatch({ type: 'announce', text: 'Generate begins with the noise of the picture.' });
  }

  /** @param {import('./state.js').Subject} subject @param {boolean} bound */
  #connect(subject, bound) {
    this.#disconnect();
    const id = this.#state.id + 1;
    this.#store.dispatch({ type: 'measure', id, subject, bound });
    const worker = new Worker(new URL('../engine/measuring-worker.js', import.meta.url), { type: 'module' });
    this.#worker = worker;
    worker.onmessage = ({ data }) => this.#hear(data);
    worker.onerror = (event) => {
      event.preventDefault();
      this.#hear({ type: 'failed', id, message: event.message || 'The worker could not be loaded. It needs the network the first time.' });
    };
    const { settings: { backend, autotune } } = this.#page.state;
    const { source, labels, seed } = subject;
    send(worker, { id, backend, autotune: autotune === '1', source, picture: pictureOf(subject), labels, seed, bound, steps: this.#state.steps });
  }

  /** @param {Event} event */
  #hear(event) {
    const { estimate } = this.#state;
    if (!this.#store.dispatch(event)) return;
    if (event.type === 'finished' || event.type === 'failed') this.#disconnect();
    const announce = (/** @type {string} */ text) => this.#controller.dispatch({ type: 'announce', text });
    if (event.type === 'estimate' && !estimate) announce(`At most about ${event.estimate.sum.mean.toFixed(2)} bits/dim.`);
    const { bound, likelihood } = this.#state.problems;
    if (event.type === 'finished') announce(bound ?? likelihood ?? 'What the picture costs is computed.');
    if (event.type === 'failed') announce(`What the picture costs could not be computed. ${event.message}`);
  }

  /** What the page shows, and whether it has another model by now: it has one until the next is loaded. @param {PageState} page */
  #follow(page) {
    const { subject } = this.#state;
    const isOfPage = page.loaded !== null && subject?.weights === weightsOf(page.loaded);
    this.#store.dispatch({ type: 'page', t: shownTime(page, subject), isOfPage });
    if (this.#state.phase === 'replaced') this.#disconnect();
  }

  #disconnect() {
    this.#worker?.terminate();
    this.#worker = null;
  }
}
