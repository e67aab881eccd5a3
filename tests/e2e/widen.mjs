// The weights of a shipped model in 32 bits: a file of twice the size, for what shows only with large ones.

import { cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

const WEIGHTS = 'unet/diffusion_pytorch_model.safetensors';

/** Copies the folder of a model in f16 to another, in f32. @param {string} from @param {string} to */
export async function widen(from, to) {
  await cp(from, to, { recursive: true });
  const bytes = await readFile(join(from, WEIGHTS));
  const start = 8 + Number(bytes.readBigUInt64LE());
  const header = JSON.parse(bytes.subarray(8, start));
  for (const tensor of Object.values(header)) {
    if (!tensor.dtype) continue; // "__metadata__"
    if (tensor.dtype !== 'F16') throw new Error(`${from} is not in f16`);
    tensor.dtype = 'F32';
    tensor.data_offsets = tensor.data_offsets.map((offset) => 2 * offset);
  }
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  const numbers = Buffer.alloc(2 * (bytes.length - start));
  for (let at = start; at < bytes.length; at += 2) numbers.writeFloatLE(half(bytes.readUInt16LE(at)), 2 * (at - start));
  await writeFile(join(to, WEIGHTS), Buffer.concat([length, text, numbers]));
}

/** The finite number of these 16 bits. */
function half(bits) {
  const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023];
  const size = exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15);
  return bits & 0x8000 ? -size : size;
}
