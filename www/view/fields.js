// The fields of the settings, and a line or two under them: what is wrong, or what the field in use does.

import { doesSomething, isShown, mostStepsNow, problemOf } from '../store/select.js';
import { DEFAULTS, FIELD_NAMES, SAMPLERS } from '../store/settings.js';
import { ABOUT_SAMPLERS, HINTS, LABELS } from '../words/hints.js';
import { byId, changes, make } from './dom.js';

const ALL_SAMPLERS = Object.keys(SAMPLERS);

/** @typedef {import('../store/state.js').State} State */

export class Fields {
  #advanced = byId('advanced');
  #hint = byId('hint');
  #lock = byId('lock');
  #changed = { fields: changes(), samplers: changes() };
  /** @type {State} */
  #state;

  /** @param {import('../controller.js').Controller} controller @param {State} state */
  constructor(controller, state) {
    this.#state = state;
    for (const name of FIELD_NAMES) {
      const control = byId(name);
      control.addEventListener('focus', () => this.#showHint());
      control.addEventListener('blur', () => this.#showHint());
      control.addEventListener('input', () => controller.type(name, control.value));
    }
    byId('dice').addEventListener('click', () => controller.drawSeed());
    this.#lock.addEventListener('click', () => controller.keepSeed(!this.#state.keepSeed));
    byId('reset').addEventListener('click', () => controller.reset());
    byId('settings').addEventListener('submit', (/** @type {Event} */ event) => event.preventDefault());
    byId('settings').addEventListener('keydown', (/** @type {any} */ event) => {
      const isField = event.target.matches('input[type=number], input[type=text]');
      if (isField && event.key === 'Enter' && !event.isComposing && !event.ctrlKey && !event.metaKey) controller.generate();
    });
    const { spacing, variance } = state.settings;
    this.#advanced.open = spacing !== DEFAULTS.spacing || variance !== DEFAULTS.variance;
  }

  /** @param {State} state */
  render(state) {
    this.#state = state;
    const { settings, texts, keepSeed, loaded, classes, picture: { begins } } = state;
    if (!this.#changed.fields(settings, texts, keepSeed, loaded, classes, begins)) return;
    const samplers = loaded?.model.samplers ?? ALL_SAMPLERS;
    if (this.#changed.samplers(samplers)) byId('sampler').replaceChildren(...samplers.map((name) => make('option', { value: name }, SAMPLERS[name] ?? name)));
    for (const name of FIELD_NAMES) {
      const control = byId(name);
      if (control.value !== texts[name]) control.value = texts[name];
      control.setAttribute('aria-invalid', String(Boolean(problemOf(state, name))));
      control.parentElement.hidden = !isShown(state, name);
    }
    byId('steps').max = mostStepsNow(state);
    this.#advanced.hidden = !doesSomething(state, 'variance') && !doesSomething(state, 'spacing');
    this.#lock.setAttribute('aria-pressed', String(keepSeed));
    this.#showHint();
  }

  #showHint() {
    const state = this.#state;
    const wrong = FIELD_NAMES.find((name) => problemOf(state, name));
    this.#hint.classList.toggle('problem', Boolean(wrong));
    const about = HINTS[document.activeElement?.id ?? ''] ?? ABOUT_SAMPLERS[state.settings.sampler];
    this.#hint.textContent = wrong ? `${LABELS[wrong]}: ${problemOf(state, wrong)}.` : about;
  }
}
