// The page's frame: theme and popovers.

import { byId } from './dom.js';

const THEMES = ['auto', 'light', 'dark'];

export function setUpTheme() {
  const button = byId('theme-button');
  const root = document.documentElement;
  const name = () => root.dataset.theme ?? 'auto';
  const label = () => {
    button.setAttribute('aria-label', `Theme: ${name() === 'auto' ? 'automatic' : name()}`);
    button.dataset.now = name();
  };
  button.addEventListener('click', () => {
    const next = THEMES[(THEMES.indexOf(name()) + 1) % THEMES.length];
    if (next === 'auto') delete root.dataset.theme;
    else root.dataset.theme = next;
    try {
      if (next === 'auto') localStorage.removeItem('theme');
      else localStorage.setItem('theme', next);
    } catch {
      // Without storage the theme lasts until the page is closed.
    }
    label();
  });
  label();
}

/** Opens a popover that a button of the page's own does not open. @param {HTMLElement} popover */
export function openPopover(popover) {
  if (!popover.matches(':popover-open')) popover.showPopover();
}

/** Hangs each popover under the button that opens it. */
export function setUpPopovers() {
  for (const popover of document.querySelectorAll('[popover]')) {
    const button = document.querySelector(`[popovertarget="${popover.id}"]`);
    popover.addEventListener('beforetoggle', ({ newState }) => {
      if (newState !== 'open') return;
      const { bottom, right } = button.getBoundingClientRect();
      popover.style.setProperty('--top', `${bottom + 8}px`);
      popover.style.setProperty('--right', `${Math.max(8, document.documentElement.clientWidth - right)}px`);
    });
  }
}
