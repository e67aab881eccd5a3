// Which class each image is to be of: chips for a few, a list for many, a number where any number is a class, and a word
// where classes are letters.

import { MOST_LETTERS, classChoices, classNames, hasClasses, isAlphabet, spelled } from '../model/classes.js';
import { isOneClass, mixes } from '../store/between.js';
import { hasClassifier, usesClassifier } from '../store/guide.js';
import { wordProblem } from '../store/select.js';
import { byId, changes, make } from './dom.js';

/** More than these would be a wall of chips. */
const MOST_CHIPS = 24;

/** @typedef {import('../model/classes.js').Classes} Classes */

export class ClassChoice {
  #place = byId('classes');
  #label = byId('class-label');
  #to = byId('classTo');
  /** @type {Classes|null} */
  #classes = null;
  #changed = { classes: changes(), chosen: changes(), word: changes(), typeface: changes(), to: changes() };

  /** @param {import('../controller.js').Controller} controller */
  constructor(controller) {
    this.#place.addEventListener('input', (/** @type {any} */ { target }) => {
      if (target.id === 'typeface') return controller.chooseTypeface(target.checked);
      if (target.id !== 'word') return controller.chooseClass(target.value);
      const typed = target.value;
      this.#spell(target);
      controller.typeWord(typed);
    });
    this.#to.addEventListener('change', () => controller.chooseClassTo(this.#to.value));
  }

  /** @param {import('../store/state.js').State} state */
  render(state) {
    const { classes, settings, word, loaded } = state;
    const { class: chosen, typeface, classTo } = settings;
    if (!classes) return; // nothing is known of the model yet
    // Where only the classifier knows classes, they do nothing without it.
    const has = hasClasses(classes) && (loaded?.model.class_kind !== null || usesClassifier(settings.guide));
    this.#place.hidden = this.#label.hidden = !has;
    byId('class-row').hidden = !has && !hasClassifier(state);
    const others = this.#changed.classes(classes);
    if (others) {
      this.#classes = classes;
      this.#label.textContent = isAlphabet(classes) ? 'Word' : 'Class';
      this.#place.replaceChildren(...controls(classes));
      byId('class-to-label').hidden = !mixes(classes);
      this.#to.replaceChildren(make('option', { value: '' }, '–'), ...classNames(classes).map((name) => make('option', { value: name }, name)));
    }
    if (this.#changed.chosen(chosen) || others) this.#show(chosen);
    if (this.#changed.word(word) || others) this.#showWord(state);
    if (this.#changed.to(classTo, chosen) || others) Object.assign(this.#to, { value: classTo, disabled: !isOneClass(settings) });
    if (this.#changed.typeface(typeface) || others) for (const input of this.#place.querySelectorAll('#typeface')) input.checked = typeface === '1';
  }

  /** Keeps of what is typed what can be spelled, and the place where it is typed. @param {HTMLInputElement} field */
  #spell(field) {
    if (!this.#classes) return;
    const before = field.value.slice(0, field.selectionStart ?? field.value.length);
    const word = spelled(this.#classes, field.value);
    if (word === field.value) return;
    const at = spelled(this.#classes, before).length;
    field.value = word;
    field.setSelectionRange(at, at);
  }

  /** @param {string} chosen */
  #show(chosen) {
    for (const input of this.#place.querySelectorAll('input:not(#typeface, #word), select')) {
      if (input.type === 'radio') input.checked = input.value === chosen;
      else if (input.value !== chosen) input.value = chosen;
    }
  }

  /** The word as it is typed, and what is to be said of it. @param {import('../store/state.js').State} state */
  #showWord(state) {
    const { classes, word: { text, dropped } } = state;
    const field = /** @type {HTMLInputElement|null} */ (this.#place.querySelector('#word'));
    if (!field || !classes) return;
    if (field.value !== text) field.value = text;
    const problem = wordProblem(state);
    field.setAttribute('aria-invalid', String(problem !== ''));
    const hint = byId('word-hint');
    hint.classList.toggle('wrong', problem !== '');
    hint.textContent = problem || dropped || `${classes.class_names[0]} to ${classes.class_names.at(-1)}, up to ${MOST_LETTERS} letters`;
  }
}

/** The controls that suit the model. @param {Classes} classes */
function controls(classes) {
  const named = { 'aria-labelledby': 'class-label' };
  if (isAlphabet(classes)) {
    return [
      make('input', { type: 'text', id: 'word', class: 'word', autocapitalize: 'characters', autocorrect: 'off', spellcheck: 'false', enterkeyhint: 'go', 'aria-describedby': 'word-hint', ...named }),
      make('div', { class: 'under-word' },
        make('span', { id: 'word-hint', class: 'label', 'aria-live': 'polite' }),
        make('label', { class: 'check', 'data-tip': 'All letters begin with the same noise, so they come out alike.' }, make('input', { type: 'checkbox', id: 'typeface' }), make('span', {}, 'One typeface'))),
    ];
  }
  if (classes.class_kind === 'number') return [make('input', { type: 'number', step: 'any', ...named })];
  const choices = classChoices(classes);
  if (choices.length > MOST_CHIPS) return [make('select', named, ...choices.map((name) => make('option', { value: name }, name)))];
  const words = classNames(classes).some((name) => name.length > 2);
  return [make('div', { class: words ? 'chips words' : 'chips', role: 'radiogroup', ...named }, ...choices.map((name) => make('label', {},
    make('input', { type: 'radio', name: 'class', value: name }), make('span', {}, name))))];
}
