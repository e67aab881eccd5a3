// What bench/run.mjs calls in the page.

import { counts } from '../counts.js';
import { files } from './files.js';
import { engine } from '../engines.js';

const open = new Map();

globalThis.bench = {
  /** Opens an engine, loads the model and evaluates it once: milliseconds of each. */
  async load(name, model) {
    const begin = performance.now();
    const opened = engine(name, model, files);
    await opened.open();
    const ready = performance.now();
    await opened.load(model);
    const loaded = performance.now();
    await opened.evaluate(0);
    const done = performance.now();
    open.set(name, opened);
    return { open: ready - begin, load: loaded - ready, first: done - loaded, page: begin, ...opened.error() };
  },

  /** Times evaluations, and counts what is asked of WebGPU for them. */
  async evaluate(name, count, lead) {
    const before = { ...counts };
    const milliseconds = await open.get(name).evaluate(count, lead);
    const difference = Object.fromEntries(Object.entries(counts).map(([what, value]) => [what, value - before[what]]));
    return { milliseconds, counts: difference };
  },

  counts: () => ({ ...counts }),

  async adapter() {
    const adapter = await navigator.gpu?.requestAdapter({ powerPreference: 'high-performance' });
    if (!adapter) throw new Error('WebGPU found no adapter.');
    const { vendor, architecture, device, description } = adapter.info;
    return { vendor, architecture, device, description };
  },
};
document.documentElement.dataset.ready = '';
