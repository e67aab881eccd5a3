// Notes that open at the control they explain: a button with a question mark beside its name, and one place for what is told.

import { messageOf } from '../words/messages.js';
import { byId, hang, make } from './dom.js';
import { symbol } from './maths.js';

/** @typedef {typeof import('../words/notes.js')} Words */

/** What the notes stand beside, and what they are called. @type {[string, string, string][]} */
const PLACES = [
  ['#class-label', 'class', 'What is to be made'],
  ['label[for=sampler]', 'sampler', 'How noise is taken away'],
  ['label[for=steps]', 'steps', 'How often the network is asked'],
  ['label[for=seed]', 'seed', 'Which noise it begins with'],
  ['label[for=guidance]', 'guidance', 'How much the class counts'],
  ['label[for=scale]', 'guide', 'What pulls towards the class'],
  ['label[for=eta]', 'eta', 'How much is left to chance'],
  ['label[for=spacing]', 'spacing', 'Which times the steps fall on'],
  ['label[for=variance]', 'variance', 'How much noise DDPM adds back'],
  ['#this-step-title', 'update', 'One step, in numbers'],
];

/** Puts the buttons beside the controls. @param {() => Promise<Words>} ask  brings what the notes say */
export function setUpNotes(ask) {
  const popover = byId('note');
  for (const [place, key, title] of PLACES) {
    const label = document.querySelector(place);
    if (!label) throw new Error(`index.html has nothing at ${place}.`);
    const button = make('button', { type: 'button', class: 'why', 'data-note': key, 'aria-label': `About: ${title}`, 'aria-haspopup': 'dialog' }, '?');
    const both = make('span', { class: 'asked' });
    label.replaceWith(both);
    both.append(label, button);
  }
  for (const button of document.querySelectorAll(/** @type {'button'} */ ('[data-note]'))) {
    button.addEventListener('click', async () => {
      const is = popover.matches(':popover-open') && popover.dataset.key === button.dataset.note;
      popover.hidePopover();
      if (is) return;
      show(popover, button, await ask().catch(messageOf));
    });
  }
  popover.addEventListener('toggle', (/** @type {any} */ { newState }) => {
    if (newState === 'closed') document.querySelectorAll('[data-note][aria-expanded]').forEach((button) => button.removeAttribute('aria-expanded'));
  });
}

/** What a note says. @param {import('../words/notes.js').Note} note */
const told = ({ text, formula, paper, url }) => [
  make('p', {}, text),
  make('p', { class: 'formula math' }, ...formula.map((part) => (typeof part === 'string' ? part : symbol(part[0])))),
  make('p', { class: 'more' }, make('a', { href: url, target: '_blank', rel: 'noopener' }, paper)),
];

/** @param {HTMLElement} popover @param {HTMLElement} button @param {Words|string} words  or why they did not come */
function show(popover, button, words) {
  const key = button.dataset.note ?? '';
  const title = button.getAttribute('aria-label')?.replace('About: ', '') ?? '';
  popover.dataset.key = key;
  popover.setAttribute('aria-label', title);
  popover.replaceChildren(
    make('h2', {}, title),
    ...(typeof words === 'string' ? [make('p', {}, `The note could not be loaded (${words}). Check the connection, and reload the page.`)] : told(words.NOTES[key])),
  );
  hang(popover, button);
  popover.showPopover();
  popover.focus({ preventScroll: true }); // so that its link is the next thing there is
  button.setAttribute('aria-expanded', 'true');
}
