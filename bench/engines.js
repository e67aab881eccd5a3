// The engines that are compared, as one sees them: open one, load a model for a number of images, evaluate it.
//
// Denoise has to make whole runs: an evaluation is there when its frame is. So its time includes the update of the
// sampler, the pictures, the noise and reading these back; that of ONNX Runtime is the network's alone.
//
// An engine is told where its files are by an object of two functions and what is beside them (bench/page/files.js in a
// browser, bench/dawn/files.mjs in Node). Paths are pkg/…, ort/…, convolution/…, models/MODEL/… and onnx/MODEL/….

const WEIGHTS = 'unet/diffusion_pytorch_model.safetensors';

/**
 * @typedef {object} Files
 * @property {(path: string) => Promise<Uint8Array>} read
 * @property {(path: string) => Promise<object>} module  a JavaScript module
 * @property {(module: object, wasm: string) => Promise<void>} init  initialises a module of wasm-bindgen
 * @property {(ort: object, provider: string) => Promise<void>} configure  tells onnxruntime-web where its wasm is
 */

const text = async (files, path) => new TextDecoder().decode(await files.read(path));
const floats = async (files, path) => new Float32Array((await files.read(path)).slice().buffer);

/** What both are given, and what PyTorch makes of it; see bench/export_onnx.py. @param {Files} files @param {string} model */
async function example(files, model) {
  const folder = `onnx/${model}`;
  const inputs = JSON.parse(await text(files, `${folder}/inputs.json`));
  return { ...inputs, sample: await floats(files, `${folder}/sample.f32`), output: await floats(files, `${folder}/output.f32`) };
}

/** ‖actual − expected‖ / ‖expected‖, where `expected` is one image and `actual` is as often that as it is longer. */
export function relativeError(actual, expected) {
  if (actual.length === 0 || actual.length % expected.length) throw new Error(`${actual.length} numbers, expected ${expected.length}`);
  let difference = 0;
  let norm = 0;
  actual.forEach((value, i) => {
    const exact = expected[i % expected.length];
    difference += (value - exact) ** 2;
    norm += exact ** 2;
  });
  return Math.sqrt(difference / norm);
}

/** The same image `count` times. */
function repeated(data, count) {
  const all = new data.constructor(count * data.length);
  for (let i = 0; i < count; i++) all.set(data, i * data.length);
  return all;
}

/** Times calls one after another. */
async function times(count, call) {
  const milliseconds = [];
  for (let i = 0; i < count; i++) {
    const begin = performance.now();
    await call();
    milliseconds.push(performance.now() - begin);
  }
  return milliseconds;
}

/** The page's own engine. */
class Denoise {
  /** @param {Files} files @param {'gpu'|'cpu'} backend @param {'f32'|'f16'} precision */
  constructor(files, backend, precision = 'f32') {
    Object.assign(this, { files, backend, precision });
  }

  /** @param {string} [tuning]  in place of measuring one */
  async open(tuning) {
    const module = await this.files.module('pkg/denoise.js');
    await this.files.init(module, 'pkg/denoise_bg.wasm');
    this.Loading = module.Loading;
    this.engine = await module.Engine.create(this.backend);
    if (tuning) this.engine.set_tuning(tuning);
    this.tuning = tuning ?? await this.engine.tune();
  }

  /** @param {string} model @param {number} [count]  images at a time */
  async load(model, count = 1) {
    this.count = count;
    this.example = await example(this.files, model);
    const folder = `models/${model}`;
    const files = {
      config: await text(this.files, `${folder}/unet/config.json`),
      scheduler: await text(this.files, `${folder}/scheduler/scheduler_config.json`),
      card: null,
    };
    const loading = new this.Loading(this.engine, files, { count, precision: this.precision });
    loading.begin();
    loading.push(await this.files.read(`${folder}/${WEIGHTS}`));
    loading.end();
    this.model = await this.engine.load(loading, () => {});
  }

