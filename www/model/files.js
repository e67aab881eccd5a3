// Reads a model's files from wherever they are: a server's folder, the hub, or the visitor's own.

import { download, isTransient, pause } from './download.js';
import { explainRefusal, isCommit } from './hub.js';
import { ModelCache } from './cache.js';
import { baseOf, choose, folderOf, join, probe } from './networks.js';

/** Milliseconds before a small file is asked for again. */
const PAUSES = [400, 1200];
/** A configuration is a page of text; what is larger is something else. */
const MOST_CONFIG_BYTES = 1 << 20;
/** A repository may have one for each of a hundred checkpoints. */
const MOST_CONFIGS = 24;

/** The small files. @typedef {{config: string, model_index: string|null, scheduler: string|null, card: string|null}} ModelFiles */

/** The rules for names, which are the library's. @typedef {Pick<typeof import('../pkg/denoise.js'), 'find_model'|'model_paths'|'class_of'>} Library */

/**
 * Files by their paths in the model's folder; null stands for a file that is not there.
 * @typedef {object} Files
 * @property {(paths: string[], wanted: import('./networks.js').Wanted) => Promise<string[]>} list
 *   the files there are, among these paths where only asking tells
 * @property {(path: string) => Promise<string|null>} text
 * @property {(path: string) => number|null} size  where it is known beforehand
 * @property {(path: string, sink: import('./download.js').Sink, onbytes: (done: number, total: number|null, waiting?: boolean) => void) => Promise<number|null>} pour
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
  return source.kind === 'files' ? new LocalFiles(source.files, signal) : new RemoteFiles(source, await ModelCache.open(source.id), signal, stored);
}

/**
 * The networks with weights that are among the files.
 * @param {Files} files
 * @param {Library} library
 * @param {import('./networks.js').Wanted} wanted
 * @returns {Promise<import('./networks.js').Network[]>}
 */
export async function findNetworks(files, library, wanted = { network: null, variant: null }) {
  const paths = await files.list(library.model_paths(), wanted);
  const listed = paths.map((path) => ({ path, class_name: null }));
  // Pipelines have a configuration in every folder: whose it is stands in it.
  const likely = new Set(library.find_model(listed).networks.map(({ config }) => config));
  const configs = listed.filter(({ path }) => baseOf(path) === 'config.json' && !(files.size(path) > MOST_CONFIG_BYTES));
  configs.sort((a, b) => likely.has(b.path) - likely.has(a.path) || depth(a.path) - depth(b.path));
  await Promise.all(configs.slice(0, MOST_CONFIGS).map(async (config) => {
    config.class_name = library.class_of(await files.text(config.path) ?? '') ?? null;
  }));
  const { networks, problem } = library.find_model(listed);
  if (networks.length) return networks;
  throw new Error(files.place ? `There is no model at ${files.place}. ${problem}` : problem);
}

const depth = (path) => path.split('/').length;

/**
 * @param {Files} files
 * @param {import('./networks.js').Network[]} networks
 * @param {import('./networks.js').Wanted} wanted
 * @param {(done: number, total: number|null, waiting?: boolean) => void} onbytes  called as the weights arrive
 * @param {(small: ModelFiles, folder: string) => import('./download.js').Sink} sinkFor  called before the weights are asked for; gets
 *   also the folder that the card is in, returns where they go, file by file, and what it throws ends the reading
 * @returns {Promise<{small: ModelFiles, network: string, variant: string}>}  what was chosen
 */
export async function readModel(files, networks, wanted, onbytes, sinkFor) {
  const { network, variant } = choose(networks, wanted);
  const text = (path) => (path === null ? null : files.text(path));
  const [config, model_index, scheduler, card] = await Promise.all([text(network.config), text(network.model_index), text(network.scheduler), text(network.card)]);
  const small = { config, model_index, scheduler, card };
  await readWeights(files, variant, sinkFor(small, folderOf(network.card ?? '')), onbytes);
  return { small, network: network.folder, variant: variant.name };
}

/** @param {Files} files @param {import('./networks.js').Variant} variant */
async function readWeights(files, { files: paths, index }, sink, onbytes) {
  let total = null;
  if (index !== null) ({ paths, total } = shardsOf(index, await files.text(index) ?? ''));
  const sizes = paths.map((path) => files.size(path));
  if (sizes.every(Boolean)) total = sizes.reduce((sum, size) => sum + size, 0);
  let before = 0;
  for (const path of paths) {
    const bytes = await files.pour(path, sink, (done, whole, waiting) => {
      // An index leaves out the shards' headers.
      const all = paths.length === 1 ? whole ?? total : total && Math.max(total, before + (whole ?? done));
      onbytes(before + done, all, waiting);
    });
    if (bytes === null) throw new Error(index === null ? `${path} is not there any more. Load the model again.` : `${index} names ${baseOf(path)}, which is not there. ${paths.length} shards are needed: ${baseOf(paths[0])} … ${baseOf(paths.at(-1))}.`);
    before += bytes;
  }
  onbytes(before, before);
}

