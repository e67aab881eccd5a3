// Reads a model's files from wherever they are: a server's folder, the hub, or the visitor's own.

import { download, isTransient, pause } from './download.js';
import { explainRefusal, isCommit } from './hub.js';
import { ModelCache } from './model-cache.js';

/** Where the pieces may be: a whole pipeline, or a network by itself. */
const LAYOUTS = [
  { config: 'unet/config.json', weights: 'unet/', schedulers: ['scheduler/scheduler_config.json'] },
  { config: 'config.json', weights: '', schedulers: ['scheduler_config.json', 'scheduler/scheduler_config.json'] },
];
const CARD = 'card.json';
const WEIGHTS = 'diffusion_pytorch_model.safetensors';
const INDEX = `${WEIGHTS}.index.json`;
const VARIANTS = ['diffusion_pytorch_model.fp16.safetensors'];
/** Milliseconds before a small file is asked for again. */
const PAUSES = [400, 1200];

/** The small files. @typedef {{config: string, scheduler: string|null, card: string|null}} ModelFiles */

/**
 * Files by their paths in the model's folder; null stands for a file that is not there.
 * @typedef {object} Files
 * @property {(path: string) => Promise<string|null>} text
 * @property {(path: string, sink: import('./download.js').Sink, onbytes: (done: number, total: number|null, waiting?: boolean) => void) => Promise<number|null>} pour
 *   passes a large file on as it arrives; resolves to its bytes
 * @property {(path: string) => Promise<Blob|null>} blob
 * @property {(path: string) => Promise<boolean>} has
 * @property {string} place  what errors call the folder
 * @property {() => Promise<string|null>} settle  after the model has loaded; returns a note, if there is one
 */

/**
 * @param {import('./model-source.js').Source} source
 * @param {AbortSignal} signal  ends whatever is under way
 * @param {boolean} stored  whether what is stored is taken as it is, without asking whether there is anything newer
 * @returns {Promise<Files>}
 */
export async function openFiles(source, signal, stored) {
  return source.kind === 'files' ? new LocalFiles(source, signal) : new RemoteFiles(source, await ModelCache.open(source.id), signal, stored);
}

/**
 * @param {Files} files
 * @param {(done: number, total: number|null, waiting?: boolean) => void} onbytes  called as the weights arrive
 * @param {(small: ModelFiles) => import('./download.js').Sink} sinkFor  called before the weights are asked for; returns where
 *   they go, file by file, and what it throws ends the reading
 * @returns {Promise<ModelFiles>}
 */
export async function readModel(files, onbytes, sinkFor) {
  const { layout, config } = await findConfig(files);
  const [scheduler, card] = await Promise.all([firstText(files, layout.schedulers), files.text(CARD)]);
  const small = { config, scheduler, card };
  await readWeights(files, layout.weights, sinkFor(small), onbytes);
  return small;
}

async function findConfig(files) {
  for (const layout of LAYOUTS) {
    const config = await files.text(layout.config);
    if (config !== null) return { layout, config };
  }
  throw new Error(`There is no model at ${files.place}: it has neither unet/config.json nor config.json. A model’s folder holds unet/config.json, unet/${WEIGHTS} and scheduler/scheduler_config.json.`);
}

async function firstText(files, paths) {
  for (const path of paths) {
    const text = await files.text(path);
    if (text !== null) return text;
  }
  return null;
}

async function readWeights(files, folder, sink, onbytes) {
  if (await files.pour(folder + WEIGHTS, sink, onbytes) !== null) return;
  const index = await files.text(folder + INDEX);
  if (index !== null) return readShards(files, folder, index, sink, onbytes);
  for (const name of VARIANTS) {
    if (await files.pour(folder + name, sink, onbytes) !== null) return;
  }
  const pickled = await files.has(`${folder}diffusion_pytorch_model.bin`);
  throw new Error(pickled
    ? `${files.place} has its weights only as ${folder}diffusion_pytorch_model.bin, a Python pickle, which can run code and is not read here. Save them again as safetensors: in diffusers, save_pretrained(..., safe_serialization=True).`
    : `${files.place} has ${folder}config.json but no weights: neither ${folder}${WEIGHTS} nor ${INDEX} is there.`);
}

async function readShards(files, folder, index, sink, onbytes) {
  let map;
  let size;
  try {
    ({ weight_map: map, metadata: { total_size: size = null } = {} } = JSON.parse(index));
  } catch (error) {
    throw new Error(`${folder}${INDEX} is not valid JSON (${error.message}). Fetch the file again.`, { cause: error });
  }
  const names = [...new Set(Object.values(map ?? {}))].sort();
  if (!names.length) throw new Error(`${folder}${INDEX} has no weight_map, which should say which shard holds which tensor.`);
  let before = 0;
  for (const name of names) {
    // The size in the index leaves out the shards' headers.
    const bytes = await files.pour(folder + name, sink, (done, total, waiting) => onbytes(before + done, size && Math.max(size, before + (total ?? done)), waiting));
    if (bytes === null) throw new Error(`${folder}${INDEX} names ${name}, which is not there. ${names.length} shards are needed: ${names[0]} … ${names.at(-1)}.`);
    before += bytes;
  }
  onbytes(before, before);
}

/** @implements {Files} */
class LocalFiles {
  #files;
  #signal;

  /** @param {import('./model-source.js').Source & {kind: 'files'}} source @param {AbortSignal} signal */
  constructor({ name, files }, signal) {
    this.place = `“${name}”`;
    this.#files = files;
    this.#signal = signal;
  }

  async text(path) {
    return await this.#open(path)?.text() ?? null;
  }

  async pour(path, sink, onbytes) {
    const file = this.#open(path);
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
    return this.#open(path);
  }

  async has(path) {
    return this.#open(path) !== null;
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

  #open(path) {
    return Object.hasOwn(this.#files, path) ? this.#files[path] : null;
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
  #pinned;

  /**
   * @param {import('./model-source.js').Source & {kind: 'folder'|'hub'}} source
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
    this.#pinned = source.kind === 'hub' && isCommit(source.revision);
    this.place = source.kind === 'hub' ? source.id : source.address;
  }

  async text(path) {
    const address = new URL(path, this.#folder).href;
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
    const address = new URL(path, this.#folder).href;
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
    const response = await fetch(new URL(path, this.#folder), { signal: this.#signal });
    return response.ok ? response.blob() : null;
  }

  async has(path) {
    const response = await fetch(new URL(path, this.#folder), { method: 'HEAD', signal: this.#signal });
    return response.ok;
  }

  async settle() {
    await this.#cache.settle();
    return this.#cache.problem;
  }

  #pin(commit) {
    if (this.#source.kind !== 'hub' || this.#pinned || !isCommit(commit ?? '')) return;
    this.#folder = this.#source.address.replace(/[^/]+\/$/, `${commit}/`);
    this.#pinned = true;
  }

  /** Asks for a small file; the browser checks what it has with the server. */
  async #ask(address, pauses) {
    for (let attempt = 0; ; attempt++) {
      try {
        const response = await fetch(address, { cache: 'no-cache', signal: this.#signal });
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
