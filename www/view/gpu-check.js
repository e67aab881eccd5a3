// "Check my GPU": what the comparison with the CPU found, as a verdict, a chart and a report to pass on.

import { make } from './dom.js';

/** Bars at most: neighbouring layers share one, which shows the worse of them. */
const MOST_BARS = 72;
/** The chart's range: relative errors from rounding to nonsense. */
const LOWEST = 1e-8;
const HIGHEST = 1;

const shown = (error) => (Number.isFinite(error) ? error.toExponential(1).replace('-', '−') : String(error));
const height = (error) => {
  if (!Number.isFinite(error)) return 1;
  const [low, high, value] = [LOWEST, HIGHEST, Math.min(HIGHEST, Math.max(LOWEST, error))].map(Math.log10);
  return (value - low) / (high - low);
};

/** @param {import('../engine/protocol.js').CheckReport} report @returns {{title: string, text: string}} */
export function verdict({ ok, output_error: output, worst, layers }) {
  if (ok) {
    return {
      title: 'This GPU computes what it should',
      text: `Its result differs from the CPU’s by ${shown(output)}, and none of its ${layers.length} layers by more than ${shown(worst.error)}.`,
    };
  }
  const differs = (error) => (Number.isFinite(error) ? `differs from the CPU’s by ${shown(error)}` : 'is not a number');
  return {
    title: 'This GPU computes wrong numbers',
    text: `The worst of ${layers.length} layers, ${worst.name} (${worst.op}), ${differs(worst.error)}; the result ${differs(output)}.`,
  };
}

/**
 * @param {HTMLElement} place
 * @param {import('../engine/protocol.js').CheckReport} report
 * @param {() => void} oncopy
 */
export function showReport(place, report, oncopy) {
  const { layers, tolerance, ok } = report;
  const { title, text } = verdict(report);
  const each = Math.ceil(layers.length / MOST_BARS);
  const groups = Array.from({ length: Math.ceil(layers.length / each) }, (_, i) => worstOf(layers.slice(i * each, (i + 1) * each)));
  // Attributes, not styles: the page's policy allows no inline styles.
  const bars = groups.map((layer, i) => {
    const tall = Math.max(0.02, height(layer.error));
    const bar = svg('rect', { x: i + 0.1, width: 0.8, y: 1 - tall, height: tall });
    if (!(layer.error <= tolerance)) bar.setAttribute('class', 'wrong');
    bar.append(Object.assign(svg('title', {}), { textContent: `${layer.name} (${layer.op}): ${shown(layer.error)}` }));
    return bar;
  });
  const limit = 1 - height(tolerance);
  const chart = svg('svg', { viewBox: `0 0 ${groups.length} 1`, preserveAspectRatio: 'none', 'aria-hidden': 'true' });
  chart.append(...bars, svg('line', { x1: 0, x2: groups.length, y1: limit, y2: limit }));

  const copy = make('button', { type: 'button', class: 'secondary' }, 'Copy report');
  copy.addEventListener('click', oncopy);
  const rows = [...layers].sort((a, b) => rank(b.error) - rank(a.error)).slice(0, 3);
  place.hidden = false;
  place.replaceChildren(
    make('h2', { class: ok ? 'verdict' : 'verdict wrong' }, title),
    make('p', {}, text),
    make('figure', {}, chart, make('figcaption', {}, `Error of each layer, on a logarithmic scale; dashed: ${shown(tolerance)}, what is allowed`)),
    make('table', {},
      make('caption', {}, 'The largest'),
      make('tbody', {}, ...rows.map(({ name, op, error }) => make('tr', {}, make('th', { scope: 'row' }, ...breakable(name)), make('td', {}, op), make('td', { class: 'number' }, shown(error)))))),
    copy,
  );
}

/** A layer's name may be broken after its dots. */
const breakable = (name) => name.split(/(?<=\.)/).flatMap((part) => [part, make('wbr')]);
const rank = (error) => (Number.isFinite(error) ? error : Infinity);
const worstOf = (layers) => layers.reduce((worst, layer) => (rank(layer.error) > rank(worst.error) ? layer : worst));

function svg(tag, attributes) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

/**
 * The report as Markdown, to be pasted where such things are told.
 * @param {import('../engine/protocol.js').CheckReport} report
 * @param {{model: string, precision: string, backend: string}} about
 */
export function reportText(report, { model, precision, backend }) {
  const worst = [...report.layers].sort((a, b) => rank(b.error) - rank(a.error)).slice(0, 10);
  return [
    `## Denoise: GPU check ${report.ok ? 'passed' : 'failed'}`,
    '',
    `- Adapter: ${report.device || backend}`,
    `- Browser: ${navigator.userAgent}`,
    `- Model: ${model}, ${precision}`,
    `- Result: ${report.output_error.toExponential(2)} relative error; ${report.tolerance.toExponential(2)} allowed`,
    '',
    `| the worst of ${report.layers.length} layers | op | error |`,
    '|---|---|---|',
    ...worst.map(({ name, op, error }) => `| ${name} | ${op} | ${Number(error).toExponential(2)} |`),
    '',
  ].join('\n');
}
