// Samples over training time: the same noise, of which a network makes more and more. There are at most so many of them.

/** @typedef {{step: number, levels: Uint8ClampedArray<ArrayBuffer>}} Frame */
/** What the frames have in common. @typedef {{count: number, channels: number, width: number, height: number}} FilmShape */

export const MOST_FRAMES = 64;

/**
 * Frames with another one in its place. If they are too many, the one goes whose neighbours are nearest to one another: the first and
 * the last stay.
 * @param {readonly Frame[]} frames
 * @param {Frame} frame
 * @param {number} [most]
 * @returns {Frame[]}
 */
export function withFrame(frames, frame, most = MOST_FRAMES) {
  const next = [...frames.filter(({ step }) => step < frame.step), frame];
  if (next.length <= most) return next;
  let least = 1;
  for (let i = 1; i < next.length - 1; i++) {
    if (next[i + 1].step - next[i - 1].step < next[least + 1].step - next[least - 1].step) least = i;
  }
  return next.filter((_, i) => i !== least);
}

/** The frame that is shown: the newest unless another one was chosen. @param {readonly Frame[]} frames @param {number|null} step */
export function shownFrame(frames, step) {
  if (step === null) return frames.at(-1) ?? null;
  return frames.findLast((frame) => frame.step <= step) ?? frames[0] ?? null;
}
