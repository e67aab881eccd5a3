// `./build.sh bench --dawn`: bench.mjs in this repository. Models, ONNX files and results are left in target/bench/.

import { join } from 'node:path';
import { bench, end } from './bench.mjs';
import { filesIn } from './files.mjs';
import { folderOf, MODELS, ONNX, OUT, prepare } from './models.mjs';

const files = filesIn({
  'pkg/': folderOf('pkg'),
  'ort/': folderOf('node_modules/onnxruntime-web/dist'),
  'onnx/': ONNX,
  ...Object.fromEntries([...MODELS].map(([model, folder]) => [`models/${model}/`, folder])),
});

try {
  end(await bench(process.argv.slice(2), { out: join(OUT, 'dawn'), models: [...MODELS.keys()], files, prepare }));
} catch (error) {
  console.error(error.message);
  end(1);
}
