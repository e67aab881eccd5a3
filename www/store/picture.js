// What the visitor does with a picture, and what the engine answers when its noise is looked for.

import { classLabels, lettersOf, spells } from '../model/classes.js';
import { isDrawable, levelsOf, numbersOf, refitted, sameShape, sizeOf } from '../model/image.js';
import { withAnnouncement, withStatus, withoutNotices } from './messages.js';
import { reducePhase } from './phase.js';
import { beginningOf } from './picture-state.js';
import { loadedOf, selectedRun, shownShape, weightsOf } from './select.js';
import { inked, marked, withLine } from './strokes.js';

/** @typedef {import('../model/image.js').Levels} Levels */
/** @typedef {import('../model/image.js').Shape} Shape */
/** @typedef {import('./picture-state.js').Inversion} Inversion */
/** @typedef {import('./picture-state.js').Picture} Picture */
/** @typedef {import('./state.js').State} State */

/**
 * What is done with the picture. A line that `begins` is a new one, any other goes on with the last; `find` looks for the
 * picture's noise by the command `id`, and `again` makes the picture of it again.
 * @typedef {(
 *   {do: 'open', open: boolean} |
 *   {do: 'take', levels: Levels, shape: Shape, name: string} |
 *   {do: 'takeShown'} |
 *   {do: 'line', from: import('./strokes.js').Point, to: import('./strokes.js').Point, begins: boolean} |
 *   {do: 'lift'} |
 *   {do: 'undo'} |
 *   {do: 'clear'} |
 *   {do: 'negate'} |
 *   {do: 'tool', tool: import('./picture-state.js').Tool} |
 *   {do: 'size', size: number} |
 *   {do: 'ink', ink: string} |
 *   {do: 'time', t: number} |
 *   {do: 'begin', with: Picture['begins']} |
 *   {do: 'noise', noise: Float32Array<ArrayBuffer>, shape: Shape, levels: Levels} |
 *   {do: 'find', id: number} |
 *   {do: 'again', id: number}
 * )} Change
 */

/** How often can be taken back. */
const MOST_EARLIER = 30;

/** @param {State} state @param {Partial<Picture>} changes @returns {State} */
const withPicture = (state, changes) => ({ ...state, picture: { ...state.picture, ...changes } });

/** @param {State} state @param {Change} change @returns {State} */
export function picture(state, change) {
  const next = reducePicture(state, change);
  return CHOOSES.includes(change.do) && next !== state ? withOwnChoice(state.picture, next, change.do === 'take' || change.do === 'takeShown') : next;
}

/** What changes whether there is a picture, or a part of it that is marked. @type {Change['do'][]} */
const CHOOSES = ['take', 'takeShown', 'line', 'undo', 'clear'];

/**
 * Who draws wants a run to begin with that: with the first stroke, picture or mark it is chosen, and with the last one that
 * is taken back it is noise again. What the visitor chose stays.
 * @param {Picture} before
 * @param {State} state
 * @param {boolean} isTaken  whether it is another picture altogether
 * @returns {State}
 */
function withOwnChoice(before, state, isTaken) {
  const { levels, mask, begins, byItself } = state.picture;
  const isNew = isTaken || (levels !== null && before.levels === null) || (mask !== null && before.mask === null);
  if (!byItself && (begins !== null || !isNew)) return state;
  const chosen = !levels ? null : mask ? 'part' : 'picture';
  return withPicture(state, { begins: chosen, byItself: chosen !== null });
}

/** @param {State} state @param {Change} change @returns {State} */
function reducePicture(state, change) {
  const { picture: now } = state;
  switch (change.do) {
    case 'open': return change.open === now.open ? state : withPicture(state, { open: change.open });
    case 'take': return take(state, change);
    case 'takeShown': return takeShown(state);
    case 'line': return line(state, change);
    case 'lift': return now.stroke ? withPicture(state, { stroke: null }) : state;
    case 'undo': return undo(state);
    case 'clear': return clear(state);
    case 'negate': return now.levels ? changed(state, { levels: now.levels.map((level) => 255 - level) }) : state;
    case 'tool': return withPicture(state, { tool: change.tool });
    case 'size': return withPicture(state, { size: change.size });
    case 'ink': return withPicture(state, { ink: change.ink });
    case 'time': return withPicture(state, { t: change.t });
    case 'begin': return withPicture(state, { begins: change.with, byItself: false });
    case 'noise': return withPicture(state, { begins: 'noise', byItself: false, inversion: { ...foundNoise(state, { kind: 'noise', ...change }), levels: change.levels } });
    case 'find': return find(state, change.id);
    case 'again': return again(state, change.id);
  }
}

