// The little that the page needs to build elements.

/** @returns {any} the element with this id; a missing one is a mistake in index.html */
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

/** RGBA8 pixels of image `index` of a batch. */
export function imageData(pixels, index, width, height) {
  const bytes = width * height * 4;
  return new ImageData(new Uint8ClampedArray(pixels.buffer, pixels.byteOffset + index * bytes, bytes), width, height);
}
