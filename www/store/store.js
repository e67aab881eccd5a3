// A store: one state, which nothing but actions change, and whoever wants to hear of it.

/**
 * @template State, Action
 * @typedef {object} Store
 * @property {State} state  as it is now; never changed in place
 * @property {(action: Action) => boolean} dispatch  takes an action into the state; tells whether it changed anything
 * @property {(listener: (state: State) => void) => () => void} subscribe  has a function called after every change; returns what ends that
 */

/**
 * @template State, Action
 * @param {(state: State, action: Action) => State} reduce  returns the very same state when the action changes nothing
 * @param {State} initial
 * @returns {Store<State, Action>}
 */
export function createStore(reduce, initial) {
  let state = initial;
  /** @type {Set<(state: State) => void>} */
  const listeners = new Set();
  return {
    get state() {
      return state;
    },
    dispatch(action) {
      const before = state;
      state = reduce(before, action);
      if (state === before) return false;
      for (const listener of listeners) listener(state);
      return true;
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}
