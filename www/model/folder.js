// The visitor's own files: collects what was dropped or chosen. What is a model among them the library finds.

/** A folder of pictures dropped by mistake should not be walked to its end. */
export const MOST_FILES = 5000;

/** @typedef {import('./source.js').Found} Found */

/**
 * The files of a drop. Has to be called while the event is handled: later its items are gone.
 * @param {DataTransfer} transfer
 * @returns {Promise<Found[]>}
 */
export async function droppedFiles(transfer) {
  const entries = [...transfer.items].map((item) => (item.kind === 'file' ? item.webkitGetAsEntry?.() ?? item.getAsFile() : null));
  /** @type {Found[]} */
  const found = [];
  for (const entry of entries) if (entry) await walk(entry, found);
  return found;
}

/** @param {FileSystemEntry|File} entry @param {Found[]} found  what is added to */
async function walk(entry, found) {
  if (found.length >= MOST_FILES) return;
  if (entry instanceof File) {
    found.push({ path: entry.name, file: entry });
  } else if (entry.isFile) {
    /** @type {File} */
    const file = await new Promise((done, failed) => /** @type {FileSystemFileEntry} */ (entry).file(done, failed));
    found.push({ path: entry.fullPath.replace(/^\//, ''), file });
  } else {
    const reader = /** @type {FileSystemDirectoryEntry} */ (entry).createReader();
    for (;;) {
      /** At most a hundred at a time, and none at the end. @type {FileSystemEntry[]} */
      const some = await new Promise((done, failed) => reader.readEntries(done, failed));
      if (!some.length) return;
      for (const child of some) await walk(child, found);
    }
  }
}

/** The files of an input element. @param {HTMLInputElement} input @returns {Found[]} */
export function chosenFiles(input) {
  return [...input.files ?? []].map((file) => ({ path: file.webkitRelativePath || file.name, file }));
}