  /** A run that begins where the example is, every image from the same noise. */
  #start(steps) {
    const { seed, class_label: label } = this.example;
    const all = (value) => Array.from({ length: this.count }, () => value);
    return this.engine.start({
      sampler: 'ddim', steps, eta: 0, seeds: all(seed), class_labels: label === null ? null : all(label),
      count: this.count, guidance: 1, timestep_spacing: 'trailing',
    });
  }

  /** A run of one evaluation more: with the first comes what is done once a run. */
  async evaluate(count) {
    const run = await this.#start(count + 1);
    const first = await run.next();
    this.first = { x0: first.x0, row: run.rows()[0] };
    const milliseconds = [];
    // As the engine says: several evaluations may be one submission and come together.
    for (let i = 0; i < count; i++) milliseconds.push((await run.next()).milliseconds);
    run.free();
    return milliseconds;
  }

  /** Milliseconds of a run's `count` evaluations, from when it has its x_T to when the last picture is read. */
  async block(count) {
    return (await this.#run(count)).milliseconds;
  }

  /** The frames of a run of `steps`: of each step x_t and x̂0. */
  async frames(steps) {
    return (await this.#run(steps)).frames;
  }

  async #run(steps) {
    const run = await this.#start(steps);
    const frames = [];
    const begin = performance.now();
    for (let frame; (frame = await run.next());) frames.push({ x: frame.x, x0: frame.x0 });
    const milliseconds = performance.now() - begin;
    this.first = { x0: frames[0].x0, row: run.rows()[0] };
    run.free();
    return { frames, milliseconds };
  }

  /**
   * The x̂0 of a run's first step against what follows from PyTorch's ε, of 255 levels: the largest difference, and what it
   * would be for an ε that is off by a thousandth of its largest number.
   */
  error() {
    const { sample, output, shape: [, channels, height, width], timestep } = this.example;
    const { x0, row } = this.first;
    if (row.timestep !== timestep) throw new Error(`the run begins at t = ${row.timestep}, the example is of ${timestep}`);
    let largest = 0;
    const pixels = height * width;
    for (let image = 0; image < this.count; image++) {
      for (let channel = 0; channel < channels; channel++) {
        for (let pixel = 0; pixel < pixels; pixel++) {
          const i = channel * pixels + pixel;
          const exact = row.x0_from_x * sample[i] + row.x0_from_model * output[i];
          const level = (value) => (Math.min(1, Math.max(-1, value)) + 1) * 127.5;
          largest = Math.max(largest, Math.abs(level(x0[image * channels * pixels + i]) - level(exact)));
        }
      }
    }
    const peak = output.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    return { levels: largest, levels_of_a_thousandth: 127.5 * Math.abs(row.x0_from_model) * peak / 1000 };
  }

  free() {
    this.engine.free();
  }
}

/** Denoise's convolution by itself. */
class DenoiseConvolution {
  constructor(files, backend) {
    Object.assign(this, { files, backend });
  }

  async open() {
    const module = await this.files.module('convolution/convolution.js');
    await this.files.init(module, 'convolution/convolution_bg.wasm');
    this.Convolution = module.Convolution;
  }

  async load(model) {
    this.example = await example(this.files, model);
    const [weight, bias] = [await floats(this.files, `onnx/${model}/weight.f32`), await floats(this.files, `onnx/${model}/bias.f32`)];
    this.convolution = await this.Convolution.create(this.backend, this.example.shape[2], weight, bias);
  }

  async evaluate(count) {
    const call = async () => {
      this.output = await this.convolution.run(this.example.sample);
    };
    await call();
    return times(count, call);
  }

  error() {
    return { relative: relativeError(this.output, this.example.output) };
  }
}

/** Where onnxruntime-web leaves ε. */
const OUTPUTS = {
  /** Reads it back every time, as its documentation says to use it. */
  cpu: {},
  /** On the GPU, like its input; one waits at the end of a block. */
  gpu: { preferredOutputLocation: 'gpu-buffer' },
  /** The same, with its dispatches recorded once and replayed. */
  graph: { preferredOutputLocation: 'gpu-buffer', enableGraphCapture: true },
};

/** onnxruntime-web; in wasm with one thread, as Denoise has one. */
class OnnxRuntime {
  /** @param {Files} files @param {'webgpu'|'wasm'} provider @param {keyof typeof OUTPUTS} output */
  constructor(files, provider, output = 'cpu') {
    Object.assign(this, { files, provider, output });
  }

