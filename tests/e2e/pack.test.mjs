// The benchmark's pack: the large files that it carries as what they are made of.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { assemble } from '../../bench/pack/onnx_parts.mjs';
import { floats, readHeader, write } from '../../bench/pack/safetensors.mjs';
import { seededFile } from '../../bench/pack/seeded.mjs';

const golden = (name) => readFile(fileURLToPath(new URL(`../golden/bench/${name}`, import.meta.url)));

test('weights that follow from a seed are those of Python, bit for bit', async () => {
  const expected = await golden('seeded.safetensors');
  const header = expected.subarray(0, readHeader(expected).length);
  assert.ok(header.length < expected.length);
  assert.deepEqual(Buffer.from(seededFile(header)), expected);
  assert.throws(() => seededFile(header.subarray(0, -1)), /cut off/);
});

/** Parts as bench/pack/onnx_parts.py writes them. */
function partsOf(entries, literals) {
  const list = Buffer.from(JSON.stringify(entries));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(list.length);
  return Buffer.concat([length, list, ...literals.map((literal) => Buffer.from(literal))]);
}

const bytesOf = (numbers) => Buffer.from(Float32Array.from(numbers).buffer);

test('an ONNX file is put together from its parts and the weights', () => {
  const weights = write({
    bias: { shape: [3], data: Float32Array.of(0.5, -1, 2) },
    matrix: { shape: [2, 3], data: Float32Array.of(1, 2, 3, 4, 5, 6) },
  });
  const entries = [
    { literal: 5 }, { tensor: 'matrix', transposed: true }, { literal: 0 }, { tensor: 'bias', transposed: false },
    { literal: 1 }, { tensor: 'matrix', transposed: false }, { literal: 3 },
  ];
  const expected = Buffer.concat([
    Buffer.from('begin'), bytesOf([1, 4, 2, 5, 3, 6]), bytesOf([0.5, -1, 2]), Buffer.from('-'), bytesOf([1, 2, 3, 4, 5, 6]), Buffer.from('end'),
  ]);
  assert.deepEqual(assemble(partsOf(entries, ['begin', '-', 'end']), weights), expected);
  assert.throws(() => assemble(partsOf(entries, ['begin', '-', 'end', 'more']), weights), /parts has/);
  assert.throws(() => assemble(partsOf([{ tensor: 'other', transposed: false }], []), weights), /no tensor other/);
});

test('weights of 16 bits are widened exactly', () => {
  // 1, −2, 65504, the smallest, the largest of those that have no leading one, −0
  const halves = Uint16Array.of(0x3c00, 0xc000, 0x7bff, 0x0001, 0x03ff, 0x8000);
  const header = Buffer.from(JSON.stringify({ x: { dtype: 'F16', shape: [6], data_offsets: [0, 12] } }));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  const file = Buffer.concat([length, header, Buffer.from(halves.buffer)]);
  assert.deepEqual([...floats(file, readHeader(file), 'x')], [1, -2, 65504, 2 ** -24, 1023 * 2 ** -24, -0]);
});

test('the table that is printed is no longer than it may be', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'denoise-pack-'));
  try {
    const failures = Array.from({ length: 200 }, (_, i) => `digits ×1, layer ${i}: off by 0.1`);
    await writeFile(join(folder, 'results.json'), JSON.stringify({
      date: '2026-01-01', node: 'v26', cpu: 'a processor', software: false, adapter: {}, cases: [], variants: [], failures, problems: [],
    }));
    const script = fileURLToPath(new URL('../../bench/pack/table.mjs', import.meta.url));
    const printed = async (most) => (await promisify(execFile)(process.execPath, [script, folder, `${most}`])).stdout.trimEnd();
    const [short, whole] = [await printed(2000), await printed(100000)];
    assert.equal(short.length, 2000);
    assert.match(short, /results\.md has the rest$/);
    assert.ok(whole.includes('layer 199') && !whole.includes('has the rest'));
  } finally {
    await rm(folder, { recursive: true });
  }
});