/** @param {Picture} picture @returns {import('./picture-state.js').Earlier} */
const asEarlier = ({ shape, levels, mask, name }) => ({ shape, levels, mask, name });

/** Another picture, or another mask, which can be taken back. @param {State} state @param {Partial<Picture>} changes @returns {State} */
function changed(state, changes) {
  const { picture: now } = state;
  return withPicture(state, { stroke: null, earlier: [...now.earlier, asEarlier(now)].slice(-MOST_EARLIER), ...changes });
}

/** A picture in place of what is there, whose marks go with it. @param {State} state @param {{levels: Levels, shape: Shape, name: string}} taken @returns {State} */
function take(state, { levels, shape, name }) {
  const { shape: now } = state.picture;
  if (!now || !sameShape(now, shape)) return state; // it was for another model
  return withAnnouncement(withoutNotices(changed(state, { levels, name, mask: null, open: true }), 'failure'), `${name} is the picture.`);
}

/** @param {State} state @returns {State} */
function takeShown(state) {
  const { shape } = state.picture;
  const rgba = shownImage(state);
  const { width, height } = shownShape(state);
  if (!shape || !rgba || width !== shape.width || height !== shape.height) return state;
  return take(state, { levels: levelsOf(rgba, shape), shape, name: `image ${state.selection.image + 1}` });
}

/** The chosen image as it is shown, as RGBA8; nothing before anything was made. @param {State} state @returns {ArrayLike<number>|null} */
export function shownImage(state) {
  const { selection: { index, view, image }, preview } = state;
  const run = selectedRun(state);
  if (run) return run.recording.image(index, view, image);
  const { pixels, width, height } = preview.batch;
  const bytes = 4 * width * height;
  return preview.real ? pixels.subarray(image * bytes, (image + 1) * bytes) : null;
}

/** @param {State} state @param {Extract<Change, {do: 'line'}>} change @returns {State} */
function line(state, { from, to, begins }) {
  const { shape, tool, size, ink } = state.picture;
  if (!shape || !isDrawable(shape)) return state;
  const next = begins || !state.picture.stroke ? changed(state, {}) : state;
  const { stroke, name } = next.picture;
  const before = stroke?.before ?? asEarlier(next.picture);
  const covered = withLine(stroke?.covered ?? new Float32Array(shape.width * shape.height), shape.width, from, to, size);
  const line = { before, covered };
  if (tool === 'mark' || tool === 'unmark') {
    const mask = marked(before.mask ?? new Uint8Array(covered.length), covered, tool === 'mark' ? 1 : 0);
    return withPicture(next, { stroke: line, mask: mask.some(Boolean) ? mask : null });
  }
  const levels = inked(before.levels ?? new Uint8ClampedArray(sizeOf(shape)), covered, inkOf(tool === 'pen' ? ink : '#000000', shape));
  return withPicture(next, { stroke: line, levels, name: name || 'your drawing' });
}

/** #rrggbb as a level a channel. @param {string} ink @param {Shape} shape */
function inkOf(ink, { channels }) {
  const rgba = [1, 3, 5].map((at) => parseInt(ink.slice(at, at + 2), 16));
  return [...levelsOf(rgba, { channels, width: 1, height: 1 })];
}

/** @param {State} state @returns {State} */
function undo(state) {
  const { earlier, shape } = state.picture;
  const last = earlier.at(-1);
  return last && shape ? withPicture(state, { ...last, stroke: null, earlier: earlier.slice(0, -1) }) : state;
}

/** Marks first: who clears again clears the picture. @param {State} state @returns {State} */
function clear(state) {
  const { mask, levels, tool } = state.picture;
  if (mask && (tool === 'mark' || tool === 'unmark' || !levels)) return changed(state, { mask: null });
  return levels || mask ? changed(state, { levels: null, mask: null, name: '' }) : state;
}

