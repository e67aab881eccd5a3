// What can be measured of how the page looks: axe's rules, and where everything is. Each check returns what is wrong, in words.

import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';

const AXE = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/**
 * What axe finds.
 * @param {import('playwright-core').Page} page
 * @param {string[]} [rules]  all that axe has, if none are named
 */
export async function axeFinds(page, rules) {
  if (!await page.evaluate(() => 'axe' in globalThis)) await page.evaluate(AXE);
  return page.evaluate(async (rules) => {
    const { violations, passes } = await globalThis.axe.run(document, { resultTypes: ['violations'], ...(rules ? { runOnly: rules } : {}) });
    if (!passes.length) throw new Error('axe looked at nothing');
    return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 160)).join(' ')}`);
  }, rules);
}

/**
 * Has the page note what moves without having been asked to. Browsers take what moves within half a second of a click or a key
 * for asked for; here, where two cores stand in for a GPU beside other tests, it is two seconds, and what follows on a field or
 * a list that a script has changed counts, too.
 * @param {import('playwright-core').Page} page
 */
export const watchShifts = (page) => page.addInitScript(() => {
  const SOON = 2000;
  let changed = -SOON;
  for (const kind of ['input', 'change', 'click', 'keydown']) {
    addEventListener(kind, ({ isTrusted }) => {
      // A click that is a script's asks for nothing.
      if (isTrusted || kind === 'input' || kind === 'change') changed = performance.now();
    }, true);
  }
  const shifts = [];
  const note = (entries) => {
    for (const { value, hadRecentInput, startTime, sources } of entries) {
      const isAsked = hadRecentInput || (startTime >= changed && startTime < changed + SOON);
      if (!isAsked) shifts.push(`moved by ${value.toFixed(5)}: ${sources.map(({ node }) => node?.id || node?.className || node?.nodeName || '?').join(', ')}`);
    }
  };
  const observer = new PerformanceObserver((list) => note(list.getEntries()));
  observer.observe({ type: 'layout-shift', buffered: true });
  globalThis.takeShifts = () => {
    note(observer.takeRecords());
    return shifts.splice(0);
  };
});

/** What has moved since this was last asked, in words. @param {import('playwright-core').Page} page @returns {Promise<string[]>} */
export const takeShifts = (page) => page.evaluate(() => globalThis.takeShifts());

/**
 * What is wrong with where things are: wider than the screen, cut off, over one another, or still moving.
 * @param {import('playwright-core').Page} page
 * @param {{shortened: string}} options  a selector of what may end in an ellipsis, since it may be of any length
 */
export const layoutProblems = (page, { shortened }) => page.evaluate((shortened) => {
  /** @type {string[]} */
  const problems = [];
  const nameOf = (/** @type {Element} */ element) => {
    const own = element.id ? `#${element.id}` : `${element.localName}${[...element.classList].map((name) => `.${name}`).join('')}`;
    const text = (element.getAttribute('aria-label') ?? element.textContent ?? '').trim().slice(0, 40);
    const around = element.id ? '' : `${element.parentElement?.closest('[id]')?.id ?? ''} `;
    return `${around}${own}${text ? ` “${text}”` : ''}`;
  };
  const shown = (/** @type {Element} */ element) => element.checkVisibility({ visibilityProperty: true }) && !element.closest('.unseen');

  // ---- As much as is seen of a rectangle within the boxes that cut or scroll what is in them.
  const layers = '[popover], #tour, #tooltip, .drop, .action, .messages, #notes';
  const styles = new Map();
  const styleOf = (/** @type {Element} */ element) => styles.get(element) ?? styles.set(element, getComputedStyle(element)).get(element);
  const box = ({ left, top, right, bottom }) => ({ left, top, right, bottom });
  /** @param {{left: number, top: number, right: number, bottom: number}} rect @param {Element} element  that it is in */
  const clipped = (rect, element) => {
    const seen = box(rect);
    /** @type {{by: Element, x: boolean, y: boolean}[]} */
    const cuts = [];
    for (let at = element; at && at !== document.body; at = at.parentElement) {
      const { overflowX, overflowY, position } = styleOf(at);
      const edge = at.getBoundingClientRect();
      if (overflowX !== 'visible') {
        // What scrolls can be reached, and an ellipsis is looked at apart.
        if (overflowX !== 'auto' && overflowX !== 'scroll' && (rect.left < edge.left - 1.5 || rect.right > edge.right + 1.5)) cuts.push({ by: at, x: true, y: false });
        Object.assign(seen, { left: Math.max(seen.left, edge.left), right: Math.min(seen.right, edge.right) });
      }
      if (overflowY !== 'visible') {
        if (overflowY !== 'auto' && overflowY !== 'scroll' && (rect.top < edge.top - 3 || rect.bottom > edge.bottom + 3)) cuts.push({ by: at, x: false, y: true });
        Object.assign(seen, { top: Math.max(seen.top, edge.top), bottom: Math.min(seen.bottom, edge.bottom) });
      }
      if (position === 'fixed') break;
    }
    return { seen, cuts, empty: seen.right - seen.left < 1 || seen.bottom - seen.top < 1 };
  };
  const layerOf = (/** @type {Element} */ element) => {
    const layer = element.closest(layers);
    return layer && styleOf(layer).position === 'fixed' ? layer : document.body;
  };

  // ---- Nothing is wider than the screen.
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > width) problems.push(`the page is ${document.documentElement.scrollWidth} px wide on a screen of ${width}`);
  for (const element of document.querySelectorAll('body *')) {
    if (!shown(element)) continue;
    const { seen, empty } = clipped(element.getBoundingClientRect(), element.parentElement);
    if (!empty && (seen.right > width + 0.5 || seen.left < -0.5)) problems.push(`reaches over the edge: ${nameOf(element)}`);
  }

  // ---- No text is cut off.
  /** @type {{rect: {left: number, top: number, right: number, bottom: number}, element: Element, layer: Element}[]} */
  const texts = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const range = document.createRange();
  const told = new Set();
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!element || !node.data.trim() || ['SCRIPT', 'STYLE', 'OPTION', 'TITLE'].includes(element.tagName) || !shown(element)) continue;
    range.selectNodeContents(node);
    for (const rect of range.getClientRects()) {
      if (rect.width < 1 || rect.height < 1) continue;
      const { seen, cuts, empty } = clipped(rect, element);
      for (const { by, x, y } of cuts) {
        if (told.has(by)) continue;
        told.add(by);
        const dots = (x && styleOf(by).textOverflow === 'ellipsis') || (y && styleOf(by).webkitLineClamp !== 'none');
        if (!dots) problems.push(`cut off: ${nameOf(element)} by ${nameOf(by)}`);
        else if (!by.matches(shortened)) problems.push(`shortened: ${nameOf(by)}`);
      }
      if (!empty) texts.push({ rect: seen, element, layer: layerOf(element) });
    }
  }
  const pen = /** @type {any} */ (new OffscreenCanvas(1, 1).getContext('2d'));
  for (const field of document.querySelectorAll('input[type=number], input[type=text], select')) {
    if (!shown(field)) continue;
    const { font, paddingLeft, paddingRight } = styleOf(field);
    pen.font = font;
    // A list has an arrow beside what is chosen.
    const text = field.localName === 'select' ? field.selectedOptions[0]?.textContent ?? '' : field.value || field.placeholder;
    const room = field.clientWidth - parseFloat(paddingLeft) - parseFloat(paddingRight) - (field.localName === 'select' ? 16 : 0);
    if (pen.measureText(text).width > room + 1 && !field.matches(shortened)) problems.push(`does not fit its field: ${nameOf(field)} “${text}”`);
  }

  // ---- Nothing lies over anything else.
  const controls = [...document.querySelectorAll('button, a[href], input, select, summary, [role=option], canvas[tabindex]')].filter(shown).map((element) => {
    const label = element.closest('label');
    const whole = label && element.localName === 'input' ? label : element;
    const { seen, empty } = clipped(whole.getBoundingClientRect(), whole.parentElement);
    return { element, whole, rect: seen, empty, layer: layerOf(element) };
  }).filter(({ empty }) => !empty);
  const meets = (a, b, by) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > by && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > by;
  for (const [i, a] of controls.entries()) {
    for (const b of controls.slice(i + 1)) {
      if (a.layer !== b.layer || a.whole.contains(b.whole) || b.whole.contains(a.whole)) continue;
      if (meets(a.rect, b.rect, 1)) problems.push(`over one another: ${nameOf(a.element)} and ${nameOf(b.element)}`);
    }
    for (const { rect, element, layer } of texts) {
      if (a.layer !== layer || a.whole.contains(element) || element.contains(a.whole)) continue;
      if (meets(a.rect, rect, 2)) problems.push(`${nameOf(a.element)} lies over the text ${nameOf(element)}`);
    }
  }
  for (const [i, a] of texts.entries()) {
    for (const b of texts.slice(i + 1)) {
      // Letters and their indices are one thing.
      if (a.layer !== b.layer || a.element.contains(b.element) || b.element.contains(a.element) || (a.element.closest('.math') && a.element.closest('.math') === b.element.closest('.math'))) continue;
      if (meets(a.rect, b.rect, 3)) problems.push(`texts over one another: ${nameOf(a.element)} and ${nameOf(b.element)}`);
    }
  }

  // ---- What is asked to be still is.
  if (matchMedia('(prefers-reduced-motion: reduce)').matches) {
    for (const { effect } of document.getAnimations()) problems.push(`moves: ${nameOf(/** @type {any} */ (effect)?.target ?? document.body)}`);
    for (const element of document.querySelectorAll('body *')) {
      if (shown(element) && styleOf(element).transitionDuration.split(', ').some((time) => parseFloat(time) > 0)) problems.push(`has a transition: ${nameOf(element)}`);
    }
  }
  return [...new Set(problems)];
}, shortened);

