// Does what keeps pictures: saves, copies and shares them, and keeps the history of the finished runs.

import { gridLayout } from '../store/layout.js';
import { recipeOf, sameRecipe, shownRecipe } from '../store/recipe.js';
import { shownShape } from '../store/select.js';
import { messageOf } from '../words/messages.js';
import { toGif, toLoop, toWebm } from './animation.js';
import { bounded, read, write } from './database.js';
import { withRecipe } from './picture-file.js';
import { imagesOf, momentsOf, pictureOf, scaleTo, shownPicture, toPng } from './pictures.js';

/** @typedef {import('./pictures.js').Which} Which */
/** @typedef {import('../store/state.js').Entry} Entry */
/** @typedef {import('../store/state.js').Preview} Preview */
/** @typedef {import('../store/state.js').State} State */

/** What can be done with what is shown. @typedef {'png'|'gif'|'loop'|'webm'|'copy'|'share'} Way */

/** How long the sides of a picture are at least, in pixels, and those of a moving one also at most. */
const SIDE = { still: 768, moving: 256, most: 1024 };
const MOST_FRAMES = 60;
/** Of a thumbnail: twice what it has on the page, for screens that show more. */
const THUMBNAIL = 96;
/** Larger pictures are not kept in the history, as pixels and as a PNG. */
const MOST_PIXELS = 1 << 20;
const MOST_BYTES = 1 << 18;

export class Keeper {
  #store;
  #controller;
  /** The last run that is in the history. */
  #last = 0;
  /** Settles when what was done before is done: entries come one after another. */
  #queue = Promise.resolve();

  /** @param {import('../store/store.js').Store<State, import('../store/reduce.js').Action>} store @param {import('../controller.js').Controller} controller */
  constructor(store, controller) {
    this.#store = store;
    this.#controller = controller;
    this.#enqueue(async () => this.#show(await read()));
    store.subscribe((state) => this.#notice(state));
  }

  get #state() {
    return this.#store.state;
  }

  // ---- What is shown ----------------------------------------------------------------------------

