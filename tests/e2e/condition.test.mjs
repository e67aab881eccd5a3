// What a model takes beside x_t, from an image's pixels and from a file of numbers.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { planesOf, readTensor } from '../../www/model/condition.js';

const SHAPE = { channels: 2, width: 3, height: 1 };

/** A .safetensors file. @param {object} header @param {Uint8Array} data */
function file(header, data) {
  const text = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return new Uint8Array(Buffer.concat([length, text, data]));
}

const f32 = (...values) => Buffer.from(new Float32Array(values).buffer);
const one = (more = {}) => ({ __metadata__: { a: 'b' }, planes: { dtype: 'F32', shape: [1, 2, 1, 3], data_offsets: [0, 24], ...more } });

test('a tensor is read as it stands, wherever it begins', () => {
  const values = [1, 2, 3, -4, 0.5, 6];
  for (const pad of ['', ' ', '   ']) {
    const read = readTensor(file(JSON.stringify(one()) + pad, f32(...values)), 'c', SHAPE);
    assert.deepEqual([...read.values], values);
    assert.equal(read.images, 1);
  }
  const two = readTensor(file(one({ shape: [2, 2, 1, 3], data_offsets: [0, 48] }), f32(...values, ...values)), 'c', SHAPE);
  assert.equal(two.images, 2);
  assert.equal(two.values.length, 12);
});

test('16 bits are numbers as well', () => {
  const bits = new Uint16Array([0x3c00, 0xbc00, 0x0001, 0x7bff, 0x0000, 0x3555]);
  const { values } = readTensor(file(one({ dtype: 'F16', data_offsets: [0, 12] }), Buffer.from(bits.buffer)), 'c', SHAPE);
  assert.deepEqual([...values], [1, -1, 2 ** -24, 65504, 0, Math.fround(0.333251953125)]);
});

test('what is wrong with a file is said', () => {
  const good = f32(1, 2, 3, 4, 5, 6);
  for (const [bytes, message] of [
    [new Uint8Array([1, 2]), /c is not a \.safetensors file/],
    [file(one(), good).subarray(0, 40), /cut off/],
    [file('{"a": ', good), /not valid JSON/],
    [file({}, good), /has 0 tensors/],
    [file({ ...one(), more: one().planes }, good), /has 2 tensors/],
    [file(one({ dtype: 'I64' }), good), /"planes" in I64; save it in F32 or F16/],
    [file(one({ shape: [1, 3, 1, 3] }), good), /shape \[1,3,1,3\]; this model takes \[1, 2, 1, 3\]/],
    [file(one({ shape: undefined }), good), /shape undefined/],
    [file(one(), good.subarray(0, 20)), /should have 24 bytes/],
    [file(one({ data_offsets: [0, 20] }), good), /should have 24 bytes/],
    [file(one(), f32(1, 2, NaN, 4, 5, 6)), /NaN .*not a finite number/],
  ]) assert.throws(() => readTensor(bytes, 'c', SHAPE), message);
});

test('pixels become planes from −1 to 1', () => {
  const rgba = new Uint8ClampedArray([255, 0, 0, 255, 0, 0, 255, 255]);
  assert.deepEqual([...planesOf(rgba, 3)], [1, -1, -1, -1, -1, 1]);
  const [red, blue] = planesOf(rgba, 1);
  assert.ok(Math.abs(red - (0.299 * 2 - 1)) < 1e-6 && Math.abs(blue - (0.114 * 2 - 1)) < 1e-6);
});
