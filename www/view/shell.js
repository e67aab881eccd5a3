// The page's frame: theme, popovers, keys and focus.

import { byId, hang } from './dom.js';

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

/** Hangs each popover at the button that opens it. */
export function setUpPopovers() {
  for (const popover of document.querySelectorAll(/** @type {'div'} */ ('[popover]'))) {
    const button = document.querySelector(`[popovertarget="${popover.id}"]`);
    popover.addEventListener('beforetoggle', ({ newState }) => {
      if (newState === 'open' && button) hang(popover, button);
    });
  }
}

/** Keys that work wherever the focus is. @param {import('../controller.js').Controller} controller */
export function setUpKeys(controller) {
  document.addEventListener('keydown', (event) => {
    const target = /** @type {Element} */ (event.target);
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      controller.generate();
    } else if (event.key === 'Escape' && !event.defaultPrevented && !event.isComposing && !document.querySelector(':popover-open')) {
      controller.stop(); // where something is open, Escape closes that
    } else if (event.key === ' ' && !target.closest('input:not([type=range], [type=radio]), select, textarea, button, summary, [popover]')) {
      event.preventDefault();
      controller.dispatch({ type: 'togglePlay' });
    } else if (!event.ctrlKey && !event.metaKey && !event.altKey && !event.repeat && !target.closest('input:not([type=range], [type=radio]), select, textarea, [popover]')) {
      const key = event.key.toLowerCase();
      if (key === 'f') controller.fork();
      if (key === 'c') controller.togglePin();
    }
  });
}

/** What is done to the page itself. @type {Omit<import('../controller.js').Page, 'update'|'bringBack'>} */
export const PAGE = {
  focus(id) {
    const element = byId(id);
    element.closest('details')?.setAttribute('open', '');
    element.focus();
  },
  openPopover(id) {
    const popover = byId(id);
    if (!popover.matches(':popover-open')) popover.showPopover();
  },
  closePopover(id) {
    byId(id).hidePopover();
  },
  openModelMenu() {
    PAGE.openPopover('model-menu');
    byId('address').select();
  },
};