/** The shards that an index names, and their bytes if it says. @param {string} path @param {string} text */
function shardsOf(path, text) {
  let map;
  let total;
  try {
    ({ weight_map: map, metadata: { total_size: total = null } = {} } = JSON.parse(text));
  } catch (error) {
    throw new Error(`${path} is not valid JSON (${error.message}). Fetch the file again.`, { cause: error });
  }
  const names = [...new Set(Object.values(map ?? {}))].sort();
  if (!names.length) throw new Error(`${path} has no weight_map, which should say which shard holds which tensor.`);
  return { paths: names.map((name) => join(folderOf(path), name)), total };
}

/** @implements {Files} */
export class LocalFiles {
  place = null;
  /** @type {Map<string, File>} */
  #files;
  #signal;

  /** @param {import('./folder.js').Found[]} found @param {AbortSignal} signal */
  constructor(found, signal) {
    this.#files = new Map(found.map(({ path, file }) => [path, file]));
    this.#signal = signal;
  }

  async list() {
    return [...this.#files.keys()];
  }

  size(path) {
    return this.#files.get(path)?.size ?? null;
  }

  async text(path) {
    return await this.#files.get(path)?.text() ?? null;
  }

  async pour(path, sink, onbytes) {
    const file = this.#files.get(path);
    if (!file) return null;
    sink.begin();
    let done = 0;
    for (const reader = file.stream().getReader(); ;) {
      const value = await this.#next(file, reader);
      if (!value) break;
      sink.push(value);
      onbytes(done += value.length, file.size);
    }
    sink.end();
    return done;
  }

  async blob(path) {
    return this.#files.get(path) ?? null;
  }

  async settle() {
    return null;
  }

  /** The bytes that come next, or undefined after the last. */
  async #next(file, reader) {
    try {
      return (await reader.read()).value;
    } catch (error) {
      throw new Error(`${file.name} could not be read (${error.message}). If it was moved or changed since, drop it again.`, { cause: error });
    } finally {
      this.#signal.throwIfAborted();
    }
  }
}

/** @implements {Files} */
class RemoteFiles {
  #source;
  #cache;
  #signal;
  #stored;
  /** Once the hub has said which commit a branch is at, everything else is asked of that commit. */
  #folder;
  #revision;
  #pinned;
  /** What was asked for already. @type {Map<string, Promise<string|null>>} */
  #texts = new Map();
  /** By path, as the hub lists them. @type {Map<string, number>} */
  #sizes = new Map();

  /**
   * @param {import('./source.js').Source & {kind: 'folder'|'hub'}} source
   * @param {ModelCache} cache
   * @param {AbortSignal} signal
   * @param {boolean} stored
   */
  constructor(source, cache, signal, stored) {
    this.#stored = stored;
    this.#source = source;
    this.#cache = cache;
    this.#signal = signal;
    this.#folder = source.address;
    this.#revision = source.revision;
    this.#pinned = source.kind === 'hub' && isCommit(source.revision);
    this.place = source.kind === 'hub' ? source.id : source.address;
  }

