// How much memory a process has with all its children, as Linux tells.

import { readdir, readFile } from 'node:fs/promises';

const read = (path) => readFile(path, 'utf8').catch(() => ''); // a process may end at any time

/** The children of a process, theirs, and so on. @param {number} root @returns {Promise<number[]>} */
export async function descendants(root) {
  const children = new Map();
  for (const entry of await readdir('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    // "pid (name) state ppid …"; a name may hold spaces and parentheses.
    const parent = Number((await read(`/proc/${entry}/stat`)).split(')').at(-1).split(' ')[2]);
    children.set(parent, [...children.get(parent) ?? [], Number(entry)]);
  }
  const found = [];
  for (const queue = [root]; queue.length;) {
    const next = children.get(queue.pop()) ?? [];
    found.push(...next);
    queue.push(...next);
  }
  return found;
}

/**
 * Bytes of all processes under this one: their proportional set sizes, in which memory that several share is counted once.
 * @returns {Promise<number>}
 */
async function used() {
  const sizes = (await descendants(process.pid)).map(async (pid) => {
    const [, kilobytes] = (await read(`/proc/${pid}/smaps_rollup`)).match(/^Pss:\s+(\d+) kB$/m) ?? [];
    return 1024 * Number(kilobytes ?? 0);
  });
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
}

/**
 * Watches the memory of the processes that this one started.
 * @param {number} [interval]  milliseconds
 * @returns {Promise<{stop: () => Promise<number|null>}>}  the most there was, beyond what there is now; null where it
 *   cannot be told
 */
export async function watchMemory(interval = 200) {
  if (process.platform !== 'linux') return { stop: async () => null };
  const before = await used();
  let most = before;
  let stopped = false;
  const watching = (async () => {
    while (!stopped) {
      most = Math.max(most, await used());
      await new Promise((done) => setTimeout(done, interval));
    }
  })();
  return {
    stop: async () => {
      stopped = true;
      await watching;
      return Math.max(most, await used()) - before;
    },
  };
}