  async open() {
    this.ort = await this.files.module(`ort/ort.${this.provider}.bundle.min.mjs`);
    this.ort.env.wasm.numThreads = 1;
    await this.files.configure(this.ort, this.provider);
  }

  async load(model, count = 1) {
    const { Tensor, InferenceSession } = this.ort;
    this.example = await example(this.files, model);
    const { sample, shape, timestep, class_label: label } = this.example;
    const file = await this.files.read(`onnx/${model}/model${count === 1 ? '' : `-${count}`}.onnx`);
    this.session = await InferenceSession.create(file, {
      executionProviders: [this.provider], graphOptimizationLevel: 'all', ...OUTPUTS[this.output],
    });
    this.buffers = [];
    this.device = this.output === 'cpu' ? null : await this.ort.env.webgpu.device;
    this.feeds = { sample: this.#tensor('float32', repeated(sample, count), [count, ...shape.slice(1)]) };
    if (timestep !== null) this.feeds.timestep = this.#tensor('float32', Float32Array.of(timestep), [1]);
    if (label !== null) {
      // Without graph capture it takes whole numbers from the host only.
      const labels = new BigInt64Array(count).fill(BigInt(label));
      this.feeds.class_labels = this.output === 'graph' ? this.#tensor('int64', labels, [count]) : new Tensor('int64', labels, [count]);
    }
    if (this.output === 'graph') await this.#capture();
  }

  /**
   * The first evaluation of a graph whose dispatches are recorded. After every run onnxruntime-web 1.30 lets go of buffers that
   * it did not make, though what it recorded goes on naming them: later runs would fail, or read another buffer that got the
   * name. It counts their uses, so each is given one more while it is in use.
   */
  async #capture() {
    const running = this.session.run(this.feeds);
    const waiting = new Set(this.buffers);
    for (let turn = 0; turn < 1000 && waiting.size > 0; turn++) {
      for (const buffer of waiting) {
        const uses = Object.getOwnPropertySymbols(buffer).find(({ description }) => description === 'gpuBufferMetadata');
        if (!uses) continue;
        buffer[uses][1]++;
        waiting.delete(buffer);
      }
      // What onnxruntime-web does before it computes takes promises' turns, and no others.
      await null;
    }
    const { output } = await running;
    output.dispose();
    if (waiting.size > 0) throw new Error('onnxruntime-web did not say which buffers it uses, so its recording cannot be kept from losing them.');
  }

  #tensor(type, data, dims) {
    const { Tensor } = this.ort;
    if (!this.device) return new Tensor(type, data, dims);
    const size = Math.max(16, Math.ceil(data.byteLength / 16) * 16);
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
    const buffer = this.device.createBuffer({ size, usage });
    this.device.queue.writeBuffer(buffer, 0, data);
    this.buffers.push(buffer);
    return Tensor.fromGpuBuffer(buffer, { dataType: type, dims });
  }

  /** @param {number} count @param {boolean} lead  whether one more comes first, that is not timed */
  async evaluate(count, lead = true) {
    const call = async () => {
      this.epsilon = (await this.session.run(this.feeds)).output.data;
    };
    if (lead) await call();
    return times(count, call);
  }

  /** Milliseconds of `count` evaluations. An ε that stays on the GPU is read afterwards, the last one's. */
  async block(count) {
    const begin = performance.now();
    let output;
    for (let i = 0; i < count; i++) {
      if (this.device) output?.dispose();
      ({ output } = await this.session.run(this.feeds));
    }
    await this.device?.queue.onSubmittedWorkDone();
    const milliseconds = performance.now() - begin;
    this.epsilon = this.device ? await output.getData(true) : output.data;
    return milliseconds;
  }

  error() {
    return { relative: relativeError(this.epsilon, this.example.output) };
  }

  async free() {
    await this.session.release();
    for (const buffer of this.buffers) buffer.destroy();
  }
}

/**
 * @param {string} name  "denoise BACKEND [PRECISION]" or "ort PROVIDER [OUTPUT]"
 * @param {string} model
 * @param {Files} files
 */
export function engine(name, model, files) {
  const [runtime, device, kind] = name.split(' ');
  if (runtime === 'ort') return new OnnxRuntime(files, device, kind);
  return model === 'convolution' ? new DenoiseConvolution(files, device) : new Denoise(files, device, kind);
}
