// Does what a visitor asks for on the Teach page: the workers, the browser's storage, files. What comes of it goes into the store
// as an action.

import { send } from '../engine/learning-protocol.js';
import { openFiles } from '../model/files.js';
import { MOST_FILES } from '../model/folder.js';
import { sourceOfFiles } from '../model/source.js';
import { forgetRun, keepDrawings, keepRun, keptDrawings, keptRun, keptRunWithImages } from '../model/taught.js';
import { SHIPPED } from '../models/catalogue.js';
import { messageOf } from '../words/messages.js';
import { archiveOf, checkpointIn, modelIn } from './archive.js';
import { emptyCurve, pointsUpTo, withPoints } from './store/curve.js';
import { merged, recognised } from './store/drawings.js';
import { SETTING_NAMES, recipeOf, samplesOf } from './store/settings.js';
import { newRun } from './store/state.js';
import { TITLES, chosenImages, fittedTo, imageProblem, isActive, settingProblem, settingsOf } from './store/select.js';
import { unzip } from '../model/zip.js';

/** @typedef {import('../engine/learning-protocol.js').Beginning} EngineBeginning */
/** @typedef {import('../engine/learning-protocol.js').LearningCommand} LearningCommand */
/** @typedef {import('../model/source.js').Found} Found */
/** @typedef {import('../model/source.js').Source} Source */
/** @typedef {import('./store/reduce.js').Action} Action */
/** @typedef {import('./store/state.js').Beginning} Beginning */
/** @typedef {import('./store/state.js').Checkpoint} Checkpoint */
/** @typedef {import('./store/state.js').From} From */
/** @typedef {import('./store/state.js').Images} Images */
/** @typedef {import('./store/state.js').Intent} Intent */
/** @typedef {import('./store/state.js').Run} Run */
/** @typedef {import('./store/state.js').State} State */
/** What the page keeps of a run beside its files. @typedef {Pick<Run, 'recipe'|'samples'|'shape'|'frames'|'backend'> & {losses: import('./store/state.js').Losses}} Shown */

/** A film is played in so many milliseconds, a frame at least so long. */
const PLAY = { whole: 6000, shortest: 60, longest: 400 };
/** Sizes that pictures are read in. */
const SIDES = [28, 32, 64];
/** How long drawings rest before they are kept. */
const REST = 500;
/** How long what was kept is waited for before the page is shown, in milliseconds. */
const PATIENCE = 2000;

export class Controller {
  #store;
  #sourceOf;
  /** @type {Worker|null} */
  #learner = null;
  /** @type {Worker|null} */
  #reader = null;
  #lastId = 0;
  /** What was read from the page's own sheets. @type {Map<From, Images>} */
  #sheets = new Map();
  /** Which checkpoint is to be kept next, and whether one is being kept. @type {{next: (() => Promise<void>)|null, busy: boolean}} */
  #keeping = { next: null, busy: false };
  /** Settles when what is being kept is. */
  #writing = Promise.resolve();
  /** The kept run that may go for the one that was begun, by its name. @type {string|null} */
  #replaces = null;
  /** The run that has its images kept. */
  #keptImagesOf = '';
  #timer = 0;
  #resting = 0;
  /** The drawings that were read or kept last, what tells them from those of another tab, and whether the latest could not be kept. */
  #drawings;
  /** Which beginning was asked for last. */
  #asked = 0;

