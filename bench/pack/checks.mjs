// What the native engine of a pack computes on this machine's GPU, by the command line:
//
//   node bench/pack/checks.mjs OUT SECONDS MODEL …
//
// Every model in 32 and 16 bits: `denoise check`, which compares each layer with the CPU's, and `denoise eps` against what
// PyTorch made of the same input. Prints a line for each; all that is said goes to checks.log in OUT. None may take longer than
// SECONDS.

import { spawnSync } from 'node:child_process';
import { appendFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { weightsOf } from './prepare.mjs';
import { floats, readHeader, write } from './safetensors.mjs';
import { relativeError } from '../engines.js';
import { folderOf } from '../dawn/models.mjs';

/** The most that ‖ε − PyTorch's‖/‖PyTorch's‖ may be. */
const TOLERANCES = { f32: 1e-4, f16: 5e-3 };

const [out, limit, ...models] = process.argv.slice(2);
let failed = false;

const log = (text) => appendFileSync(join(out, 'checks.log'), `${text}\n`);

/** Runs `denoise`. @returns {string} what it printed */
function denoise(...command) {
  log(`== denoise ${command.join(' ')}`);
  const { status, signal, error, stdout, stderr } = spawnSync(folderOf('bin/denoise'), command, {
    encoding: 'utf8', timeout: 1000 * limit, killSignal: 'SIGKILL', maxBuffer: 1 << 26,
  });
  log(`${stdout}${stderr}`);
  if (error?.code === 'ETIMEDOUT') throw new Error(`stopped after ${limit} s`);
  if (error) throw error;
  if (status !== 0) throw new Error(`${[...stdout.trim().split('\n').slice(-2), stderr.trim()].join('; ')} (${signal ?? `exit status ${status}`})`);
  return stdout;
}

/** Every layer against the CPU's. */
function check(model, precision) {
  const printed = denoise('check', folderOf(`models/${model}`), ...flags(precision));
  return printed.trim().split('\n').slice(-2).join('; ');
}

/** ε against PyTorch's. */
function epsilon(model, precision) {
  const read = (name) => readFileSync(folderOf(`onnx/${model}/${name}`));
  const numbers = (name) => new Float32Array(new Uint8Array(read(name)).buffer);
  const { shape, timestep, class_label: label } = JSON.parse(read('inputs.json'));
  const given = { sample: { shape, data: numbers('sample.f32') }, timestep: { shape: [1], data: Float32Array.of(timestep) } };
  if (label !== null) given.class_labels = { shape: [1], data: Float32Array.of(label) };
  const [input, output] = [join(out, 'in.safetensors'), join(out, 'out.safetensors')];
  writeFileSync(input, write(given));
  denoise('eps', folderOf(`models/${model}`), '--backend', 'gpu', ...flags(precision), '--in', input, '--out', output);
  const file = readFileSync(output);
  for (const done of [input, output]) rmSync(done);
  const error = relativeError(floats(file, readHeader(file), 'model_output'), numbers('output.f32'));
  const said = `off from PyTorch by ${error.toExponential(1)}; tolerance ${TOLERANCES[precision].toExponential(0)}`;
  // Not a number is not close either.
  if (!(error <= TOLERANCES[precision])) throw new Error(said);
  return said;
}

const flags = (precision) => (precision === 'f16' ? ['--f16'] : []);

for (const model of models) {
  await weightsOf(folderOf(''), model);
  for (const precision of ['f32', 'f16']) {
    for (const [name, run] of [['check', check], ['eps', epsilon]]) {
      const begin = performance.now();
      let line;
      try {
        line = `ok      ${model} ${precision} ${name}: ${run(model, precision)}`;
      } catch (error) {
        failed = true;
        line = `FAILED  ${model} ${precision} ${name}: ${error.message.replaceAll('\n', ' ')}`;
      }
      line += `; ${((performance.now() - begin) / 1000).toFixed(1)} s`;
      console.log(line);
    }
  }
}
process.exit(failed ? 1 : 0);
