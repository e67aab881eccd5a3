// Animated GIFs: grey pictures by a palette of all levels, others by the 256 colours that each frame needs most.

/** How a GIF's codes begin. */
const CLEAR = 256;
const END = 257;
const MOST_CODES = 4096;
/** For ever, as browsers read it. */
const LOOP = [0x21, 0xff, 11, ...Array.from('NETSCAPE2.0', (letter) => letter.charCodeAt(0)), 3, 1, 0, 0, 0];

export class Gif {
  #bytes = new Uint8Array(1 << 16);
  #length = 0;
  #width;
  #height;
  /** The code that stands for a code and the index after it; 0: none yet. */
  #codes = new Uint16Array(MOST_CODES << 8);

  /** @param {number} width @param {number} height */
  constructor(width, height) {
    this.#width = width;
    this.#height = height;
    this.#write([71, 73, 70, 56, 57, 97]); // GIF89a
    this.#write16(width, height);
    this.#write([0xf7, 0, 0]); // 256 colours for all frames that have none of their own
    this.#write(Array.from({ length: 768 }, (_, i) => Math.floor(i / 3)));
    this.#write(LOOP);
  }

  /** @param {Uint8ClampedArray} rgba @param {number} delay  in hundredths of a second */
  add(rgba, delay) {
    const { indices, palette } = isGrey(rgba) ? { indices: rgba.filter((_, i) => i % 4 === 0), palette: null } : quantise(rgba);
    this.#write([0x21, 0xf9, 4, 0]);
    this.#write16(delay);
    this.#write([0, 0, 0x2c]);
    this.#write16(0, 0, this.#width, this.#height);
    this.#write([palette ? 0x87 : 0]);
    if (palette) this.#write(palette);
    this.#write([8]);
    const data = this.#compress(indices);
    for (let at = 0; at < data.length; at += 255) {
      const block = data.subarray(at, at + 255);
      this.#write([block.length]);
      this.#write(block);
    }
    this.#write([0]);
  }

  finish() {
    this.#write([0x3b]);
    return this.#bytes.slice(0, this.#length);
  }

  /** LZW: what was seen before gets a code, of as many bits as the newest needs. @param {ArrayLike<number>} indices */
  #compress(indices) {
    const out = new Uint8Array(Math.ceil(indices.length * 1.6) + 16);
    let [length, waiting, bits, size, next] = [0, 0, 0, 9, END + 1];
    const emit = (/** @type {number} */ code) => {
      waiting |= code << bits;
      for (bits += size; bits >= 8; bits -= 8) {
        out[length++] = waiting & 255;
        waiting >>>= 8;
      }
    };
    this.#codes.fill(0);
    emit(CLEAR);
    let prefix = indices[0];
    for (let i = 1; i < indices.length; i++) {
      const key = (prefix << 8) | indices[i];
      if (this.#codes[key]) {
        prefix = this.#codes[key];
        continue;
      }
      emit(prefix);
      prefix = indices[i];
      if (next < MOST_CODES) {
        // The reader learns of a code one later than it is made.
        if (next === 1 << size) size++;
        this.#codes[key] = next++;
      } else {
        emit(CLEAR);
        this.#codes.fill(0);
        [size, next] = [9, END + 1];
      }
    }
    emit(prefix);
    // The last code counts as made, too.
    if (next === 1 << size && size < 12) size++;
    emit(END);
    if (bits) out[length++] = waiting & 255;
    return out.subarray(0, length);
  }

  /** @param {...number} values */
  #write16(...values) {
    for (const value of values) this.#write([value & 255, value >> 8]);
  }

  /** @param {ArrayLike<number>} bytes */
  #write(bytes) {
    if (this.#length + bytes.length > this.#bytes.length) {
      const larger = new Uint8Array(2 * (this.#length + bytes.length));
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }
}

/** @param {Uint8ClampedArray} rgba */
function isGrey(rgba) {
  for (let i = 0; i < rgba.length; i += 4) if (rgba[i] !== rgba[i + 1] || rgba[i] !== rgba[i + 2]) return false;
  return true;
}

/**
 * 256 colours by median cut: colours are in one box, and the widest box is cut in two until there are enough.
 * @param {Uint8ClampedArray} rgba
 */
function quantise(rgba) {
  const pixels = rgba.length / 4;
  // Colours that share five bits of each channel are never told apart.
  const [counts, red, green, blue] = Array.from({ length: 4 }, () => new Float64Array(1 << 15));
  const keys = new Uint16Array(pixels);
  /** @type {number[]} */
  const used = [];
  for (let i = 0; i < pixels; i++) {
    const [r, g, b] = [rgba[4 * i], rgba[4 * i + 1], rgba[4 * i + 2]];
    const key = ((r >> 3) << 10) | ((g >> 3) << 5) | (b >> 3);
    keys[i] = key;
    if (!counts[key]++) used.push(key);
    red[key] += r;
    green[key] += g;
    blue[key] += b;
  }
  const boxes = [box(used)];
  while (boxes.length < 256) {
    const widest = boxes.reduce((most, one) => (one.width > most.width ? one : most));
    if (widest.width === 0) break;
    const { keys: inside, shift } = widest;
    inside.sort((a, b) => ((a >> shift) & 31) - ((b >> shift) & 31));
    const half = inside.reduce((sum, key) => sum + counts[key], 0) / 2;
    let cut = 0;
    for (let sum = 0; cut < inside.length - 1 && sum < half; cut++) sum += counts[inside[cut]];
    boxes.splice(boxes.indexOf(widest), 1, box(inside.slice(0, cut)), box(inside.slice(cut)));
  }
  const palette = new Uint8Array(768);
  const numbers = new Uint8Array(1 << 15);
  for (const [i, { keys: inside }] of boxes.entries()) {
    const sum = (/** @type {Float64Array} */ of) => inside.reduce((all, key) => all + of[key], 0);
    const count = sum(counts);
    palette.set([red, green, blue].map((channel) => Math.round(sum(channel) / count)), 3 * i);
    for (const key of inside) numbers[key] = i;
  }
  return { indices: keys.map((key) => numbers[key]), palette };
}

/** @param {number[]} keys  of colours @returns {{keys: number[], shift: number, width: number}} in which channel it is widest, and how wide */
function box(keys) {
  const sides = [10, 5, 0].map((shift) => {
    let [least, most] = [31, 0];
    for (const key of keys) {
      const level = (key >> shift) & 31;
      least = Math.min(least, level);
      most = Math.max(most, level);
    }
    return { keys, shift, width: most - least };
  });
  return sides.reduce((widest, side) => (side.width > widest.width ? side : widest));
}