/** The model may be another one, and its images of another shape: the picture is fitted to it. @param {State} state @returns {State} */
export function fitted(state) {
  const { loaded, picture: now } = state;
  if (!loaded) return state;
  const { channels, width, height } = loaded.model;
  const shape = { channels, width, height };
  const { inversion } = now;
  const kept = inversion?.weights === weightsOf(loaded) ? inversion : null;
  if (now.shape && sameShape(now.shape, shape)) return kept === inversion ? state : withPicture(state, { inversion: kept, begins: now.begins === 'noise' ? null : now.begins });
  const drawn = now.levels && now.shape && isDrawable(shape) && isDrawable(now.shape);
  const levels = drawn && now.shape && now.levels ? refitted(now.levels, now.shape, shape) : null;
  return withPicture(state, { shape, levels, name: levels ? now.name : '', mask: null, earlier: [], stroke: null, t: null, inversion: null, begins: levels && now.begins === 'picture' ? 'picture' : null, byItself: levels !== null && now.byItself });
}

/** What a restored run began with, or nothing. @param {State} state @param {import('./beginning.js').Beginning|null} beginning @returns {State} */
export function withBeginning(state, beginning) {
  const { picture: now } = state;
  if (!beginning) return now.begins ? withPicture(state, { begins: null, byItself: false }) : state;
  if (beginning.kind === 'noise') return withPicture(state, { open: true, begins: 'noise', byItself: false, inversion: foundNoise(state, beginning) });
  const { kind: begins, levels } = beginning;
  const mask = beginning.kind === 'part' ? beginning.mask : null;
  const t = beginning.kind === 'picture' ? beginning.t : now.t;
  return changed(state, { open: true, begins, byItself: false, levels, mask, t, name: 'the picture of a run' });
}

/** Noise that is known without the picture that it is of. @param {State} state @param {Extract<import('./beginning.js').Beginning, {kind: 'noise'}>} beginning @returns {Inversion} */
function foundNoise(state, { shape, noise }) {
  return { id: 0, stage: 'done', shape, levels: new Uint8ClampedArray(sizeOf(shape)), weights: weightsOf(loadedOf(state)), request: { steps: 1, count: 1 }, noise, made: null, error: null };
}

/** Why no run can begin with what is chosen, or nothing. @param {State} state */
export function beginningProblem({ picture: now, loaded }) {
  const { begins, levels, mask } = now;
  if (!begins || !loaded || beginningOf(now, loaded.model)) return '';
  if (begins === 'noise') return 'The noise of the picture was not found yet. Press “Find its noise” under Picture, or let Generate begin with noise from the seed.';
  if (!levels) return 'There is no picture to begin with. Draw one under Picture, choose one, or let Generate begin with noise.';
  return mask ? '' : 'Nothing is marked to be made anew. Mark it with the brush under Picture, or let Generate begin with noise.';
}

// ---- The noise of a picture -------------------------------------------------------------------

/** Why its noise cannot be looked for, or nothing. @param {State} state */
export function inversionProblem({ loaded, picture: { levels } }) {
  if (!loaded) return 'Wait until the model is there.';
  if (!levels) return 'Draw or choose a picture first.';
  return loaded.model.samplers.includes('ddim') ? '' : 'DDIM finds the noise of a picture, and cannot sample this model.';
}

/** Whether an answer of the engine is that of an inversion which is under way. @param {State} state @param {{id?: number|null}} event */
export const isOfInversion = ({ picture: { inversion }, phase: { command } }, { id }) => inversion !== null && inversion.stage !== 'done' && inversion.id === id && command === id;

/** Whether the noise of the picture is being looked for, or was found. @param {State} state */
export function inversionOf(state) {
  const { inversion } = state.picture;
  return inversion && (inversion.stage === 'done' || isOfInversion(state, inversion)) ? inversion : null;
}

/** What an image is given beside its noise: its own, or what all are. @param {import('../model/condition.js').Condition} condition @param {number} image */
function conditionOf({ values, images }, image) {
  const each = values.length / images;
  const from = images > 1 ? Math.min(image, images - 1) * each : 0;
  return values.subarray(from, from + each);
}

