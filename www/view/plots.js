// Plots over a run with the step marked that is shown: what x_t is a mixture of, its signal-to-noise ratio, the size of ε̂, how
// much x̂0 still changes; and how the numbers of x_t are spread.

import { densityOf, mixtureOf, rms, shownAt } from '../engine/numbers.js';
import { selectedRun } from '../store/select.js';
import { number, snr } from '../words/format.js';
import { beliefOf } from './belief.js';
import { atNextFrame, byId, changes, make, svg } from './dom.js';
import { symbol } from './maths.js';

/** @typedef {import('../engine/numbers.js').Numbers} Numbers */
/** @typedef {import('../store/recording.js').Recording} Recording */
/** @typedef {import('../store/state.js').State} State */
/** A line: what it is called in the style sheet, and its points, of which those that are not known are left out. @typedef {{name: string, points: [number, number][]}} Line */

const CHART = { width: 300, height: 64 };
/** Decibels that are shown. */
const SNR = { from: -40, to: 40 };
/** The histogram's range and bars. */
const SPREAD = { limit: 4, bins: 40 };
/** More numbers than that of an image tell nothing more about their mean. */
const MOST = 2 ** 16;

export class Plots {
  #chart = byId('chart');
  #caption = byId('chart-caption');
  /** @type {NodeListOf<HTMLInputElement>} */
  #choices = document.querySelectorAll('input[name=plot]');
  #changed = changes();
  #sizes = new Sizes();
  /** @type {State} */
  #state;
  #request = atNextFrame(() => this.#draw());

