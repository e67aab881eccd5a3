// Model repositories on the Hugging Face hub: how they are named, where their files are, why they are refused.
//
// The page's parameter `hub` names another server with the same addresses, e.g. a mirror or the
// tests' own: ?hub=http://127.0.0.1:8001/

export const HUB = 'https://huggingface.co/';

/** @typedef {{repo: string, revision: string}} Repository */

const NAME = /^([\w.-]+\/[\w.-]+?)(?:@([^\s@]+))?$/;

/**
 * Reads `owner/name`, `owner/name@revision` or the address of a repository's page.
 * @param {string} text
 * @param {string} hub  ends in a slash
 * @returns {Repository|null}  null when it is something else
 */
export function parseRepository(text, hub) {
  for (const page of [hub, HUB]) {
    if (!text.startsWith(page)) continue;
    const [owner, name, kind, revision, ...rest] = text.slice(page.length).split(/[?#]/)[0].split('/').filter(Boolean).map(decodeURIComponent);
    // A page inside the repository: tree/main, or tree/main/unet, which is looked into anyway.
    const inside = rest.join('/');
    const known = kind === undefined || (['tree', 'blob', 'resolve'].includes(kind) && revision && /^(unet\/?[^/]*|[^/]+\.[a-z]+)?$/.test(inside));
    return name && known ? { repo: `${owner}/${name}`, revision: revision ?? 'main' } : null;
  }
  const [, repo, revision = 'main'] = text.match(NAME) ?? [];
  return repo && !/(^|\/)\.+(\/|$)/.test(repo) ? { repo, revision } : null;
}

/** @param {string} hub @param {Repository} repository @returns {string} where the repository's files are */
export function repositoryFolder(hub, { repo, revision }) {
  return `${hub}${repo}/resolve/${encodeURIComponent(revision)}/`;
}

/** @param {string} hub @param {Repository} repository @returns {string} where, with a revision after it, its files are listed */
export function repositoryListing(hub, { repo }) {
  return `${hub}api/models/${repo}/tree/`;
}

/** A commit never changes; branches and tags do. @param {string} revision */
export const isCommit = (revision) => /^[0-9a-f]{40}$/.test(revision);

/**
 * Why the hub does not hand out a file.
 * @param {Response} response
 * @param {Repository} repository
 */
export function explainRefusal(response, { repo, revision }) {
  const code = response.headers.get('x-error-code');
  if (code === 'RevisionNotFound') return `${repo} has no revision "${revision}". Its page lists the branches and tags there are; without one, "main" is taken.`;
  if (code === 'GatedRepo' || response.status === 403) return `${repo} is gated: its owner lets only signed-in people read it, and this page signs in nowhere. Download its folder with your account and drop it here.`;
  // The hub does not tell private repositories from those that do not exist.
  if (code === 'RepoNotFound' || response.status === 401) return `There is no public repository ${repo} on the hub. Check the name; a private one cannot be read from here, but its downloaded folder can be dropped on the page.`;
  return null;
}
