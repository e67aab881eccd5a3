// Counts what is asked of WebGPU, by wrapping its own methods: the same way whatever engine asks.

/** How often each thing was done since the page was opened, and the bytes of the buffers there are. */
export const counts = {
  dispatches: 0, submissions: 0, buffers: 0, bind_groups: 0, pipelines: 0, writes: 0, reads: 0,
  buffer_bytes: 0, peak_buffer_bytes: 0,
};

/** Calls `after` with the result, the object and the arguments of every call. */
function wrap(type, method, after) {
  const original = type.prototype[method];
  type.prototype[method] = function (...args) {
    const result = original.apply(this, args);
    after(result, this, args);
    return result;
  };
}

const count = (type, method, what) => wrap(type, method, () => {
  counts[what]++;
});

if (globalThis.GPUDevice) {
  count(GPUComputePassEncoder, 'dispatchWorkgroups', 'dispatches');
  count(GPUComputePassEncoder, 'dispatchWorkgroupsIndirect', 'dispatches');
  count(GPUQueue, 'submit', 'submissions');
  count(GPUQueue, 'writeBuffer', 'writes');
  count(GPUDevice, 'createBindGroup', 'bind_groups');
  count(GPUDevice, 'createComputePipeline', 'pipelines');
  count(GPUDevice, 'createComputePipelineAsync', 'pipelines');
  count(GPUBuffer, 'mapAsync', 'reads');

  const sizes = new WeakMap();
  const gone = (size) => {
    counts.buffer_bytes -= size;
  };
  // A buffer that nobody destroyed is gone when it is collected.
  const collected = new FinalizationRegistry(gone);
  wrap(GPUDevice, 'createBuffer', (buffer) => {
    counts.buffers++;
    counts.buffer_bytes += buffer.size;
    counts.peak_buffer_bytes = Math.max(counts.peak_buffer_bytes, counts.buffer_bytes);
    sizes.set(buffer, buffer.size);
    collected.register(buffer, buffer.size, buffer);
  });
  wrap(GPUBuffer, 'destroy', (_, buffer) => {
    gone(sizes.get(buffer) ?? 0);
    sizes.delete(buffer);
    collected.unregister(buffer);
  });
}
