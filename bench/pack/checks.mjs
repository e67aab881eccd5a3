// What the native engine of a pack computes on this machine's GPU, by the command line:
//
//   node bench/pack/checks.mjs OUT SECONDS LIMIT MODEL …
//
// Every model in 32 and 16 bits: `denoise check`, which compares each layer with the CPU's and names the device, `denoise eps`
// against what PyTorch made of the same input, and `denoise sample` twice with the same seed, for the same bits. Prints a line
// for each; all that is said goes to checks.log in OUT. No command may take longer than SECONDS, and after LIMIT seconds no
// check is begun. A device in software fails, unless SOFTWARE=1 is in the environment.

import { spawnSync } from 'node:child_process';
import { appendFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { weightsOf } from './prepare.mjs';
import { floats, readHeader, write } from './safetensors.mjs';
import { relativeError } from '../engines.js';
import { folderOf } from '../dawn/models.mjs';

/** The most that ‖ε − PyTorch's‖/‖PyTorch's‖ may be. */
const TOLERANCES = { f32: 1e-4, f16: 5e-3 };

/** What Vulkan's drivers in software call themselves. */
const IN_SOFTWARE = /llvmpipe|lavapipe|swiftshader/i;

const [out, most, limit, ...models] = process.argv.slice(2);
let failed = false;

const log = (text) => appendFileSync(join(out, 'checks.log'), `${text}\n`);

/** Runs `denoise`. @returns {string} what it printed */
function denoise(...command) {
  log(`== denoise ${command.join(' ')}`);
  const { status, signal, error, stdout, stderr } = spawnSync(folderOf('bin/denoise'), command, {
    encoding: 'utf8', timeout: 1000 * most, killSignal: 'SIGKILL', maxBuffer: 1 << 26,
  });
  log(`${stdout}${stderr}`);
  if (error?.code === 'ETIMEDOUT') throw new Error(`stopped after ${most} s`);
  if (error) throw error;
  if (status !== 0) throw new Error(`${[...stdout.trim().split('\n').slice(-2), stderr.trim()].join('; ')} (${signal ?? `exit status ${status}`})`);
  return stdout;
}

/** Every layer against the CPU's. Its last lines are the device, the worst layer, and the output. */
function check(model, precision) {
  const said = denoise('check', folderOf(`models/${model}`), ...flags(precision)).trim().split('\n').slice(-3);
  if (IN_SOFTWARE.test(said[0]) && process.env.SOFTWARE !== '1') throw new Error(`a GPU was asked for, and this is a driver in software: ${said.join('; ')}`);
  return said.join('; ');
}

/** What ε is asked for, and PyTorch's answer is known to. */
const inputsOf = (model) => JSON.parse(readFileSync(folderOf(`onnx/${model}/inputs.json`)));

/** The same pictures from the same seed. */
function repeat(model, precision) {
  const { class_label: label } = inputsOf(model);
  const ofClass = label === null ? [] : ['--class', `${label}`];
  const files = ['a', 'b'].map((name) => join(out, `${name}.safetensors`));
  const [first, second] = files.map((file) => {
    denoise('sample', folderOf(`models/${model}`), '--backend', 'gpu', ...flags(precision), ...ofClass, '--count', '1', '--steps', '3', '--seed', '0', '--out', file);
    const made = readFileSync(file);
    rmSync(file);
    return made;
  });
  if (Buffer.compare(first, second) !== 0) throw new Error('the same seed gave other pictures');
  return 'the same seed gave the same bits';
}

/** ε against PyTorch's. */
function epsilon(model, precision) {
  const read = (name) => readFileSync(folderOf(`onnx/${model}/${name}`));
  const numbers = (name) => new Float32Array(new Uint8Array(read(name)).buffer);
  const { shape, timestep, class_label: label } = inputsOf(model);
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
  for (const precision of ['f32', 'f16']) {
    for (const [name, run] of [['check', check], ['eps', epsilon], ['repeat', repeat]]) {
      const begin = performance.now();
      if (begin > 1000 * limit) {
        console.log(`left out: ${model} ${precision} ${name}, which would begin after ${limit} s`);
        continue;
      }
      let line;
      try {
        await weightsOf(folderOf(''), model);
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
