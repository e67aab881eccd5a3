// Which class each image is to be of: chips for a few, a list for many, a number where any number is a class.

import { classChoices, classNames, hasClasses } from '../model/classes.js';
import { byId, changes, make } from './dom.js';

/** More than these would be a wall of chips. */
const MOST_CHIPS = 24;

export class ClassChoice {
  #place = byId('classes');
  #changed = { classes: changes(), chosen: changes() };

  /** @param {import('../controller.js').Controller} controller */
  constructor(controller) {
    this.#place.addEventListener('input', (/** @type {any} */ { target }) => controller.chooseClass(target.value));
  }

  /** @param {import('../store/state.js').State} state */
  render({ classes, settings: { class: chosen } }) {
    if (!classes) return; // nothing is known of the model yet
    const others = this.#changed.classes(classes);
    if (others) {
      byId('class-row').hidden = !hasClasses(classes);
      this.#place.replaceChildren(control(classes));
    }
    if (!this.#changed.chosen(chosen) && !others) return;
    for (const input of this.#place.querySelectorAll('input, select')) {
      if (input.type === 'radio') input.checked = input.value === chosen;
      else if (input.value !== chosen) input.value = chosen;
    }
  }
}

/** The control that suits the model. @param {import('../model/classes.js').Classes} classes */
function control(classes) {
  if (classes.class_kind === 'number') return make('input', { type: 'number', step: 'any', 'aria-labelledby': 'class-label' });
  const choices = classChoices(classes);
  if (choices.length > MOST_CHIPS) return make('select', { 'aria-labelledby': 'class-label' }, ...choices.map((name) => make('option', { value: name }, name)));
  const words = classNames(classes).some((name) => name.length > 2);
  return make('div', { class: words ? 'chips words' : 'chips', role: 'radiogroup', 'aria-labelledby': 'class-label' }, ...choices.map((name) => make('label', {},
    make('input', { type: 'radio', name: 'class', value: name }), make('span', {}, name))));
}
