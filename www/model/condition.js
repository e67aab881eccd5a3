// What some models take beside x_t: the small picture that is to be enlarged, or planes of numbers. Read from an image,
// or from a .safetensors file with one tensor.

import { messageOf } from '../words/messages.js';

/** More than these bytes no header of one tensor has. */
const MOST_HEADER_BYTES = 1 << 20;

/**
 * @typedef {object} Condition
 * @property {Float32Array} values  [images, channels, height, width]
 * @property {number} images        1: the same for all images of a batch
 * @property {string} name          of its file
 * @property {ImageData|null} picture  what it looks like
 */

/** @typedef {{channels: number, width: number, height: number}} Shape  of an image's condition */

const TENSOR = /\.safetensors$/i;
const IMAGE = /\.(png|jpe?g|webp)$/i;

/** Whether a file may be a condition, by its name. @param {File} file */
export const isCondition = ({ name }) => TENSOR.test(name) || IMAGE.test(name);

/** What a person may give. @param {Shape} shape */
export function whatIsTaken({ channels, width, height }) {
  const tensor = `a .safetensors file with one tensor of [1, ${channels}, ${height}, ${width}]`;
  return hasPicture(channels) ? `an image, or ${tensor}` : tensor;
}

/** The same in a few words, of which the numbers stay together. @param {Shape} shape */
export const shortlyTaken = ({ channels, width, height }) => `${hasPicture(channels) ? 'An image, or a' : 'A'} tensor of [1,\u00a0${channels},\u00a0${height},\u00a0${width}]`;

/** @param {number} channels */
const hasPicture = (channels) => channels === 1 || channels === 3;

/** @param {File} file @param {Shape} shape @returns {Promise<Condition>} */
export async function readCondition(file, shape) {
  if (TENSOR.test(file.name)) {
    const bytes = new Uint8Array(await file.arrayBuffer());
    return { ...readTensor(bytes, file.name, shape), name: file.name, picture: null };
  }
  const { channels, width, height } = shape;
  if (!hasPicture(channels)) throw new Error(`${file.name} cannot be the condition: it has ${channels} channels, which an image has not. Give ${whatIsTaken(shape)}.`);
  const picture = await scaled(file, width, height);
  return { values: planesOf(picture.data, channels), images: 1, name: file.name, picture };
}

/** The middle of an image, in the model's size. @param {File} file @param {number} width @param {number} height */
async function scaled(file, width, height) {
  let image;
  try {
    image = await createImageBitmap(file);
  } catch (error) {
    throw new Error(`${file.name} could not be read as an image (${messageOf(error)}). PNG, JPEG and WebP are.`, { cause: error });
  }
  const scale = Math.min(image.width / width, image.height / height);
  const [wide, high] = [width * scale, height * scale];
  // One pass would skip pixels of a large image.
  const part = await createImageBitmap(image, Math.round((image.width - wide) / 2), Math.round((image.height - high) / 2), Math.max(1, Math.round(wide)), Math.max(1, Math.round(high)), { resizeWidth: width, resizeHeight: height, resizeQuality: 'high' });
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (new OffscreenCanvas(width, height).getContext('2d'));
  context.fillRect(0, 0, width, height); // what is transparent becomes black
  context.drawImage(part, 0, 0);
  return context.getImageData(0, 0, width, height);
}

/**
 * Pixels as planes of numbers from −1 to 1.
 * @param {Uint8ClampedArray} rgba
 * @param {number} channels  1 for grey, 3 for red, green and blue
 */
export function planesOf(rgba, channels) {
  const pixels = rgba.length / 4;
  const values = new Float32Array(channels * pixels);
  for (let i = 0; i < pixels; i++) {
    const [red, green, blue] = [rgba[4 * i], rgba[4 * i + 1], rgba[4 * i + 2]];
    const levels = channels === 1 ? [0.299 * red + 0.587 * green + 0.114 * blue] : [red, green, blue];
    for (const [k, level] of levels.entries()) values[k * pixels + i] = level / 127.5 - 1;
  }
  return values;
}

/**
 * The tensor of a .safetensors file: eight bytes that tell the header's length, the header as JSON, the numbers.
 * @param {Uint8Array} bytes
 * @param {string} name
 * @param {Shape} shape
 * @returns {{values: Float32Array, images: number}}
 */
export function readTensor(bytes, name, { channels, width, height }) {
  const wrong = (/** @type {string} */ problem) => new Error(`${name} ${problem}`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = bytes.length < 8 ? Infinity : Number(view.getBigUint64(0, true));
  if (length > Math.min(MOST_HEADER_BYTES, bytes.length - 8)) throw wrong('is not a .safetensors file, or is cut off: its header does not fit into it.');
  let header;
  try {
    header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
  } catch (error) {
    throw wrong(`is damaged: its header is not valid JSON (${messageOf(error)}).`);
  }
  const tensors = Object.entries(header ?? {}).filter(([key]) => key !== '__metadata__');
  if (tensors.length !== 1) throw wrong(`has ${tensors.length} tensors; a condition is one.`);
  const [[tensor, entry]] = tensors;
  const { dtype, shape, data_offsets: offsets } = entry ?? {};
  const [start, end] = Array.isArray(offsets) ? offsets : [];
  const size = new Map([['F32', 4], ['F16', 2]]).get(dtype);
  if (!size) throw wrong(`has "${tensor}" in ${dtype}; save it in F32 or F16.`);
  const expected = [channels, height, width];
  const fits = Array.isArray(shape) && shape.length === 4 && shape[0] > 0 && expected.every((value, i) => shape[i + 1] === value);
  if (!fits) throw wrong(`has "${tensor}" of the shape ${JSON.stringify(shape)}; this model takes [1, ${expected.join(', ')}], or as many as there are images in place of 1.`);
  const count = shape.reduce((product, value) => product * value, 1);
  if (end - start !== count * size || !(start >= 0) || 8 + length + end > bytes.length) throw wrong(`is cut off: "${tensor}" should have ${count * size} bytes.`);
  const values = new Float32Array(count);
  for (let i = 0, at = 8 + length + start; i < count; i++, at += size) {
    values[i] = size === 4 ? view.getFloat32(at, true) : half(view.getUint16(at, true));
  }
  const bad = values.find((value) => !Number.isFinite(value));
  if (bad !== undefined) throw wrong(`has ${bad} in "${tensor}", which is not a finite number.`);
  return { values, images: shape[0] };
}

/** The number of these 16 bits. @param {number} bits */
function half(bits) {
  const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023];
  const size = exponent === 31 ? (fraction ? NaN : Infinity) : exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24;
  return bits & 0x8000 ? -size : size;
}
