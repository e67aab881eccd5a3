// Engines that are not quite the real one: watched, or as a GPU would show it that gets one layer wrong.

import { cp, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { folderOf } from './harness.mjs';

/**
 * The engine, but changed by a script that sees its classes as `Engine` and `Loading`.
 * @param {string} into  a folder, to be served under /pkg/
 * @param {string} script
 */
export async function wrapEngine(into, script) {
  await cp(process.env.DENOISE_PKG ?? folderOf('pkg'), into, { recursive: true });
  // The one with gradients too.
  for (const folder of [into, join(into, 'learning')]) {
    await cp(join(folder, 'denoise.js'), join(folder, 'real.js'));
    await writeFile(join(folder, 'denoise.js'), `
      import init, { Engine, Loading } from './real.js';
      export default init;
      export * from './real.js';
      ${script}
    `);
  }
  return into;
}

/** @param {string} into  a folder, to be served under /pkg/ */
export function makeFaultyEngine(into) {
  return wrapEngine(into, `
    const { create } = Engine;
    let faulty = false;
    Engine.create = (backend) => {
      faulty = backend !== 'cpu';
      return create.call(Engine, 'cpu');
    };
    const { backend } = Engine.prototype;
    Engine.prototype.backend = function () {
      return faulty ? { kind: 'gpu', name: 'WebGPU · Faulty', note: null, half: false } : backend.call(this);
    };
    Engine.prototype.check = async function (progress) {
      const layers = Array.from({ length: 100 }, (_, i) => ({ name: 'down_blocks.' + i, op: 'conv2d', error: 1e-7 * (1 + i) }));
      layers[40] = { name: 'mid_block.attentions.0', op: 'softmax', error: NaN };
      progress('check', 100, 100);
      return { device: 'Faulty', tolerance: 1e-3, ok: false, output_error: 0.25, layers, worst: layers[40] };
    };
  `);
}
