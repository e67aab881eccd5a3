// Reads a model's files from wherever they are: a server's folder, the hub, or the visitor's own.

import { messageOf } from '../words/messages.js';
import { ModelCache } from './cache.js';
import { LocalFiles } from './local-files.js';
import { baseOf, choose, folderOf, join } from './networks.js';
import { RemoteFiles } from './remote-files.js';
import { taughtModel } from './taught.js';

/** A configuration is a page of text; what is larger is something else. */
const MOST_CONFIG_BYTES = 1 << 20;
/** A repository may have one for each of a hundred checkpoints. */
const MOST_CONFIGS = 24;

/** @typedef {import('./download.js').Sink} Sink */
/** @typedef {import('./networks.js').Network} Network */
/** @typedef {import('../pkg/denoise.js').ClassifierFiles} ClassifierFiles */
/** @typedef {import('./networks.js').Variant} Variant */
/** @typedef {import('./networks.js').Wanted} Wanted */

/** The small files. @typedef {import('../pkg/denoise.js').Files} ModelFiles */

/** Hears how much has arrived. @typedef {(done: number, total: number|null, waiting?: boolean) => void} OnBytes */

/** The rules for names, which are the library's. @typedef {Pick<typeof import('../pkg/denoise.js'), 'find_model'|'model_paths'|'class_of'>} Library */

/**
 * Files by their paths in the model's folder; null stands for a file that is not there.
 * @typedef {object} Files
 * @property {(paths: string[], wanted: Wanted) => Promise<string[]>} list
 *   the files there are, among these paths where only asking tells
 * @property {(path: string) => Promise<string|null>} text
 * @property {(path: string) => number|null} size  where it is known beforehand
 * @property {(path: string, sink: Sink, onbytes: OnBytes) => Promise<number|null>} pour
 *   passes a large file on as it arrives; resolves to its bytes
 * @property {(path: string) => Promise<Blob|null>} blob
 * @property {string|null} place  what errors call the folder, if it is not the visitor's own
 * @property {() => Promise<string|null>} settle  after the model has loaded; returns a note, if there is one
 */

/**
 * @param {import('./source.js').Source} source
 * @param {AbortSignal} signal  ends whatever is under way
 * @param {boolean} stored  whether what is stored is taken as it is, without asking whether there is anything newer
 * @returns {Promise<Files>}
 */
export async function openFiles(source, signal, stored) {
  if (source.kind === 'taught') return new LocalFiles(await taughtModel(source.name), signal);
  return source.kind === 'files' ? new LocalFiles(source.files, signal) : new RemoteFiles(source, await ModelCache.open(source.id), signal, stored);
}

/**
 * The networks with weights that are among the files.
 * @param {Files} files
 * @param {Library} library
 * @param {Wanted} wanted
 * @returns {Promise<Network[]>}
 */
export async function findNetworks(files, library, wanted = { network: null, variant: null }) {
  const paths = await files.list(library.model_paths(), wanted);
  const listed = paths.map((path) => ({ path, class_name: /** @type {string|null} */ (null) }));
  // Pipelines have a configuration in every folder: whose it is stands in it.
  const likely = new Set(library.find_model(listed).networks.map(({ config }) => config));
  const configs = listed.filter(({ path }) => baseOf(path) === 'config.json' && (files.size(path) ?? 0) <= MOST_CONFIG_BYTES);
  configs.sort((a, b) => Number(likely.has(b.path)) - Number(likely.has(a.path)) || depth(a.path) - depth(b.path));
  await Promise.all(configs.slice(0, MOST_CONFIGS).map(async (config) => {
    config.class_name = library.class_of(await files.text(config.path) ?? '') ?? null;
  }));
  const { networks, problem } = library.find_model(listed);
  if (networks.length) return networks;
  throw new Error(files.place ? `There is no model at ${files.place}. ${problem}` : problem ?? '');
}

/** @param {string} path */
const depth = (path) => path.split('/').length;

/**
 * @param {Files} files
 * @param {Network[]} networks
 * @param {Wanted} wanted
 * @param {OnBytes} onbytes  called as the weights arrive
 * @param {(small: ModelFiles, folder: string) => Sink} sinkFor  called before the weights are asked for; gets
 *   also the folder that the card is in, returns where they go, file by file, and what it throws ends the reading
 * @returns {Promise<{small: ModelFiles, network: string, variant: string, classifier: ClassifierFiles|null}>}  what was chosen, and the classifier beside it
 */
export async function readModel(files, networks, wanted, onbytes, sinkFor) {
  const { network, variant } = choose(networks, wanted);
  const text = (/** @type {string|null} */ path) => (path === null ? null : files.text(path));
  const [config, model_index, scheduler, card] = await Promise.all([files.text(network.config), text(network.model_index), text(network.scheduler), text(network.card)]);
  if (config === null) throw new Error(`${network.config} is not there any more. Load the model again.`);
  const small = { config, model_index, scheduler, card };
  await readWeights(files, variant, sinkFor(small, folderOf(network.card ?? '')), onbytes);
  return { small, network: network.folder, variant: variant.name, classifier: network.classifier };
}

/**
 * Reads a classifier that lies beside a network.
 * @template {Sink} Loading
 * @param {Files} files
 * @param {ClassifierFiles} found
 * @param {OnBytes} onbytes  called as its weights arrive
 * @param {(config: string) => Loading} sinkFor  returns where they go
 * @returns {Promise<Loading>}
 */
export async function readClassifier(files, { config: path, weights }, onbytes, sinkFor) {
  const config = await files.text(path);
  if (config === null) throw new Error(`${path} is not there any more. Load the model again.`);
  const loading = sinkFor(config);
  await readWeights(files, weights, loading, onbytes);
  return loading;
}

/** @param {Files} files @param {Variant} variant @param {Sink} sink @param {OnBytes} onbytes */
async function readWeights(files, { files: paths, index }, sink, onbytes) {
  /** @type {number|null} */
  let total = null;
  if (index !== null) ({ paths, total } = shardsOf(index, await files.text(index) ?? ''));
  const sizes = paths.map((path) => files.size(path));
  if (sizes.every(Boolean)) total = sizes.reduce((/** @type {number} */ sum, size) => sum + (size ?? 0), 0);
  let before = 0;
  for (const path of paths) {
    const bytes = await files.pour(path, sink, (done, whole, waiting) => {
      // An index leaves out the shards' headers.
      const all = paths.length === 1 ? whole ?? total : total && Math.max(total, before + (whole ?? done));
      onbytes(before + done, all, waiting);
    });
    if (bytes === null) throw new Error(index === null ? `${path} is not there any more. Load the model again.` : `${index} names ${baseOf(path)}, which is not there. ${paths.length} shards are needed: ${baseOf(paths[0])} … ${baseOf(paths[paths.length - 1])}.`);
    before += bytes;
  }
  onbytes(before, before);
}

/** The shards that an index names, and their bytes if it says. @param {string} path @param {string} text */
function shardsOf(path, text) {
  /** @type {{weight_map?: Record<string, string>, metadata?: {total_size?: number}}} */
  let index;
  try {
    index = JSON.parse(text);
  } catch (error) {
    throw new Error(`${path} is not valid JSON (${messageOf(error)}). Fetch the file again.`, { cause: error });
  }
  const names = [...new Set(Object.values(index.weight_map ?? {}))].sort();
  if (!names.length) throw new Error(`${path} has no weight_map, which should say which shard holds which tensor.`);
  return { paths: names.map((name) => join(folderOf(path), name)), total: index.metadata?.total_size ?? null };
}
