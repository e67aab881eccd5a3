// A stand-in for the Hugging Face hub: the same addresses, headers and redirects, and faults on demand.
//
// As on the real one, small files are answered directly, weights with a redirect to another origin
// that serves byte ranges, and both let any page read them.

import { readFile, readdir, stat } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join, relative } from 'node:path';

export const COMMIT = '0123456789abcdef0123456789abcdef01234567';

/**
 * @typedef {object} Request
 * @property {string} path    inside the repository
 * @property {string} method
 * @property {string|null} revision
 * @property {number} from    the first byte that was asked for
 * @property {number} sent    bytes of the body that were written
 * @property {number} status
 */

/**
 * @param {Record<string, string|{status: number, code: string}>} repositories  folders by owner/name, or how to refuse them
 */
export async function startHub(repositories) {
  const hub = {
    /** Commit that "main" is at. */
    commit: COMMIT,
    /** @type {Request[]} */
    log: [],
    /** Cuts the connection of the next weights after so many bytes. @type {number|null} */
    cutAfter: null,
    /** What it is like from that cut on, before anybody can come again. @type {{refuse?: number, edition?: string}} */
    atCut: {},
    /** Sends the rest of the next weights only once this is settled, after so many bytes. @type {{after: number, until: Promise<void>}|null} */
    hold: null,
    /** Answers 503 to so many requests for weights. */
    refuse: 0,
    /** Answers 503 to whatever asks for bytes from here on. @type {number} */
    refuseFrom: Infinity,
    /** Whether ranges are served, or ignored with the whole file. */
    ranges: true,
    /** Whether it tells which files there are; a mirror may not. */
    lists: true,
    /** Written after a file's tag: changing it makes every file another. */
    edition: '',
    url: '',
    close: () => Promise.all([front, store].map((server) => new Promise((done) => {
      server.close(done);
      server.closeAllConnections();
    }))),
  };

  const open = { 'access-control-allow-origin': '*', 'access-control-expose-headers': '*' };
  const handle = (answer) => createServer((request, response) => {
    // A range of one extent needs no asking beforehand; anything else would.
    if (request.method === 'OPTIONS') return response.writeHead(405, open).end();
    answer(request, response).catch((error) => response.destroy(error));
  });

  const front = handle(async (request, response) => {
    const { pathname } = new URL(request.url, 'http://hub');
    // /owner/name/resolve/revision/path, or /api/models/owner/name/tree/revision
    const listing = pathname.startsWith('/api/models/');
    const [, owner, name, , revision, ...rest] = pathname.replace(/^\/api\/models/, '').split('/').map(decodeURIComponent);
    const path = listing ? 'tree' : rest.join('/');
    const entry = { path, method: request.method, revision, from: 0, sent: 0, status: 200 };
    hub.log.push(entry);
    // Lists do not say which commit they are of.
    const headers = { ...open, ...(!listing && { 'x-repo-commit': hub.commit }) };
    const say = (status, more = {}, body = '') => {
      entry.status = status;
      response.writeHead(status, { ...headers, ...more }).end(request.method === 'HEAD' ? '' : body);
    };
    const repository = repositories[`${owner}/${name}`];
    if (!repository) return say(401, { 'x-error-code': 'RepoNotFound' }, 'Repository not found');
    if (typeof repository === 'object') return say(repository.status, { 'x-error-code': repository.code });
    if (revision !== 'main' && revision !== hub.commit) return say(404, { 'x-error-code': 'RevisionNotFound' });
    if (listing) {
      if (!hub.lists) return say(404, { 'content-type': 'text/html' }, '<!doctype html><title>Not found</title>');
      const found = await readdir(repository, { recursive: true, withFileTypes: true });
      const entries = await Promise.all(found.map(async (found) => {
        const file = join(found.parentPath ?? found.path, found.name);
        return { type: found.isFile() ? 'file' : 'directory', oid: '0'.repeat(40), size: found.isFile() ? (await stat(file)).size : 0, path: relative(repository, file) };
      }));
      return say(200, { 'content-type': 'application/json; charset=utf-8' }, JSON.stringify(entries));
    }
    const file = join(repository, path);
    if (!(await stat(file).catch(() => null))?.isFile()) return say(404, { 'x-error-code': 'EntryNotFound' });
    if (path.endsWith('.safetensors')) {
      return say(302, { location: `http://127.0.0.1:${store.address().port}/${encodeURIComponent(file)}?signed=${hub.log.length}` });
    }
    const body = await readFile(file);
    entry.sent = body.length;
    say(200, { etag: `"${path}${hub.edition}"` }, body);
  });

  const store = handle(async (request, response) => {
    const file = decodeURIComponent(new URL(request.url, 'http://store').pathname.slice(1));
    const body = await readFile(file);
    const [, first = '0', last = body.length - 1] = (hub.ranges && request.headers.range?.match(/^bytes=(\d+)-(\d+)$/)) || [];
    const from = Number(first);
    const to = Math.min(Number(last), body.length - 1);
    const partial = hub.ranges && request.headers.range;
    const entry = { path: file.slice(file.lastIndexOf('/') + 1), method: request.method, revision: null, from, sent: 0, status: partial ? 206 : 200 };
    hub.log.push(entry);
    if (hub.refuse > 0 || from >= hub.refuseFrom) {
      if (hub.refuse > 0) hub.refuse--;
      entry.status = 503;
      return response.writeHead(503, open).end();
    }
    response.writeHead(entry.status, {
      ...open,
      'etag': `"${file.length}-${body.length}${hub.edition}"`,
      'content-length': to - from + 1,
      ...(partial && { 'content-range': `bytes ${from}-${to}/${body.length}` }),
    });
    if (request.method === 'HEAD') return response.end();
    const part = body.subarray(from, to + 1);
    if (hub.cutAfter !== null && hub.cutAfter < part.length) {
      entry.sent = hub.cutAfter;
      hub.cutAfter = null;
      Object.assign(hub, hub.atCut);
      response.write(part.subarray(0, entry.sent), () => setTimeout(() => response.destroy(), 100));
      return;
    }
    entry.sent = part.length;
    const { after, until } = hub.hold ?? { after: 0, until: null };
    hub.hold = null;
    response.write(part.subarray(0, after));
    await until;
    response.end(part.subarray(after));
  });

  for (const server of [front, store]) await new Promise((done) => server.listen(0, '127.0.0.1', done));
  hub.url = `http://127.0.0.1:${front.address().port}/`;
  return hub;
}
