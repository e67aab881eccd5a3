// Which classes pictures are of: a folder a class, as `denoise train` has it.

/**
 * The classes of files by their paths: that of the folder below the one they have in common; none where pictures lie beside folders,
 * or there is but one folder.
 * @param {readonly string[]} paths
 * @returns {{labels: Uint32Array|null, names: string[]}}
 */
export function classesOf(paths) {
  const parts = paths.map((path) => path.split('/').slice(0, -1));
  let common = 0;
  while (parts.every((folders) => folders.length > common && folders[common] === parts[0][common])) common++;
  const classes = parts.map((folders) => folders[common]);
  if (classes.some((name) => name === undefined)) return { labels: null, names: [] };
  const names = [...new Set(classes)].sort();
  return { labels: Uint32Array.from(classes, (name) => names.indexOf(name)), names };
}
