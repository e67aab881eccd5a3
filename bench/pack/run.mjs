// bench/dawn/bench.mjs in a pack, which is laid out as this repository is:  node bench/pack/run.mjs OUT [its options]

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

const [out, ...options] = process.argv.slice(2);
try {
  end(await bench(options, { out, models: [...MODELS.keys()], files, prepare }));
} catch (error) {
  console.error(error.message);
  end(1);
}
