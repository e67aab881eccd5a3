// The engines that are compared, as one sees them: open one, load a model, evaluate it.
//
// Denoise has to make whole runs: an evaluation is there when its frame is. So its time includes the update of the
// sampler, the pictures and the noise; that of ONNX Runtime is the network's alone. What either is given and gives
// crosses from the page and back.

const text = async (path) => (await get(path)).text();
const bytes = async (path) => new Uint8Array(await (await get(path)).arrayBuffer());
const floats = async (path) => new Float32Array(await (await get(path)).arrayBuffer());

async function get(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path} could not be fetched: ${response.status} ${response.statusText}`);
  return response;
}

/** What both are given, and what PyTorch makes of it; see bench/export_onnx.py. @param {string} model */
async function example(model) {
  const folder = `/onnx/${model}`;
  const inputs = JSON.parse(await text(`${folder}/inputs.json`));
  return { ...inputs, sample: await floats(`${folder}/sample.f32`), output: await floats(`${folder}/output.f32`) };
}

/** ‖actual − expected‖ / ‖expected‖ */
function relativeError(actual, expected) {
  if (actual.length !== expected.length) throw new Error(`${actual.length} numbers, expected ${expected.length}`);
  let difference = 0;
  let norm = 0;
  expected.forEach((value, i) => {
    difference += (actual[i] - value) ** 2;
    norm += value ** 2;
  });
  return Math.sqrt(difference / norm);
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
  constructor(backend) {
    this.backend = backend;
  }

  async open() {
    const { default: init, Engine, Loading } = await import('/pkg/denoise.js');
    await init();
    this.Loading = Loading;
    this.engine = await Engine.create(this.backend);
    await this.engine.tune();
  }

  async load(model) {
    this.example = await example(model);
    const folder = `/models/${model}`;
    const files = {
      config: await text(`${folder}/unet/config.json`),
      scheduler: await text(`${folder}/scheduler/scheduler_config.json`),
      card: null,
    };
    const loading = new this.Loading(this.engine, files, { count: 1, precision: 'f32' });
    loading.begin();
    loading.push(await bytes(`${folder}/unet/diffusion_pytorch_model.safetensors`));
    loading.end();
    this.model = await this.engine.load(loading, () => {});
  }

  /** A run of one evaluation more: with the first comes what is done once a run. */
  async evaluate(count) {
    const { seed, class_label: label } = this.example;
    const run = await this.engine.start({ sampler: 'ddim', steps: count + 1, eta: 0, seed, class_labels: label === null ? null : [label], count: 1, guidance: 1, timestep_spacing: 'trailing' });
    const first = await run.next();
    this.first = { x0: first.x0, row: run.rows()[0] };
    const milliseconds = [];
    // As the engine says: several evaluations may be one submission and come together.
    for (let i = 0; i < count; i++) milliseconds.push((await run.next()).milliseconds);
    run.free();
    return milliseconds;
  }

  /** Its first x̂0 against what follows from PyTorch's ε, of 255 levels: the largest difference. */
  error() {
    const { sample, output, shape: [, channels, height, width], timestep } = this.example;
    const { x0, row } = this.first;
    if (row.timestep !== timestep) throw new Error(`the run begins at t = ${row.timestep}, the example is of ${timestep}`);
    let largest = 0;
    const pixels = height * width;
    for (let channel = 0; channel < channels; channel++) {
      for (let pixel = 0; pixel < pixels; pixel++) {
        const i = channel * pixels + pixel;
        const exact = row.x0_from_x * sample[i] + row.x0_from_model * output[i];
        const expected = (Math.min(1, Math.max(-1, exact)) + 1) * 127.5;
        largest = Math.max(largest, Math.abs(x0[4 * pixel + channel] - expected));
      }
    }
    return { levels: largest };
  }
}

/** Denoise's convolution by itself. */
class DenoiseConvolution {
  constructor(backend) {
    this.backend = backend;
  }

  async open() {
    const { default: init, Convolution } = await import('/convolution/convolution.js');
    await init();
    this.Convolution = Convolution;
  }

  async load(model) {
    this.example = await example(model);
    const [weight, bias] = [await floats(`/onnx/${model}/weight.f32`), await floats(`/onnx/${model}/bias.f32`)];
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

/** onnxruntime-web, as its documentation says to use it; in wasm with one thread, as Denoise has one. */
class OnnxRuntime {
  constructor(provider) {
    this.provider = provider;
  }

  async open() {
    this.ort = await import(`/ort/ort.${this.provider}.bundle.min.mjs`);
    this.ort.env.wasm.numThreads = 1;
    this.ort.env.wasm.wasmPaths = '/ort/';
  }

  async load(model) {
    const { Tensor, InferenceSession } = this.ort;
    this.example = await example(model);
    const { sample, shape, timestep, class_label: label } = this.example;
    const file = await bytes(`/onnx/${model}/model.onnx`);
    this.session = await InferenceSession.create(file, { executionProviders: [this.provider], graphOptimizationLevel: 'all' });
    this.feeds = { sample: new Tensor('float32', sample, shape) };
    if (timestep !== null) this.feeds.timestep = new Tensor('float32', Float32Array.of(timestep), [1]);
    if (label !== null) this.feeds.class_labels = new Tensor('int64', BigInt64Array.of(BigInt(label)), [1]);
  }

  /** @param {number} count @param {boolean} lead  whether one more comes first, that is not timed */
  async evaluate(count, lead = true) {
    const call = async () => {
      this.output = (await this.session.run(this.feeds)).output.data;
    };
    if (lead) await call();
    return times(count, call);
  }

  error() {
    return { relative: relativeError(this.output, this.example.output) };
  }
}

/** @param {string} name  one of the engines in bench/run.mjs @param {string} model */
export function engine(name, model) {
  const [runtime, device] = name.split(' ');
  if (runtime === 'ort') return new OnnxRuntime(device);
  return model === 'convolution' ? new DenoiseConvolution(device) : new Denoise(device);
}
