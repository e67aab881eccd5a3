// The large files of a pack's models, which it carries as what they are made of: made beside that when first asked for.
//
// models/MODEL/unet/*.header is the header of weights that follow from a seed; onnx/MODEL/*.parts are ONNX files without
// what is in the weights.

import { access, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { assemble } from './onnx_parts.mjs';
import { seededFile } from './seeded.mjs';
import { onnxName } from '../dawn/models.mjs';

export const WEIGHTS = 'unet/diffusion_pytorch_model.safetensors';
export const headerName = WEIGHTS.replace('.safetensors', '.header');
export const partsName = (count) => onnxName(count).replace('.onnx', '.parts');

const exists = (path) => access(path).then(() => true, () => false);

/** Writes a file that is there whole or not at all. */
async function writeWhole(path, bytes) {
  await writeFile(`${path}.part`, bytes);
  await rename(`${path}.part`, path);
}

/** @param {string} pack  its folder @returns {Promise<string>} the file of a model's weights */
export async function weightsOf(pack, model) {
  const path = join(pack, 'models', model, WEIGHTS);
  if (!await exists(path)) await writeWhole(path, seededFile(await readFile(join(pack, 'models', model, headerName))));
  return path;
}

/** @param {string} pack  its folder @returns {Promise<string>} a model's ONNX file for so many images at a time */
export async function onnxOf(pack, model, count) {
  const path = join(pack, 'onnx', model, onnxName(count));
  if (await exists(path)) return path;
  const parts = join(pack, 'onnx', model, partsName(count));
  if (!await exists(parts)) throw new Error(`The pack has no ONNX file of ${model} for ${count} images at a time.`);
  await writeWhole(path, assemble(await readFile(parts), await readFile(await weightsOf(pack, model))));
  return path;
}
