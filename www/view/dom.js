// The little that the page needs to build elements.

/** @param {string} id @returns {any} the element with this id; a missing one is a mistake in index.html */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`index.html has no #${id}.`);
  return element;
}

/**
 * Makes an element. Strings become text nodes, so nothing that comes from a model is read as HTML.
 * @param {string} tag
 * @param {Record<string, any>} [attributes]
 * @param {...(Node|string)} children
 */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'boolean') element.toggleAttribute(name, value);
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/**
 * Makes an element of a drawing. Attributes, not styles: the page's policy allows no inline styles.
 * @param {string} tag
 * @param {Record<string, string|number>} attributes
 * @param {...(Node|string)} children
 */
export function svg(tag, attributes, ...children) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

/** RGBA8 pixels of image `index` of a batch. @param {Uint8Array|Uint8ClampedArray} pixels @param {number} index @param {number} width @param {number} height */
export function imageData(pixels, index, width, height) {
  const bytes = width * height * 4;
  const image = new Uint8ClampedArray(/** @type {ArrayBuffer} */ (pixels.buffer), pixels.byteOffset + index * bytes, bytes);
  return new ImageData(image, width, height);
}

/** The context to draw a canvas with. @param {HTMLCanvasElement} canvas */
export const contextOf = (canvas) => /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));

/** What does something at the next frame, however often it is asked to until then. @param {() => void} act @returns {() => void} */
export function atNextFrame(act) {
  let requested = false;
  return () => {
    if (requested) return;
    requested = true;
    requestAnimationFrame(() => {
      requested = false;
      act();
    });
  };
}

/** What tells whether any of its values is another one than when it was last asked. @returns {(...values: unknown[]) => boolean} */
export function changes() {
  /** @type {unknown[]|null} */
  let last = null;
  return (...values) => {
    const changed = last === null || values.some((value, i) => value !== last?.[i]);
    last = values;
    return changed;
  };
}

/** Hangs a popover at a button, above it where there is more room. @param {HTMLElement} popover @param {Element} button */
export function hang(popover, button) {
  const { top, bottom, right } = button.getBoundingClientRect();
  const above = top > innerHeight / 2;
  popover.style.setProperty('--top', above ? 'auto' : `${bottom + 8}px`);
  popover.style.setProperty('--bottom', above ? `${innerHeight - top + 8}px` : 'auto');
  popover.style.setProperty('--at', `${right}px`);
}

/** Adds a style sheet to the page. @param {URL} address @returns {Promise<void>} once it is there */
export function addStyle({ href }) {
  const link = make('link', { rel: 'stylesheet', href });
  return new Promise((resolve, reject) => {
    link.addEventListener('load', () => resolve());
    link.addEventListener('error', () => {
      link.remove();
      reject(new Error('its style sheet could not be fetched'));
    });
    document.head.append(link);
  });
}
