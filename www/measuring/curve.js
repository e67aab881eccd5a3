// The terms of the bound by timestep, from noise to picture as the scrubber has it, on a logarithmic axis, with the shown step's t
// marked; the term of a timestep that is pointed at is told in numbers.

import { make, svg } from '../view/dom.js';
import { alphaBar, time } from '../words/format.js';
import { decades, pointAt } from './state.js';

/** @typedef {import('./state.js').State} State */

/** Bits for a number: terms span as many orders of magnitude as ᾱ_t, and a likelihood may be above 1. @param {number} value */
export const bits = (value) => (value === 0 ? '0' : `${value < 0 ? '−' : ''}${alphaBar(Math.abs(value))}`);

/** Room for the labels, in pixels. */
const EDGE = { left: 40, right: 8, top: 8, bottom: 20 };

export class Curve {
  #chart = svg('svg', { 'aria-hidden': 'true' });
  #slider = /** @type {HTMLInputElement} */ (make('input', { type: 'range', min: '0', max: '1', step: '1', value: '0', 'aria-label': 'Timestep t of the curve', 'aria-describedby': 'measuring-point' }));
  #told = make('figcaption', { id: 'measuring-point' });
  element;
  /** @type {State|null} */
  #state = null;

  /** @param {(t: number|null) => void} point */
  constructor(point) {
    const plot = make('div', { class: 'plot' }, this.#chart, this.#slider);
    this.element = make('figure', { class: 'curve' }, plot, this.#told);
    this.#slider.addEventListener('input', () => point(Number(this.#slider.value)));
    this.#slider.addEventListener('focus', () => point(Number(this.#slider.value)));
    this.#slider.addEventListener('pointermove', ({ offsetX }) => point(this.#timeAt(offsetX)));
    this.#slider.addEventListener('pointerleave', () => point(document.activeElement === this.#slider ? Number(this.#slider.value) : null));
    this.#slider.addEventListener('blur', () => point(null));
    new ResizeObserver(() => this.#draw()).observe(plot);
  }

  /** @param {State} state */
  render(state) {
    this.#state = state;
    this.#draw();
  }

  /** @param {number} x  in pixels of the slider, which is as wide as what is drawn */
  #timeAt(x) {
    const last = (this.#state?.subject?.timesteps ?? 1) - 1;
    const share = x / Math.max(1, this.#slider.clientWidth);
    return Math.round((1 - Math.min(1, Math.max(0, share))) * last);
  }

  #draw() {
    const { subject, estimate, shownT, pointed } = this.#state ?? {};
    const [width, height] = [this.#chart.clientWidth, this.#chart.clientHeight];
    if (!subject || !width) return;
    const last = subject.timesteps - 1;
    this.#slider.max = String(last);
    this.#slider.disabled = !estimate;
    this.#chart.setAttribute('viewBox', `0 0 ${width} ${height}`);
    const { left, right, top, bottom } = EDGE;
    const [wide, high] = [width - left - right, height - top - bottom];
    const [least, most] = estimate ? decades(estimate) : [-4, 0];
    const x = (/** @type {number} */ t) => left + (1 - t / last) * wide;
    const y = (/** @type {number} */ value) => top + (1 - (Math.max(least, Math.log10(Math.max(value, Number.MIN_VALUE))) - least) / (most - least)) * high;
    const every = Math.ceil((most - least + 1) / Math.max(2, Math.floor(high / 20)));
    const powers = Array.from({ length: Math.floor((most - least) / every) + 1 }, (_, i) => most - i * every);
    const labels = wide < 400 ? 2 : 4;
    const times = [...new Set(Array.from({ length: labels + 1 }, (_, i) => Math.round((last * (labels - i)) / labels)))];
    const marker = (/** @type {string} */ name, /** @type {number} */ t) => svg('line', { class: name, x1: x(t), x2: x(t), y1: top, y2: top + high });
    const line = estimate?.curve.toReversed().flatMap(({ first, last: end, term }) => [`${x(Math.min(last, end + 0.5)).toFixed(1)},${y(term.mean).toFixed(1)}`, `${x(Math.max(0, first - 0.5)).toFixed(1)},${y(term.mean).toFixed(1)}`]);
    const point = estimate && pointed !== null && pointed !== undefined ? pointAt(estimate, pointed) : null;
    this.#chart.replaceChildren(
      ...powers.flatMap((power) => [svg('line', { class: 'mark', x1: left, x2: left + wide, y1: y(10 ** power), y2: y(10 ** power) }), svg('text', { class: 'at-left', x: left - 6, y: y(10 ** power) + 4 }, powerOf(power))]),
      ...times.map((t) => svg('text', { class: t === last ? 'at-first' : t === 0 ? 'at-last' : 'at-bottom', x: x(t), y: height - 4 }, t === last ? `t = ${t}` : String(t))),
      ...(shownT === null || shownT === undefined ? [] : [marker('shown', Math.min(last, shownT))]),
      ...(line ? [svg('polyline', { points: line.join(' ') })] : []),
      ...(point && typeof pointed === 'number' ? [marker('pointed', pointed), svg('circle', { cx: x(pointed), cy: y(point.term.mean), r: 4 })] : []),
    );
    this.#tell(point);
  }

  /** @param {ReturnType<typeof pointAt>} point  that is pointed at */
  #tell(point) {
    const { estimate, pointed, shownT } = this.#state ?? {};
    if (typeof pointed === 'number' && document.activeElement !== this.#slider) this.#slider.value = String(pointed);
    if (point && typeof pointed === 'number') {
      const text = termWords(point, pointed);
      this.#told.textContent = text;
      this.#slider.setAttribute('aria-valuetext', text);
      return;
    }
    const here = estimate && typeof shownT === 'number' ? pointAt(estimate, Math.min(estimate.curve[estimate.curve.length - 1].last, Math.round(shownT))) : null;
    this.#told.textContent = !estimate ? 'The terms in bits/dim, from noise to picture.'
      : here ? `The step shown, t = ${time(/** @type {number} */ (shownT))}: ${valueWords(here)}. Point at the curve for another.`
      : 'The terms in bits/dim, from noise to picture. Point at the curve for their numbers.';
  }
}

/** @param {NonNullable<ReturnType<typeof pointAt>>} point @param {number} t */
function termWords(point, t) {
  const name = t === 0 ? 't = 0, L₀, the last step' : `t = ${t}, the step from x_${t} to x_${t - 1}`;
  const range = point.first === point.last ? '' : `, one of those from ${point.first} to ${point.last}`;
  return `${name}: ${valueWords(point)}${range}`;
}

/** @param {NonNullable<ReturnType<typeof pointAt>>} point */
const valueWords = ({ term: { mean, standard_error: error } }) => `${bits(mean)}${error ? ` ± ${bits(error)}` : ''} bits/dim`;

const DIGITS = '⁰¹²³⁴⁵⁶⁷⁸⁹';

/** 10⁻³ @param {number} power */
const powerOf = (power) => `10${power < 0 ? '⁻' : ''}${[...String(Math.abs(power))].map((digit) => DIGITS[Number(digit)]).join('')}`;
