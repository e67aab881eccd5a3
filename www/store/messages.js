// The parts of the state that speak: the status line, announcements and notices.

/** @typedef {import('./state.js').State} State */

/**
 * @param {State} state
 * @param {string} text
 * @param {string} count
 * @param {number|null} fraction  null leaves the bar as it is
 * @returns {State}
 */
export function withStatus(state, text, count, fraction) {
  return { ...state, status: { text, count, fraction: fraction ?? state.status.fraction } };
}

/** @param {State} state @param {string} text @returns {State} */
export const withAnnouncement = (state, text) => ({ ...state, announcement: { text } });

/** @param {State} state @param {import('./state.js').Notice} notice @returns {State} */
export const withNotice = (state, notice) => ({ ...state, notices: [...state.notices.filter(({ key }) => key !== notice.key), notice] });

/** @param {State} state @param {...string} keys @returns {State} */
export function withoutNotices(state, ...keys) {
  const notices = state.notices.filter(({ key }) => !keys.includes(key));
  return notices.length === state.notices.length ? state : { ...state, notices };
}

/**
 * Says that something failed, to everybody.
 * @param {State} state
 * @param {string} title
 * @param {string} text
 * @param {import('./state.js').Notice['actions']} [actions]
 * @param {string} [aloud]  what is announced, if not all of the text
 * @returns {State}
 */
export function withFailure(state, title, text, actions = [], aloud = text) {
  return withAnnouncement(withNotice(state, { key: 'failure', error: true, title, text, actions }), `${title}. ${aloud}`);
}