  /** @param {Way} way @param {Which} which */
  async save(way, which) {
    const recipe = shownRecipe(this.#state);
    if (!recipe) return;
    const name = [recipe.model.title, recipe.settings.class, recipe.settings.seed].join(' ').toLowerCase().replace(/[^\p{L}\p{N}]+/gu, '-');
    try {
      if (way === 'png') download(await this.#png(which), `${name}.png`);
      else if (way === 'copy') await navigator.clipboard.write([new ClipboardItem({ 'image/png': this.#png(which) })]);
      else if (way === 'share') await navigator.share({ files: [new File([await this.#png(which)], `${name}.png`, { type: 'image/png' })] });
      else download(await this.#animation(way, which), `${name}.${way === 'loop' ? 'gif' : way}`);
      this.#say({ copy: 'Picture copied', share: 'Picture shared' }[/** @type {string} */ (way)] ?? `${{ webm: 'WebM', loop: 'GIF' }[/** @type {string} */ (way)] ?? way.toUpperCase()} saved${way === 'png' && recipe.begins?.data === null ? ' without the picture it began with, which is too large' : ''}`);
    } catch (error) {
      if (error instanceof DOMException && error.name === 'AbortError') return; // the visitor thought better of sharing it
      const did = { copy: 'copied', share: 'shared' }[/** @type {string} */ (way)] ?? 'saved';
      this.#store.dispatch({ type: 'notify', notice: { key: 'save', text: `The picture could not be ${did} (${messageOf(error)}).${did === 'saved' ? '' : ' Save it as a PNG instead.'}` } });
    }
  }

  /** @param {Which} which @returns {Promise<Blob>} */
  async #png(which) {
    const state = this.#state;
    const recipe = shownRecipe(state);
    if (!recipe) throw new Error('nothing was made yet');
    const picture = shownPicture(state, which);
    return withRecipe(await toPng(picture, scaleTo(picture, SIDE.still)), recipe, shownShape(state));
  }

  /** @param {'gif'|'loop'|'webm'} way @param {Which} which */
  async #animation(way, which) {
    const moments = way === 'loop' ? imagesOf(this.#state) : momentsOf(this.#state, which, MOST_FRAMES);
    const first = moments[0]();
    const longest = Math.max(first.width, first.height);
    const scale = longest > SIDE.most ? SIDE.most / longest : scaleTo(first, SIDE.moving, Math.ceil);
    const [make, text] = way === 'webm' ? [toWebm, 'Recording'] : [way === 'loop' ? toLoop : toGif, 'Making the GIF'];
    return make(moments, scale, (done) => this.#say(`${text} · ${done}/${moments.length}`, false));
  }

  /** In the status line, unless that tells of a run. @param {string} status @param {boolean} [aloud] */
  #say(status, aloud = true) {
    if (this.#state.phase.activity === 'idle') this.#store.dispatch({ type: 'announce', text: aloud ? `${status}.` : this.#state.announcement.text, status });
  }

  // ---- The history ------------------------------------------------------------------------------

  /** A run that is finished is kept. @param {State} state */
  #notice(state) {
    const run = state.runs.byId[state.runs.order.at(-1) ?? 0];
    if (!run || run.id <= this.#last || !run.recording.finished) return;
    this.#last = run.id;
    const { newest, count, width, height } = run.recording;
    const shape = { count, width, height };
    const recipe = recipeOf(run, { index: newest, view: 'x', image: state.selection.image });
    const x = run.recording.batch(newest, 'x');
    const caption = `${recipe.model.title} · ${run.caption}`;
    this.#enqueue(async () => {
      const { entries } = this.#state.history;
      // The same run once more stays where it is.
      const before = entries.find((other) => sameRecipe(other.recipe, recipe));
      const key = before?.key ?? Math.max(Date.now(), 1 + (entries[0]?.key ?? 0));
      const entry = { key, caption, recipe, shape, layout: run.layout, thumbnail: await thumbnailOf(x, shape), picture: await keptPicture(x, shape) };
      await this.#replace(before ? entries.map((other) => (other === before ? entry : other)) : [entry, ...entries]);
    });
  }

  /** @param {Entry} entry */
  async open(entry) {
    const { recipe, caption, picture, thumbnail, shape, layout } = entry;
    const pixels = await pixelsOf(picture ?? thumbnail);
    /** @type {Preview} */
    const preview = pixels.width === shape.width && pixels.height === shape.count * shape.height
      ? { batch: { pixels: new Uint8Array(pixels.data.buffer), ...shape }, caption, real: true, layout, recipe }
      : { batch: { pixels: new Uint8Array(pixels.data.buffer), count: 1, width: pixels.width, height: pixels.height }, caption: `${caption} · a small copy; Generate makes it again`, real: true, layout: gridLayout(1) };
    this.#controller.restore({ recipe, preview, name: caption }, null);
  }

  /** @param {Entry} entry */
  remove(entry) {
    this.#enqueue(() => this.#takeOut([entry]));
  }

  clear() {
    this.#enqueue(() => this.#takeOut(this.#state.history.entries));
  }

  /** What was removed, where it was. @param {readonly Entry[]} entries */
  bringBack(entries) {
    this.#enqueue(() => {
      const others = this.#state.history.entries.filter(({ key, recipe }) => !entries.some((entry) => entry.key === key || sameRecipe(entry.recipe, recipe)));
      return this.#replace([...entries, ...others].sort((a, b) => b.key - a.key));
    });
  }

  /** @param {readonly Entry[]} gone */
  async #takeOut(gone) {
    try {
      await this.#replace(this.#state.history.entries.filter((entry) => !gone.includes(entry)));
    } finally {
      // They are away in any case, also where nothing can be kept.
      this.#offerBack(gone);
    }
  }

  /** With those that were removed just before. @param {readonly Entry[]} removed */
  #offerBack(removed) {
    const before = this.#state.notices.find(({ key }) => key === 'removed')?.actions?.[0].intent;
    const entries = [...(before?.do === 'bringBack' ? before.entries : []), ...removed];
    const text = entries.length === 1 ? 'A run was removed from the history.' : `${entries.length} runs were removed from the history.`;
    if (entries.length) this.#store.dispatch({ type: 'notify', notice: { key: 'removed', text, actions: [{ label: 'Undo', intent: { do: 'bringBack', entries } }] } });
  }

  /** @param {readonly Entry[]} entries */
  async #replace(entries) {
    const before = this.#state.history.entries;
    const after = bounded(entries);
    this.#show(after, this.#state.history.kept);
    await write(before, after);
    if (!this.#state.history.kept) this.#show(after);
  }

  /** @param {readonly Entry[]} entries */
  #show(entries, kept = true) {
    this.#store.dispatch({ type: 'history', entries, kept });
  }

  /** Where nothing can be kept, the history lasts as long as the page. @param {() => Promise<void>|void} job */
  #enqueue(job) {
    this.#queue = this.#queue.then(job).catch((error) => {
      console.warn('The history is not kept:', error);
      this.#show(this.#state.history.entries, false);
    });
  }
}

/** @param {Blob} blob @param {string} name */
export function download(blob, name) {
  const address = URL.createObjectURL(blob);
  const link = document.createElement('a');
  link.href = address;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000); // some browsers begin later
}

/** @param {Blob} blob */
const bytesOf = async (blob) => new Uint8Array(await blob.arrayBuffer());

/** The first images, four at most: more would be too small to be told apart. @param {Uint8ClampedArray<ArrayBuffer>} batch @param {Entry['shape']} shape */
async function thumbnailOf(batch, { count, width, height }) {
  const picture = pictureOf(batch, { width, height }, gridLayout(Math.min(4, count)));
  const whole = await createImageBitmap(new ImageData(picture.pixels, picture.width, picture.height));
  const scale = THUMBNAIL / Math.max(picture.width, picture.height);
  const canvas = new OffscreenCanvas(Math.max(1, Math.round(picture.width * scale)), Math.max(1, Math.round(picture.height * scale)));
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext('2d'));
  context.imageSmoothingEnabled = scale < 1;
  context.imageSmoothingQuality = 'high';
  context.drawImage(whole, 0, 0, canvas.width, canvas.height);
  return bytesOf(await canvas.convertToBlob({ type: 'image/png' }));
}

/** All images, one below the other, as they lie in a batch. @param {Uint8ClampedArray<ArrayBuffer>} batch @param {Entry['shape']} shape */
async function keptPicture(batch, { count, width, height }) {
  if (count * width * height > MOST_PIXELS) return null;
  const png = await bytesOf(await toPng({ pixels: batch, width, height: count * height }));
  return png.length > MOST_BYTES ? null : png;
}

/** @param {Uint8Array<ArrayBuffer>} png */
async function pixelsOf(png) {
  const image = await createImageBitmap(new Blob([png], { type: 'image/png' }), { colorSpaceConversion: 'none' });
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (new OffscreenCanvas(image.width, image.height).getContext('2d'));
  context.drawImage(image, 0, 0);
  return context.getImageData(0, 0, image.width, image.height);
}
