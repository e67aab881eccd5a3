// What names a model: the page's own folders, an address, a repository on the hub, what was taught in this browser, or files of
// the visitor's.

import { HUB, parseRepository, repositoryFolder, repositoryListing } from './hub.js';

/** A file of the visitor's. @typedef {{path: string, file: File}} Found */

/**
 * Where a model comes from; `id` is what the address bar and the list of stored models call it.
 * @typedef {(
 *   {kind: 'folder', id: string, address: string} |
 *   {kind: 'hub', id: string, address: string, listing: string, repo: string, revision: string} |
 *   {kind: 'taught', id: string, name: string} |
 *   {kind: 'files', id: string, name: string, files: Found[]}
 * ) & import('./networks.js').Wanted} Source
 * `address` ends in a slash; `listing` and a revision make the address of the list of the files.
 */

const FIRST = { network: null, variant: null };

/** What a model's files are called, also those that cannot be read, of which the library says more. */
const OF_A_MODEL = /\.(json|safetensors|bin|pt|pth|ckpt|pkl|h5|msgpack|onnx|npz|index)$/i;

/** Whether a file that was given by itself may be a model's, by its name. @param {string} path */
export const mayBeModel = (path) => path.includes('/') || OF_A_MODEL.test(path);

/** What a text names, or why it names nothing. @typedef {{source: Source, problem: null} | {source: null, problem: string}} Named */

/**
 * @param {string} text  as typed, or from the address bar
 * @param {{base: string, hub: string}} from  the page's own address, and the hub's
 * @returns {Named}
 */
export function readSource(text, { base, hub }) {
  text = text.trim().replace(/\/+$/, '');
  if (!text) return wrong('Type a name like owner/name, or the address of a folder.');
  const [, taught] = text.match(/^taught:([\w-]+)$/) ?? [];
  if (taught) return { source: { kind: 'taught', id: text, name: taught, ...FIRST }, problem: null };
  // models/… is this page's own folder; another relative one begins with a dot or a slash.
  const repository = /^(models\/|[./])/.test(text) ? null : parseRepository(text, hub);
  if (repository) {
    const { repo, revision } = repository;
    return { source: { kind: 'hub', id: `${repo}@${revision}`, address: repositoryFolder(hub, repository), listing: repositoryListing(hub, repository), repo, revision, ...FIRST }, problem: null };
  }
  let address;
  try {
    if (/\s/.test(text)) throw new TypeError('addresses have no spaces');
    address = new URL(`${text}/`, base);
  } catch {
    return wrong('This is neither owner/name nor an address. An address looks like https://example.org/my-model.');
  }
  if (!/^https?:$/.test(address.protocol)) return wrong('The address has to begin with https:// or be relative to this page.');
  address.search = '';
  address.hash = '';
  // Relative where it can be, so that a link survives the page's moving.
  const { href } = address;
  const id = (href.startsWith(base) ? href.slice(base.length).replace(/^(?!models\/)/, './') : href).replace(/\/$/, '');
  return { source: { kind: 'folder', id, address: href, ...FIRST }, problem: null };
}

/** @param {string} problem @returns {Named} */
const wrong = (problem) => ({ source: null, problem });

/**
 * What reads the names of models on this page.
 * @param {URLSearchParams} query  may name another server with the hub's addresses: a mirror, or the tests' own
 * @param {string} base  the page's own address
 * @returns {(text: string) => Named}
 */
export function readerOf(query, base) {
  const hub = query.get('hub')?.replace(/\/*$/, '/') ?? HUB;
  return (text) => readSource(text, { base, hub });
}

/**
 * The model that the page is opened with.
 * @param {{model: string, network: string, variant: string}} named  in the address
 * @param {ReturnType<typeof readerOf>} sourceOf
 * @param {string} usual  the model where none is named
 * @returns {{source: Source, problem: string}}  the problem with the model that was asked for in place of this one
 */
export function firstSource({ model, network, variant }, sourceOf, usual) {
  const { source, problem } = sourceOf(model);
  if (source) return { source: { ...source, network: network || null, variant: variant || null }, problem: '' };
  const other = sourceOf(usual);
  if (!other.source) throw new Error(other.problem);
  return { source: other.source, problem: `model=${model} in the address: ${problem} ${usual} is used.` };
}

let dropped = 0;

/** @param {string} name @param {Found[]} files @returns {Source} */
export function sourceOfFiles(name, files) {
  return { kind: 'files', id: `file ${++dropped}: ${name}`, name, files, ...FIRST };
}
