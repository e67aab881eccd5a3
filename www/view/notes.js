// Notes that open at the control they explain: a button with a question mark beside its name, and one place for what is told.

import { NOTES } from '../words/notes.js';
import { byId, make } from './dom.js';
import { symbol } from './maths.js';

/** What the notes stand beside. @type {[string, string][]} */
const PLACES = [
  ['#class-label', 'class'],
  ['label[for=sampler]', 'sampler'],
  ['label[for=steps]', 'steps'],
  ['label[for=seed]', 'seed'],
  ['label[for=guidance]', 'guidance'],
  ['label[for=eta]', 'eta'],
  ['label[for=spacing]', 'spacing'],
  ['label[for=variance]', 'variance'],
  ['#this-step-title', 'update'],
];

/** Puts the buttons beside the controls. */
export function setUpNotes() {
  const popover = byId('note');
  for (const [place, key] of PLACES) {
    const label = document.querySelector(place);
    if (!label) throw new Error(`index.html has nothing at ${place}.`);
    const button = make('button', { type: 'button', class: 'why', 'data-note': key, 'aria-label': `About: ${NOTES[key].title}`, 'aria-haspopup': 'dialog' }, '?');
    const both = make('span', { class: 'asked' });
    label.replaceWith(both);
    both.append(label, button);
  }
  for (const button of document.querySelectorAll(/** @type {'button'} */ ('[data-note]'))) {
    button.addEventListener('click', () => {
      const is = popover.matches(':popover-open') && popover.dataset.key === button.dataset.note;
      popover.hidePopover();
      if (is) return;
      show(popover, button);
    });
  }
  popover.addEventListener('toggle', (/** @type {any} */ { newState }) => {
    if (newState === 'closed') document.querySelectorAll('[data-note][aria-expanded]').forEach((button) => button.removeAttribute('aria-expanded'));
  });
}

/** @param {HTMLElement} popover @param {HTMLElement} button */
function show(popover, button) {
  const key = button.dataset.note ?? '';
  const { title, text, formula, paper, url } = NOTES[key];
  popover.dataset.key = key;
  popover.setAttribute('aria-label', title);
  popover.replaceChildren(
    make('h2', {}, title),
    make('p', {}, text),
    make('p', { class: 'formula math' }, ...formula.map((part) => (typeof part === 'string' ? part : symbol(part[0])))),
    make('p', { class: 'more' }, make('a', { href: url, target: '_blank', rel: 'noopener' }, paper)),
  );
  const { top, bottom, left, right } = button.getBoundingClientRect();
  const above = top > innerHeight / 2;
  const width = document.documentElement.clientWidth;
  // Its right side where the button's is, as far as it then fits.
  popover.style.setProperty('--top', above ? 'auto' : `${bottom + 8}px`);
  popover.style.setProperty('--bottom', above ? `${innerHeight - top + 8}px` : 'auto');
  popover.style.setProperty('--right', `${Math.max(8, Math.min(width - right, width - 348, width - left))}px`);
  popover.showPopover();
  popover.focus({ preventScroll: true }); // so that its link is the next thing there is
  button.setAttribute('aria-expanded', 'true');
}
