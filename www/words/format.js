// Numbers as the page shows them: short, and always as wide as their neighbours.

const MINUS = '−';

/** A coefficient: five significant digits at most, four decimals at most. @param {number} value */
export function number(value) {
  if (!Number.isFinite(value)) return String(value);
  const magnitude = Math.abs(value);
  const decimals = magnitude < 10 ? 4 : magnitude < 100 ? 3 : 2;
  return signed(value.toFixed(decimals));
}

/** A true minus sign, which is as wide as a digit. @param {string} text */
function signed(text) {
  return text.replace('-', MINUS);
}

/** ᾱ_t spans five orders of magnitude: 0.0516, but 4.04e−5. @param {number} value */
export function alphaBar(value) {
  return signed(value >= 0.001 ? value.toFixed(4) : value.toExponential(2));
}

/** Signal-to-noise ratio of a state with this ᾱ, in decibels. @param {number} alphaCumprod */
export function snr(alphaCumprod) {
  const decibels = 10 * Math.log10(alphaCumprod / (1 - alphaCumprod));
  return `${Number.isFinite(decibels) ? signed(decibels.toFixed(1)) : decibels < 0 ? '−∞' : '∞'} dB`;
}

/** @param {number} milliseconds */
export function duration(milliseconds) {
  const seconds = milliseconds / 1000;
  if (seconds < 0.095) return `${Math.round(milliseconds)} ms`; // not “0.0 s”, which a fast GPU would have
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 99.5) return `${Math.round(seconds)} s`;
  return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}

/** @param {number} bytes */
export function megabytes(bytes) {
  return (bytes / 1e6).toFixed(1);
}

/** Bytes in the unit that suits them: 4.5 MB, 452 MB, 1.21 GB. @param {number} bytes */
export function size(bytes) {
  if (bytes >= 1e9) return `${(bytes / 1e9).toFixed(2)} GB`;
  if (bytes >= 1e5) return `${megabytes(bytes)} MB`.replace(/(\d{3,})\.\d/, '$1');
  return `${Math.ceil(bytes / 1e3)} kB`;
}

/** 1114209 → "1.1 M" @param {number} value */
export function short(value) {
  const { unit, size } = [{ unit: 'G', size: 1e9 }, { unit: 'M', size: 1e6 }, { unit: 'k', size: 1e3 }].find((one) => value >= one.size) ?? { unit: '', size: 1 };
  return `${(value / size).toFixed(size > 1 && value / size < 100 ? 1 : 0)} ${unit}`.trim();
}

/** A timestep, which some samplers choose between the whole ones. @param {number} t */
export function time(t) {
  return Number.isInteger(t) ? String(t) : t.toFixed(1);
}
