// A comparison in place of the pictures: a column a run, all at the same part of their way, or a matrix.

import { batchOf, distanceOf, indexAt, isLeft, isTaken, measureProblem, referenceSettings, referenceTime, stopsOf, trialUnderWay } from '../store/comparing.js';
import { phase, selectedRun } from '../store/select.js';
import { SAMPLERS } from '../store/settings.js';
import { duration, time } from '../words/format.js';
import { messageOf } from '../words/messages.js';
import { pictureOf } from '../keep/pictures.js';
import { atNextFrame, byId, changes, contextOf, make } from './dom.js';
import { Matrix } from './matrix.js';

/** @typedef {import('../store/comparing.js').Comparison} Comparison */
/** @typedef {import('../store/comparing.js').Trial} Trial */
/** @typedef {import('../store/state.js').State} State */

const ABOUT_DISTANCE = 'RMS: how far the finished pictures are from those of many small steps without chance that begin with the same noise. The root of the mean squared difference of all pixels, from 0 (the same) to 255.';

export class ComparisonView {
  #stage = byId('comparison').parentElement;
  #section = byId('comparison');
  #list = byId('columns');
  #slider = byId('comparison-at');
  #views = document.querySelectorAll(/** @type {'input'} */ ('input[name=comparison-view]'));
  #measure = byId('measure');
  #matrix;
  /** @type {Column[]} */
  #columns = [];
  #controller;
  /** @type {State} */
  #state;
  #changed = { shown: changes(), values: changes(), all: changes() };
  /** What had the focus before it was shown. @type {Element|null} */
  #shownBy = null;
  #request = atNextFrame(() => this.#paint());

