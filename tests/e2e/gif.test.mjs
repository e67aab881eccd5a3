// The GIF encoder, against a decoder that follows the standard word by word.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Gif } from '../../www/keep/gif.js';

/** @param {Uint8Array} bytes @returns {{width: number, height: number, loops: boolean, frames: {delay: number, rgb: number[]}[]}} */
function decode(bytes) {
  let at = 0;
  const byte = () => bytes[at++];
  const word = () => byte() | (byte() << 8);
  const blocks = () => {
    const all = [];
    for (let length = byte(); length; length = byte()) for (let i = 0; i < length; i++) all.push(byte());
    return all;
  };
  assert.equal(Buffer.from(bytes.subarray(0, 6)).toString(), 'GIF89a');
  at = 6;
  const [width, height, flags] = [word(), word(), byte()];
  at += 2;
  const table = (flags) => Array.from({ length: 2 << (flags & 7) }, () => [byte(), byte(), byte()]);
  const common = table(flags);
  const frames = [];
  let delay = 0;
  let loops = false;
  for (;;) {
    const kind = byte();
    if (kind === 0x3b) break;
    if (kind === 0x21) {
      const label = byte();
      const data = blocks();
      if (label === 0xf9) delay = data[1] | (data[2] << 8);
      if (label === 0xff) loops = Buffer.from(data.slice(0, 11)).toString() === 'NETSCAPE2.0' && data[12] === 0 && data[13] === 0;
      continue;
    }
    assert.equal(kind, 0x2c);
    assert.deepEqual([word(), word(), word(), word()], [0, 0, width, height]);
    const own = byte();
    const palette = own & 0x80 ? table(own) : common;
    const indices = unpack(byte(), blocks());
    assert.equal(indices.length, width * height);
    frames.push({ delay, rgb: indices.flatMap((index) => palette[index]) });
  }
  assert.equal(at, bytes.length);
  return { width, height, loops, frames };
}

function unpack(bits, data) {
  const [clear, end] = [1 << bits, (1 << bits) + 1];
  let [size, at, codes, before] = [bits + 1, 0, [], null];
  const out = [];
  for (;;) {
    let code = 0;
    for (let i = 0; i < size; i++, at++) code |= ((data[at >> 3] >> (at & 7)) & 1) << i;
    assert.ok(at <= data.length * 8, 'it ends with an end');
    if (code === end) return out;
    if (code === clear) {
      codes = Array.from({ length: end + 1 }, (_, i) => [i]);
      size = bits + 1;
      before = null;
      continue;
    }
    const entry = code < codes.length ? codes[code] : [...before, before[0]];
    if (before && codes.length < 4096) codes.push([...before, entry[0]]);
    if (codes.length === 1 << size && size < 12) size++;
    for (const index of entry) out.push(index);
    before = entry;
  }
}

let seed = 1;
const random = () => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) / 2 ** 32;
const rgba = (pixels, colour) => Uint8ClampedArray.from({ length: pixels * 4 }, (_, i) => (i % 4 === 3 ? 255 : colour(i >> 2, i % 4)));
const rgbOf = (pixels) => [...pixels].filter((_, i) => i % 4 !== 3);

test('grey pictures come back exactly, however long they are', () => {
  const [width, height] = [150, 110];
  const frames = [
    rgba(width * height, () => 0), // long runs
    rgba(width * height, (i) => i % 256),
    (() => {
      const noise = Array.from({ length: width * height }, () => Math.floor(random() * 256)); // the codes are full several times
      return rgba(width * height, (i) => noise[i]);
    })(),
  ];
  const gif = new Gif(width, height);
  for (const [i, frame] of frames.entries()) gif.add(frame, i === 2 ? 150 : 300 + i);
  const read = decode(gif.finish());
  assert.deepEqual([read.width, read.height, read.loops, read.frames.map(({ delay }) => delay)], [width, height, true, [300, 301, 150]]);
  for (const [i, { rgb }] of read.frames.entries()) assert.deepEqual(rgb, rgbOf(frames[i]), `frame ${i}`);
});

test('any number of pixels, so that codes end at any width', () => {
  for (let width = 1; width < 700; width += 3) {
    const frame = rgba(width, (i) => (i * i * 7) % 256);
    const gif = new Gif(width, 1);
    gif.add(frame, 4);
    assert.deepEqual(decode(gif.finish()).frames[0].rgb, rgbOf(frame), `${width}`);
  }
});

test('few colours come back exactly, many nearly', () => {
  const few = rgba(64, (i, channel) => [i * 4, 255 - i * 4, (i % 8) * 32][channel]);
  const many = rgba(128 * 128, (i, channel) => [i % 128 * 2, Math.floor(i / 128) * 2, 128 + 60 * Math.sin(i / 500)][channel]);
  for (const [pixels, width, height, most] of [[few, 8, 8, 0], [many, 128, 128, 8]]) {
    const gif = new Gif(width, height);
    gif.add(pixels, 10);
    const { rgb } = decode(gif.finish()).frames[0];
    const errors = rgbOf(pixels).map((value, i) => Math.abs(value - rgb[i]));
    const mean = errors.reduce((sum, error) => sum + error) / errors.length;
    assert.ok(mean <= most, `off by ${mean}`);
  }
});
