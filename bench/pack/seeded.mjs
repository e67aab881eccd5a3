// Weights that follow from a seed, from the header of their file alone: bit for bit those of bench/seeded.py, which has
// the same rule in Python.

import { readHeader } from './safetensors.mjs';

/** Numbers from −1 to 1, divided and multiplied: murmur3's finaliser of their places, begun with FNV-1a of the tensor's name. */
function uniform(numbers, name, divisor, factor) {
  let seed = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(name)) seed = Math.imul(seed ^ byte, 0x01000193);
  for (let i = 0; i < numbers.length; i++) {
    let x = Math.imul(i, 0x9e3779b1) + seed | 0;
    x = Math.imul(x ^ x >>> 16, 0x85ebca6b);
    x = Math.imul(x ^ x >>> 13, 0xc2b2ae35);
    x = (x ^ x >>> 16) >>> 0;
    numbers[i] = (x / 2 ** 31 - 1) / divisor * factor;
  }
}

/** Spread as PyTorch's initialisation is: weights by what they sum up, norms the identity. */
function fill(numbers, name, shape) {
  if (shape.length > 1) uniform(numbers, name, Math.sqrt(shape.slice(1).reduce((product, size) => product * size)), 1);
  else if (name.includes('norm')) numbers.fill(name.endsWith('weight') ? 1 : 0);
  else uniform(numbers, name, 1, 0.05);
}

/**
 * The whole file.
 * @param {Uint8Array} header  its first bytes, up to where the tensors' begin
 * @returns {Uint8Array}
 */
export function seededFile(header) {
  const { length, tensors } = readHeader(header);
  const size = Math.max(...[...tensors.values()].map(({ end }) => end));
  const file = new Uint8Array(length + size);
  file.set(header.subarray(0, length));
  for (const [name, { dtype, shape, begin, end }] of tensors) {
    if (dtype !== 'F32') throw new Error(`${name} is ${dtype}; seeded weights are F32.`);
    fill(new Float32Array(file.buffer, length + begin, (end - begin) / 4), name, shape);
  }
  return file;
}
