// Safetensors files, as far as a pack needs them: reading, and writing small ones.

/**
 * @typedef {object} Tensor
 * @property {string} dtype
 * @property {number[]} shape
 * @property {number} begin  where its bytes begin, counted from the end of the header
 * @property {number} end
 */

/**
 * What a file says of itself: the length of its header, and its tensors.
 * @param {Uint8Array} bytes  a file, or only its header
 * @returns {{ length: number, tensors: Map<string, Tensor> }}
 */
export function readHeader(bytes) {
  const length = 8 + Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
  if (length > bytes.length) throw new Error(`A safetensors header of ${length} bytes is cut off after ${bytes.length}.`);
  const entries = Object.entries(JSON.parse(new TextDecoder().decode(bytes.subarray(8, length))));
  const tensors = entries.filter(([name]) => name !== '__metadata__').map(([name, { dtype, shape, data_offsets: [begin, end] }]) => [name, { dtype, shape, begin, end }]);
  return { length, tensors: new Map(tensors) };
}

/** The value of a 16-bit number. */
function widen(half) {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = half >> 10 & 31;
  const fraction = half & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? (1024 + fraction) * 2 ** (exponent - 25) : fraction * 2 ** -24);
}

/**
 * The numbers of a file's tensor in 32 bits.
 * @param {Uint8Array} file @param {ReturnType<typeof readHeader>} header @param {string} name
 * @returns {Float32Array}
 */
export function floats(file, { length, tensors }, name) {
  const tensor = tensors.get(name);
  if (!tensor) throw new Error(`There is no tensor ${name}.`);
  // Copied, so that they begin where an array of numbers may begin.
  const { buffer } = new Uint8Array(file.subarray(length + tensor.begin, length + tensor.end));
  if (tensor.dtype === 'F32') return new Float32Array(buffer);
  if (tensor.dtype === 'F16') return Float32Array.from(new Uint16Array(buffer), widen);
  throw new Error(`${name} is ${tensor.dtype}; F32 and F16 are supported.`);
}

/** A file of 32-bit tensors. @param {Record<string, { shape: number[], data: Float32Array }>} tensors @returns {Buffer} */
export function write(tensors) {
  let end = 0;
  const header = Object.fromEntries(Object.entries(tensors).map(([name, { shape, data }]) => {
    const begin = end;
    end += data.byteLength;
    return [name, { dtype: 'F32', shape, data_offsets: [begin, end] }];
  }));
  const text = Buffer.from(JSON.stringify(header));
  const padded = Buffer.alloc(Math.ceil(text.length / 8) * 8, ' ');
  text.copy(padded);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(padded.length));
  const data = Object.values(tensors).map(({ data: { buffer, byteOffset, byteLength } }) => Buffer.from(buffer, byteOffset, byteLength));
  return Buffer.concat([length, padded, ...data]);
}
