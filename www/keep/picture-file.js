// A picture as a file: with all that it takes to make it again inside, and reading that back.

import { parametersOf, readRecipe } from '../store/recipe.js';
import { isPng, readTexts, withTexts } from './png.js';

/** @typedef {import('../store/recipe.js').Recipe} Recipe */

/** Larger than any picture that the page writes. */
const MOST_BYTES = 64e6;
const KEYWORD = 'denoise';

/** Whether it is a picture at all, by its name or type. @param {File} file */
export const isPicture = ({ name, type }) => type.startsWith('image/') || /\.(png|jpe?g|webp|gif)$/i.test(name);

/**
 * @param {Blob} png
 * @param {Recipe} recipe
 * @param {{width: number, height: number}} size  of an image
 */
export async function withRecipe(png, recipe, size) {
  return withTexts(new Uint8Array(await png.arrayBuffer()), { [KEYWORD]: JSON.stringify(recipe), parameters: parametersOf(recipe, size), Software: 'Denoise' });
}

/**
 * How a picture was made, if it says; an error says what is wrong with what it says.
 * @param {File} file
 * @returns {Promise<Recipe|null>}
 */
export async function recipeIn(file) {
  if (file.size > MOST_BYTES || !isPng(new Uint8Array(await file.slice(0, 8).arrayBuffer()))) return null;
  const text = readTexts(new Uint8Array(await file.arrayBuffer())).get(KEYWORD);
  return text === undefined ? null : readRecipe(text);
}
