// A sheet of images that models have learned from (teach/data): tiles of one size, class after class.

import { messageOf } from '../words/messages.js';

/** How wide and high a tile is, how many stand in a row, how many there are of each class and what the classes are called. @typedef {{side: number, columns: number, each: number, names: string[]}} About */

/**
 * @param {string} address  without an ending
 * @param {string} [instead]  what can be done besides without the network
 * @returns {Promise<{about: About, sheet: Blob}>}
 */
export async function fetchSheet(address, instead = '') {
  const [about, sheet] = await Promise.all(['json', 'png'].map(async (ending) => {
    const response = await fetch(`${address}.${ending}`).catch((error) => {
      throw new Error(`${address}.${ending} could not be fetched (${messageOf(error)}). Try again with the network${instead}.`, { cause: error });
    });
    if (!response.ok) throw new Error(`${address}.${ending} could not be fetched: the server says ${response.status}. Try again.`);
    return ending === 'json' ? response.json() : response.blob();
  }));
  return { about, sheet };
}
