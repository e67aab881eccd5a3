// Fetches a model folder in the layout of a diffusers pipeline.

const CONFIG = 'unet/config.json';
const WEIGHTS = 'unet/diffusion_pytorch_model.safetensors';
const SCHEDULER = 'scheduler/scheduler_config.json';
const CARD = 'card.json';

/** @typedef {{config: string, weights: Uint8Array, scheduler: string, card: string|null}} ModelFiles */

/**
 * @param {string} folder  absolute address, ending in a slash
 * @param {(done: number, total: number|null) => void} onbytes  called as the weights arrive
 * @param {(small: {config: string, card: string|null}) => void} onsmall  called when the small files are here
 * @returns {Promise<ModelFiles>}
 */
export async function fetchModel(folder, onbytes, onsmall) {
  const [config, scheduler, card] = await Promise.all([
    request(folder, CONFIG).then(readText),
    request(folder, SCHEDULER).then(readText),
    // The card is this project's own and optional: any refusal means that there is none.
    request(folder, CARD).then(readText, () => null),
  ]);
  onsmall({ config, card });
  const weights = await readBytes(await request(folder, WEIGHTS), onbytes);
  return { config, weights, scheduler, card };
}

/** @returns {Promise<{file: string, response: Response}>} */
async function request(folder, file) {
  const address = new URL(file, folder).href;
  let response;
  try {
    response = await fetch(address);
  } catch (error) {
    throw new Error(`${file} could not be fetched from ${address}: there was no answer, or the server does not let other pages read it (CORS). Check the address and the connection.`, { cause: error });
  }
  if (!response.ok) {
    const status = `${response.status} ${response.statusText}`.trim();
    throw new Error(`${file} could not be fetched from ${address}: the server answered ${status}. A model folder holds ${CONFIG}, ${WEIGHTS} and ${SCHEDULER}.`);
  }
  return { file, response };
}

const readText = ({ response }) => response.text();

/** Reads a body chunk by chunk, straight into one buffer when the server tells its size. */
async function readBytes({ file, response }, onbytes) {
  // With a content-encoding the header counts compressed bytes, which says nothing about the size here.
  const encoded = response.headers.get('content-encoding');
  const total = encoded ? null : Number(response.headers.get('content-length')) || null;
  let bytes = new Uint8Array(total ?? 1 << 20);
  let done = 0;
  onbytes(done, total);
  const reader = response.body.getReader();
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      if (done + part.value.length > bytes.length) {
        const larger = new Uint8Array(Math.max(bytes.length * 2, done + part.value.length));
        larger.set(bytes.subarray(0, done));
        bytes = larger;
      }
      bytes.set(part.value, done);
      done += part.value.length;
      onbytes(done, total);
    }
  } catch (error) {
    throw new Error(`${file} stopped arriving after ${done.toLocaleString('en')} bytes (${error.message}). Check the connection and load the model again.`, { cause: error });
  }
  return bytes.subarray(0, done);
}
