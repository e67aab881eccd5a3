// The engine's library that computes gradients too. It is larger than the page's own, and fetched when it is first needed.

import { messageOf } from '../words/messages.js';

/**
 * The library, ready for use.
 * @param {import('../model/files.js').OnBytes} [onbytes]  is told how much of it has come
 */
export async function loadLearningLibrary(onbytes = () => {}) {
  const missing = (/** @type {string} */ why, /** @type {unknown} */ cause = null) => new Error(`The engine that computes gradients could not be fetched: ${why}. Check the connection, and try again.`, { cause });
  const [module, response] = await Promise.all([
    import('../pkg/learning/denoise.js'),
    fetch(new URL('../pkg/learning/denoise_bg.wasm', import.meta.url)),
  ]).catch((error) => {
    throw missing(messageOf(error), error);
  });
  if (!response.ok || !response.body) throw missing(`the server answered ${response.status}`);
  let done = 0;
  const counted = response.body.pipeThrough(new TransformStream({
    transform(/** @type {Uint8Array} */ chunk, controller) {
      done += chunk.length;
      onbytes(done, null);
      controller.enqueue(chunk);
    },
  }));
  await module.default({ module_or_path: new Response(counted, { headers: { 'content-type': 'application/wasm' } }) }).catch((/** @type {unknown} */ error) => {
    // A connection that breaks while it comes is a TypeError; what the browser cannot compile is none.
    throw error instanceof TypeError ? missing(messageOf(error), error) : error;
  });
  return module;
}
