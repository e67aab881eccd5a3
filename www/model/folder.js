// The visitor's own files: collects what was dropped or chosen. What is a model among them the library finds.

/** A folder of pictures dropped by mistake should not be walked to its end. */
const MOST_FILES = 5000;

/** @typedef {{path: string, file: File}} Found */

/**
 * The files of a drop. Has to be called while the event is handled: later its items are gone.
 * @param {DataTransfer} transfer
 * @returns {Promise<Found[]>}
 */
export async function droppedFiles(transfer) {
  const entries = [...transfer.items].map((item) => item.kind === 'file' && (item.webkitGetAsEntry?.() ?? item.getAsFile())).filter(Boolean);
  const found = [];
  for (const entry of entries) await walk(entry, found);
  return found;
}

async function walk(entry, found) {
  if (found.length >= MOST_FILES) return;
  if (entry instanceof File) {
    found.push({ path: entry.name, file: entry });
  } else if (entry.isFile) {
    const file = await new Promise((done, failed) => entry.file(done, failed));
    found.push({ path: entry.fullPath.replace(/^\//, ''), file });
  } else {
    const reader = entry.createReader();
    for (;;) {
      // At most a hundred at a time, and none at the end.
      const some = await new Promise((done, failed) => reader.readEntries(done, failed));
      if (!some.length) return;
      for (const child of some) await walk(child, found);
    }
  }
}

/** The files of an input element. @param {HTMLInputElement} input @returns {Found[]} */
export function chosenFiles(input) {
  return [...input.files].map((file) => ({ path: file.webkitRelativePath || file.name, file }));
}
