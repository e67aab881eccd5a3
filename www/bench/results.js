// What was measured of a model, as a card with a chart, and as a report to pass on.

import { make, svg } from '../view/dom.js';
import { duration, short } from '../words/format.js';

/** How many evaluations a picture takes, where pictures are counted. */
const PICTURE = 50;

/** @typedef {import('../engine/protocol.js').BackendInfo} BackendInfo */
/** @typedef {import('../engine/protocol.js').LayerTime} LayerTime */
/** @typedef {{title: string, model: import('../engine/protocol.js').Model, count: number, milliseconds: number[], loading: number, profile: import('../engine/protocol.js').Profile|null}} Result */

/** @param {number[]} values */
export const median = (values) => {
  const sorted = [...values].sort((a, b) => a - b);
  return (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;
};
/** Three digits that count. @param {number} value */
const digits = (value) => value.toFixed(Math.min(3, Math.max(0, 2 - Math.floor(Math.log10(Math.max(value, 1e-3))))));
/** @param {number} milliseconds */
export const time = (milliseconds) => `${digits(milliseconds)} ms`;

/** What follows from the times of a model. @param {Result} result */
function derived({ model, count, milliseconds }) {
  const middle = median(milliseconds);
  return {
    middle,
    fastest: Math.min(...milliseconds),
    slowest: Math.max(...milliseconds),
    pictures: count * 1000 / (PICTURE * middle),
    gigamacs: count * model.macs / middle * 1e-6,
  };
}

/** @param {Result} result */
export function card(result) {
  const { title, model, count, milliseconds, loading, profile } = result;
  const { middle, fastest, slowest, pictures, gigamacs } = derived(result);
  const fact = (/** @type {string} */ name, /** @type {string} */ value) => make('div', {}, make('dt', {}, name), make('dd', { class: 'number' }, value));
  const about = `${model.width} × ${model.height}, ${short(model.parameters)} parameters, ${model.precision === 'f16' ? 16 : 32} bit`;
  return make('section', { class: 'card', 'aria-label': title },
    make('h2', {}, title, make('small', {}, about)),
    make('p', { class: 'median' }, time(middle), make('small', {}, ` an evaluation${count > 1 ? ` of ${count} images` : ''}`)),
    chart(milliseconds),
    make('dl', { class: 'facts' },
      fact('fastest, slowest', `${digits(fastest)}, ${time(slowest)}`),
      fact('timed', `${milliseconds.length} evaluations`),
      fact(`images of ${PICTURE} steps`, `${digits(pictures)} a second`),
      fact('multiply-adds', `${digits(gigamacs)} G a second`),
      fact('work', `${short(count * model.macs)} multiply-adds in ${model.dispatches} dispatches`),
      fact('loading', duration(loading))),
    ...(profile ? [layerTable(profile.layers)] : []),
  );
}

/** A bar for each evaluation, in their order. @param {number[]} milliseconds */
function chart(milliseconds) {
  const slowest = Math.max(...milliseconds);
  return svg('svg', { class: 'times', viewBox: `0 0 ${milliseconds.length} 1`, preserveAspectRatio: 'none', 'aria-hidden': 'true' }, ...milliseconds.map((value, i) => {
    const height = 0.9 * value / slowest;
    return svg('rect', { x: i + 0.1, width: 0.8, y: 1 - height, height });
  }));
}

/** @param {LayerTime[]} layers */
function layerTable(layers) {
  const total = layers.reduce((sum, { milliseconds }) => sum + milliseconds, 0);
  const rows = slowestFirst(layers).map(({ name, op, milliseconds }) => make('tr', {},
    make('th', { scope: 'row' }, ...name.split(/(?<=\.)/).flatMap((part) => [part, make('wbr')])),
    make('td', {}, op),
    make('td', { class: 'number' }, digits(milliseconds)),
    make('td', { class: 'number' }, `${Math.round(100 * milliseconds / total)} %`)));
  const heads = [['layer'], ['op'], ['ms', 'number'], ['share', 'number']];
  return make('details', { class: 'layers' },
    make('summary', {}, `${layers.length} layers, slowest first`),
    make('div', { tabindex: 0, role: 'region', 'aria-label': 'Layers' }, make('table', {},
      make('thead', {}, make('tr', {}, ...heads.map(([text, kind]) => make('th', { scope: 'col', ...(kind && { class: kind }) }, text)))),
      make('tbody', {}, ...rows))));
}

/** @param {LayerTime[]} layers */
const slowestFirst = (layers) => [...layers].sort((a, b) => b.milliseconds - a.milliseconds);

/** The adapter by the name that the browser gives it, if it gives any. */
async function adapterName() {
  const adapter = await navigator.gpu?.requestAdapter({ powerPreference: 'high-performance' });
  if (!adapter) return 'none';
  const { vendor, architecture, device, description } = adapter.info;
  return [vendor, architecture, device, description].filter(Boolean).join(' ') || 'not named by the browser';
}

/** The report as Markdown. @param {Result[]} results @param {BackendInfo} backend */
export async function reportText(results, { kind, name }) {
  const line = (/** @type {Result} */ result) => {
    const { title, model, count, milliseconds } = result;
    const { middle, fastest, slowest, pictures, gigamacs } = derived(result);
    return `| ${[title, model.precision, count, digits(middle), digits(fastest), digits(slowest), milliseconds.length, digits(pictures), digits(gigamacs), model.dispatches].join(' | ')} |`;
  };
  const layers = (/** @type {Result} */ { title, profile }) => (profile ? [
    '',
    `| slowest layers of ${title} | op | ms |`,
    '|---|---|---|',
    ...slowestFirst(profile.layers).slice(0, 10).map((layer) => `| ${layer.name} | ${layer.op} | ${digits(layer.milliseconds)} |`),
  ] : []);
  return [
    '## Denoise: benchmark',
    '',
    `- Device: ${kind.toUpperCase()}, ${name}`,
    `- Adapter: ${await adapterName().catch(({ message }) => message)}`,
    `- Browser: ${navigator.userAgent}`,
    `- Processor threads: ${navigator.hardwareConcurrency}`,
    '',
    `| model | precision | images | median ms | fastest | slowest | evaluations | images/s at ${PICTURE} steps | GMAC/s | dispatches |`,
    '|---|---|---|---|---|---|---|---|---|---|',
    ...results.map(line),
    ...results.flatMap(layers),
    '',
  ].join('\n');
}
