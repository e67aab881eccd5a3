// The runs as a tree: a lane each, that leaves another one at the step where it forks; and the button that forks.

import { branchWords, forkHint, forkProblem, lanesOf, makerOf } from '../store/forking.js';
import { selectedRun } from '../store/select.js';
import { atNextFrame, byId, changes, contextOf, imageData, make, svg } from './dom.js';
import { THUMB } from './strip.js';

/** @typedef {import('../store/forking.js').Lane} Lane */
/** @typedef {import('../store/state.js').Run} Run */
/** @typedef {import('../store/state.js').State} State */

/** How round a line turns into its lane. */
const TURN = 8;
/** From this part of the way on, a lane has more room for its words before it than on it. */
const LATE = 0.55;

export class Tree {
  #controller;
  /** @type {HTMLButtonElement} */
  #fork = byId('fork');
  /** @type {HTMLButtonElement} */
  #compare = byId('compare');
  #hint = byId('fork-hint');
  #room = byId('tree');
  /** A listbox, one option a lane. @type {HTMLElement} */
  #list = byId('lanes');
  #lines = byId('lines');
  #changed = { fork: changes(), lanes: changes(), look: changes() };
  /** @type {State} */
  #state;
  /** @type {Lane[]} */
  #lanes = [];
  #request = atNextFrame(() => {
    if (this.#lanes.length) this.#paint();
  });

  /** @param {import('../controller.js').Controller} controller @param {State} state */
  constructor(controller, state) {
    this.#controller = controller;
    this.#state = state;
    this.#fork.addEventListener('click', () => controller.fork());
    this.#compare.addEventListener('click', () => controller.togglePin());
    this.#list.addEventListener('click', (/** @type {any} */ { target }) => {
      const option = target.closest('[role=option]');
      if (option) this.#choose([...this.#list.children].indexOf(option));
    });
    this.#list.addEventListener('keydown', (event) => this.#key(event));
    new ResizeObserver(() => this.#request()).observe(this.#list);
  }

  /** @param {State} state */
  render(state) {
    this.#state = state;
    const { runs, selection, pinned, settings, phase, loaded, keepSeed } = state;
    if (this.#changed.fork(runs.order, selection.run, selection.index, pinned, settings, phase, loaded, keepSeed, runs.byId[selection.run ?? -1]?.revision)) this.#renderFork();
    const isTree = runs.order.length > 1;
    // A fork has its room as soon as it is asked for.
    const rows = runs.order.length + (state.starting?.parent ? 1 : 0);
    this.#room.classList.toggle('open', rows > 1);
    this.#list.style.setProperty('--lanes', String(rows));
    if (this.#changed.lanes(runs.order)) {
      this.#lanes = isTree ? lanesOf(runs) : [];
      this.#list.replaceChildren(...this.#lanes.map(({ run }) => make('div', { role: 'option' }, make('canvas', { width: run.recording.width, height: run.recording.height, 'aria-hidden': 'true' }), make('span', { class: 'words' }))));
      this.#lines.replaceChildren();
      if (isTree) this.#paint();
    }
    if (this.#changed.look(runs, selection, pinned) && isTree) this.#request();
  }

  #renderFork() {
    const { runs, pinned } = this.#state;
    this.#fork.disabled = forkProblem(this.#state) !== '';
    this.#hint.textContent = forkHint(this.#state);
    this.#compare.hidden = runs.order.length < 2;
    this.#compare.setAttribute('aria-pressed', String(pinned !== null));
  }

  #paint() {
    const { runs, selection, pinned } = this.#state;
    this.#lanes = this.#lanes.map((lane) => ({ ...lane, run: runs.byId[lane.run.id] }));
    const most = Math.max(...this.#lanes.map(({ run }) => run.recording.steps));
    const width = this.#list.clientWidth;
    const at = (/** @type {number} */ step) => THUMB / 2 + (width - THUMB) * (step / most);
    for (const [i, option] of [...this.#list.children].entries()) {
      this.#paintLane(/** @type {HTMLElement} */ (option), this.#lanes[i].run, at);
      option.setAttribute('aria-selected', String(this.#lanes[i].run.id === selection.run));
      option.classList.toggle('pinned', this.#lanes[i].run.id === pinned);
      // While something that was kept is shown, the first lane is the way back to the tree.
      /** @type {HTMLElement} */ (option).tabIndex = this.#lanes[i].run.id === selection.run || (selection.run === null && i === 0) ? 0 : -1;
    }
    this.#paintLines(at);
  }

  /** @param {HTMLElement} option @param {Run} run @param {(step: number) => number} at  where a step is */
  #paintLane(option, run, at) {
    const { recording } = run;
    const words = branchWords(this.#state, run);
    const [picture, label] = /** @type {any} */ (option.children);
    const { image, view } = this.#state.selection;
    picture.classList.toggle('smooth', Math.max(recording.width, recording.height) >= 128);
    contextOf(picture).putImageData(imageData(recording.image(recording.newest, view, image), 0, recording.width, recording.height), 0, 0);
    if (label.textContent !== words) label.textContent = words;
    const pinned = run.id === this.#state.pinned ? ', compared with' : '';
    option.setAttribute('aria-label', run.parent ? `${words}, from step ${run.parent.step}${pinned}` : `The first run, ${words}${pinned}`);
    option.style.setProperty('--from', `${at(run.first)}px`);
    option.style.setProperty('--end', `${at(this.#endOf(run))}px`);
    option.classList.toggle('first', !run.parent);
    option.classList.toggle('late', Boolean(run.parent) && run.first / recording.steps > LATE);
  }

  /** The step at which a lane ends. @param {Run} run */
  #endOf({ command, recording }) {
    const { phase } = this.#state;
    return command === phase.command ? recording.steps : recording.states[recording.newest].step;
  }

  /** @param {(step: number) => number} at */
  #paintLines(at) {
    const { runs } = this.#state;
    const options = /** @type {HTMLElement[]} */ ([...this.#list.children]);
    const middle = (/** @type {number} */ lane) => options[lane].offsetTop + options[lane].offsetHeight / 2;
    const total = this.#list.scrollHeight;
    Object.entries({ width: this.#list.clientWidth, height: total }).forEach(([name, value]) => this.#lines.setAttribute(name, value));
    // The way to the selected run: its own lane, and those before it as far as it shares them.
    /** @type {Map<number, number>} */
    const way = new Map();
    for (let run = selectedRun(this.#state), end = run?.recording.states[run.recording.newest].step ?? 0; run; end = run.parent?.step ?? 0, run = run.parent && runs.byId[run.parent.run]) way.set(run.id, end);

    const path = (/** @type {Lane} */ { run, from, lane }, /** @type {number} */ end) => {
      const [left, y] = [at(run.first), middle(lane)];
      const begin = from === null ? `M${left} ${y}` : `M${left} ${middle(from)}V${y - TURN}Q${left} ${y} ${Math.min(left + TURN, at(end))} ${y}`;
      return `${begin}H${Math.max(at(end), from === null ? left : left + TURN)}`;
    };
    const line = (/** @type {Lane} */ lane, /** @type {number} */ end, /** @type {string} */ name) => svg('path', { d: path(lane, end), class: name });
    const rest = this.#lanes.map((lane) => line(lane, this.#endOf(lane.run), 'rest'));
    const made = this.#lanes.map((lane) => line(lane, lane.run.recording.states[lane.run.recording.newest].step, 'made'));
    const chosen = this.#lanes.flatMap((lane) => {
      const end = way.get(lane.run.id);
      return end === undefined ? [] : [line(lane, end, 'chosen')];
    });
    this.#lines.replaceChildren(...rest, ...made, ...chosen, ...this.#marker(at, middle));
  }

  /** Where the step is that is shown. @param {(step: number) => number} at @param {(lane: number) => number} middle */
  #marker(at, middle) {
    const run = selectedRun(this.#state);
    if (!run) return [];
    const { step } = run.recording.states[this.#state.selection.index];
    const maker = makerOf(this.#state, run, step);
    const lane = this.#lanes.findIndex((one) => one.run.id === maker.id);
    return [svg('circle', { cx: at(step), cy: middle(lane), r: 5, class: 'marker' })];
  }

  /** @param {number} lane */
  #choose(lane) {
    this.#controller.chooseRun(this.#lanes[lane].run.id);
    const option = /** @type {HTMLElement} */ (this.#list.children[lane]);
    option.tabIndex = 0;
    option.focus();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const lane = this.#lanes.findIndex(({ run }) => run.id === this.#state.selection.run);
    if (lane < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    const child = this.#lanes.findIndex(({ from }) => from === lane);
    const lanes = { ArrowUp: lane - 1, ArrowDown: lane + 1, ArrowLeft: this.#lanes[lane].from ?? lane, ArrowRight: child < 0 ? lane : child, Home: 0, End: this.#lanes.length - 1 };
    const next = lanes[/** @type {keyof typeof lanes} */ (event.key)];
    if (next === undefined) return;
    event.preventDefault();
    if (next >= 0 && next < this.#lanes.length) this.#choose(next);
  }
}
