// The benchmark in Dawn with small models and what PyTorch makes of them: tests/e2e/dawn.test.mjs runs it as a process of
// its own, since Dawn does not let go of one.
//
//   node tests/e2e/dawn-short.mjs OUT EXAMPLES [options of bench/dawn/bench.mjs]
//
// `--reject` in their place has the device reject a command, `--break-off` before them destroys it as soon as an engine is ready.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { bench, end } from '../../bench/dawn/bench.mjs';
import { openAdapter, problems } from '../../bench/dawn/device.mjs';
import { filesIn } from '../../bench/dawn/files.mjs';
import { folderOf } from './harness.mjs';

const [out, examples, ...options] = process.argv.slice(2);

const files = filesIn({
  'pkg/': process.env.DENOISE_PKG ?? folderOf('pkg'),
  'onnx/': examples,
  'models/tiny/unet/': folderOf('tests/golden/unet_tiny_class'),
  'models/tiny/scheduler/': folderOf('www/models/digits/scheduler'),
});

/** Asks for a buffer that nothing may be done with. */
async function reject() {
  const device = await (await openAdapter()).requestDevice();
  device.createBuffer({ size: 16, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.STORAGE });
  await device.queue.onSubmittedWorkDone();
  return problems.length;
}

/** Destroys every device as soon as the results that are saved say that an engine is ready. */
async function breakOff() {
  const devices = [];
  const { requestDevice } = GPUAdapter.prototype;
  GPUAdapter.prototype.requestDevice = async function (descriptor) {
    devices.push(await requestDevice.call(this, descriptor));
    return devices.at(-1);
  };
  const isReady = async () => {
    const results = await readFile(join(out, 'results.json'), 'utf8').then(JSON.parse).catch(() => ({ cases: [] }));
    return results.cases.some(({ engines }) => Object.values(engines).some(({ counts }) => counts));
  };
  while (!await isReady()) await sleep(20);
  for (const device of devices) device.destroy();
}

if (options[0] === '--break-off') {
  options.shift();
  breakOff();
}
try {
  end(options[0] === '--reject' ? await reject() : await bench(options, { out, models: ['tiny'], files }));
} catch (error) {
  console.error(error.message);
  end(1);
}
