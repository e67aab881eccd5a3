// Something to look at before there is anything to show.

/** @type {import('../engine/protocol.js').Batch} */
let noise = { pixels: new Uint8Array(), count: 0, width: 0, height: 0 };

/**
 * Grey noise in the shape of a batch. Always the same.
 * @param {number} count
 * @param {number} width
 * @param {number} height
 * @returns {import('../engine/protocol.js').Batch}
 */
export function noiseBatch(count, width, height) {
  if (noise.count === count && noise.width === width && noise.height === height) return noise;
  const pixels = new Uint8Array(count * width * height * 4).fill(255);
  let state = 7;
  for (let i = 0; i < pixels.length; i += 4) {
    let sum = 0;
    for (let k = 0; k < 3; k++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      sum += state / 2 ** 32;
    }
    pixels[i] = pixels[i + 1] = pixels[i + 2] = sum * 85;
  }
  noise = { pixels, count, width, height };
  return noise;
}