  /**
   * @param {import('../store/store.js').Store<State, Action>} store
   * @param {(text: string) => import('../model/source.js').Named} sourceOf  reads what names a model
   */
  constructor(store, sourceOf) {
    this.#store = store;
    this.#sourceOf = sourceOf;
    this.#drawings = { both: /** @type {import('./store/drawings.js').Both} */ (store.state), mark: '', unkept: false };
    // Another tab may have been drawn in meanwhile.
    const look = () => this.#readDrawings().catch((error) => console.warn(error));
    addEventListener('focus', look);
    document.addEventListener('visibilitychange', () => {
      if (document.visibilityState !== 'hidden') return look();
      // It may be the last that is heard of this page.
      if (this.#state.run?.activity === 'learning') this.#tell({ type: 'keep', id: this.#state.run.id });
      if (this.#resting) this.#writeDrawings();
    });
  }

  get #state() {
    return this.#store.state;
  }

  /** @param {Action} action */
  dispatch(action) {
    return this.#store.dispatch(action);
  }

  /** What the page begins with. @param {URLSearchParams} query */
  async open(query) {
    this.readImages();
    setTimeout(() => this.dispatch({ type: 'opened' }), PATIENCE); // where the browser does not answer
    try {
      await this.#readDrawings();
      await this.#openKept();
    } catch (error) {
      this.dispatch({ type: 'notify', notice: { key: 'storage', text: `This browser keeps nothing for this page (${messageOf(error)}). What is taught here is gone when the page is closed, unless it is downloaded.` } });
    }
    const model = query.get('model');
    if (query.get('from') === 'handwriting') this.handwriting();
    else if (model) this.begin(model, { network: query.get('network') || null, variant: query.get('variant') || null });
    for (const name of SETTING_NAMES) {
      const text = query.get(name);
      if (text !== null) this.dispatch({ type: 'set', name, text });
    }
    this.dispatch({ type: 'opened' });
  }

  // ---- What it learns from --------------------------------------------------------------------

  /** @param {From} from */
  choose(from) {
    if (this.dispatch({ type: 'choose', from })) this.readImages();
  }

  /** The visitor's pictures, or how they are read. @param {Partial<import('./store/state.js').Pictures>} pictures */
  takePictures(pictures) {
    this.dispatch({ type: 'pictures', pictures });
    this.readImages();
  }

  /** Reads what is chosen, if it is not there. */
  readImages() {
    const { from, data, pictures } = this.#state;
    if (from === 'drawings' || data.images) return;
    const sheet = this.#sheets.get(from);
    if (sheet) {
      this.dispatch({ type: 'read', images: sheet, skipped: [] });
      return;
    }
    const id = ++this.#lastId;
    /** @type {import('./data-worker.js').DataCommand} */
    let command;
    if (from !== 'files') command = { type: 'sheet', id, address: new URL(`teach/data/${from}`, document.baseURI).href };
    else if (pictures.found.length) command = { type: 'pictures', id, files: [...pictures.found], side: pictures.side, channels: pictures.channels };
    else return;
    this.#reader ??= this.#startReader();
    this.dispatch({ type: 'reading', done: 0, total: from === 'files' ? pictures.found.length : 1 });
    this.#reader.postMessage(command);
    this.#reader.onmessage = ({ data: event }) => this.#read(event, id, from);
  }

  #startReader() {
    const worker = new Worker(new URL('./data-worker.js', import.meta.url), { type: 'module' });
    worker.onerror = (event) => {
      event.preventDefault();
      this.#reader = null;
      this.dispatch({ type: 'unreadable', message: event.message || 'The part of the page that reads pictures could not be loaded. Reload the page.' });
    };
    return worker;
  }

  /** @param {import('./data-worker.js').DataEvent} event @param {number} id @param {From} from */
  #read(event, id, from) {
    if (event.id !== id || this.#state.from !== from) return;
    if (event.type === 'read' && from !== 'files') this.#sheets.set(from, event.images);
    this.dispatch(event);
  }

  /** What was dropped or chosen: a training zip or folder, a model, or pictures. @param {Promise<Found[]>|Found[]} given */
  async take(given) {
    try {
      let found = await given;
      if (!found.length) return;
      if (found.length === MOST_FILES) this.dispatch({ type: 'notify', notice: { key: 'most', text: `Of what was dropped, the first ${MOST_FILES} files are taken. Choose a folder with the button to have all of it.` } });
      const zips = found.filter(({ path }) => /\.zip$/i.test(path));
      if (zips.length) found = await this.#unpack(found, zips);
      const checkpoint = await checkpointIn(found);
      if (checkpoint && checkpoint.step >= checkpoint.recipe.steps) {
        // A run that has taken all of its steps does not go on, but what it has made learns more.
        const model = modelIn(found);
        if (!model.some(({ path }) => path.endsWith('.safetensors'))) throw new Error(`This run has taken all of its ${checkpoint.recipe.steps} steps. Drop the folder of its model, which can learn more.`);
        await this.#beginWith(sourceOfFiles(checkpoint.title, model), checkpoint.title);
      } else if (checkpoint) {
        this.#asked++; // a model that is still looked at comes too late
        this.dispatch({ type: 'begin', beginning: { kind: 'checkpoint', ...checkpoint } });
      } else if (found.some(({ path }) => /\.safetensors$/.test(path))) {
        const name = found[0].path.split('/')[0];
        await this.#beginWith(sourceOfFiles(name, found), name);
      } else {
        this.takePictures({ found: found.sort((a, b) => (a.path < b.path ? -1 : 1)) });
      }
    } catch (error) {
      this.#sayWrong('These files cannot be used', messageOf(error));
    }
  }

