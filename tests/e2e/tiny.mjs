// The tiny model of the golden values, 12 × 8 pixels, as models of other kinds.

import { cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { folderOf } from './harness.mjs';

export const WEIGHTS = 'unet/diffusion_pytorch_model.safetensors';

/**
 * Makes a folder of the tiny model.
 * @param {string} folder  where it is made
 * @param {string} name
 * @param {object} scheduler  its configuration
 * @param {number} [channels]  that the model takes beside those it makes
 */
export async function makeTiny(folder, name, scheduler, channels = 0) {
  const into = join(folder, name);
  await cp(folderOf('tests/golden/unet_tiny_class'), join(into, 'unet'), { recursive: true });
  await cp(folderOf('www/models/digits/scheduler'), join(into, 'scheduler'), { recursive: true });
  await writeFile(join(into, 'scheduler/scheduler_config.json'), JSON.stringify(scheduler));
  if (!channels) return;
  const config = JSON.parse(await readFile(join(into, 'unet/config.json'), 'utf8'));
  await writeFile(join(into, 'unet/config.json'), JSON.stringify({ ...config, in_channels: config.in_channels + channels }));
  const bytes = await readFile(join(into, WEIGHTS));
  const start = 8 + Number(bytes.readBigUInt64LE());
  const header = JSON.parse(bytes.subarray(8, start));
  // The first convolution is written anew at the end; nothing else moves.
  const first = header['conv_in.weight'];
  const [out, taken, high, wide] = first.shape;
  const weights = new Float32Array(out * (taken + channels) * high * wide).map((_, i) => 0.3 * Math.cos(i));
  delete header['conv_in.weight'];
  const data = bytes.subarray(start);
  const [from, to] = first.data_offsets;
  for (const value of Object.values(header)) {
    if (value.data_offsets?.[0] >= to) value.data_offsets = value.data_offsets.map((offset) => offset - (to - from));
  }
  const rest = data.length - (to - from);
  header['conv_in.weight'] = { dtype: 'F32', shape: [out, taken + channels, high, wide], data_offsets: [rest, rest + weights.byteLength] };
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  await writeFile(join(into, WEIGHTS), Buffer.concat([length, text, data.subarray(0, from), data.subarray(to), Buffer.from(weights.buffer)]));
}
