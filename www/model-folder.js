// A model from the visitor's own files: collects what was dropped or chosen and finds the pieces in it.

const CONFIG = 'config.json';
const SCHEDULER = 'scheduler_config.json';
const WEIGHTS = 'diffusion_pytorch_model.safetensors';
const INDEX = `${WEIGHTS}.index.json`;
/** A configuration is a page of text; what is larger is something else. */
const MOST_CONFIG_BYTES = 1 << 20;
/** A folder of pictures dropped by mistake should not be walked to its end. */
const MOST_FILES = 5000;

/** @typedef {{path: string, file: File}} Found */

/**
 * The files of a drop. Has to be called while the event is handled: later its items are gone.
 * @param {DataTransfer} transfer
 * @returns {Promise<Found[]>}
 */
export async function droppedFiles(transfer) {
  const entries = [...transfer.items].map((item) => item.kind === 'file' && (item.webkitGetAsEntry?.() ?? item.getAsFile())).filter(Boolean);
  const found = [];
  for (const entry of entries) await walk(entry, found);
  return found;
}

async function walk(entry, found) {
  if (found.length >= MOST_FILES) return;
  if (entry instanceof File) {
    found.push({ path: entry.name, file: entry });
  } else if (entry.isFile) {
    const file = await new Promise((done, failed) => entry.file(done, failed));
    found.push({ path: entry.fullPath.replace(/^\//, ''), file });
  } else {
    const reader = entry.createReader();
    for (;;) {
      // At most a hundred at a time, and none at the end.
      const some = await new Promise((done, failed) => reader.readEntries(done, failed));
      if (!some.length) return;
      for (const child of some) await walk(child, found);
    }
  }
}

/** The files of an input element. @param {HTMLInputElement} input @returns {Found[]} */
export function chosenFiles(input) {
  return [...input.files].map((file) => ({ path: file.webkitRelativePath || file.name, file }));
}

/**
 * Finds the one model among the files and calls its pieces as a pipeline's folder would.
 * @param {Found[]} found
 * @returns {Promise<{name: string, files: Record<string, File>}>}
 */
export async function arrangeModel(found) {
  const at = new Map(found.map(({ path, file }) => [path, file]));
  const configs = [];
  const others = [];
  for (const [path, file] of at) {
    if (baseOf(path) !== CONFIG || file.size > MOST_CONFIG_BYTES) continue;
    const kind = await unetClass(file);
    if (kind.unet) configs.push(path);
    else others.push(`${path} (${kind.says})`);
  }
  if (!configs.length) throw new Error(missingConfig(at, others));

  const candidates = configs.map((config) => ({ config, folder: folderOf(config), weights: weightsIn(folderOf(config), at) }));
  const complete = candidates.filter(({ weights }) => weights.length);
  if (!complete.length) throw new Error(missingWeights(candidates[0], at));
  const { config, folder, weights } = onlyOne(complete);

  const root = baseOf(folder) === 'unet' ? folderOf(folder) : folder;
  const files = { 'unet/config.json': at.get(config) };
  for (const { path, name } of weights) files[`unet/${name}`] = at.get(path);
  const scheduler = [join(root, `scheduler/${SCHEDULER}`), join(folder, SCHEDULER), join(root, SCHEDULER), onlyPath(at, SCHEDULER)].find((path) => at.has(path));
  if (scheduler) files[`scheduler/${SCHEDULER}`] = at.get(scheduler);
  const card = [join(root, 'card.json'), join(folder, 'card.json')].find((path) => at.has(path));
  if (card) {
    files['card.json'] = at.get(card);
    // What the card refers to lies beside it.
    for (const [path, file] of at) if (folderOf(path) === folderOf(card) && path.endsWith('.png')) files[baseOf(path)] = file;
  }
  return { name: baseOf(root) || 'Your model', files };
}

const baseOf = (path) => path.slice(path.lastIndexOf('/') + 1);
const folderOf = (path) => path.slice(0, Math.max(0, path.lastIndexOf('/')));
const join = (folder, name) => (folder ? `${folder}/${name}` : name);

/** The path of the only file of this name, wherever it lies. */
function onlyPath(at, name) {
  const paths = [...at.keys()].filter((path) => baseOf(path) === name);
  return paths.length === 1 ? paths[0] : null;
}

/** Whether a config.json is a U-Net's: pipelines have one in every folder. */
async function unetClass(file) {
  try {
    const config = JSON.parse(await file.text());
    const name = config?._class_name;
    // The oldest ones do not say what they are.
    const unet = typeof name === 'string' ? /^UNet/.test(name) : ['block_out_channels', 'block_channels', 'down_block_types'].some((key) => key in config);
    return { unet, says: name ?? config?.model_type ?? 'not a U-Net’s' };
  } catch {
    // The engine says where exactly it is damaged.
    return { unet: true, says: 'damaged' };
  }
}

/**
 * The weights of a folder: the plain file, its shards, or a variant (fp16, …).
 * @returns {{path: string, name: string}[]}  `name` as the standard layout calls it
 */
function weightsIn(folder, at) {
  const here = [...at.keys()].filter((path) => folderOf(path) === folder);
  const names = here.map(baseOf);
  const take = (name, as = name) => ({ path: join(folder, name), name: as });
  if (names.includes(WEIGHTS)) return [take(WEIGHTS)];
  // Shards may be a variant's: diffusion_pytorch_model.safetensors.index.fp16.json
  const index = names.find((name) => name === INDEX) ?? names.find((name) => /\.safetensors\.index(\..+)?\.json$/.test(name));
  if (index) return [take(index, INDEX), ...names.filter((name) => /-\d+-of-\d+\..*safetensors$|-\d+-of-\d+\.safetensors$/.test(name)).map((name) => take(name))];
  const single = names.filter((name) => name.endsWith('.safetensors') && !/-\d+-of-\d+/.test(name));
  const best = single.find((name) => !/ema/i.test(name)) ?? single[0];
  return best ? [take(best, WEIGHTS)] : [];
}

/** Of several models the one nearest the top, if that is clear: training leaves checkpoints and averages beside it. */
function onlyOne(candidates) {
  const plain = candidates.filter(({ folder }) => !/(^|[/_-])ema([/_-]|$)/i.test(folder));
  const pool = plain.length ? plain : candidates;
  const depth = ({ folder }) => folder.split('/').length;
  const least = Math.min(...pool.map(depth));
  const top = pool.filter((candidate) => depth(candidate) === least);
  if (top.length === 1) return top[0];
  throw new Error(`There are ${top.length} models in there: ${list(top.map(({ folder }) => folder))}. Drop the folder of one of them.`);
}

const EXPECTED = 'A model’s folder holds unet/config.json and unet/diffusion_pytorch_model.safetensors, as diffusers saves them';

function missingConfig(at, others) {
  if (!at.size) return `There were no files in it. ${EXPECTED}.`;
  if (others.length) return `No config.json in there is a U-Net’s; found ${list(others)}. This page runs pipelines with a UNet2DModel. ${EXPECTED}.`;
  return `config.json is missing: among ${at.size === 1 ? 'the one file' : `the ${at.size} files`} there is ${list([...at.keys()])}. ${EXPECTED}: drop that folder, or both files together.`;
}

function missingWeights({ config, folder }, at) {
  const here = [...at.keys()].filter((path) => folderOf(path) === folder && path !== config);
  const pickled = here.find((path) => /\.(bin|pt|pth|ckpt)$/.test(path));
  if (pickled) return `${pickled} holds the weights as a Python pickle, which can run code and is not read here. Save them again as safetensors: in diffusers, save_pretrained(..., safe_serialization=True).`;
  return `The weights are missing: beside ${config} there is ${here.length ? list(here.map(baseOf)) : 'nothing'}, but no .safetensors file. Drop it together with the configuration.`;
}

/** A few names and how many more. */
function list(names) {
  const shown = names.slice(0, 4).join(', ');
  return names.length > 4 ? `${shown} and ${names.length - 4} more` : shown;
}