  async list(paths, wanted) {
    if (this.#source.kind === 'hub') {
      // Most models have it, and its answer tells which commit a branch is at.
      await this.text(paths[0]);
      const listing = await this.#listing();
      if (listing) {
        this.#sizes = new Map(listing);
        return [...this.#sizes.keys()];
      }
    }
    return probe(paths, wanted, { text: (path) => this.text(path), has: (path) => this.#has(path) });
  }

  size(path) {
    return this.#sizes.get(path) ?? null;
  }

  text(path) {
    if (!this.#texts.has(path)) this.#texts.set(path, this.#fetchText(path));
    return this.#texts.get(path);
  }

  async #fetchText(path) {
    const address = this.#address(path);
    const stored = await this.#cache.text(address);
    if (stored && this.#stored) this.#pin(stored.commit);
    if (stored && (this.#pinned || this.#stored)) return stored.text;
    let response;
    try {
      response = await this.#ask(address, stored ? [] : PAUSES);
    } catch (error) {
      this.#signal.throwIfAborted();
      if (!stored) throw this.#unreachable(address, error);
      this.#pin(stored.commit);
      return stored.text;
    }
    if (!response.ok && response.status !== 404) throw this.#refusal(response);
    const explained = response.ok ? null : this.#source.kind === 'hub' && response.headers.get('x-error-code') !== 'EntryNotFound' && explainRefusal(response, this.#source);
    if (explained) throw new Error(explained);
    const text = response.ok ? await response.text() : null;
    const commit = response.headers.get('x-repo-commit');
    await this.#cache.putText(address, text, commit);
    this.#pin(commit);
    return text;
  }

  pour(path, sink, onbytes) {
    const address = this.#address(path);
    return download(address, {
      file: this.#cache.file(address),
      sink,
      pinned: this.#pinned || this.#stored,
      signal: this.#signal,
      onbytes,
      refused: (response) => this.#refusal(response),
    });
  }

  /** Decoration only, so the browser's own cache does. */
  async blob(path) {
    const response = await fetch(this.#address(path), { signal: this.#signal });
    return response.ok ? response.blob() : null;
  }

  async settle() {
    await this.#cache.settle(this.#folder);
    return this.#cache.problem;
  }

  /** Where a file is; its name may have any character. */
  #address(path) {
    return new URL(path.split('/').map(encodeURIComponent).join('/'), this.#folder).href;
  }

  /** Whether there is a large file, without fetching it. */
  async #has(path) {
    const address = this.#address(path);
    if (await this.#cache.file(address).held()) return true;
    const key = `${address}?denoise-there`;
    const known = await this.#cache.text(key);
    if (known && (this.#pinned || this.#stored)) return known.text !== null;
    let response;
    try {
      response = await this.#ask(address, PAUSES, { method: 'HEAD', cache: 'no-store' });
      // Some servers only hand files out.
      if (response.status === 405 || response.status === 501) {
        response = await this.#ask(address, PAUSES, { headers: { range: 'bytes=0-0' }, cache: 'no-store' });
        await response.body?.cancel();
      }
    } catch (error) {
      this.#signal.throwIfAborted();
      if (!known) throw this.#unreachable(address, error);
      return known.text !== null;
    }
    await this.#cache.putText(key, response.ok ? 'yes' : null, null);
    return response.ok;
  }

  /** All files of a repository with their sizes, or null where the server does not tell. @returns {Promise<[string, number][]|null>} */
  async #listing() {
    const address = `${this.#source.listing}${encodeURIComponent(this.#revision)}?recursive=true`;
    const stored = await this.#cache.text(address);
    const kept = stored && JSON.parse(stored.text);
    if (kept && (this.#pinned || this.#stored)) return kept;
    try {
      const response = await this.#ask(address, []);
      // The first thousand will do: a model is at the top of its repository.
      if (!response.ok) throw new Error(`the server answered ${response.status}`);
      const listing = (await response.json()).filter(({ type }) => type === 'file').map(({ path, size }) => [String(path), Number(size)]);
      await this.#cache.putText(address, JSON.stringify(listing), null);
      return listing;
    } catch (error) {
      this.#signal.throwIfAborted();
      console.warn('The files are not listed:', error);
      return kept;
    }
  }

  #pin(commit) {
    if (this.#source.kind !== 'hub' || this.#pinned || !isCommit(commit ?? '')) return;
    this.#folder = this.#source.address.replace(/[^/]+\/$/, `${commit}/`);
    this.#revision = commit;
    this.#pinned = true;
  }

  /** Asks for a small file, if nothing else is said; the browser checks what it has with the server. */
  async #ask(address, pauses, options = { cache: 'no-cache' }) {
    for (let attempt = 0; ; attempt++) {
      try {
        const response = await fetch(address, { ...options, signal: this.#signal });
        if (!isTransient(response.status)) return response;
        throw new Error(`the server answered ${response.status}`);
      } catch (error) {
        if (attempt >= pauses.length) throw error;
        await pause(pauses[attempt], this.#signal);
      }
    }
  }

  #unreachable(address, error) {
    const why = error instanceof TypeError ? 'there was no answer, or the server does not let other pages read it (CORS)' : error.message;
    return new Error(`${address} could not be fetched: ${why}. Check the address and the connection.`, { cause: error });
  }

  #refusal(response) {
    const explained = this.#source.kind === 'hub' && explainRefusal(response, this.#source);
    return new Error(explained || `${response.url} could not be fetched: the server answered ${`${response.status} ${response.statusText}`.trim()}.`);
  }
}
