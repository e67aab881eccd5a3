// WebGPU in Node: Dawn, which is Chrome's own, from npm's package `webgpu`, and the names by which wgpu and
// onnxruntime-web know a page's worker. Import it before either.

import { create, globals } from 'webgpu';

export const gpu = create([]);

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

/** What devices complained of outside any call: commands that they rejected, and that they were lost. */
export const problems = [];

const { requestDevice } = GPUAdapter.prototype;
GPUAdapter.prototype.requestDevice = async function (descriptor) {
  const device = await requestDevice.call(this, descriptor);
  device.addEventListener('uncapturederror', ({ error }) => problems.push(error.message));
  device.lost.then(({ reason, message }) => {
    if (reason !== 'destroyed') problems.push(`The device was lost: ${message}`);
  });
  return device;
};

/** The adapter that the engines take, and what it says of itself. */
export async function openAdapter() {
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' });
  if (!adapter) throw new Error('Dawn found no GPU that it can use. Its Vulkan driver may be missing or too old; on Debian 12, `./build.sh bench --dawn` fetches one in software.');
  return adapter;
}
