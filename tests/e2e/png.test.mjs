// Text inside PNGs: written, read back, and what is damaged.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32, deflateSync } from 'node:zlib';
import { isPng, readTexts, withTexts } from '../../www/keep/png.js';

/** A chunk as the standard says, by Node's own checksum. */
function chunk(type, data, sum = null) {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), Buffer.from(data)]);
  const around = Buffer.alloc(8);
  around.writeUInt32BE(data.length, 0);
  around.writeUInt32BE(sum ?? crc32(body), 4);
  return Buffer.concat([around.subarray(0, 4), body, around.subarray(4)]);
}

const SIGNATURE = Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]);
const IHDR = chunk('IHDR', [0, 0, 0, 1, 0, 0, 0, 1, 8, 0, 0, 0, 0]);
const IDAT = chunk('IDAT', deflateSync(Buffer.from([0, 7])));
const IEND = chunk('IEND', []);
const png = (...texts) => new Uint8Array(Buffer.concat([SIGNATURE, IHDR, ...texts, IDAT, IEND]));
const bytesOf = async (blob) => new Uint8Array(await blob.arrayBuffer());

test('texts come back as they were written, and the picture stays', async () => {
  const texts = { Software: 'Denoise', parameters: 'a line\nSteps: 5, Größe: 2×2', denoise: '{"title":"数字 η → ☃"}', empty: '' };
  const written = await bytesOf(withTexts(png(), texts));
  assert.ok(isPng(written));
  assert.deepEqual(Object.fromEntries(readTexts(written)), texts);
  // What is Latin-1 is in tEXt, which more programs read.
  const types = [...Buffer.from(written).toString('latin1').matchAll(/[ti][TE][EX][xt]t?(?=[a-zS])/g)].length;
  assert.ok(types >= 4);
  const all = Buffer.from(written);
  assert.ok(all.includes(Buffer.from('tEXtparameters\0a line')) && all.includes(Buffer.from('iTXtdenoise\0\0\0\0\0{')));
  assert.deepEqual(all.subarray(0, 33), Buffer.concat([SIGNATURE, IHDR]), 'the header comes first');
  assert.deepEqual(all.subarray(-(IDAT.length + IEND.length)), Buffer.concat([IDAT, IEND]));
  // Each chunk is the one that the standard describes, checksum and all.
  assert.ok(all.includes(chunk('tEXt', Buffer.from('Software\0Denoise'))));
});

test('texts of other programs are read too, unless they are compressed', () => {
  const compressed = chunk('iTXt', Buffer.concat([Buffer.from('big\0\x01\0\0\0'), deflateSync(Buffer.from('x'))]));
  const read = readTexts(png(chunk('iTXt', Buffer.from('Title\0\0\0en\0Titel\0Ä')), compressed, chunk('zTXt', Buffer.from('z\0\0')), chunk('tEXt', Buffer.from('no zero')), chunk('iTXt', Buffer.from('short\0\0'))));
  assert.deepEqual([...read], [['Title', 'Ä']]);
  assert.equal(readTexts(png()).size, 0);
});

test('what is damaged is said', async () => {
  const whole = await bytesOf(withTexts(png(), { denoise: '{}' }));
  for (let length = 8; length < whole.length; length++) assert.throws(() => readTexts(whole.subarray(0, length)), /is cut off/, `${length} bytes`);
  const bent = whole.slice();
  bent[33 + 8 + 3] ^= 1;
  assert.throws(() => readTexts(bent), /checksum/);
  assert.throws(() => readTexts(png(chunk('tEXt', Buffer.from('a\0b'), 5))), /checksum/);
  const huge = whole.slice();
  huge.set([255, 255, 255, 255], 33);
  assert.throws(() => readTexts(huge), /cut off/);
  assert.equal(isPng(new Uint8Array([137, 80])), false);
});
