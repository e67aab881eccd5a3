// bench/dawn/bench.mjs in a pack, which is laid out as this repository is:  node bench/pack/run.mjs OUT [its options]
//
// A device in software is a failure, unless SOFTWARE=1 is in the environment.

import { onnxOf, weightsOf } from './prepare.mjs';
import { bench, end } from '../dawn/bench.mjs';
import { filesIn } from '../dawn/files.mjs';
import { folderOf, MODELS } from '../dawn/models.mjs';

const files = filesIn({
  'pkg/': folderOf('pkg'),
  'ort/': folderOf('node_modules/onnxruntime-web/dist'),
  'onnx/': folderOf('onnx'),
  'models/': folderOf('models'),
});

async function prepare(model, count) {
  await weightsOf(folderOf(''), model);
  await onnxOf(folderOf(''), model, count);
}

/** The model that says most comes first, should there be no time for others. */
const FIRST = 'cifar10';
const models = [FIRST, ...[...MODELS.keys()].filter((model) => model !== FIRST)];

const [out, ...options] = process.argv.slice(2);
try {
  end(await bench(options, { out, models, files, prepare, hardware: process.env.SOFTWARE !== '1' }));
} catch (error) {
  console.error(error.message);
  end(1);
}
