// Where a comparison is planned: which setting varies, or which two, in which values, and how many images are made of each.

import { axesOf, choicesOf, countProblem, givenOf, planOf, planProblem, trialCount, valuesOf } from '../store/comparing.js';
import { isSpelling, phase } from '../store/select.js';
import { SAMPLERS } from '../store/settings.js';
import { LABELS } from '../words/hints.js';
import { byId, changes, make } from './dom.js';

/** @typedef {import('../store/comparing.js').Axis} Axis */
/** @typedef {import('../store/comparing.js').Plan} Plan */
/** @typedef {import('../store/comparing.js').Wishes} Wishes */
/** @typedef {import('../store/state.js').State} State */

/** @param {State} state @param {Axis} axis */
const labelOf = (state, axis) => (axis === 'class' ? (isSpelling(state) ? 'Word' : 'Class') : LABELS[axis]);

export class ComparingForm {
  #section = byId('comparing');
  #button = byId('comparing-button');
  #run = byId('comparing-run');
  #show = byId('comparing-show');
  #count = byId('comparing-count');
  #kinds = document.querySelectorAll(/** @type {'input'} */ ('input[name=comparing-kind]'));
  #axes;
  #changed = { open: changes(), form: changes(), run: changes() };

  /** @param {import('../controller.js').Controller} controller */
  constructor(controller) {
    const plan = (/** @type {Wishes} */ wishes) => controller.dispatch({ type: 'planComparison', wishes });
    this.#axes = [1, 2].map((number) => new AxisField(number, plan));
    for (const input of this.#kinds) input.addEventListener('change', () => plan({ kind: input.value === 'matrix' ? 'matrix' : 'columns' }));
    this.#count.addEventListener('input', () => plan({ count: { [this.#kind]: this.#count.value } }));
    this.#run.addEventListener('click', () => {
      byId('generate').scrollIntoView({ block: 'nearest' }); // which ends it, and below which it is told how far it is
      controller.compare();
    });
    this.#show.addEventListener('click', () => controller.dispatch({ type: 'showComparison', shown: true }));
  }

  get #kind() {
    return [...this.#kinds].find(({ checked }) => checked)?.value ?? 'columns';
  }

  /** @param {State} state */
  render(state) {
    const { comparing: { open, wishes, shown, comparison }, loaded, settings, classes, picture: { begins } } = state;
    const opened = this.#changed.open(open) && open;
    if (this.#section.hidden === open) {
      this.#button.setAttribute('aria-expanded', String(open));
      this.#section.hidden = !open;
    }
    if (!open) return;
    if (this.#changed.run(phase(state), comparison === null, shown, wishes, loaded, settings)) {
      this.#run.disabled = phase(state) !== 'ready' || planProblem(state) !== '';
      this.#show.hidden = comparison === null || shown;
    }
    if (!this.#changed.form(open, wishes, loaded, settings, classes, begins)) return;
    const plan = planOf(state);
    const kind = wishes.kind ?? 'columns';
    for (const input of this.#kinds) input.checked = input.value === kind;
    byId('axis-1-label').textContent = kind === 'matrix' ? 'Rows' : 'What varies';
    this.#axes.forEach((axis, i) => axis.render(state, plan, i));
    if (plan && this.#count.value !== plan.count) this.#count.value = plan.count;
    this.#count.parentElement.hidden = isSpelling(state);
    this.#count.setAttribute('aria-invalid', String(plan !== null && countProblem(state, plan) !== ''));
    const problem = planProblem(state);
    const hint = byId('comparing-hint');
    hint.classList.toggle('problem', problem !== '');
    hint.textContent = problem || `${plan && trialCount(state, plan)} runs, one after another, all from the noise of ${plan?.axes.includes('seed') ? 'their seed' : `seed ${settings.seed}`}${begins ? ', not from the picture' : ''}.`;
    if (opened) this.#section.scrollIntoView({ block: 'nearest' });
  }
}

/** A setting that varies, and its values. */
class AxisField {
  #select;
  #values;
  #number;
  #changed = { axes: changes(), field: changes() };

  /** @param {number} number @param {(wishes: Wishes) => void} plan */
  constructor(number, plan) {
    this.#number = number;
    this.#select = byId(`axis-${number}`);
    this.#values = byId(`values-${number}`);
    this.#select.addEventListener('change', () => {
      const axis = /** @type {Axis} */ (this.#select.value);
      plan(number === 2 ? { columns: axis } : byId('axis-2').parentElement.hidden ? { axis } : { rows: axis });
    });
    this.#values.addEventListener('input', () => {
      const field = this.#values.querySelector('input[type=text]');
      const chosen = [...this.#values.querySelectorAll('input:checked')].map(({ value }) => value);
      plan({ values: { [this.#select.value]: field ? field.value : chosen } });
    });
  }

  /** @param {State} state @param {Plan|null} plan @param {number} index  among the axes of the plan */
  render(state, plan, index) {
    const axis = plan?.axes[index];
    const place = this.#select.parentElement;
    place.hidden = !axis;
    if (!plan || !axis) return;
    const axes = axesOf(state, plan.kind, index ? plan.axes[0] : null);
    if (this.#changed.axes(axes.join(), isSpelling(state))) this.#select.replaceChildren(...axes.map((name) => make('option', { value: name }, labelOf(state, name))));
    this.#select.value = axis;
    const label = labelOf(state, axis);
    const choices = choicesOf(state, axis);
    const id = `values-of-${this.#number}`;
    const described = { 'aria-label': `Values: ${label}`, 'aria-describedby': 'comparing-hint' };
    if (this.#changed.field(axis, choices, label)) {
      const field = choices
        ? make('div', { class: 'chips words', role: 'group', ...described }, ...choices.map((name) => make('label', {},
          make('input', { type: 'checkbox', value: name }), make('span', {}, axis === 'sampler' ? SAMPLERS[name] ?? name : name))))
        : make('input', { type: 'text', id, spellcheck: 'false', autocomplete: 'off', ...described });
      this.#values.replaceChildren(field);
    }
    const given = givenOf(state, axis);
    const wrong = String(valuesOf(state, plan, axis).problem !== '');
    for (const input of this.#values.querySelectorAll('input')) {
      if (input.type === 'checkbox') input.checked = given.includes(input.value);
      else if (input.value !== given) input.value = given;
      if (input.type === 'text') input.setAttribute('aria-invalid', wrong);
    }
  }
}
