// What the recordings of a tree may take together.

import { withNotice } from './messages.js';

/** Bytes: as much as one run. */
const MOST = 400e6;
/** Bytes of a comparison, beside the tree. */
export const MOST_COMPARED = 100e6;

/** @typedef {import('./state.js').State} State */
/** @typedef {import('./state.js').Run} Run */

/** Bytes of all pictures, of which runs share those before they part. @param {readonly Run[]} runs */
export function bytesOf(runs) {
  const pictures = new Set(runs.flatMap(({ recording }) => recording.states.flatMap(({ x, x0, gradient }) => [x, x0, gradient])));
  return [...pictures].reduce((sum, picture) => sum + (picture?.byteLength ?? 0), 0);
}

/**
 * Makes room where the recordings have become too large: the oldest run goes that nobody looks at and no other one goes on
 * from. Where there is none, the largest recording keeps every second of its states.
 * @param {State} state
 * @param {number} [most]  bytes
 * @returns {State}
 */
export function bounded(state, most = MOST) {
  let next = state;
  for (;;) {
    const runs = next.runs.order.map((id) => next.runs.byId[id]);
    // Counting one by one takes a while, and is seldom needed.
    if (runs.reduce((sum, { recording: { states } }) => sum + 3 * states.length * states[0].x.byteLength, 0) <= most || bytesOf(runs) <= most) return next;
    const leaf = runs.find(({ id, command }) => id !== next.selection.run && id !== next.pinned && command !== next.phase.command && !runs.some(({ parent }) => parent?.run === id));
    const largest = runs.reduce((a, b) => (b.recording.states.length > a.recording.states.length ? b : a));
    if (leaf) next = withNotice(without(next, leaf.id), { key: 'memory', text: `The branch “${leaf.caption}” was dropped: all of them together took too much memory.` });
    else if (largest.recording.states.length > 2) next = thinned(next, largest);
    else return next;
  }
}

/** @param {State} state @param {number} id @returns {State} */
function without(state, id) {
  const byId = Object.fromEntries(Object.entries(state.runs.byId).filter(([other]) => Number(other) !== id));
  return { ...state, runs: { byId, order: state.runs.order.filter((other) => other !== id) } };
}

/** @param {State} state @param {Run} run @returns {State} */
function thinned(state, run) {
  const { recording } = run;
  const { selection } = state;
  const { step } = recording.states[selection.run === run.id ? selection.index : 0];
  recording.thin();
  return {
    ...state,
    runs: { ...state.runs, byId: { ...state.runs.byId, [run.id]: { ...run, revision: run.revision + 1 } } },
    selection: selection.run === run.id ? { ...selection, index: recording.indexOf(step) } : selection,
  };
}
