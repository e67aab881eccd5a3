// What a visitor draws to teach: a drawing a box, each of a class, and what becomes of them: pictures as MNIST has them.

import { withLine } from '../../store/strokes.js';

/** @typedef {import('../../engine/learning-protocol.js').Images} Images */
/** @typedef {import('../../store/strokes.js').Point} Point */
/** Which alphabet is drawn. @typedef {'digits'|'letters'} Alphabet */
/** A box: what is drawn in it, and before each of its lines. @typedef {{label: number, ink: Float32Array, past: readonly Float32Array[]}} Box */
/** @typedef {{alphabet: Alphabet, boxes: readonly Box[]}} Drawings */
/** What is drawn, in the alphabet that is shown and in the other. @typedef {{drawings: Drawings, aside: Drawings}} Both */

/** Pixels of a box along a side, and the pen's width. */
export const BOARD = 84;
const PEN = 8;
/** Lines that can be undone. */
const MOST_PAST = 12;
/** Boxes that are of no class in particular. */
const FREE = 2;

/** @type {Record<Alphabet, readonly string[]>} */
export const NAMES = {
  digits: Array.from({ length: 10 }, (_, i) => String(i)),
  letters: Array.from({ length: 26 }, (_, i) => String.fromCharCode(65 + i)),
};

/** How pictures of an alphabet are made, so that they look like those of the sheets: the side, and that of the square that ink fills. @type {Record<Alphabet, {side: number, box: number}>} */
const LAYOUT = { digits: { side: 28, box: 20 }, letters: { side: 32, box: 22 } };

const NOTHING = new Float32Array(BOARD * BOARD);

/** @param {Alphabet} alphabet @returns {Drawings} */
export function emptyDrawings(alphabet) {
  const labels = [...NAMES[alphabet].keys(), ...Array.from({ length: FREE }, (_, i) => i)];
  return { alphabet, boxes: labels.map((label) => ({ label, ink: NOTHING, past: [] })) };
}

/** What is computed once of each object, as long as there is that object. @template {object} From @template To @param {(of: From) => To} compute @returns {(of: From) => To} */
function onceOfEach(compute) {
  /** @type {WeakMap<From, To>} */
  const known = new WeakMap();
  return (of) => {
    const found = known.get(of) ?? compute(of);
    known.set(of, found);
    return found;
  };
}

const isInked = onceOfEach((/** @type {Float32Array} */ ink) => ink.some((share) => share > 0.5));

/** @param {Box} box */
export const isDrawn = ({ ink }) => isInked(ink);

/** @param {Drawings} drawings @param {number} index @param {(box: Box) => Box} change @returns {Drawings} */
function withBox(drawings, index, change) {
  return { ...drawings, boxes: drawings.boxes.map((box, i) => (i === index ? change(box) : box)) };
}

/** @param {Drawings} drawings @param {number} index @param {readonly Point[]} line  from point to point; a single one is a dot @param {boolean} begins @returns {Drawings} */
export const drawn = (drawings, index, line, begins) => withBox(drawings, index, (box) => ({
  ...box, ink: line.reduce((ink, to, i) => (i || line.length === 1 ? withLine(ink, BOARD, line[Math.max(0, i - 1)], to, PEN) : ink), box.ink), past: begins ? [...box.past, box.ink].slice(-MOST_PAST) : box.past,
}));

/** @param {Drawings} drawings @param {number} index @returns {Drawings} */
export const undone = (drawings, index) => withBox(drawings, index, (box) => ({ ...box, ink: box.past.at(-1) ?? NOTHING, past: box.past.slice(0, -1) }));

/** What was drawn can be had back by undoing. @param {Drawings} drawings @param {number} index @returns {Drawings} */
export const cleared = (drawings, index) => withBox(drawings, index, (box) => ({ ...box, ink: NOTHING, past: [...box.past, box.ink].slice(-MOST_PAST) }));

/** @param {Drawings} drawings @param {number} index @param {number} label @returns {Drawings} */
export const labelled = (drawings, index, label) => withBox(drawings, index, (box) => ({ ...box, label }));

/** @param {Both} both @param {Alphabet} alphabet @returns {Drawings} */
const ofAlphabet = ({ drawings, aside }, alphabet) => (drawings.alphabet === alphabet ? drawings : aside);

/** Both alphabets, in the order in which they are here. @param {Both} here @param {(drawings: Drawings) => Drawings} change @returns {Both} */
const ofBoth = ({ drawings, aside }, change) => ({ drawings: change(drawings), aside: change(aside) });

