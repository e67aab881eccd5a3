// The loss over the steps, each step's faint and a moving average through them, on a logarithmic axis; and what a run says in numbers.

import { atNextFrame, byId, changes, svg } from '../../view/dom.js';
import { duration } from '../../words/format.js';
import { axisOf, linesOf } from '../store/curve.js';
import { secondsLeft } from '../store/select.js';

/** @typedef {import('../store/state.js').State} State */

/** Room for the axes' numbers, in pixels. */
const MARGIN = { left: 48, right: 12, top: 8, bottom: 24 };
const HEIGHT = 200;
/** The width of a digit, and the least room between two labels, in pixels. */
const LETTER = 7;
const GAP = 8;

export class Chart {
  #chart = byId('loss');
  #changed = { curve: changes(), numbers: changes() };
  /** @type {State['run']} */
  #run = null;
  #shown = /** @type {number|null} */ (null);
  #request = atNextFrame(() => this.#draw());

  constructor() {
    new ResizeObserver(() => this.#request()).observe(this.#chart);
  }

  /** @param {State} state */
  render({ run, shown }) {
    this.#run = run;
    this.#shown = shown;
    if (!run) return;
    if (this.#changed.curve(run.curve, run.recipe, shown)) this.#request();
    const { step, recipe, curve, speed, kept, activity } = run;
    if (!this.#changed.numbers(step, recipe, curve, speed, kept, activity)) return;
    const left = activity === 'learning' ? secondsLeft(run) : null;
    byId('read-step').textContent = recipe ? `${step} of ${recipe.steps}` : '–';
    byId('read-loss').textContent = curve.length ? curve.smooth[curve.length - 1].toPrecision(3) : '–';
    byId('read-speed').textContent = speed ? speed.toPrecision(3) : '–';
    byId('read-left').textContent = left === null ? '–' : duration(1000 * left);
    byId('read-kept').textContent = kept === null ? 'not yet' : `step ${kept}`;
  }

  #draw() {
    const run = this.#run;
    const width = this.#chart.clientWidth;
    if (!run || !width) return;
    const { left, right, top, bottom } = MARGIN;
    const [wide, high] = [Math.max(1, width - left - right), HEIGHT - top - bottom];
    const last = Math.max(1, run.recipe?.steps ?? 1, run.curve.steps[run.curve.length - 1] ?? 0);
    const { from, to, marks } = axisOf(run.curve);
    const x = (/** @type {number} */ step) => left + (step / last) * wide;
    const y = (/** @type {number} */ loss) => top + (1 - Math.log(Math.max(loss, from) / from) / Math.log(to / from)) * high;
    const line = (/** @type {string} */ name, /** @type {[number, number][]} */ points) => svg('polyline', { class: name, points: points.map(([step, loss]) => `${x(step).toFixed(1)},${y(loss).toFixed(1)}`).join(' ') });
    const { raw, smooth } = linesOf(run.curve, wide);
    // The last label ends where it stands, and the one before it is in the middle of its place.
    const parts = wide / 4 > 1.5 * LETTER * last.toLocaleString('en').length + GAP ? 4 : 2;
    const steps = Array.from({ length: parts + 1 }, (_, i) => Math.round((i * last) / parts)).filter((step, i, all) => all.indexOf(step) === i);
    this.#chart.setAttribute('viewBox', `0 0 ${width} ${HEIGHT}`);
    this.#chart.replaceChildren(
      ...marks.flatMap((mark) => [svg('line', { class: 'mark', x1: left, x2: left + wide, y1: y(mark), y2: y(mark) }), svg('text', { class: 'at-left', x: left - 8, y: y(mark) + 4 }, String(mark))]),
      ...steps.map((step) => svg('text', { class: step === 0 ? 'at-first' : step === last ? 'at-last' : 'at-bottom', x: x(step), y: HEIGHT - 6 }, step.toLocaleString('en'))),
      line('raw', raw),
      line('smooth', smooth),
      ...(this.#shown === null ? [] : [svg('line', { class: 'shown', x1: x(this.#shown), x2: x(this.#shown), y1: top, y2: top + high })]),
    );
  }
}
