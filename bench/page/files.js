// Where the engines find their files in a browser: on the benchmark's own server. See bench/engines.js.

export const files = {
  async read(path) {
    const response = await fetch(`/${path}`);
    if (!response.ok) throw new Error(`${path} could not be fetched: ${response.status} ${response.statusText}`);
    return new Uint8Array(await response.arrayBuffer());
  },

  module: (path) => import(`/${path}`),

  init: (module) => module.default(),

  async configure(ort) {
    ort.env.wasm.wasmPaths = '/ort/';
  },
};
