// The visitor's picture, what is marked in it, and how a run is to begin with it.

/** @typedef {import('../model/image.js').Levels} Levels */
/** @typedef {import('../model/image.js').Shape} Shape */
/** @typedef {import('./beginning.js').Beginning} Beginning */

/** What drawing does: it adds, takes away, marks what is to be made anew, or takes marks away. @typedef {'pen'|'eraser'|'mark'|'unmark'} Tool */

/** What can be taken back. @typedef {Pick<Picture, 'shape'|'levels'|'mask'|'name'>} Earlier */

/** A line that is being drawn: what was there before it, and how much of each pixel it covers by now. @typedef {{before: Earlier, covered: Float32Array}} Stroke */

/**
 * The noise of the picture, and the picture that is made of it again: `finding`, `making`, `done`. It is under way as long
 * as its command is the page's.
 * @typedef {object} Inversion
 * @property {number} id          of the command
 * @property {'finding'|'making'|'done'} stage
 * @property {Shape} shape
 * @property {Levels} levels      the picture
 * @property {string} weights     of the model whose noise it is
 * @property {import('../engine/protocol.js').EngineSettings} request  the command's
 * @property {Float32Array<ArrayBuffer>|null} noise  x_T, or what it is by now
 * @property {Float32Array<ArrayBuffer>|null} made   x̃_0, or what it is by now
 * @property {number|null} error  ‖x̃_0 − x_0‖ / ‖x_0‖
 */

/**
 * @typedef {object} Picture
 * @property {boolean} open        whether the page shows it
 * @property {Shape|null} shape    null: there is no model yet
 * @property {Levels|null} levels  null: there is no picture
 * @property {Uint8Array<ArrayBuffer>|null} mask  [H, W], 1 is to be made anew; null: nothing is marked
 * @property {string} name         where it comes from
 * @property {readonly Earlier[]} earlier  the newest last
 * @property {Tool} tool
 * @property {number} size         of pen, eraser and brush, in pixels of the picture
 * @property {string} ink          #rrggbb
 * @property {Stroke|null} stroke
 * @property {number|null} t       of the forward process; null: where there is as much picture as noise
 * @property {Beginning['kind']|null} begins  what runs begin with in place of noise
 * @property {boolean} byItself    whether that was chosen with the picture, and not by the visitor
 * @property {Inversion|null} inversion
 */

/** @type {Picture} */
export const NO_PICTURE = Object.freeze({
  open: false, shape: null, levels: null, mask: null, name: '', earlier: [], tool: 'pen', size: 3, ink: '#ffffff', stroke: null, t: null, begins: null, byItself: false, inversion: null,
});

/** How a model's noise grows. @typedef {Pick<import('../engine/protocol.js').Model, 'num_train_timesteps'|'alphas_cumprod'>} Noising */

/** What a run that begins now begins with, if not with noise. @param {Picture} picture @param {Noising} model @returns {Beginning|null} */
export function beginningOf({ begins, shape, levels, mask, t, inversion }, model) {
  if (!shape || !begins) return null;
  if (begins === 'noise') return inversion?.stage === 'done' && inversion.noise ? { kind: begins, shape, noise: inversion.noise } : null;
  if (!levels) return null;
  const at = timeOf(t, model);
  if (begins === 'picture') return { kind: begins, shape, levels, t: at, share: (at + 1) / model.num_train_timesteps };
  return mask && { kind: begins, shape, levels, mask };
}

/** The time that was chosen, or at first that at which there is as much picture as noise. @param {number|null} t @param {Noising} model */
export function timeOf(t, { num_train_timesteps: total, alphas_cumprod: alphas }) {
  if (t !== null) return Math.min(total - 1, t);
  if (!alphas?.length) return Math.floor(total / 2) - 1;
  const off = (/** @type {number} */ at) => Math.abs(alphas[at] - 0.5);
  return alphas.reduce((nearest, _, at) => (off(at) < off(nearest) ? at : nearest), 0);
}
