// Which network of a model is meant, and which of its weights: what the engine's library found among the files, and
// where to look for them on a server that lists nothing.

/** As the library finds it. @typedef {import('../pkg/denoise.js').Variant} Variant */
/** @typedef {import('../pkg/denoise.js').Network} Network */
/** What is wanted: a network's folder and the name of its weights; null for the first. @typedef {{network: string|null, variant: string|null}} Wanted */
/** What a model can be loaded as. @typedef {{folder: string, variants: string[]}} Choice */

/** @param {string} path */
export const baseOf = (path) => path.slice(path.lastIndexOf('/') + 1);
/** @param {string} path */
export const folderOf = (path) => path.slice(0, Math.max(0, path.lastIndexOf('/')));
/** @param {string} folder @param {string} name */
export const join = (folder, name) => (folder ? `${folder}/${name}` : name);

/** Whether it is one of a classifier beside the network. @param {string} path */
const isOfClassifier = (path) => baseOf(folderOf(path)) === 'classifier';
/** @param {string} path */
const isConfig = (path) => baseOf(path) === 'config.json';
/** @param {string} path */
const isSmall = (path) => path.endsWith('.json');

/**
 * @param {Network[]} networks
 * @param {Wanted} wanted
 * @returns {{network: Network, variant: Variant}}
 */
export function choose(networks, { network, variant }) {
  const chosen = network === null ? networks[0] : networks.find(({ folder }) => folder === network);
  if (!chosen) throw new Error(`This model has no network “${network}”; it has ${networks.map(({ folder }) => folder || 'one at its top').join(', ')}.`);
  const weights = variant === null ? chosen.variants[0] : chosen.variants.find(({ name }) => name === variant);
  if (!weights) throw new Error(`This model has no weights “${variant}”; it has ${chosen.variants.map(({ name }) => nameOfVariant(name)).join(', ')}.`);
  return { network: chosen, variant: weights };
}

/** @param {string} name  as the library calls it */
export const nameOfVariant = (name) => name || 'plain';

/** What networks are called where the folder they are all in goes without saying. @param {string[]} folders */
export function shortNames(folders) {
  const parts = folders.map((folder) => folder.split('/'));
  let shared = 0;
  while (parts.every((path) => path.length > shared + 1 && path[shared] === parts[0][shared])) shared++;
  return parts.map((path) => path.slice(shared).join('/') || 'top');
}

/** What to call a model of the visitor's own: the folder of its pipeline. @param {string} folder  of its network */
export const nameOfFolder = (folder) => baseOf(/^unet([_-]ema)?$/.test(baseOf(folder)) ? folderOf(folder) : folder) || 'Your model';

/**
 * Looks for a model's files one after another, as few of them as will do.
 * @param {string[]} paths  where they may be, in the order to look for them
 * @param {Wanted} wanted
 * @param {{text: (path: string) => Promise<string|null>, has: (path: string) => Promise<boolean>}} files
 * @returns {Promise<string[]>}  those that are there
 */
export async function probe(paths, { network, variant }, { text, has }) {
  /** @type {string[]} */
  const found = [];
  const isThere = async (/** @type {string} */ path) => {
    const there = isSmall(path) ? await text(path) !== null : await has(path);
    if (there) found.push(path);
    return there;
  };
  const first = async (/** @type {string[]} */ some) => {
    for (const path of some) if (await isThere(path)) return path;
    return null;
  };

  if (network !== null) paths = pathsOf(network, paths);
  const config = await first(paths.filter((path) => isConfig(path) && !isOfClassifier(path)));
  if (config === null) return found;
  const named = (/** @type {string} */ name) => paths.filter((path) => baseOf(path) === name);
  const weightsBeside = (/** @type {string} */ config) => paths.filter((path) => folderOf(path) === folderOf(config) && isWeights(path));
  const weights = weightsBeside(config);
  // It only guides runs: what cannot be asked about it, as without the network, keeps no model from loading.
  const classifier = async () => {
    try {
      const config = await first(paths.filter((path) => isConfig(path) && isOfClassifier(path)));
      if (config !== null) await first(weightsBeside(config));
    } catch (error) {
      console.warn(error);
      found.splice(0, Infinity, ...found.filter((path) => !isOfClassifier(path)));
    }
  };
  await Promise.all([
    first(named('model_index.json')),
    first(named('scheduler_config.json')),
    first(named('card.json')),
    classifier(),
    // Who asks for certain weights is told which there are.
    variant === null ? first(weights) : Promise.all(weights.map(isThere)),
  ]);
  return found;
}

/** @param {string} path */
const isWeights = (path) => /\.(safetensors|bin)$|\.safetensors\.index\b.*\.json$/.test(path);

/** The same paths for a network in another place than unet/. @param {string} network @param {string[]} paths */
function pathsOf(network, paths) {
  const root = folderOf(network);
  const own = paths.filter((path) => path.startsWith('unet/')).map((path) => join(network, baseOf(path)));
  const others = paths.filter((path) => isOfClassifier(path) || (!path.startsWith('unet/') && !isConfig(path) && !isWeights(path)));
  const around = root ? others.map((path) => join(root, path)) : [];
  return [...own, ...around, ...others];
}
