// What is chosen before a network learns: what from, what it begins with, and how.

import { chosenFiles } from '../../model/folder.js';
import { SHIPPED } from '../../models/catalogue.js';
import { byId, changes, make } from '../../view/dom.js';
import { OF_NEW, SETTING_NAMES } from '../store/settings.js';
import { hasOwnImages, imageProblem, isActive, settingProblem, settingsOf } from '../store/select.js';

/** @typedef {import('../store/settings.js').Settings} Settings */
/** @typedef {import('../store/state.js').State} State */

export class Setup {
  #changed = { beginning: changes(), fields: changes() };
  /** The field that somebody is typing in. @type {HTMLInputElement|null} */
  #typing = null;
  /** @type {HTMLInputElement[]} */
  #from = [...document.querySelectorAll(/** @type {'input'} */ ('input[name=from]'))];

  /** @param {import('../controller.js').Controller} controller */
  constructor(controller) {
    byId('settings').addEventListener('submit', (/** @type {Event} */ event) => event.preventDefault());
    for (const input of this.#from) input.addEventListener('change', () => controller.choose(/** @type {State['from']} */ (input.value)));
    byId('handwriting').addEventListener('click', () => {
      controller.handwriting();
      byId('learns').scrollIntoView({ block: 'nearest' });
    });
    for (const id of ['own-folder', 'own-files']) {
      byId(id).addEventListener('change', () => {
        controller.take(chosenFiles(byId(id)));
        byId(id).value = ''; // so that the same choice is a change again
      });
    }
    byId('side').addEventListener('change', () => controller.takePictures({ side: Number(byId('side').value) }));
    byId('channels').addEventListener('change', () => controller.takePictures({ channels: byId('channels').value === '3' ? 3 : 1 }));
    byId('beginning').addEventListener('change', () => controller.begin(byId('beginning').value));
    for (const name of SETTING_NAMES) {
      const field = byId(name);
      field.addEventListener('input', () => {
        this.#typing = field;
        controller.dispatch({ type: 'set', name, text: field.value });
      });
      for (const end of ['change', 'blur']) {
        field.addEventListener(end, () => {
          if (this.#typing !== field) return;
          this.#typing = null;
          controller.dispatch({ type: 'set', name, text: field.value });
        });
      }
    }
    byId('unset').addEventListener('click', () => controller.dispatch({ type: 'unset' }));
  }

  /** @param {State} state */
  render(state) {
    const active = isActive(state);
    const { from, pictures, beginning, texts, data, drawings, run } = state;
    if (this.#changed.beginning(beginning, run?.name, run?.kept === null)) this.#showBeginning(beginning, run);
    if (!this.#changed.fields(from, pictures, beginning, texts, data, drawings, active)) return;
    // Any of the sources takes the place of what a checkpoint comes with.
    const isOwn = hasOwnImages(state);
    for (const input of this.#from) {
      input.checked = input.value === from && !isOwn;
      input.disabled = active;
    }
    byId('pictures-part').hidden = from !== 'files' || isOwn;
    byId('side').value = String(pictures.side);
    byId('channels').value = String(pictures.channels);
    for (const id of ['side', 'channels', 'own-folder', 'own-files', 'beginning', 'handwriting', 'unset']) byId(id).disabled = active;
    const settings = settingsOf(state);
    const wrong = settingProblem(state);
    for (const name of SETTING_NAMES) {
      const field = byId(name);
      // What somebody is typing stays as it is until it is typed.
      if (field !== this.#typing) field.value = (beginning.kind === 'checkpoint' ? null : texts[name]) ?? String(settings[name]);
      // What a model has for them is not known here.
      field.parentElement.hidden = beginning.kind === 'model' && OF_NEW.includes(name);
      field.disabled = active || (OF_NEW.includes(name) && beginning.kind !== 'nothing') || (beginning.kind === 'checkpoint' && name !== 'backend');
      field.setAttribute('aria-invalid', String(wrong?.name === name));
    }
    const hint = byId('hint');
    hint.classList.toggle('problem', wrong !== null);
    hint.textContent = wrong ? `${byId(wrong.name).labels[0].textContent} has to be ${problemIn(byId(wrong.name)) ?? wrong.problem}.` : active ? '' : imageProblem(state) ?? summaryOf(state, settings);
    if (wrong) byId('expert').open = true;
  }

  /** @param {State['beginning']} beginning @param {State['run']} run */
  #showBeginning(beginning, run) {
    const options = [['', 'nothing: a new network'], ...SHIPPED.map(({ folder, title }) => [folder, `the ${title.toLowerCase()} model`])];
    if (run && run.kept !== null) options.push([`taught:${run.name}`, `what was taught: ${run.title}`]);
    let value = '';
    if (beginning.kind === 'checkpoint') {
      value = 'dropped';
      options.push([value, `step ${beginning.step} of ${beginning.title}`]);
    } else if (beginning.kind === 'model') {
      value = beginning.source.id;
      if (!options.some(([id]) => id === value)) options.push([value, beginning.title]);
    }
    byId('beginning').replaceChildren(...options.map(([id, text]) => make('option', { value: id, selected: id === value }, text)));
  }
}

/** What a choice has to be, in its words and as an address has it. @param {HTMLSelectElement|HTMLInputElement} field */
const problemIn = (field) => (field instanceof HTMLSelectElement ? [...field.options].map(({ text, value }) => `${text} (${value})`).join(' or ') : null);

/** @param {State} state @param {Settings} settings */
function summaryOf({ beginning }, { steps, batch }) {
  if (beginning.kind === 'checkpoint') return `It goes on from step ${beginning.step} of ${beginning.recipe.steps}, ${beginning.recipe.batch} images a step.`;
  return `${steps.toLocaleString('en')} steps of ${batch} images.`;
}
