// The worker that owns the engine. It fetches models, drives runs step by step and sends what it
// gets to the page; see protocol.js for the messages.

import { fetchModel } from './model-files.js';
import { listen, send } from './protocol.js';

/** @type {import('./pkg/denoise.js').Engine} */
let engine;
/** The loaded model. @type {import('./protocol.js').Model} */
let model;
let stopRequested = false;
let queue = Promise.resolve();

listen(self, {
  open: (command) => enqueue(() => open(command)),
  load: (command) => enqueue(() => load(command)),
  generate: ({ settings }) => {
    stopRequested = false;
    enqueue(() => generate(settings));
  },
  // Not queued: it has to overtake the run that it ends.
  stop: () => {
    stopRequested = true;
  },
});

function enqueue(job) {
  queue = queue.then(job).catch((error) => fail('engine', error));
}

function fail(during, error) {
  console.warn(error);
  send(self, { type: 'failed', during, message: error?.message || String(error) });
}

async function open({ backend, folder, count }) {
  progress('engine', 0, 1);
  try {
    const { default: init, Engine } = await import('./pkg/denoise.js');
    await init();
    engine = await Engine.create(backend);
  } catch (error) {
    return fail('engine', error);
  }
  send(self, { type: 'backend', ...engine.backend() });
  await load({ folder, count });
}

async function load({ folder, count }) {
  progress('download', 0, null);
  try {
    const files = await fetchModel(folder, throttled('download'), (small) => sendPreview(folder, small));
    model = await engine.load({ ...files, weights: [files.weights] }, { count }, progress);
    send(self, { type: 'model', folder, model });
  } catch (error) {
    fail('load', error);
  }
}

async function generate(settings) {
  let run;
  try {
    run = await engine.start(settings);
    const initial = run.initial();
    const { width, height } = model;
    send(self, { type: 'started', rows: run.rows(), initial, count: settings.count, width, height }, [initial.buffer]);
  } catch (error) {
    return fail('start', error);
  }
  try {
    while (!stopRequested) {
      const frame = await run.next();
      if (!frame) break;
      const { step, x, x0, milliseconds } = frame;
      send(self, { type: 'frame', step, x, x0, milliseconds }, [x.buffer, x0.buffer]);
      // A promise that is ready at once never lets go of the thread, so a `stop` would wait.
      await macrotask();
    }
    send(self, { type: 'finished', stopped: stopRequested });
  } catch (error) {
    fail('run', error);
  } finally {
    try {
      run.free();
    } catch (error) {
      console.warn(error); // after a lost device there may be nothing left to free
    }
  }
}

function progress(stage, done, total) {
  send(self, { type: 'progress', stage, done, total });
}

/** Progress at most every 50 ms, but always the first and the last. */
function throttled(stage) {
  let last = -Infinity;
  return (done, total) => {
    const now = performance.now();
    if (now - last < 50 && done !== total) return;
    last = now;
    progress(stage, done, total);
  };
}

const { port1, port2 } = new MessageChannel();

/** Resolves after the messages that are waiting now; setTimeout would cost 4 ms each time. */
function macrotask() {
  return new Promise((resolve) => {
    port1.onmessage = resolve;
    port2.postMessage(null);
  });
}

/**
 * Sends the sample that comes with a model, if its card names one: a PNG that holds a grid of images.
 * It is decoration, so whatever is wrong with it must not keep the model from loading.
 */
async function sendPreview(folder, { config, card }) {
  try {
    const { preview } = JSON.parse(card ?? '{}');
    if (!preview) return;
    const size = [JSON.parse(config).sample_size].flat();
    const [height, width] = [size[0], size.at(-1)];
    const response = await fetch(new URL(preview.file, folder));
    if (!response.ok) throw new Error(`${preview.file}: ${response.status}`);
    const picture = await createImageBitmap(await response.blob());
    const columns = picture.width / width;
    const count = columns * (picture.height / height);
    if (!Number.isInteger(count) || !Number.isInteger(columns)) throw new Error(`${preview.file} is not a grid of ${width}×${height} images`);
    const context = new OffscreenCanvas(picture.width, picture.height).getContext('2d');
    context.drawImage(picture, 0, 0);
    const pixels = new Uint8Array(count * width * height * 4);
    for (let i = 0; i < count; i++) {
      const image = context.getImageData((i % columns) * width, Math.floor(i / columns) * height, width, height);
      pixels.set(image.data, i * image.data.length);
    }
    const batch = { pixels, count, width, height };
    send(self, { type: 'preview', batch, caption: String(preview.caption ?? '') }, [pixels.buffer]);
  } catch (error) {
    console.warn('No preview:', error.message);
  }
}
