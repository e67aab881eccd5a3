// Puts ONNX files together again that bench/pack/onnx_parts.py took apart; it says how they are kept.

import { floats, readHeader } from './safetensors.mjs';

/** The numbers of a matrix column by column. */
function transposed(numbers, [rows, columns]) {
  const turned = new Float32Array(numbers.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) turned[column * rows + row] = numbers[row * columns + column];
  }
  return turned;
}

/**
 * @param {Uint8Array} parts  what bench/pack/onnx_parts.py wrote
 * @param {Uint8Array} weights  the model's safetensors file
 * @returns {Buffer} the ONNX file
 */
export function assemble(parts, weights) {
  const header = readHeader(weights);
  let at = 4 + new DataView(parts.buffer, parts.byteOffset).getUint32(0, true);
  const entries = JSON.parse(new TextDecoder().decode(parts.subarray(4, at)));
  const pieces = entries.map(({ literal, tensor, transposed: turn }) => {
    if (tensor === undefined) return parts.subarray(at, at += literal);
    const numbers = floats(weights, header, tensor);
    return new Uint8Array((turn ? transposed(numbers, header.tensors.get(tensor).shape) : numbers).buffer);
  });
  if (at !== parts.length) throw new Error(`The list of an ONNX file's parts has ${at} bytes, the file ${parts.length}.`);
  return Buffer.concat(pieces);
}
