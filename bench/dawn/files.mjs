// Where the engines find their files in Node: in folders. See bench/engines.js.

import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

/**
 * @param {Record<string, string>} folders  by the beginnings of paths: the longest that fits is taken
 * @returns {import('../engines.js').Files}
 */
export function filesIn(folders) {
  const locate = (path) => {
    const prefix = Object.keys(folders).filter((start) => path.startsWith(start)).sort((a, b) => b.length - a.length)[0];
    if (prefix === undefined) throw new Error(`The benchmark knows no folder for ${path}.`);
    return resolve(join(folders[prefix], path.slice(prefix.length)));
  };
  const read = async (path) => new Uint8Array(await readFile(locate(path)));
  return {
    read,
    module: (path) => import(pathToFileURL(locate(path)).href),
    init: async (module, wasm) => module.default({ module_or_path: await read(wasm) }),
    async configure(ort, provider) {
      const variant = provider === 'webgpu' ? '.asyncify' : '';
      ort.env.wasm.wasmBinary = (await read(`ort/ort-wasm-simd-threaded${variant}.wasm`)).buffer;
      ort.env.webgpu.powerPreference = 'high-performance';
      ort.env.logLevel = 'error';
    },
  };
}