/** Up to x_T, one image of the chosen one's class, without guidance: the way back is the same. @param {State} state @param {number} id @returns {State} */
function find(state, id) {
  const phase = reducePhase(state.phase, { type: 'generate', id });
  const { shape, levels } = state.picture;
  if (phase === state.phase || !shape || !levels || inversionProblem(state)) return state;
  const { settings: { steps, spacing, class: name }, selection } = state;
  const { model } = loadedOf(state);
  const count = spells(model, name) ? lettersOf(name).length : state.settings.count;
  const labels = classLabels(model, name, count);
  const at = Math.min(selection.image, count - 1);
  /** @type {import('../engine/protocol.js').EngineSettings} */
  const request = {
    sampler: 'ddim_inverse', steps, eta: 0, seed: 0, count: 1, guidance: 1,
    class_labels: labels && labels.slice(at, at + 1),
    timestep_spacing: spacing,
    clip_sample: false, // what is clipped on the way up does not come back
    ...(state.condition && { condition: conditionOf(state.condition, at) }),
    start: { sample: numbersOf(levels), alpha_cumprod: 1 },
  };
  const inversion = { id, stage: /** @type {const} */ ('finding'), shape, levels, weights: weightsOf(loadedOf(state)), request, noise: null, made: null, error: null };
  const next = withPicture(withoutNotices({ ...state, phase }, 'failure'), { inversion, begins: state.picture.begins === 'noise' ? null : state.picture.begins });
  return withAnnouncement(withStatus(next, 'Finding the noise', '', 0), 'Finding the noise of the picture.');
}

/** @param {State} state @param {number} id @returns {State} */
function again(state, id) {
  const phase = reducePhase(state.phase, { type: 'generate', id });
  const { inversion } = state.picture;
  if (phase === state.phase || inversion?.stage !== 'finding' || !inversion.noise) return state;
  const request = { ...inversion.request, sampler: 'ddim', start: null, noise: inversion.noise };
  return withPicture({ ...state, phase }, { inversion: { ...inversion, id, stage: 'making', request } });
}

/** A frame of an inversion or of the way back. @param {State} state @param {{step: number, x: Float32Array<ArrayBuffer>}} frame @returns {State} */
function inverted(state, { step, x }) {
  const { inversion } = state.picture;
  if (!inversion) return state;
  const { stage, request: { steps } } = inversion;
  const next = withPicture(state, { inversion: { ...inversion, ...(stage === 'finding' ? { noise: x } : { made: x }) } });
  return withStatus(next, stage === 'finding' ? 'Finding the noise' : 'Making the picture again', `${step + 1}/${steps}`, (step + 1) / steps);
}

/**
 * What the engine answers to an inversion.
 * @param {State} state
 * @param {import('./reduce.js').ActionOf<'started'|'frame'|'finished'>} event
 * @returns {State}
 */
export function invert(state, event) {
  if (event.type === 'frame') return inverted(state, event);
  const phase = reducePhase(state.phase, event);
  if (event.type === 'started') return { ...state, phase };
  const { inversion } = state.picture;
  const next = { ...state, phase };
  const missing = inversion?.stage === 'finding' ? inversion.noise : inversion?.made;
  if (!inversion || event.stopped || !missing) return withAnnouncement(withStatus(withPicture(next, { inversion: null }), 'Stopped', 'before the noise was found', 0), 'Stopped before the noise was found.');
  if (inversion.stage === 'finding') return next;
  const error = relativeError(missing, numbersOf(inversion.levels));
  return withAnnouncement(withStatus(withPicture(next, { inversion: { ...inversion, stage: 'done', error } }), 'Noise found', `error ${error.toFixed(4)}`, 1), `The noise was found. The picture that is made of it differs by ${error.toFixed(4)}.`);
}

/** An error from which on it is another picture. */
const MOST_ERROR = 0.3;
/** Numbers of steps that are worth trying. */
const MORE_STEPS = [50, 200, 1000];

/** What makes an error smaller, if it is large, or nothing. @param {Inversion} inversion @param {number} most  steps there can be */
export function inversionAdvice({ error, request: { steps } }, most) {
  const more = MORE_STEPS.find((number) => number > steps && number <= most);
  return error === null || error <= MOST_ERROR || !more ? '' : `${steps === 1 ? 'One step is' : `${steps} steps are`} too few for the way back: ${more} make it closer.`;
}

/** ‖a − b‖ / ‖b‖ @param {Float32Array} a @param {Float32Array} b */
function relativeError(a, b) {
  const norm = (/** @type {Float32Array} */ x) => Math.sqrt(x.reduce((sum, value) => sum + value * value, 0));
  return norm(a.map((value, i) => value - b[i])) / norm(b);
}