/** What is kept, with the boxes that are the same here being those from here, with all that can be undone. @param {Both} kept @param {Both} here @returns {Both} */
export const recognised = (kept, here) => ofBoth(here, ({ alphabet, boxes }) => ({
  alphabet,
  boxes: ofAlphabet(kept, alphabet).boxes.map((box, i) => (boxes[i] && box.label === boxes[i].label && box.ink.every((share, at) => share === boxes[i].ink[at]) ? boxes[i] : box)),
}));

/**
 * Two windows draw: of the boxes that were changed here since both had the same it is what is drawn here, of the others what is kept.
 * @param {Both} here
 * @param {Both} before  what both had
 * @param {Both} kept
 * @returns {Both}
 */
export const merged = (here, before, kept) => ofBoth(here, ({ alphabet, boxes }) => ({
  alphabet,
  boxes: ofAlphabet(kept, alphabet).boxes.map((box, i) => (boxes[i] && boxes[i] !== ofAlphabet(before, alphabet).boxes[i] ? boxes[i] : box)),
}));

/**
 * A drawing as a picture: its ink, in its proportions, fills a square, whose middle is where its mass is.
 * @param {Float32Array} ink  [BOARD, BOARD], from 0 to 1
 * @param {Alphabet} alphabet
 */
export function pictureOf(ink, alphabet) {
  const { side, box } = LAYOUT[alphabet];
  let [left, right, top, bottom] = [BOARD, -1, BOARD, -1];
  for (const [i, share] of ink.entries()) {
    if (share < 0.25) continue;
    const [x, y] = [i % BOARD, Math.floor(i / BOARD)];
    [left, right, top, bottom] = [Math.min(left, x), Math.max(right, x), Math.min(top, y), Math.max(bottom, y)];
  }
  const picture = new Uint8Array(side * side);
  if (right < 0) return picture;
  // Pixels of the board to one of the picture. A dot is not blown up.
  const scale = Math.max(right - left + 1, bottom - top + 1, PEN * 2) / box;
  let [mass, sumX, sumY] = [0, 0, 0];
  for (const [i, share] of ink.entries()) {
    mass += share;
    sumX += share * ((i % BOARD) + 0.5);
    sumY += share * (Math.floor(i / BOARD) + 0.5);
  }
  // Nothing is pushed over the edge for the sake of the middle.
  const origin = (/** @type {number} */ middle, /** @type {number} */ from, /** @type {number} */ to) => Math.min(from, Math.max(to + 1 - side * scale, middle - (side / 2) * scale));
  const [x0, y0] = [origin(sumX / mass, left, right), origin(sumY / mass, top, bottom)];
  const parts = 4;
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      let sum = 0;
      for (let part = 0; part < parts * parts; part++) {
        const column = Math.floor(x0 + (x + ((part % parts) + 0.5) / parts) * scale);
        const row = Math.floor(y0 + (y + (Math.floor(part / parts) + 0.5) / parts) * scale);
        if (column >= 0 && column < BOARD && row >= 0 && row < BOARD) sum += ink[row * BOARD + column];
      }
      picture[y * side + x] = Math.round(255 * sum / (parts * parts));
    }
  }
  return picture;
}

/** Few drawings are learned by heart; each in eight places is a little more. @type {readonly [number, number][]} */
const SHIFTS = [[0, 0], [2, 0], [-2, 0], [0, 2], [0, -2], [1, 1], [-1, -1], [1, -1]];

/**
 * What a network learns from: each drawing in eight places.
 * @param {Drawings} drawings
 * @returns {Images|null}  null: nothing is drawn
 */
export const imagesOf = (drawings) => (drawings.boxes.some(isDrawn) ? imagesOfSome(drawings) : null);

const imagesOfSome = onceOfEach((/** @type {Drawings} */ { alphabet, boxes }) => {
  const { side } = LAYOUT[alphabet];
  const inked = boxes.filter(isDrawn);
  const count = inked.length * SHIFTS.length;
  const pixels = new Uint8Array(count * side * side);
  const labels = new Uint32Array(count);
  let at = 0;
  for (const { ink, label } of inked) {
    const picture = pictureOf(ink, alphabet);
    for (const [right, down] of SHIFTS) {
      for (let y = Math.max(0, -down); y < Math.min(side, side - down); y++) {
        for (let x = Math.max(0, -right); x < Math.min(side, side - right); x++) pixels[at * side * side + (y + down) * side + x + right] = picture[y * side + x];
      }
      labels[at++] = label;
    }
  }
  return /** @type {Images} */ ({ shape: [count, 1, side, side], pixels, labels, names: [...NAMES[alphabet]] });
});

/** Of an alphabet's pictures. @param {Alphabet} alphabet */
export const sideOf = (alphabet) => LAYOUT[alphabet].side;

/** How often each drawing is among what is learned from. */
export const COPIES = SHIFTS.length;
