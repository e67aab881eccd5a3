// `./build.sh bench --dawn`: bench.mjs in this repository. Models, ONNX files and results are left in target/bench/.

import { execFile } from 'node:child_process';
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { bench, end } from './bench.mjs';
import { filesIn } from './files.mjs';

const run = promisify(execFile);
const folderOf = (path) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const OUT = folderOf('target/bench');
const PYTHON = process.env.PYTHON || 'python3';

/** Where each model is; those under target/ are made when they are first asked for. */
export const MODELS = {
  digits: folderOf('www/models/digits'),
  sprites: folderOf('www/models/sprites'),
  cifar10: join(OUT, 'models/cifar10'),
  256: join(OUT, 'models/256'),
};

const exists = (path) => access(path).then(() => true, () => false);

async function python(...command) {
  console.error(command.join(' ').replaceAll(folderOf(''), ''));
  await run(PYTHON, command);
}

/** Makes what the engines are given for a model at a count, unless it is there. */
export async function prepare(model, count) {
  if (!await exists(join(MODELS[model], 'model_index.json'))) await python(folderOf('bench/seeded.py'), model, MODELS[model]);
  const onnx = join(OUT, 'onnx', model);
  const made = count === 1 ? 'inputs.json' : `model-${count}.onnx`;
  if (!await exists(join(onnx, made))) await python(folderOf('bench/export_onnx.py'), MODELS[model], onnx, '--count', `${count}`);
}

const files = filesIn({
  'pkg/': folderOf('pkg'),
  'ort/': folderOf('node_modules/onnxruntime-web/dist'),
  'onnx/': join(OUT, 'onnx'),
  ...Object.fromEntries(Object.entries(MODELS).map(([model, folder]) => [`models/${model}/`, folder])),
});

try {
  end(await bench(process.argv.slice(2), { out: join(OUT, 'dawn'), models: Object.keys(MODELS), files, prepare }));
} catch (error) {
  console.error(error.message);
  end(1);
}
