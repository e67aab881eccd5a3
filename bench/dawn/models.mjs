// The models of the benchmark in this repository, and making what the engines are given for them, in target/bench/.

import { execFile } from 'node:child_process';
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const PYTHON = process.env.PYTHON || 'python3';

/** A path in the repository. */
export const folderOf = (path) => fileURLToPath(new URL(`../../${path}`, import.meta.url));

export const OUT = folderOf('target/bench');
export const ONNX = join(OUT, 'onnx');

/** The models whose weights follow from a seed: bench/seeded.py makes them when they are first asked for. */
export const SEEDED = ['cifar10', '256'];

/** Where each model is, small ones first: an object would begin with 256. */
export const MODELS = new Map([
  ...['digits', 'sprites'].map((model) => [model, folderOf(`www/models/${model}`)]),
  ...SEEDED.map((model) => [model, join(OUT, 'models', model)]),
]);

export const exists = (path) => access(path).then(() => true, () => false);

/** Runs a script of Python's. @param {...string} command  the script and its arguments */
export async function python(...command) {
  console.error(command.join(' ').replaceAll(folderOf(''), ''));
  await run(PYTHON, command);
}

/** @param {number} count  images at a time @returns {string} what bench/export_onnx.py calls the file */
export const onnxName = (count) => `model${count === 1 ? '' : `-${count}`}.onnx`;

/** Makes what the engines are given for a model at a count, unless it is there. */
export async function prepare(model, count) {
  const folder = MODELS.get(model);
  if (!await exists(join(folder, 'model_index.json'))) await python(folderOf('bench/seeded.py'), model, folder);
  const onnx = join(ONNX, model);
  const made = count === 1 ? 'inputs.json' : onnxName(count);
  if (!await exists(join(onnx, made))) await python(folderOf('bench/export_onnx.py'), folder, onnx, '--count', `${count}`);
}
