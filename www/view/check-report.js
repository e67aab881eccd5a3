// What a check of the GPU found: a verdict, a chart of all layers, and the worst of them.

import { inShort, verdict, worstFirst, worstOf } from '../words/gpu-check.js';
import { byId, changes, make, svg } from './dom.js';

/** Bars at most: neighbouring layers share one, which shows the worse of them. */
const MOST_BARS = 72;
/** The chart's range: relative errors from rounding to nonsense. */
const LOWEST = 1e-8;
const HIGHEST = 1;

/** How high an error stands in the chart. @param {number} error */
function height(error) {
  if (!Number.isFinite(error)) return 1;
  const [low, high, value] = [LOWEST, HIGHEST, Math.min(HIGHEST, Math.max(LOWEST, error))].map(Math.log10);
  return (value - low) / (high - low);
}

export class CheckReport {
  #place = byId('check-report');
  #controller;
  #changed = changes();

  /** @param {import('../controller.js').Controller} controller */
  constructor(controller) {
    this.#controller = controller;
  }

  /** @param {import('../store/state.js').State} state */
  render({ checked }) {
    if (!this.#changed(checked)) return;
    this.#place.hidden = !checked;
    if (!checked) return;
    const { report } = checked;
    const { layers, tolerance, ok } = report;
    const { title, text } = verdict(report);
    const copy = make('button', { type: 'button', class: 'secondary' }, 'Copy report');
    copy.addEventListener('click', () => this.#controller.copyReport());
    const rows = worstFirst(layers).slice(0, 3);
    this.#place.replaceChildren(
      make('h2', { class: ok ? 'verdict' : 'verdict wrong' }, title),
      make('p', {}, text),
      make('figure', {}, chart(layers, tolerance), make('figcaption', {}, `Error of each layer, on a logarithmic scale; dashed: ${inShort(tolerance)}, what is allowed`)),
      make('table', {},
        make('caption', {}, 'The largest'),
        make('tbody', {}, ...rows.map(({ name, op, error }) => make('tr', {}, make('th', { scope: 'row' }, ...breakable(name)), make('td', {}, op), make('td', { class: 'number' }, inShort(error)))))),
      copy,
    );
  }
}

/** @param {import('../engine/protocol.js').LayerError[]} layers @param {number} tolerance */
function chart(layers, tolerance) {
  const each = Math.ceil(layers.length / MOST_BARS);
  const groups = Array.from({ length: Math.ceil(layers.length / each) }, (_, i) => worstOf(layers.slice(i * each, (i + 1) * each)));
  const bars = groups.map(({ name, op, error }, i) => {
    const tall = Math.max(0.02, height(error));
    const bar = svg('rect', { x: i + 0.1, width: 0.8, y: 1 - tall, height: tall }, svg('title', {}, `${name} (${op}): ${inShort(error)}`));
    if (!(error <= tolerance)) bar.setAttribute('class', 'wrong');
    return bar;
  });
  const limit = 1 - height(tolerance);
  const line = svg('line', { x1: 0, x2: groups.length, y1: limit, y2: limit });
  return svg('svg', { viewBox: `0 0 ${groups.length} 1`, preserveAspectRatio: 'none', 'aria-hidden': 'true' }, ...bars, line);
}

/** A layer's name may be broken after its dots. @param {string} name */
const breakable = (name) => name.split(/(?<=\.)/).flatMap((part) => [part, make('wbr')]);