/**
 * The controls that a finger of 44 px has no room for, measured by where a touch would reach them.
 * @param {import('playwright-core').Page} page
 * @param {{exempt: string}} options  a selector of what WCAG 2.5.5 leaves out
 */
export const smallTargets = (page, { exempt }) => page.evaluate((exempt) => {
  const SIZE = 44;
  const LAYERS = '[popover], #tour, #tooltip, .action, .messages, #notes';
  const [x0, y0] = [scrollX, scrollY];
  /** @type {string[]} */
  const small = [];
  const open = document.querySelectorAll(':popover-open');
  const top = open[open.length - 1] ?? document.body;
  for (const control of top.querySelectorAll('button, a[href], input, select, summary, [role=option], canvas[tabindex]')) {
    if (!control.checkVisibility({ visibilityProperty: true }) || control.matches(exempt)) continue;
    const label = control.closest('label');
    const whole = label && control.localName === 'input' ? label : control;
    const fixed = whole.closest('.action, .messages, #notes, #tour, [popover]');
    if (!fixed || fixed.hasAttribute('popover')) whole.scrollIntoView({ block: 'center', inline: 'nearest', behavior: 'instant' });
    const { left, right, top: above, bottom } = whole.getBoundingClientRect();
    const [x, y] = [(left + right) / 2, (above + bottom) / 2];
    const own = whole.closest(LAYERS);
    const reaches = (/** @type {number} */ dx, /** @type {number} */ dy) => {
      const hit = document.elementFromPoint(x + dx, y + dy);
      if (hit !== null && (whole.contains(hit) || hit === control)) return true;
      // What lies over the page for a while takes nothing away from what is under it.
      return (dx !== 0 || dy !== 0) && (hit?.closest(LAYERS) ?? own) !== own && Math.abs(dx) <= SIZE / 2 && Math.abs(dy) <= SIZE / 2;
    };
    // Under something that lies over the page it is looked at when that is gone.
    if (!reaches(0, 0)) continue;
    const half = SIZE / 2 - 1;
    if (reaches(-half, 0) && reaches(half, 0) && reaches(0, -half) && reaches(0, half)) continue;
    const way = (/** @type {number} */ right, /** @type {number} */ down) => {
      let far = 0;
      while (far < SIZE && reaches(right * (far + 1), down * (far + 1))) far++;
      return far;
    };
    const [wide, high] = [way(-1, 0) + way(1, 0) + 1, way(0, -1) + way(0, 1) + 1];
    // An edge between two pixels costs one.
    if (wide < SIZE - 1 || high < SIZE - 1) {
      const name = control.id || control.getAttribute('aria-label') || control.textContent?.trim() || control.className;
      small.push(`${control.localName} ${String(name).slice(0, 40)}: ${wide} × ${high}`);
    }
  }
  scrollTo({ left: x0, top: y0, behavior: 'instant' });
  return [...new Set(small)];
}, exempt);
