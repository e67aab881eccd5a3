// One tooltip for everything with data-tip: on hover, on keyboard focus and on touch.

import { byId } from './dom.js';

export function setUpTooltips() {
  const tip = byId('tooltip');
  /** @type {HTMLElement|null} */
  let owner = null;

  const hide = () => {
    owner?.removeAttribute('aria-describedby');
    owner = null;
    tip.hidden = true;
  };
  const show = (/** @type {HTMLElement} */ element) => {
    if (owner === element) return;
    hide();
    owner = element;
    tip.textContent = element.dataset.tip;
    tip.hidden = false;
    element.setAttribute('aria-describedby', tip.id);
    const box = element.getBoundingClientRect();
    const { offsetWidth: width, offsetHeight: height } = tip;
    const left = Math.max(8, Math.min(box.left + box.width / 2 - width / 2, document.documentElement.clientWidth - width - 8));
    const above = box.top - height - 8;
    tip.style.left = `${left}px`;
    tip.style.top = `${above > 8 ? above : box.bottom + 8}px`;
  };
  /** @param {Event} event @returns {HTMLElement|null} */
  const from = ({ target }) => (target instanceof Element ? target.closest('[data-tip]') : null);

  document.addEventListener('pointerover', (event) => {
    const element = from(event);
    if (element) show(element);
    else if (event.target !== tip) hide();
  });
  document.addEventListener('focusin', (event) => {
    const element = from(event);
    if (element?.matches(':focus-visible')) show(element);
    else hide();
  });
  document.addEventListener('click', (event) => {
    const element = from(event);
    if (element?.matches('.term, .why')) show(element);
  });
  document.addEventListener('focusout', hide);
  document.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') hide();
  });
  addEventListener('scroll', hide, { passive: true, capture: true });
  addEventListener('resize', hide);
}
