// A static file server with no dependencies: www/ at the root and the built engine under /pkg/.
//
//   node scripts/serve.mjs [--port 8000] [--host 127.0.0.1] [--dir www] [--pkg pkg]

import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join, resolve, sep } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

const MIME = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.mjs': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.json': 'application/json; charset=utf-8',
  '.md': 'text/markdown; charset=utf-8',
  '.txt': 'text/plain; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.webmanifest': 'application/manifest+json',
  '.png': 'image/png',
  '.wasm': 'application/wasm', // without it the browser refuses to compile while downloading
  '.safetensors': 'application/octet-stream',
};

/** The file that answers a URL path, or null when the path is malformed or leaves its folder. */
function locate(pathname, mounts) {
  let path;
  try {
    path = decodeURIComponent(pathname);
  } catch {
    return null;
  }
  if (path.includes('\0')) return null;
  // The longest matching prefix wins, so that /pkg/ is not looked for in www/.
  const prefix = Object.keys(mounts).filter((p) => path.startsWith(p)).sort((a, b) => b.length - a.length)[0];
  if (prefix === undefined) return null;
  const folder = resolve(mounts[prefix]);
  const file = resolve(join(folder, path.slice(prefix.length)));
  return file === folder || file.startsWith(folder + sep) ? file : null;
}

async function answer(request, response, mounts) {
  const say = (status, text, headers = {}) => {
    response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8', 'cache-control': 'no-cache', ...headers });
    response.end(request.method === 'HEAD' ? undefined : `${text}\n`);
  };
  if (request.method !== 'GET' && request.method !== 'HEAD') return say(405, 'Only GET and HEAD.', { allow: 'GET, HEAD' });

  const { pathname, search } = new URL(request.url.replace(/^\/+/, '/'), 'http://localhost');
  let file = locate(pathname, mounts);
  let info = file && await stat(file).catch(() => null);
  if (info?.isDirectory()) {
    // Relative addresses in the page need the folder's own slash.
    if (!pathname.endsWith('/')) return say(308, 'Moved.', { location: `${pathname}/${search}` });
    file = join(file, 'index.html');
    info = await stat(file).catch(() => null);
  }
  if (!info?.isFile()) return say(404, `404: there is no ${pathname} here.`);

  const tag = `"${info.size.toString(36)}-${Math.round(info.mtimeMs).toString(36)}"`;
  const headers = {
    'content-type': MIME[extname(file)] ?? 'application/octet-stream',
    'cache-control': 'no-cache',
    'accept-ranges': 'bytes',
    'etag': tag,
    'x-content-type-options': 'nosniff',
  };
  if (request.headers['if-none-match'] === tag) return response.writeHead(304, headers).end();
  const part = partOf(request.headers.range, info.size);
  if (part === null) return say(416, 'There are no such bytes.', { 'content-range': `bytes */${info.size}` });
  const { start, end } = part;
  if (request.headers.range) headers['content-range'] = `bytes ${start}-${end}/${info.size}`;
  response.writeHead(request.headers.range ? 206 : 200, { ...headers, 'content-length': end - start + 1 });
  if (request.method === 'HEAD' || info.size === 0) return response.end();
  createReadStream(file, { start, end }).on('error', () => response.destroy()).pipe(response);
}

/**
 * The bytes that a Range header asks for; weights are fetched part by part.
 * @param {string|undefined} range  bytes=0-99 or bytes=100-; without one, everything
 * @param {number} size
 * @returns {{start: number, end: number}|null}  null when there are no such bytes
 */
function partOf(range, size) {
  if (!range) return { start: 0, end: size - 1 };
  const [, first, last] = range.match(/^bytes=(\d+)-(\d*)$/) ?? [];
  const start = Number(first ?? NaN);
  const end = Math.min(last ? Number(last) : Infinity, size - 1);
  return start <= end ? { start, end } : null;
}

/**
 * Starts a server.
 * @param {{port?: number, host?: string, mounts?: Record<string, string>}} [options]
 *   `port` 0 takes any free one; another that is taken makes the server try the next ones.
 *   `mounts` maps URL prefixes (with both slashes) to folders.
 * @returns {Promise<{url: string, close: () => Promise<void>}>}
 */
export async function serve({ port = 8000, host = '127.0.0.1', mounts = {} } = {}) {
  const all = { '/': join(ROOT, 'www'), '/pkg/': join(ROOT, 'pkg'), ...mounts };
  const server = createServer((request, response) => {
    answer(request, response, all).catch((error) => response.destroy(error));
  });
  const last = port === 0 ? 0 : port + 20;
  for (;; port++) {
    try {
      await new Promise((done, failed) => {
        server.once('error', failed);
        server.listen(port, host, () => {
          server.off('error', failed);
          done();
        });
      });
      break;
    } catch (error) {
      if (error.code !== 'EADDRINUSE' || port >= last) throw error;
    }
  }
  return {
    url: `http://${host === '127.0.0.1' ? 'localhost' : host}:${server.address().port}/`,
    close: () => new Promise((done) => {
      server.close(() => done());
      server.closeAllConnections();
    }),
  };
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { values } = parseArgs({
    options: {
      port: { type: 'string', default: '8000' },
      host: { type: 'string', default: '127.0.0.1' },
      dir: { type: 'string' },
      pkg: { type: 'string' },
    },
  });
  const port = Number(values.port);
  if (!Number.isInteger(port) || port < 0 || port > 65535) {
    console.error(`--port must be a whole number from 0 to 65535, not "${values.port}".`);
    process.exit(2);
  }
  const mounts = {};
  if (values.dir) mounts['/'] = values.dir;
  // A folder that was assembled for deployment carries its own engine.
  if (values.dir || values.pkg) mounts['/pkg/'] = values.pkg ?? join(values.dir, 'pkg');
  const { url } = await serve({ port, host: values.host, mounts });
  console.log(`Denoise is at ${url}`);
}
