// WebGPU in Node: Dawn, which is Chrome's own, from npm's package `webgpu`, and the names by which wgpu and
// onnxruntime-web know a page's worker. Import it before either.

import { create, globals } from 'webgpu';

// NVIDIA's Vulkan driver has 16-bit numbers in shaders, which Dawn keeps back unless it is told not to.
export const gpu = create(['enable-dawn-features=vulkan_enable_f16_on_nvidia']);

const define = (name, value) => Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
Object.assign(globalThis, globals);
define('navigator', { gpu, userAgent: `Node.js/${process.versions.node} Dawn`, hardwareConcurrency: 1, language: 'en' });
define('self', globalThis);
// wgpu takes the global object for a worker's if it has this, and asks it for `navigator`.
define('WorkerGlobalScope', class WorkerGlobalScope {});

// onnxruntime-web's memory may be shared, which a browser's writeBuffer takes and Dawn's in Node does not.
const { writeBuffer } = GPUQueue.prototype;
GPUQueue.prototype.writeBuffer = function (buffer, offset, data, start = 0, size = data.length - start) {
  if (!(data.buffer instanceof SharedArrayBuffer)) return writeBuffer.call(this, buffer, offset, data, start, size);
  return writeBuffer.call(this, buffer, offset, data.slice(start, start + size));
};

/**
 * @typedef {object} Problem
 * @property {string} engine  whose device or promise it was
 * @property {string} message
 * @property {number} count  how often
 */

/** What went wrong outside any call: commands that a device rejected, devices that were lost, promises nobody waited for. @type {Problem[]} */
export const problems = [];

let user = 'the benchmark';

/** Says which engine is at work from now on: devices that are opened and promises that fail are its own. @param {string} engine */
export function workOf(engine) {
  user = engine;
}

/** @param {string} engine @param {string} message */
function note(engine, message) {
  const known = problems.find((problem) => problem.engine === engine && problem.message === message);
  if (known) known.count++;
  else problems.push({ engine, message, count: 1 });
}

process.on('unhandledRejection', (error) => note(user, `a promise failed: ${error?.message ?? error}`));

const { requestDevice } = GPUAdapter.prototype;
GPUAdapter.prototype.requestDevice = async function (descriptor) {
  const owner = user;
  const device = await requestDevice.call(this, descriptor);
  device.addEventListener('uncapturederror', ({ error }) => note(owner, error.message));
  device.lost.then(({ reason, message }) => {
    if (reason !== 'destroyed') note(owner, `the device was lost: ${message}`);
  });
  return device;
};

/** The adapter that the engines take, and what it says of itself. */
export async function openAdapter() {
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' });
  if (!adapter) throw new Error('Dawn found no GPU that it can use. Its Vulkan driver may be missing or too old; on Debian 12, `./build.sh bench --dawn` fetches one in software.');
  return adapter;
}
