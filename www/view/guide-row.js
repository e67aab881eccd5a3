// What guides a run: the row of its controls, and what there is to look at only where a classifier does.

import { classNames } from '../model/classes.js';
import { guideProblem, hasClassifier, usesClassifier } from '../store/guide.js';
import { selectedRun } from '../store/select.js';
import { byId, changes, make } from './dom.js';

/** @type {[import('../store/guide.js').Kind, string][]} */
const KINDS = [['none', 'nothing'], ['free', 'classifier-free'], ['classifier', 'classifier'], ['both', 'both']];

export class GuideRow {
  #guide = byId('guide');
  #and = byId('classAnd');
  #changed = { kinds: changes(), classes: changes() };

  /** @param {import('../store/state.js').State} state */
  render(state) {
    const { classes, settings, texts, selection } = state;
    const problems = KINDS.map(([kind]) => guideProblem(state, kind));
    if (this.#changed.kinds(settings.guide, ...problems)) {
      // Of the one that is chosen the hint says it.
      const why = (/** @type {number} */ i) => (problems[i] && KINDS[i][0] !== settings.guide ? `: ${problems[i]}` : '');
      this.#guide.replaceChildren(...KINDS.map(([kind, name], i) => make('option', { value: kind, disabled: problems[i] !== '' }, name + why(i))));
      this.#guide.value = texts.guide;
    }
    if (this.#changed.classes(classes)) {
      const names = classes ? classNames(classes) : [];
      this.#and.replaceChildren(make('option', { value: '' }, '–'), ...names.map((name) => make('option', { value: name }, name)));
      this.#and.value = texts.classAnd;
    }
    byId('weightAnd').disabled = !settings.classAnd;
    byId('weight-and').textContent = settings.classAnd && `${settings.weightAnd} %`;
    const isClassified = selectedRun(state)?.recording.isClassified ?? false;
    byId('loupes').classList.toggle('classified', isClassified);
    const isWanted = isClassified || (usesClassifier(settings.guide) && hasClassifier(state));
    byId('plot-belief').hidden = !isWanted && !byId('plot-belief').querySelector(':checked');
    byId('view-gradient').hidden = !isWanted && selection.view !== 'gradient';
  }
}