  /** @param {State} state */
  constructor(state) {
    this.#state = state;
    for (const choice of this.#choices) choice.addEventListener('change', () => this.#draw());
  }

  /** @param {State} state */
  render(state) {
    this.#state = state;
    const run = selectedRun(state);
    if (this.#changed(run?.id, run?.revision, state.selection.index, state.selection.image)) this.#request();
  }

  #draw() {
    const plot = [...this.#choices].find(({ checked }) => checked)?.value ?? 'mixture';
    const run = selectedRun(this.#state);
    const { width, height } = CHART;
    this.#chart.setAttribute('viewBox', `0 -2 ${width} ${height + 4}`);
    this.#chart.replaceChildren();
    this.#chart.dataset.plot = plot;
    if (!run) {
      this.#caption.replaceChildren('Nothing was generated yet.');
      return;
    }
    const { recording } = run;
    if (plot === 'spread') return this.#drawSpread(recording);
    const { step } = recording.states[this.#state.selection.index];
    const { lines, caption } = plot === 'belief' ? this.#belief(run, step) : this.#linesOf(plot, recording, step);
    const at = (/** @type {number} */ of) => (of / recording.steps) * width;
    this.#chart.append(
      ...lines.map(({ name, points }) => svg('polyline', { class: name, points: points.map(([x, y]) => `${at(x).toFixed(1)},${((1 - Math.min(1, Math.max(0, y))) * height).toFixed(1)}`).join(' ') })),
      svg('line', { class: 'marker', x1: at(step), x2: at(step), y1: -2, y2: height + 2 }),
    );
    this.#caption.replaceChildren(...caption);
  }

  /**
   * @param {string} plot
   * @param {Recording} recording
   * @param {number} step  that is shown
   * @returns {{lines: Line[], caption: (Node|string)[]}}  heights are from 0 to 1
   */
  #linesOf(plot, recording, step) {
    const { rows, states, steps } = recording;
    if (plot === 'mixture') {
      const shares = [...rows.map(sharesOf), { signal: 1, noise: 0 }];
      const line = (/** @type {'signal'|'noise'} */ name) => ({ name, points: shares.map((share, i) => /** @type {[number, number]} */ ([i, share[name]])) });
      return { lines: [line('noise'), line('signal')], caption: [key('signal', 'picture'), ' ', key('noise', 'noise'), ' in ', symbol('xt'), ', over the run'] };
    }
    if (plot === 'snr') {
      const decibels = (/** @type {number} */ alpha) => 10 * Math.log10(alpha / (1 - alpha));
      const points = rows.map(({ alpha_cumprod: alpha }, i) => /** @type {[number, number]} */ ([i, (decibels(alpha) - SNR.from) / (SNR.to - SNR.from)]));
      const zero = -SNR.from / (SNR.to - SNR.from);
      const lines = [{ name: 'noise', points: /** @type {[number, number][]} */ ([[0, zero], [steps, zero]]) }, { name: 'signal', points }];
      const here = rows[step] ? `${snr(rows[step].alpha_cumprod)} here` : 'no noise is left here';
      return { lines, caption: [`Signal to noise from ${SNR.from} to ${SNR.to} dB; `, key('noise', 'as much of each'), `; ${here}`] };
    }
    const image = Math.min(this.#state.selection.image, recording.count - 1);
    const known = states.map((_, i) => ({ step: states[i].step, value: plot === 'noise' ? this.#sizes.noise(recording, i, image) : this.#sizes.change(recording, i, image) }));
    const values = known.filter(({ value }) => value !== null);
    const most = Math.max(plot === 'noise' ? 1.5 : 1e-6, ...values.map(({ value }) => Number(value)));
    const lines = [{ name: 'signal', points: values.map((one) => /** @type {[number, number]} */ ([one.step, Number(one.value) / most])) }];
    if (plot === 'noise') lines.unshift({ name: 'noise', points: [[0, 1 / most], [steps, 1 / most]] });
    const here = known.find((one) => one.step === step)?.value;
    const text = here === null || here === undefined ? '' : `; ${number(here)} here`;
    return { lines, caption: plot === 'noise'
      ? ['Size of ε̂ in the chosen image, root mean square, up to ', number(most), '; ', key('noise', 'that of pure noise'), text]
      : ['How much x̂0 changed since the state before (RMS), up to ', number(most), text] };
  }

  /** What the classifier believes of the chosen image. @param {import('../store/state.js').Run} run @param {number} step  that is shown @returns {{lines: Line[], caption: (Node|string)[]}} */
  #belief({ recording, guided }, step) {
    if (!recording.isClassified) return { lines: [], caption: ['No classifier guides this run.'] };
    const classes = beliefOf(recording, Math.min(this.#state.selection.image, recording.count - 1), step);
    const said = classes.flatMap(({ label, here }, i) => [i ? ' ' : '', key(`belief-${i}`, `${guided?.names[label] ?? label} ${here === null ? '–' : number(here)}`)]);
    return { lines: classes.map(({ points }, i) => ({ name: `belief-${i}`, points })), caption: ['p(k | ', symbol('xt'), ') of the chosen image here: ', ...said] };
  }

  /** The numbers of x_t in the chosen image against the normal density. @param {Recording} recording */
  #drawSpread(recording) {
    const { width, height } = CHART;
    const { limit, bins } = SPREAD;
    const { index, image } = this.#state.selection;
    const { step } = recording.states[index];
    const x = /** @type {Numbers} */ (recording.numbers(index, 'x', Math.min(image, recording.count - 1), 1));
    const density = densityOf(x, shownAt(recording.rows, step).scale, limit, bins);
    const normal = Array.from({ length: width / 2 + 1 }, (_, i) => Math.exp(-((((4 * i) / width - 1) * limit) ** 2) / 2) / Math.sqrt(2 * Math.PI));
    // The normal density takes two thirds of the height; a bar that is higher has it all.
    const at = (/** @type {number} */ value) => Math.min(1, value * 1.6) * height;
    this.#chart.append(
      ...density.map((value, i) => svg('rect', { class: 'bar', x: ((i + 0.1) * width) / bins, y: height - at(value), width: (0.8 * width) / bins, height: at(value) })),
      svg('polyline', { class: 'signal', points: normal.map((value, i) => `${2 * i},${(height - at(value)).toFixed(1)}`).join(' ') }),
    );
    this.#caption.replaceChildren(key('bars', ''), symbol('xt'), ' of the chosen image', ` from −${limit} to ${limit}; `, key('signal', 'the normal density'));
  }
}

/** @param {string} name @param {string} text */
const key = (name, text) => make('span', { class: `key ${name}` }, text);

/** How much picture and how much noise there is before an evaluation, at most 1 each. @param {import('../engine/protocol.js').Row} row */
function sharesOf(row) {
  const { signal, noise } = mixtureOf(row);
  // Where x is x_0 + σ ε it is seen as a mixture whose variance is 1.
  const all = signal + noise > 1.5 ? Math.hypot(signal, noise) : 1;
  return { signal: signal / all, noise: noise / all };
}

/** Sizes of what evaluations found, each computed once. */
class Sizes {
  /** By the x̂0 of an evaluation, with the x̂0 that a change is counted from, and then the image. @type {Record<'noise'|'change', WeakMap<Numbers, {before: Numbers|null, sizes: Map<number, number>}>>} */
  #known = { noise: new WeakMap(), change: new WeakMap() };

  /** The root mean square of an evaluation's ε̂; null for a state that has none of its own. @param {Recording} recording @param {number} index @param {number} image */
  noise(recording, index, image) {
    const { step, x0, x0Step } = recording.states[index];
    if (!x0 || x0Step !== step || step === recording.steps) return null;
    return this.#once('noise', x0, null, image, () => sparse(recording.numbers(index, 'eps', image, 1)));
  }

  /** That of what its x̂0 has that the one before has not. @param {Recording} recording @param {number} index @param {number} image */
  change(recording, index, image) {
    const { step, x0, x0Step } = recording.states[index];
    const before = index > 0 ? recording.numbers(index - 1, 'x0', image, 1) : null;
    const now = recording.numbers(index, 'x0', image, 1);
    if (!x0 || !now || !before || x0Step !== step) return null;
    // After thinning another state is before it.
    return this.#once('change', x0, recording.states[index - 1].x0, image, () => sparse(now.map((value, i) => value - before[i])));
  }

  /** @param {'noise'|'change'} what @param {Numbers} of @param {Numbers|null} before @param {number} image @param {() => number} size */
  #once(what, of, before, image, size) {
    let known = this.#known[what].get(of);
    if (known?.before !== before) this.#known[what].set(of, known = { before, sizes: new Map() });
    if (!known.sizes.has(image)) known.sizes.set(image, size());
    return /** @type {number} */ (known.sizes.get(image));
  }
}

/** The root mean square of some, or of many of them. @param {Numbers|null} numbers */
function sparse(numbers) {
  if (!numbers || numbers.length <= MOST) return rms(numbers ?? new Float32Array());
  const every = Math.ceil(numbers.length / MOST);
  return rms(numbers.filter((_, i) => i % every === 0));
}