  /** @param {import('../controller.js').Controller} controller @param {State} state */
  constructor(controller, state) {
    this.#controller = controller;
    this.#state = state;
    this.#matrix = new Matrix(byId('matrix'), () => this.#request());
    this.#slider.addEventListener('input', () => controller.dispatch({ type: 'scrubComparison', at: Number(this.#slider.value) / Number(this.#slider.max) }));
    for (const input of this.#views) input.addEventListener('change', () => controller.dispatch({ type: 'viewComparison', view: input.value === 'x' ? 'x' : 'x0' }));
    this.#measure.addEventListener('click', () => controller.measure());
    byId('comparison-on').addEventListener('click', () => controller.compareOn());
    byId('comparison-back').addEventListener('click', () => controller.dispatch({ type: 'showComparison', shown: false }));
    byId('comparison-save').addEventListener('click', () => this.#save());
  }

  /** @param {State} state */
  render(state) {
    this.#state = state;
    const { shown, comparison } = state.comparing;
    if (this.#changed.shown(shown)) this.#show(shown);
    if (!shown || !comparison) return;
    if (this.#changed.values(comparison.values)) {
      this.#build(comparison);
      byId('comparison-title').focus(); // where the page is long, it is not in sight
    }
    if (this.#changed.all(comparison, state.settings, phase(state))) this.#request();
  }

  /** @param {boolean} shown */
  #show(shown) {
    const before = this.#stage.classList.contains('compares');
    this.#stage.classList.toggle('compares', shown);
    this.#section.hidden = !shown;
    const { activeElement } = document;
    if (shown) {
      if (activeElement !== document.body) this.#shownBy = activeElement;
      byId('comparison-title').focus();
    } else if (before && (activeElement === document.body || this.#section.contains(activeElement))) this.#leave();
  }

  /** What had the focus is gone: it goes back to what showed the comparison, or would show it again. */
  #leave() {
    const ways = [this.#shownBy, byId('comparing-show'), document.querySelector('#options [aria-selected=true]')];
    const way = ways.find((one) => one?.checkVisibility() && !one.matches(':disabled'));
    if (way instanceof HTMLElement) way.focus();
  }

  /** Makes room for the runs of another comparison. @param {Comparison} comparison */
  #build(comparison) {
    const { kind, trials, caption, title } = comparison;
    byId('comparison-title').textContent = kind === 'columns' ? `${trials.length} runs from the same noise` : `Matrix of ${trials.length} runs`;
    byId('comparison-caption').textContent = `${title} · ${caption}`;
    this.#columns = kind === 'columns' ? trials.map((_, i) => new Column(() => this.#controller.takeTrial(i))) : [];
    this.#list.replaceChildren(...this.#columns.map(({ element }) => element));
    this.#list.style.setProperty('--count', this.#columns.length);
    this.#list.hidden = kind !== 'columns';
    byId('matrix').hidden = kind !== 'matrix';
    byId('comparison-foot').hidden = kind !== 'columns';
  }

  #paint() {
    const { comparing: { comparison, shown } } = this.#state;
    if (!comparison || !shown) return;
    const { at, view, kind } = comparison;
    const isReady = phase(this.#state) === 'ready';
    byId('comparison-on').hidden = !isReady || !comparison.trials.some(isLeft);
    byId('comparison-back').textContent = selectedRun(this.#state) ? 'Back to the run' : 'Back';
    if (kind === 'matrix') return this.#matrix.paint(comparison);
    this.#columns.forEach((column, i) => column.render(this.#state, comparison, i));
    const stops = stopsOf(comparison);
    this.#slider.max = String(stops);
    this.#slider.value = String(Math.round(at * stops));
    this.#slider.setAttribute('aria-valuetext', `${Math.round(at * 100)} % of the way`);
    for (const input of this.#views) input.checked = input.value === view;
    const isMeasured = comparison.trials.some((trial) => distanceOf(comparison, trial) !== null);
    this.#measure.hidden = isMeasured;
    this.#measure.textContent = comparison.references.some(isLeft) ? 'Go on measuring' : 'Measure distances';
    this.#measure.disabled = !isReady || measureProblem(this.#state) !== '';
    byId('measure-hint').textContent = isMeasured ? `Distances are from ${referenceWords(comparison)}.`
      : (trialUnderWay(this.#state) ?? 0) >= comparison.trials.length ? `Under way: ${referenceWords(comparison)}.`
      : comparison.references.find(({ problem }) => problem)?.problem || measureProblem(this.#state) || `Makes ${referenceWords(comparison)}. That takes about ${duration(referenceTime(comparison))}.`;
  }

  async #save() {
    const { comparison } = this.#state.comparing;
    if (!comparison) return;
    try {
      await this.#matrix.save(comparison);
      this.#controller.dispatch({ type: 'announce', text: 'PNG saved.' });
    } catch (error) {
      this.#controller.dispatch({ type: 'notify', notice: { key: 'save', text: `The picture could not be saved (${messageOf(error)}).` } });
    }
  }
}

/** @param {Comparison} comparison */
function referenceWords(comparison) {
  const references = referenceSettings(comparison);
  const [{ sampler, steps }] = references;
  const which = references.length === 1 ? 'a reference' : `${references.length} references, one for each guidance,`;
  return `${which} from the same noise: ${steps} steps of ${SAMPLERS[sampler]}, without chance`;
}

/** A run of a comparison: a button with its pictures that brings its settings into the fields, and what is known of it. */
class Column {
  #canvas = document.createElement('canvas');
  #name = make('b');
  #button;
  #step = make('p', { class: 'number' });
  #made = make('p', { class: 'number' });
  #distance = make('p', { class: 'number' });
  #changed = { pictures: changes(), taken: changes() };

  /** @param {() => void} take */
  constructor(take) {
    this.#canvas.setAttribute('aria-hidden', 'true');
    this.#button = make('button', { type: 'button', 'data-tip': 'Click to have these settings in the fields.' }, this.#canvas, this.#name);
    this.#button.addEventListener('click', take);
    this.element = make('li', {}, this.#button, this.#step, this.#made, this.#distance);
  }

  /** @param {State} state @param {Comparison} comparison @param {number} index */
  render(state, comparison, index) {
    const trial = comparison.trials[index];
    const { words, recording, revision } = trial;
    this.#name.textContent = words;
    if (this.#changed.taken(state.settings, comparison.values)) this.#button.setAttribute('aria-pressed', String(isTaken(state, trial)));
    const at = recording && indexAt(recording, comparison.at);
    if (this.#changed.pictures(recording, revision, at, comparison.view)) this.#draw(comparison, trial, at);
    if (recording && at !== null) {
      const { step } = recording.states[at];
      const row = recording.rows.at(step);
      this.#step.textContent = `step ${step} of ${recording.steps}${row ? ` · t = ${time(row.timestep)}` : ''}`;
    } else this.#step.textContent = '–';
    this.#made.textContent = madeWords(trial, trialUnderWay(state) === index);
    const distance = distanceOf(comparison, trial);
    if (distance === null) this.#distance.replaceChildren();
    else this.#distance.replaceChildren(make('button', { type: 'button', class: 'term', 'data-tip': ABOUT_DISTANCE }, 'RMS'), ` ${distance.toFixed(1)}`);
  }

  /** @param {Comparison} comparison @param {Trial} trial @param {number|null} at  among the states of its recording */
  #draw({ model, view }, { recording, layout }, at) {
    const { width, height } = recording ?? model;
    const size = { width: layout.columns * width, height: layout.rows * height };
    if (this.#canvas.width !== size.width || this.#canvas.height !== size.height) Object.assign(this.#canvas, size);
    this.#canvas.classList.toggle('smooth', Math.max(width, height) >= 128);
    if (!recording || at === null) return contextOf(this.#canvas).clearRect(0, 0, size.width, size.height);
    const picture = pictureOf(batchOf(recording, at, view), { width, height }, layout);
    contextOf(this.#canvas).putImageData(new ImageData(picture.pixels, picture.width, picture.height), 0, 0);
  }
}

/** What it took, or why there is nothing to tell yet. @param {Trial} trial @param {boolean} isUnderWay */
function madeWords({ recording, milliseconds, problem }, isUnderWay) {
  if (problem) return problem;
  if (recording && milliseconds !== null) return `${recording.steps} ${recording.steps === 1 ? 'evaluation' : 'evaluations'} · ${duration(milliseconds)}`;
  if (isUnderWay) return 'under way';
  return recording ? 'stopped' : 'waits';
}
