// What is under way on the page: every event in every state that matters.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { INITIAL, phaseOf, reducePhase as reduce } from '../../www/store/phase.js';

/** The state after these events. */
const after = (...events) => events.reduce(reduce, INITIAL);
const READY = after({ type: 'connect', id: 1 }, { type: 'model', id: 1 });
const from = (state, ...events) => events.reduce(reduce, state);
/** None of the events changes anything. */
const same = (state, ...events) => events.forEach((event) => assert.equal(reduce(state, event), state, JSON.stringify(event)));

test('from nothing to a finished run', () => {
  assert.equal(phaseOf(INITIAL), 'broken');
  const steps = [
    [{ type: 'connect', id: 1 }, 'loading'],
    [{ type: 'model', id: 1 }, 'ready'],
    [{ type: 'generate', id: 2 }, 'starting'],
    [{ type: 'started', id: 2 }, 'running'],
    [{ type: 'stop' }, 'stopping'],
    [{ type: 'finished', id: 2 }, 'ready'],
    [{ type: 'check', id: 3 }, 'checking'],
    [{ type: 'checked', id: 3 }, 'ready'],
  ];
  let state = INITIAL;
  for (const [event, phase] of steps) {
    const next = reduce(state, event);
    assert.notEqual(next, state, JSON.stringify(event));
    assert.equal(phaseOf(state = next), phase, JSON.stringify(event));
  }
});

test('nothing is begun while something is under way', () => {
  const begin = [{ type: 'generate', id: 9 }, { type: 'check', id: 9 }];
  same(INITIAL, ...begin);
  same(after({ type: 'connect', id: 1 }), ...begin);
  same(from(READY, { type: 'load', id: 2 }), ...begin);
  for (const activity of ['starting', 'running', 'stopping', 'checking']) same({ ...READY, activity, command: 5 }, ...begin);
  same(from(READY, { type: 'failed', during: 'run', id: 2 }), ...begin, { type: 'load', id: 9 });
});

test('a stop that was asked for before the run had started stays asked for', () => {
  const stopping = from(READY, { type: 'generate', id: 2 }, { type: 'stop' });
  same(stopping, { type: 'started', id: 2 }, { type: 'stop' });
  assert.equal(phaseOf(from(stopping, { type: 'finished', id: 2 })), 'ready');
  same(READY, { type: 'stop' });
  same({ ...READY, activity: 'checking', command: 5 }, { type: 'stop' });
});

test('another model keeps the page loading, whatever ends meanwhile', () => {
  const load = { type: 'load', id: 8 };
  const starting = from(READY, { type: 'generate', id: 2 });
  const running = from(starting, { type: 'started', id: 2 });
  const checking = from(READY, { type: 'check', id: 2 });
  for (const [before, end] of [
    [starting, { type: 'failed', during: 'start', id: 2 }],
    [starting, { type: 'finished', id: 2 }],
    [running, { type: 'finished', id: 2 }],
    [checking, { type: 'checked', id: 2 }],
    [checking, { type: 'failed', during: 'check', id: 2 }],
  ]) {
    const loading = from(before, load);
    assert.equal(phaseOf(loading), 'loading');
    const ended = reduce(loading, end);
    assert.equal(ended.activity, 'idle');
    assert.equal(phaseOf(ended), 'loading');
    same(ended, { type: 'generate', id: 9 }, end);
    assert.equal(phaseOf(reduce(ended, { type: 'model', id: 8 })), 'ready');
  }
});

test('a run that still ends when the other model is there can be seen to end', () => {
  const state = from(READY, { type: 'generate', id: 2 }, { type: 'load', id: 3 }, { type: 'model', id: 3 });
  assert.equal(phaseOf(state), 'stopping');
  assert.equal(phaseOf(reduce(state, { type: 'finished', id: 2 })), 'ready');
});

test('a load that was replaced is not waited for', () => {
  const state = from(READY, { type: 'load', id: 2 }, { type: 'load', id: 3 });
  same(state, { type: 'model', id: 2 }, { type: 'failed', during: 'load', id: 2 });
  assert.equal(phaseOf(reduce(state, { type: 'failed', during: 'load', id: 3 })), 'ready', 'the one before is still there');
  // The very first one: the engine has it, so it can be gone back to.
  const first = after({ type: 'connect', id: 1 }, { type: 'load', id: 2 }, { type: 'model', id: 1 });
  assert.equal(phaseOf(first), 'loading');
  assert.equal(phaseOf(reduce(first, { type: 'failed', during: 'load', id: 2 })), 'ready');
  assert.equal(phaseOf(after({ type: 'connect', id: 1 }, { type: 'failed', during: 'load', id: 1 })), 'broken');
});

test('late answers to what is over change nothing', () => {
  const late = [
    { type: 'started', id: 2 }, { type: 'finished', id: 2 }, { type: 'checked', id: 2 }, { type: 'model', id: 1 },
    ...['start', 'check', 'load', 'profile'].map((during) => ({ type: 'failed', during, id: 2 })),
  ];
  same(READY, ...late, ...late.map(({ id, ...event }) => ({ ...event, id: null, was: id })));
  const running = from(READY, { type: 'generate', id: 3 }, { type: 'started', id: 3 });
  same(running, ...late, { type: 'checked', id: 3 }, { type: 'failed', during: 'check', id: 3 });
});

test('a lost engine is left for a new one only', () => {
  const running = from(READY, { type: 'generate', id: 2 }, { type: 'started', id: 2 });
  const lost = reduce(from(running, { type: 'load', id: 3 }), { type: 'failed', during: 'run', id: 2 });
  assert.equal(phaseOf(lost), 'broken');
  same(lost, { type: 'model', id: 3 }, { type: 'finished', id: 2 }, { type: 'failed', during: 'engine', id: null }, { type: 'load', id: 4 });
  const again = from(lost, { type: 'connect', id: 5, next: 'generate' });
  assert.equal(phaseOf(again), 'loading');
  same(again, { type: 'finished', id: 2 }, { type: 'failed', during: 'load', id: 3 });
  assert.equal(phaseOf(reduce(again, { type: 'model', id: 5 })), 'ready');
});

test('what is to follow belongs to the load that it was asked with', () => {
  const state = after({ type: 'connect', id: 1, next: 'generate' });
  assert.equal(state.next, 'generate');
  assert.equal(from(state, { type: 'model', id: 1 }).next, null);
  assert.equal(from(state, { type: 'failed', during: 'load', id: 1 }).next, null);
  assert.equal(from(state, { type: 'load', id: 2 }).next, null, 'another model was chosen meanwhile');
  assert.equal(from(READY, { type: 'load', id: 2, next: 'check' }).next, 'check');
});