  /** Files with those that are in their archives. @param {Found[]} found @param {Found[]} zips */
  async #unpack(found, zips) {
    const all = [];
    try {
      for (const one of found) {
        if (zips.includes(one)) all.push(...await unzip(one.file, (done, total) => this.dispatch({ type: 'unpacking', unpacking: { done, total } })));
        else all.push(one);
      }
    } finally {
      this.dispatch({ type: 'unpacking', unpacking: null });
    }
    return all;
  }

  /** Pictures that are pasted come to those that are there. @param {Found[]} files */
  paste(files) {
    const { from, pictures } = this.#state;
    // Each clipboard calls its picture the same.
    const named = files.map(({ path, file }, i) => ({ path: `pasted ${pictures.found.length + i + 1}, ${path}`, file }));
    this.takePictures({ found: from === 'files' ? [...pictures.found, ...named] : named });
  }

  /** @param {Action & {box: number}} action */
  draw(action) {
    this.dispatch(action);
    this.#keepDrawings();
  }

  /** @param {import('./store/drawings.js').Alphabet} alphabet */
  chooseAlphabet(alphabet) {
    this.dispatch({ type: 'alphabet', alphabet });
    this.#keepDrawings();
  }

  #keepDrawings() {
    clearTimeout(this.#resting);
    this.#resting = setTimeout(() => this.#writeDrawings(), REST);
  }

  async #writeDrawings() {
    clearTimeout(this.#resting);
    this.#resting = 0;
    const { drawings, aside } = this.#state;
    const here = { drawings, aside };
    const mark = Math.random().toString(36);
    const still = (/** @type {typeof drawings} */ of) => ({ ...of, boxes: of.boxes.map((box) => ({ ...box, past: [] })) });
    let all = here;
    try {
      await keepDrawings((kept) => {
        const { both, mark: before } = this.#drawings;
        // Another tab has been drawn in meanwhile.
        if (isWhole(kept) && kept.mark !== before) all = merged(here, both, recognised(kept, here));
        return { drawings: still(all.drawings), aside: still(all.aside), mark };
      });
      if (all === here) this.#drawings.both = here;
      else this.#takeDrawings(here, all);
      Object.assign(this.#drawings, { mark, unkept: false });
    } catch (error) {
      console.warn(error);
      if (this.#drawings.unkept) return; // it was said
      this.#drawings.unkept = true;
      this.dispatch({ type: 'notify', notice: { key: 'storage', text: `The browser does not keep what is drawn (${messageOf(error)}). It is gone when this page is closed.` } });
    }
  }

  /** Takes over what another tab has kept. */
  async #readDrawings() {
    const { mark: before } = this.#drawings;
    const kept = await keptDrawings();
    // It may be older than what was read or kept here meanwhile.
    if (!isWhole(kept) || kept.mark === before || this.#drawings.mark !== before) return;
    // What is shown stays the alphabet that is drawn here.
    this.#takeDrawings(this.#drawings.both, kept, !before && !this.#resting ? kept.drawings.alphabet : undefined);
    this.#drawings.mark = kept.mark;
  }

  /**
   * Shows what is kept, but for the boxes that were drawn in since it was as here.
   * @param {import('./store/drawings.js').Both} since
   * @param {import('./store/drawings.js').Both} kept
   * @param {import('./store/drawings.js').Alphabet} [alphabet]
   */
  #takeDrawings(since, kept, alphabet = this.#state.drawings.alphabet) {
    const both = recognised(kept, this.#state);
    this.#drawings.both = both;
    this.dispatch({ type: 'drawings', kept: merged(this.#state, since, both), alphabet });
  }

  // ---- What it begins with --------------------------------------------------------------------

  /** A few digits of one's own, and the shipped model learns them. */
  async handwriting() {
    const digits = SHIPPED.find(({ folder }) => folder === 'models/digits');
    const { source } = this.#sourceOf('models/digits');
    if (!digits || !source) throw new Error('The page has no digits.');
    this.dispatch({ type: 'handwriting', beginning: { kind: 'model', source, title: digits.title, known: null, pending: true } });
    await this.#beginWith(source, digits.title);
  }

  /** A model by its name, or nothing. @param {string} text @param {import('../model/networks.js').Wanted} [wanted]  which of its networks and weights */
  async begin(text, wanted = { network: null, variant: null }) {
    this.#asked++;
    if (!text) {
      this.dispatch({ type: 'begin', beginning: { kind: 'nothing' } });
      return;
    }
    const named = this.#sourceOf(text);
    if (!named.source) return this.#sayWrong('There is no such model', named.problem);
    const source = { ...named.source, ...wanted };
    const { from } = this.#state;
    // What the shipped models learned from is there.
    const sheet = /** @type {From[]} */ (['digits', 'letters']).find((name) => source.id === `models/${name}`);
    if (sheet && (from === 'digits' || from === 'letters')) this.choose(sheet);
    const { run } = this.#state;
    const shipped = SHIPPED.find(({ folder }) => folder === source.id)?.title;
    await this.#beginWith(source, shipped ?? (source.id === `taught:${run?.name}` ? run?.title.replace(/, taught [a-z ]+$/, '') : null) ?? source.id);
  }

  /** @param {Source} source @param {string} title */
  async #beginWith(source, title) {
    const asked = ++this.#asked;
    this.dispatch({ type: 'begin', beginning: { kind: 'model', source, title, known: null, pending: true } });
    try {
      const known = await knownOf(source);
      if (asked !== this.#asked) return;
      this.dispatch({ type: 'begin', beginning: { kind: 'model', source, title, known } });
      const { from, pictures } = this.#state;
      const channels = known?.channels;
      if (!known || (channels !== 1 && channels !== 3) || (from !== 'files' && channels === 1)) return;
      // Pictures are read as the model makes them.
      const side = known.side === null ? pictures.side : SIDES.findLast((side) => side <= (known.side ?? side)) ?? pictures.side;
      if (from !== 'files' || channels !== pictures.channels || side !== pictures.side) this.takePictures({ channels, side });
    } catch (error) {
      if (asked !== this.#asked) return;
      this.dispatch({ type: 'begin', beginning: { kind: 'nothing' } });
      this.#sayWrong(`${title} cannot be taught`, messageOf(error));
    }
  }

  /** @param {string} title @param {string} text */
  #sayWrong(title, text) {
    this.dispatch({ type: 'notify', notice: { key: 'beginning', error: true, title, text } });
  }

  // ---- The run --------------------------------------------------------------------------------

  /** @param {{replace?: string|null}} [options]  the run that may go, by its name */
  async teach({ replace = null } = {}) {
    if (isActive(this.#state)) return;
    const problem = imageProblem(this.#state);
    const wrong = settingProblem(this.#state);
    if (problem || wrong) return;
    await this.#writing;
    const { run } = this.#state;
    const last = await keptRun().catch(() => null) ?? (run?.checkpoint ? run : null);
    if (last && last.name !== replace) {
      this.dispatch({ type: 'notify', notice: {
        key: 'ask',
        answers: true,
        title: 'One run is kept at a time',
        text: `${last.title}, step ${last.step}, goes when another begins. Download it first if you want to have it later.`,
        actions: [{ label: 'Begin anew', intent: { do: 'teach', replace: last.name } }],
      } });
      return;
    }
    const { beginning, from } = this.#state;
    const images = chosenImages(this.#state);
    if (!images || isActive(this.#state)) return;
    this.#replaces = last?.name ?? null;
    const name = `${slugOf(beginning.kind === 'checkpoint' ? beginning.title : TITLES[from])}-${Math.random().toString(36).slice(2, 6)}`;
    const id = ++this.#lastId;
    if (beginning.kind === 'checkpoint') {
      const samples = samplesOf(images, knownOfRecipe(beginning.recipe));
      const curve = beginning.losses ? curveOf(beginning.losses) : emptyCurve();
      this.dispatch({ type: 'teach', asked: { id, name, title: beginning.title, images, samples }, curve });
      this.#connect({ type: 'learn', id, ...this.#device(), title: beginning.title, recipe: {}, images, beginning: { kind: 'checkpoint', files: beginning.files }, samples });
      return;
    }
    const known = beginning.kind === 'model' ? beginning.known : null;
    const fitted = fittedTo(images, known);
    const title = beginning.kind === 'model' ? `${beginning.title}, taught ${from === 'drawings' ? 'my handwriting' : 'more'}` : `${TITLES[from]}, taught here`;
    const samples = samplesOf(fitted, known);
    this.dispatch({ type: 'teach', asked: { id, name, title, images: fitted, samples } });
    this.#connect({ type: 'learn', id, ...this.#device(), title, recipe: recipeOf(settingsOf(this.#state), fitted, title, beginning.kind === 'model' ? known ?? UNKNOWN : null), images: fitted, beginning, samples });
  }

  /** Goes on from the newest checkpoint. @param {{cpu?: boolean}} [options] */
  goOn({ cpu = false } = {}) {
    const { run } = this.#state;
    if (!run?.checkpoint || isActive(this.#state)) return;
    if (cpu) this.dispatch({ type: 'set', name: 'backend', text: 'cpu' });
    const id = ++this.#lastId;
    const { title, images, samples, checkpoint: { files } } = run;
    this.dispatch({ type: 'goOn', id });
    this.#connect({ type: 'learn', id, ...this.#device(), title, recipe: {}, images, beginning: { kind: 'checkpoint', files }, samples });
  }

  pause() {
    if (this.dispatch({ type: 'pause' })) this.#tell({ type: 'pause' });
  }

  continue() {
    if (this.dispatch({ type: 'continue' })) this.#tell({ type: 'continue' });
  }

  /** Ends the run after the step that is under way, and keeps what was learned. */
  stop() {
    const { run } = this.#state;
    if (!run || !isActive(this.#state)) return;
    if (run.activity === 'starting') {
      this.#end();
      this.dispatch(run.checkpoint ? { type: 'stopped' } : { type: 'leave' });
      // The one before it has not been replaced yet.
      if (!run.checkpoint) this.#openKept().catch((error) => console.warn(error));
    } else if (run.activity === 'paused') {
      if (run.frames.at(-1)?.step === run.step) this.#end();
      this.dispatch({ type: 'stopped' });
    } else if (run.activity !== 'stopping') {
      this.dispatch({ type: 'stop' });
      this.#tell({ type: 'pause' });
    }
  }

  #device() {
    return { backend: settingsOf(this.#state).backend, autotune: true };
  }

  /** Starts a worker for a run; one that was there before goes. @param {LearningCommand & {type: 'learn'}} command */
  #connect(command) {
    this.#end();
    const worker = new Worker(new URL('../engine/learning-worker.js', import.meta.url), { type: 'module' });
    this.#learner = worker;
    worker.onmessage = ({ data }) => {
      if (worker === this.#learner) this.#hear(data);
    };
    worker.onerror = (event) => {
      event.preventDefault();
      if (worker === this.#learner) this.#hear({ type: 'failed', id: command.id, message: event.message || 'The engine’s worker could not be loaded. Reload the page.' });
    };
    send(worker, command);
  }

  /** @param {LearningCommand} command */
  #tell(command) {
    if (this.#learner) send(this.#learner, command);
  }

  #end() {
    this.#learner?.terminate();
    this.#learner = null;
  }

  /** @param {import('../engine/learning-protocol.js').LearningEvent} event */
  #hear(event) {
    this.dispatch(event);
    const { run } = this.#state;
    if (event.type === 'checkpoint' && run) this.#keep(run, event);
    if (event.type === 'paused' && run?.activity === 'stopping') {
      this.dispatch({ type: 'stopped' });
      // Otherwise the worker has still to show what it stopped at.
      if (run.frames.at(-1)?.step === event.step) this.#end();
    }
    if (event.type === 'samples' && run?.checkpoint?.step === event.step && (run.activity === 'paused' || run.activity === 'stopped')) {
      this.#keep(run, run.checkpoint);
      if (run.activity === 'stopped') this.#end();
    }
    if (event.type === 'finished' || event.type === 'failed') this.#end();
    // What is kept has not been replaced by one that did not start.
    if (event.type === 'failed' && !run) this.#openKept().catch((error) => console.warn(error));
  }

  // ---- Looking at it --------------------------------------------------------------------------

  /** Shows the samples of a step, or follows the newest. @param {number|null} step */
  show(step) {
    this.dispatch({ type: 'show', step });
  }

  /** Plays the film of what was learned, from its beginning. */
  togglePlay() {
    clearInterval(this.#timer);
    const { playing, run } = this.#state;
    if (playing || !run || run.frames.length < 2) {
      this.dispatch({ type: 'play', playing: false });
      return;
    }
    const last = run.frames[run.frames.length - 1].step;
    const from = this.#state.shown === null || this.#state.shown >= last ? 0 : run.frames.findIndex(({ step }) => step === this.#state.shown);
    let index = Math.max(0, from);
    this.show(run.frames[index].step);
    this.dispatch({ type: 'play', playing: true });
    this.#timer = setInterval(() => {
      const frames = this.#state.run?.frames ?? [];
      index++;
      if (!this.#state.playing || index >= frames.length) {
        clearInterval(this.#timer);
        this.dispatch({ type: 'play', playing: false });
        if (index >= frames.length) this.show(null);
      } else {
        this.dispatch({ type: 'show', step: frames[index].step });
      }
    }, Math.min(PLAY.longest, Math.max(PLAY.shortest, PLAY.whole / run.frames.length)));
  }

  // ---- Keeping it -----------------------------------------------------------------------------

  /** Keeps a checkpoint with what is shown up to it. While one is being written, the newest waits. @param {Run} run @param {Checkpoint} checkpoint */
  #keep(run, checkpoint) {
    this.#keeping.next = () => this.#write(run, checkpoint);
    if (!this.#keeping.busy) this.#writing = this.#keepNext();
  }

  async #keepNext() {
    this.#keeping.busy = true;
    for (let write; (write = this.#keeping.next);) {
      this.#keeping.next = null;
      await write();
    }
    this.#keeping.busy = false;
  }

  /** @param {Run} run @param {Checkpoint} checkpoint */
  async #write({ name, title, recipe, samples, shape, frames, backend, curve, images }, { step, files, model }) {
    /** @type {Shown} */
    const shown = { recipe, samples, shape, backend, frames: frames.filter((frame) => frame.step <= step), losses: pointsUpTo(curve, step) };
    const first = this.#keptImagesOf !== name;
    const { pixels, ...rest } = images;
    try {
      const { run } = this.#state;
      const known = run?.name === name ? run.kept : null;
      await keepRun({ name, title, step, files, model, shown }, first ? { ...rest, pixels: new Blob([/** @type {Uint8Array<ArrayBuffer>} */ (pixels)]) } : null, { replaces: this.#replaces, known });
      this.#keptImagesOf = name;
      this.dispatch({ type: 'kept', name, step });
    } catch (error) {
      console.warn(error);
      const isFull = error instanceof DOMException && error.name === 'QuotaExceededError';
      this.dispatch({ type: 'unkept', message: isFull ? 'The browser has no more room for this page.' : `The browser does not keep it (${messageOf(error)}).` });
    }
  }

  /** Shows the run of an earlier visit, ready to go on. */
  async #openKept() {
    const found = await keptRunWithImages();
    if (!found || this.#state.run) return;
    const { kept, images } = found;
    const { recipe, samples, shape, frames, losses, backend } = /** @type {Shown} */ (kept.shown);
    const { name, title, step, files, model } = kept;
    const pixels = new Uint8Array(await images.pixels.arrayBuffer());
    const run = newRun({ id: ++this.#lastId, name, title, images: { ...images, pixels }, samples });
    this.#keptImagesOf = name;
    const isDone = recipe !== null && step >= recipe.steps;
    this.dispatch({ type: 'open', run: { ...run, recipe, shape, frames, backend, step, curve: curveOf(losses), checkpoint: { step, files, model }, kept: step, activity: isDone ? 'finished' : 'stopped' } });
  }

  /** Deletes the run, once the visitor is sure. @param {{sure?: boolean}} [options] */
  async forget({ sure = false } = {}) {
    const { run } = this.#state;
    if (!run) return;
    if (!sure) {
      this.dispatch({ type: 'notify', notice: { key: 'ask', answers: true, title: 'Delete what was taught?', text: `${run.title}, step ${run.step}, is gone then. Download it first if you want to have it later.`, actions: [{ label: 'Delete it', intent: { do: 'forget', sure: true } }] } });
      return;
    }
    try {
      this.#end();
      // What is still to be kept of it would bring it back.
      this.#keeping.next = null;
      await this.#writing;
      await forgetRun(run.name, run.kept);
      this.#keptImagesOf = '';
      this.dispatch({ type: 'forgotten' });
    } catch (error) {
      this.#sayWrong('It could not be deleted', messageOf(error));
    }
  }

  /** The model, what it goes on from and what it learned from, as a zip. */
  async download() {
    const { run } = this.#state;
    if (!run?.checkpoint) return;
    try {
      const archive = await archiveOf(run, run.checkpoint);
      const address = URL.createObjectURL(archive);
      const link = document.createElement('a');
      link.href = address;
      link.download = `${run.name}.zip`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(address), 60_000); // some browsers begin later
    } catch (error) {
      this.#sayWrong('It could not be downloaded', messageOf(error));
    }
  }

  /** What a button of a notice asks for. @param {Intent} intent */
  act(intent) {
    if (intent.do === 'teach') this.teach(intent);
    else if (intent.do === 'goOn') this.goOn(intent);
    else if (intent.do === 'forget') this.forget(intent);
    else this.readImages();
  }

  /** @param {string} key */
  dismiss(key) {
    this.dispatch({ type: 'dismiss', key });
  }
}

/** Nothing is known of a model whose files are somewhere else than usual. @type {import('./store/settings.js').Known} */
const UNKNOWN = { channels: 1, side: null, classes: null, names: [], nullClass: null };

/** What a model's small files say of it, if they are where they usually are. @param {Source} source @returns {Promise<import('./store/settings.js').Known|null>} */
async function knownOf(source) {
  const files = await openFiles(source, new AbortController().signal, true);
  const paths = source.kind === 'files' ? await files.list([], source) : [];
  // Files that were dropped are in a folder, or in several.
  const find = async (/** @type {string} */ path, deepest = Infinity) => files.text(paths.find((one) => `/${one}`.endsWith(`/${path}`) && one.split('/').length <= deepest) ?? path);
  // A network by itself has it on top; deeper are those of other parts.
  const config = await find(source.network ? `${source.network}/config.json` : 'unet/config.json') ?? await find('config.json', 2);
  const known = config && knownFrom(config, await find('card.json'));
  return known && Number.isInteger(known.channels) ? known : null;
}

/** Whether drawings are kept. @param {any} kept */
const isWhole = (kept) => Boolean(kept?.drawings && kept.aside);

/** @param {import('./store/state.js').Recipe} recipe */
const knownOfRecipe = ({ config, card }) => knownFrom(config, card);

/** @param {string} config @param {string|null} card @returns {import('./store/settings.js').Known} */
function knownFrom(config, card) {
  const { in_channels, sample_size, num_class_embeds } = JSON.parse(config);
  const { class_names = [], null_class = null } = JSON.parse(card ?? '{}');
  const side = Array.isArray(sample_size) ? Math.max(...sample_size) : sample_size;
  return { channels: in_channels, side: side ?? null, classes: num_class_embeds ?? null, names: class_names, nullClass: null_class };
}

/** @param {import('./store/state.js').Losses} losses */
const curveOf = ({ steps, losses }) => withPoints(emptyCurve(), Array.from(steps, (step, i) => ({ step, loss: losses[i] })));

/** A name for an address and a file. @param {string} title */
const slugOf = (title) => title.toLowerCase().replace(/[^a-z0-9]+/g, '-').replace(/^-|-$/g, '').split('-').slice(0, 2).join('-') || 'model';

