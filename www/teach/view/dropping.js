// Files that are dropped anywhere on the page, or pasted.

import { droppedFiles } from '../../model/folder.js';

/** @param {import('../controller.js').Controller} controller */
export function setUpDropping(controller) {
  const hasFiles = (/** @type {DataTransfer|null} */ transfer) => transfer?.types.includes('Files') ?? false;
  let depth = 0;
  const drag = (/** @type {number} */ by) => {
    depth = Math.max(0, depth + by);
    document.body.classList.toggle('dragging', depth > 0);
  };
  addEventListener('dragenter', ({ dataTransfer }) => hasFiles(dataTransfer) && drag(1));
  addEventListener('dragleave', ({ dataTransfer }) => hasFiles(dataTransfer) && drag(-1));
  addEventListener('dragover', (event) => {
    if (hasFiles(event.dataTransfer)) event.preventDefault();
  });
  addEventListener('drop', (event) => {
    drag(-depth);
    if (!event.dataTransfer || !hasFiles(event.dataTransfer)) return;
    event.preventDefault();
    controller.take(droppedFiles(event.dataTransfer));
  });
  addEventListener('paste', (event) => {
    const files = [...event.clipboardData?.files ?? []];
    // What has text as well is pasted into a field.
    if (!files.length || event.clipboardData?.types.includes('text/plain')) return;
    event.preventDefault();
    controller.paste(files.map((file) => ({ path: file.name, file })));
  });
}
