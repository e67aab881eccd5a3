// The forward process, which the model has learned to undo: a picture and ever more noise (Ho et al. 2020, equation 4).

import { shownLevels } from '../model/image.js';

/** Words of the twister's state, and how far apart those lie that make a new one. */
const WORDS = 624;
const PERIOD = 397;
/** Normals are made of so many uniforms at a time. */
const BLOCK = 16;

/**
 * The first standard normals that a seed draws, as PyTorch's generator does and so the engine (src/random.rs): MT19937, and
 * Box–Muller transforms of blocks of uniforms. That way ε is the noise that the run's first image will have.
 * @param {number} seed
 * @param {number} count
 */
export function normals(seed, count) {
  const draw = twister(seed);
  const uniforms = (/** @type {number} */ length) => Float32Array.from({ length }, () => (draw() & 0xffffff) / 2 ** 24);
  const out = uniforms(Math.max(count, BLOCK));
  for (let at = 0; at + BLOCK <= out.length; at += BLOCK) boxMuller(out.subarray(at, at + BLOCK));
  if (out.length % BLOCK) {
    out.set(uniforms(BLOCK), out.length - BLOCK);
    boxMuller(out.subarray(out.length - BLOCK));
  }
  return out.subarray(0, count);
}

/** @param {Float32Array} block */
function boxMuller(block) {
  for (let i = 0; i < BLOCK / 2; i++) {
    const radius = Math.sqrt(-2 * Math.log(1 - block[i]));
    const angle = 2 * Math.PI * block[i + BLOCK / 2];
    [block[i], block[i + BLOCK / 2]] = [radius * Math.cos(angle), radius * Math.sin(angle)];
  }
}

/** MT19937 (Matsumoto and Nishimura 1998). @param {number} seed  of which the low 32 bits count */
function twister(seed) {
  const words = new Uint32Array(WORDS);
  words[0] = seed % 2 ** 32;
  for (let i = 1; i < WORDS; i++) words[i] = Math.imul(1812433253, words[i - 1] ^ (words[i - 1] >>> 30)) + i;
  let next = WORDS;
  return () => {
    if (next === WORDS) {
      for (let i = 0; i < WORDS; i++) {
        const y = (words[i] & 0x80000000) | (words[(i + 1) % WORDS] & 0x7fffffff);
        words[i] = words[(i + PERIOD) % WORDS] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
      }
      next = 0;
    }
    let y = words[next++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  };
}

/** x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε, as a screen shows it. @param {Float32Array} x0 @param {Float32Array} epsilon @param {number} alpha  ᾱ_t */
export function noised(x0, epsilon, alpha) {
  const [signal, noise] = [Math.sqrt(alpha), Math.sqrt(1 - alpha)];
  return shownLevels(x0.map((x, i) => signal * x + noise * epsilon[i]));
}
