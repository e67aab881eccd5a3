// The button that teaches and stops, what is under way, and the page's title.

import { byId, changes, make } from '../../view/dom.js';
import { duration } from '../../words/format.js';
import { imageProblem, isActive, secondsLeft, settingProblem } from '../store/select.js';

/** @typedef {import('../store/state.js').State} State */
/** @typedef {import('../store/state.js').Run} Run */

const TITLE = document.title;

/** @type {Record<import('../store/state.js').LearningStage, string>} */
const STAGES = { engine: 'Starting the engine', download: 'Downloading the model', compile: 'Compiling', samples: 'Sampling' };

export class Action {
  #teach = byId('teach');
  #pause = byId('pause');
  #announcement = changes();
  #last = /** @type {State|null} */ (null);

  /** @param {import('../controller.js').Controller} controller */
  constructor(controller) {
    this.#teach.addEventListener('click', () => (this.#last && isActive(this.#last) ? controller.stop() : controller.teach()));
    this.#pause.addEventListener('click', () => (this.#last?.run?.activity === 'paused' ? controller.continue() : controller.pause()));
    document.addEventListener('keydown', (event) => {
      if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) controller.teach();
    });
  }

  /** @param {State} state */
  render(state) {
    this.#last = state;
    const { run } = state;
    const active = isActive(state);
    this.#teach.classList.toggle('stop', active);
    this.#teach.textContent = active ? 'Stop' : 'Teach';
    this.#teach.disabled = !active && (imageProblem(state) !== null || settingProblem(state) !== null);
    // They keep the focus of who has just pressed them.
    this.#teach.setAttribute('aria-disabled', String(run?.activity === 'stopping'));
    this.#pause.setAttribute('aria-disabled', String(run?.activity === 'pausing'));
    this.#pause.hidden = !run || !['learning', 'pausing', 'paused'].includes(run.activity);
    this.#pause.textContent = run?.activity === 'paused' ? 'Continue' : 'Pause';
    const { text, number, left = '', fraction } = statusOf(state);
    byId('status-text').textContent = text;
    // Where there is no room for both, the readouts have what is left.
    byId('status-number').replaceChildren(number, ...(left ? [make('span', { class: 'left' }, ` · ${left}`)] : []));
    byId('progress').value = fraction;
    const title = run && active && run.recipe ? `${Math.floor(100 * run.step / run.recipe.steps)} % – ${TITLE}` : TITLE;
    if (document.title !== title) document.title = title;
    if (run?.backend) {
      const { kind, name } = run.backend;
      byId('backend-name').textContent = `${kind.toUpperCase()} · ${name.match(/\((.+)\)$/)?.[1] ?? name}`;
      byId('backend-badge').dataset.kind = kind;
    }
    if (this.#announcement(state.announcement)) byId('announcer').textContent = state.announcement.text;
    // Until then nothing is seen: a run that was kept would move all of it.
    if (state.opened) document.body.dataset.phase = run ? run.activity : 'ready';
  }
}

/** @param {State} state @returns {{text: string, number: string, left?: string, fraction: number}} */
function statusOf(state) {
  const { run, unpacking } = state;
  if (unpacking && !isActive(state)) return { text: 'Unpacking', number: `${unpacking.done} of ${unpacking.total}`, fraction: unpacking.done / unpacking.total };
  if (!run) return { text: 'Ready', number: '', fraction: 0 };
  const { activity, progress, recipe, step } = run;
  const fraction = recipe ? step / recipe.steps : 0;
  const number = recipe ? `${step} of ${recipe.steps}` : '';
  if (activity === 'learning' || activity === 'starting') {
    if (progress) {
      const { stage, done, total } = progress;
      const share = total ? done / total : 0;
      const part = stage === 'download' ? `${(done / 1e6).toFixed(1)} MB` : stage === 'engine' ? '' : `${done} of ${total}`;
      return { text: STAGES[stage], number: part, fraction: activity === 'starting' ? share : fraction };
    }
    const left = secondsLeft(run);
    return { text: 'Learning', number, left: left === null ? '' : duration(1000 * left), fraction };
  }
  return { text: { pausing: 'Pausing after this step', paused: 'Paused', stopping: 'Stopping after this step', stopped: 'Stopped', finished: 'Done', failed: 'Interrupted' }[activity], number, fraction };
}
