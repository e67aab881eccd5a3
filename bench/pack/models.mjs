// Puts the models of the benchmark into a pack:  node bench/pack/models.mjs PACK
//
// Large files go as what they are made of, and are made of that once here: they must come out the same, byte for byte.

import { cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { headerName, onnxOf, partsName, WEIGHTS, weightsOf } from './prepare.mjs';
import { readHeader } from './safetensors.mjs';
import { folderOf, MODELS, ONNX, onnxName, prepare, python, SEEDED } from '../dawn/models.mjs';

/** Images at a time that there are ONNX files for. */
const COUNTS = [1, 16];

/** Fails unless a file that the pack made is the original, and removes it. */
async function compare(made, original) {
  if (Buffer.compare(await readFile(made), await readFile(original)) !== 0) throw new Error(`${made} is not ${original}.`);
  await rm(made);
}

async function add(pack, model) {
  const [source, onnx] = [MODELS.get(model), join(ONNX, model)];
  for (const count of COUNTS) await prepare(model, count);
  const folder = join(pack, 'models', model);
  for (const file of ['model_index.json', 'scheduler/scheduler_config.json', 'unet/config.json']) await cp(join(source, file), join(folder, file));
  if (SEEDED.includes(model)) {
    const weights = await readFile(join(source, WEIGHTS));
    await writeFile(join(folder, headerName), weights.subarray(0, readHeader(weights).length));
  } else {
    await cp(join(source, WEIGHTS), join(folder, WEIGHTS));
  }
  await mkdir(join(pack, 'onnx', model), { recursive: true });
  for (const file of ['inputs.json', 'sample.f32', 'output.f32']) await cp(join(onnx, file), join(pack, 'onnx', model, file));
  for (const count of COUNTS) {
    const file = join(onnx, onnxName(count));
    await python(folderOf('bench/pack/onnx_parts.py'), file, join(source, WEIGHTS), join(pack, 'onnx', model, partsName(count)));
    await compare(await onnxOf(pack, model, count), file);
  }
  if (SEEDED.includes(model)) await compare(await weightsOf(pack, model), join(source, WEIGHTS));
}

for (const model of MODELS.keys()) await add(process.argv[2], model);
