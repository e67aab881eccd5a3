// Does what the visitor asks for: commands to the worker, the page's address, timers, files and the clipboard. Everything
// that reaches out of the page's state is here, and what comes of it goes into the store as an action.

import { listen, send } from './engine/protocol.js';
import { isPicture, recipeIn } from './keep/picture-file.js';
import { classLabels } from './model/classes.js';
import { isCondition, readCondition } from './model/condition.js';
import { imageOfData } from './model/data.js';
import { isDrawable, readPicture } from './model/image.js';
import { mayBeModel, sourceOfFiles } from './model/source.js';
import { unzip } from './model/zip.js';
import { keepLater } from './offline.js';
import { endsOnCpu, forkPoint, forkProblem, goesOnByItself, originOf, rivalOf } from './store/forking.js';
import { beginningProblem, inversionProblem, isOfInversion } from './store/picture.js';
import { needsGradients, usesClassifier } from './store/guide.js';
import { goesOn, newestTrial, planOf, planProblem } from './store/comparing.js';
import { conditionProblem, conditionShape, imageCount, isSpelling, loadOptions, phase, problemOf, queryOf, selectedRun, wordProblem } from './store/select.js';
import { DEFAULTS, FIELD_NAMES, randomSeed } from './store/settings.js';
import { reportText, verdict } from './words/gpu-check.js';
import { FAILURES, messageOf } from './words/messages.js';

/** @typedef {import('./engine/protocol.js').Event} Event */
/** @typedef {import('./model/source.js').Found} Found */
/** @typedef {import('./model/source.js').Source} Source */
/** @typedef {import('./store/phase.js').Next} Next */
/** @typedef {import('./store/reduce.js').Action} Action */
/** @typedef {import('./store/settings.js').Field} Field */
/** @typedef {import('./store/settings.js').Settings} Settings */
/** @typedef {import('./store/state.js').State} State */

/** How long a run is played at most, in milliseconds, and the limits of how long a step is shown. */
const PLAY = { whole: 4000, shortest: 30, longest: 200 };
/** How long an image is shown where they are leafed through. */
const EACH = 250;

/** What a worker says, each of which is an action. @type {Event['type'][]} */
const EVENTS = ['backend', 'progress', 'preview', 'model', 'started', 'frame', 'snapshot', 'finished', 'checked', 'arranged', 'stored', 'failed'];

/**
 * What is done to the page itself.
 * @typedef {object} Page
 * @property {(id: string) => void} focus
 * @property {(id: string) => void} openPopover
 * @property {(id: string) => void} closePopover
 * @property {() => void} openModelMenu  where another model can be named
 * @property {(entries: readonly import('./store/state.js').Entry[]) => void} bringBack  what was removed from the history
 * @property {() => void} update  begins anew with a newer version of the page
 */

export class Controller {
  #store;
  #page;
  #sourceOf;
  /** @type {Worker|null} */
  #worker = null;
  /** Of the last command. */
  #lastId = 0;
  /** The step to show once a run that is made again is done. @type {number|null} */
  #stepToShow = null;
  #timer = 0;
  /** That the timer has. */
  #speed = 1;
  /** Of images that are leafed through. */
  #leafing = 0;

  /**
   * @param {import('./store/store.js').Store<State, Action>} store
   * @param {Page} page
   * @param {(text: string) => import('./model/source.js').Named} sourceOf  reads what names a model
   */
  constructor(store, page, sourceOf) {
    this.#store = store;
    this.#page = page;
    this.#sourceOf = sourceOf;
    store.subscribe((state) => this.#keepTime(state));
    store.subscribe((state) => this.#keepLeafing(state));
  }

  get #state() {
    return this.#store.state;
  }

  /** Takes into the state what needs nothing else. @param {Action} action @returns {boolean} whether it changed anything */
  dispatch(action) {
    return this.#store.dispatch(action);
  }

  // ---- The engine -----------------------------------------------------------------------------

  /** Starts a worker with a fresh engine; an old one, whatever state it is in, goes. @param {Next} [next] */
  connect(next = null) {
    this.#worker?.terminate();
    const worker = new Worker(new URL('./engine/worker.js', import.meta.url), { type: 'module' });
    this.#worker = worker;
    worker.addEventListener('error', (event) => {
      event.preventDefault();
      const during = this.#state.backend ? 'run' : 'engine';
      this.#hear({ type: 'failed', id: null, during, message: event.message || 'The engine’s worker could not be loaded. Reload the page.' });
    });
    listen(worker, Object.fromEntries(EVENTS.map((type) => [type, (/** @type {Event} */ event) => this.#hear(event)])));
    const id = ++this.#lastId;
    // Once it is there, the engine with gradients stays; if it did not come, another may do without.
    const { gradients: had, backend } = this.#state;
    const gradients = (had && backend !== null) || usesClassifier(this.#state.settings.guide);
    this.dispatch({ type: 'connect', id, next, gradients });
    const { settings, wanted, arranging } = this.#state;
    this.#send({ type: 'open', id, backend: settings.backend, source: wanted, options: loadOptions(this.#state), autotune: settings.autotune === '1', gradients });
    // The worker that was asked before has gone.
    if (arranging) this.#send({ type: 'arrange', ...arranging });
  }

  /** @param {import('./engine/protocol.js').Command} command */
  #send(command) {
    if (this.#worker) send(this.#worker, command);
  }

  /** Takes what the worker says into the state, and does what follows from it. @param {Event} event */
  #hear(event) {
    const before = this.#state;
    if (!this.dispatch({ ...event, at: performance.now() })) return;
    if (event.type === 'model') {
      if (before.loaded) this.#writeAddress();
      if (event.id !== before.phase.loading) return;
      if (needsGradients(this.#state)) return this.connect(before.phase.next);
      if (before.phase.next === 'generate') this.generate();
      if (before.phase.next === 'check') this.check();
      if (before.phase.next === 'resume') this.#resume();
    }
    if (event.type === 'failed' && goesOnByItself(this.#state)) this.connect('resume');
    else if (event.type === 'failed' && endsOnCpu(this.#state)) this.changeBackend('cpu', 'resume');
    if (event.type === 'arranged' && event.problem === null && before.arranging) this.load(sourceOfFiles(event.name, before.arranging.files));
    if (event.type === 'checked') this.#act(event.report);
    // The end of a run that makes way for what is restored is not that of the run that is waited for.
    if (event.type === 'finished' && phase(this.#state) !== 'loading') this.#showStep();
    if (event.type === 'failed') this.#stepToShow = null;
    if (event.type === 'finished' && isOfInversion(before, event)) this.#invert('again');
    if (goesOn(this.#state)) this.compareOn();
    if (['finished', 'failed', 'checked'].includes(event.type)) this.#bringGradients();
  }

  /** The engine that computes gradients, as soon as they are asked for and nothing is under way. */
  #bringGradients() {
    if (phase(this.#state) === 'ready' && needsGradients(this.#state)) this.connect();
  }

  /** @param {'gpu'|'cpu'} kind @param {Next} [next] */
  changeBackend(kind, next = null) {
    this.#page.closePopover('backend-menu');
    this.dispatch({ type: 'chooseBackend', kind });
    this.#writeAddress();
    this.connect(next);
  }

  // ---- Models ---------------------------------------------------------------------------------

  /**
   * @param {Source} source
   * @param {Next} [next]  what to do once it is loaded
   * @param {import('./store/state.js').Restoring|null} [restoring]  the settings it is then to have
   */
  load(source, next = null, restoring = null) {
    this.dispatch({ type: 'want', source, restoring });
    if (this.#state.phase.lost) return this.connect(next);
    const id = ++this.#lastId;
    this.dispatch({ type: 'load', id, next });
    if (this.#state.phase.activity === 'stopping') this.#send({ type: 'stop' });
    this.#send({ type: 'load', id, source, options: loadOptions(this.#state) });
  }

  /** Loads a model by its name or address. @param {string} text @returns {string|null} what is wrong with it */
  loadNamed(text) {
    const { source, problem } = this.#sourceOf(text);
    if (source) this.load(source);
    return problem;
  }

  /**
   * Files of the visitor's. One picture with its settings inside brings them back; any other is what runs can begin with, where
   * that is open, or what the model takes beside x_t, if it takes anything; all else may be a model.
   * @param {Found[] | Promise<Found[]>} given
   */
  async takeFiles(given) {
    try {
      let files = await given;
      if (files.length === 1 && /\.zip$/i.test(files[0].path)) files = await this.#unpack(files[0].file);
      if (files.length === 1 && isPicture(files[0].file) && await this.#takePicture(files[0].file)) return;
      if (conditionShape(this.#state) && files.length === 1 && isCondition(files[0].file)) return await this.takeCondition(files[0].file);
      if (files.length === 1 && !mayBeModel(files[0].path)) return void this.dispatch({ type: 'noModel', message: `${files[0].path} is neither a model’s folder nor a picture.` });
      const id = ++this.#lastId;
      this.dispatch({ type: 'arrange', id, files });
      this.#send({ type: 'arrange', id, files });
    } catch (error) {
      this.dispatch({ type: 'noModel', message: messageOf(error) });
    }
  }

  /** @param {File} archive */
  async #unpack(archive) {
    const { status: { text: before } } = this.#state;
    const say = (/** @type {string} */ status) => {
      if (this.#state.phase.activity === 'idle') this.dispatch({ type: 'announce', text: this.#state.announcement.text, status });
    };
    let told = '';
    try {
      return await unzip(archive, (done, total) => say(told = `Unpacking · ${done}/${total}`));
    } finally {
      if (told && this.#state.status.text === told) say(before);
    }
  }

  /** @param {File} file @returns {Promise<boolean>} whether that is all there is to do with it */
  async #takePicture(file) {
    const isConditioned = Boolean(conditionShape(this.#state));
    const refuse = (/** @type {string} */ text) => this.dispatch({ type: 'refuse', title: 'The picture is not taken', text });
    /** @type {import('./store/recipe.js').Recipe|null} */
    let recipe;
    try {
      recipe = await recipeIn(file);
    } catch (error) {
      if (this.#state.picture.open) return this.takePicture(file);
      if (isConditioned) return false;
      refuse(`${file.name} ${messageOf(error)}. Give a PNG as it was saved on this page.`);
      return true;
    }
    if (recipe) this.restore({ recipe, preview: null, name: file.name }, 'generate');
    else if (this.#state.picture.open) return this.takePicture(file);
    else if (isConditioned) return false;
    else refuse(`${file.name} has no settings of Denoise in it. A PNG that was saved on this page has (a picture of a comparison has none); screenshots, copies through the clipboard and what other programs saved again have not. To begin a run with it, open Picture in the settings first.`);
    return true;
  }

  /** A picture that runs can begin with. @param {File} file @returns {Promise<true>} once it is taken, or refused */
  async takePicture(file) {
    const { shape } = this.#state.picture;
    const refuse = (/** @type {string} */ text) => this.dispatch({ type: 'refuse', title: 'The picture is not taken', text });
    if (!shape) refuse('No model is loaded yet, whose size it is to have. Load one first.');
    else if (!isDrawable(shape)) refuse(`This model’s images have ${shape.channels} channels; a picture has 1 or 3.`);
    else {
      try {
        const levels = await readPicture(file, shape);
        this.change({ do: 'take', levels, shape, name: file.name });
      } catch (error) {
        refuse(messageOf(error));
      }
    }
    return true;
  }

  /** One of the images that the model has learned from, of the chosen image's class. */
  async takeFromData() {
    const { loaded, picture: { shape }, settings, selection } = this.#state;
    if (!loaded || !shape) return;
    const count = imageCount(this.#state);
    const labels = classLabels(loaded.model, settings.class, count);
    try {
      const image = await imageOfData(loaded.source, labels?.[Math.min(selection.image, labels.length - 1)] ?? -1, shape);
      if (this.#state.loaded === loaded) await this.takePicture(image);
    } catch (error) {
      this.dispatch({ type: 'refuse', title: 'The picture is not taken', text: messageOf(error) });
    }
  }

  /** @param {File} file */
  async takeCondition(file) {
    const { loaded } = this.#state;
    const shape = conditionShape(this.#state);
    if (!shape) return;
    try {
      const condition = await readCondition(file, shape);
      if (this.#state.loaded?.id === loaded?.id) this.dispatch({ type: 'takeCondition', condition }); // otherwise it was for another model
    } catch (error) {
      this.dispatch({ type: 'refuse', title: 'The condition is not taken', text: messageOf(error) });
    }
  }

  /** Asks which models are stored, after removing one of them or, with null, all. @param {string|null} [remove] */
  listStored(remove) {
    const id = ++this.#lastId;
    this.dispatch({ type: 'list', id });
    this.#send({ type: 'stored', id, remove });
  }

  // ---- Going back ------------------------------------------------------------------------------

  /** Has the settings that a picture was made with, and its model. @param {import('./store/state.js').Restoring} restoring @param {Next} next  what to do then */
  restore(restoring, next) {
    const { loaded } = this.#state;
    const { model: { id, title, network, variant }, settings, precision, step } = restoring.recipe;
    const fail = (/** @type {string} */ text) => this.dispatch({ type: 'refuse', title: 'The settings are not taken', text });
    let source = loaded?.source;
    if (id !== null) {
      const named = this.#sourceOf(id);
      if (!named.source) return fail(`${restoring.name} was made with the model ${id}. ${named.problem}`);
      source = { ...named.source, network: network || null, variant: variant || null };
    } else if (source?.kind !== 'files' || loaded?.title !== title) {
      return fail(`${restoring.name} was made with “${title}”, a model from somebody’s own files. Drop its folder on the page, and then the picture again.`);
    }
    const isLoaded = source && loaded && ['id', 'network', 'variant'].every((part) => /** @type {any} */ (source)[part] === /** @type {any} */ (loaded.source)[part]);
    const fits = loaded?.model.precision === precision || settings.precision === this.#state.settings.precision;
    const now = phase(this.#state);
    // To look at what was kept no run has to end.
    this.#stepToShow = next === 'generate' ? step : null;
    const can = now === 'ready' || (next === null && now !== 'loading' && now !== 'broken');
    if (!can || !isLoaded || !fits) return source && this.load(source, next, restoring);
    this.dispatch({ type: 'restore', ...restoring });
    this.#writeAddress();
    if (next === 'generate') this.generate();
    else this.#bringGradients();
  }

  /** The step that a picture was saved at. */
  #showStep() {
    const run = selectedRun(this.#state);
    const index = run ? run.recording.states.findIndex(({ step }) => step === this.#stepToShow) : -1;
    this.#stepToShow = null;
    if (run && index >= 0 && index < run.recording.newest) this.dispatch({ type: 'scrub', index });
  }

  reset() {
    if (this.dispatch({ type: 'reset' })) this.#writeAddress();
  }

  // ---- Running and checking -------------------------------------------------------------------

  generate() {
    const state = this.#state;
    // The engine or its model is gone; the button does what it says by bringing them back first.
    if (phase(state) === 'broken') return this.load(state.wanted, 'generate');
    if (phase(state) !== 'ready') return;
    if (!this.#mayBegin()) return;
    if (needsGradients(state)) return this.connect('generate');
    this.dispatch({ type: 'generate', id: ++this.#lastId, seed: randomSeed() });
    this.#begin();
  }

  /** Begins a run that goes on from what is shown. */
  fork() {
    const state = this.#state;
    const point = forkPoint(state);
    const problem = forkProblem(state);
    if (problem) return this.dispatch({ type: 'announce', text: problem });
    if (needsGradients(state)) return this.#bringGradients();
    if (!point || !this.#mayBegin(imageCount(state, point.run.settings))) return;
    this.dispatch({ type: 'fork', id: ++this.#lastId, seed: randomSeed() });
    this.#begin();
  }

  /** Goes on with the run that was interrupted. */
  #resume() {
    if (this.dispatch({ type: 'resume', id: ++this.#lastId })) this.#begin();
  }

  /** Whether a run can begin with what is in the fields; if not, the page says why. @param {number} [count]  of images */
  #mayBegin(count) {
    const state = this.#state;
    const needed = conditionProblem(state, count);
    if (needed) {
      this.dispatch({ type: 'refuse', title: FAILURES.start, text: needed });
      this.#page.focus('condition');
      return false;
    }
    const beginning = count === undefined ? beginningProblem(state) : ''; // what goes on from a run begins there
    if (beginning) {
      this.dispatch({ type: 'refuse', title: FAILURES.start, text: beginning });
      this.#page.focus('picture-choose');
      return false;
    }
    const wrong = wordProblem(state) ? 'word' : FIELD_NAMES.find((name) => problemOf(state, name));
    if (wrong) this.#page.focus(wrong);
    return !wrong;
  }

  /** Has the worker begin the run that is asked for, or go on with it. */
  #begin() {
    const { starting, snapshot } = this.#state;
    if (!starting) return;
    const { id, run, request } = starting;
    this.#writeAddress();
    this.#send({ type: 'generate', id, run, settings: request, origin: originOf(this.#state, starting), snapshot: snapshot?.run === run ? snapshot.snapshot : null });
  }

  /** Looks for the noise of the picture. */
  findNoise() {
    const problem = inversionProblem(this.#state);
    if (problem) this.dispatch({ type: 'announce', text: problem });
    else this.#invert('find');
  }

  /** Goes up to the noise of the picture, or makes the picture of it again. @param {'find'|'again'} what */
  #invert(what) {
    const id = ++this.#lastId;
    if (!this.dispatch({ type: 'picture', change: { do: what, id } })) return;
    const { inversion } = this.#state.picture;
    if (inversion) this.#send({ type: 'generate', id, settings: inversion.request });
  }

  /** Computes what the picture costs, with what is fetched for it now. */
  async measurePicture() {
    try {
      const { measure } = await import('./measuring/main.js');
      await measure(this.#store, this);
      keepLater();
    } catch (error) {
      this.dispatch({ type: 'refuse', title: 'What it costs could not be fetched', text: `${messageOf(error)} Check the connection, and reload the page.` });
    }
  }

  /** Begins the runs of a comparison as it is planned. */
  compare() {
    const state = this.#state;
    const plan = planOf(state);
    if (!plan || planProblem(state)) return;
    if (needsGradients(state)) return this.#bringGradients();
    if (this.#mayBegin(isSpelling(state) ? imageCount(state) : Number(plan.count))) this.#beginTrial('compare');
  }

  /** Goes on with those that are not made yet. */
  compareOn() {
    this.#beginTrial('compareOn');
  }

  /** Makes what the runs of a comparison are measured by. */
  measure() {
    this.#beginTrial('measure');
  }

  /** @param {'compare'|'compareOn'|'measure'} type */
  #beginTrial(type) {
    const id = ++this.#lastId;
    this.dispatch({ type, id });
    const trial = newestTrial(this.#state);
    if (trial?.command === id) this.#send({ type: 'generate', id, settings: trial.request });
  }

  /** @param {number} trial  whose settings are to be in the fields */
  takeTrial(trial) {
    if (this.dispatch({ type: 'takeTrial', trial })) this.#writeAddress();
  }

  stop() {
    if (this.dispatch({ type: 'stop' })) this.#send({ type: 'stop' });
  }

  /** The button: begins a run, or ends the one that is under way. */
  generateOrStop() {
    const { activity } = this.#state.phase;
    if (activity === 'starting' || activity === 'running') this.stop();
    else this.generate();
  }

  check() {
    const id = ++this.#lastId;
    if (this.dispatch({ type: 'check', id })) this.#send({ type: 'check', id });
  }

  /** What follows from a check. @param {import('./engine/protocol.js').CheckReport} report */
  #act(report) {
    if (report.ok && phase(this.#state) === 'loading') return; // another model is on its way
    const { title, text } = verdict(report);
    this.dispatch({ type: 'announce', text: `${title}. ${text}` });
    if (report.ok) return this.#page.openPopover('backend-menu');
    this.changeBackend('cpu');
    this.dispatch({ type: 'notify', notice: { key: 'gpu', error: true, title, text: `${text} The CPU takes over. Please pass the report on, so that this can be mended.`, actions: [
      { label: 'Copy report', intent: { do: 'copyReport' } },
      { label: 'Show report', intent: { do: 'showReport' } },
    ] } });
  }

  async copyReport() {
    const { checked } = this.#state;
    if (!checked) return;
    const text = reportText(checked);
    try {
      await navigator.clipboard.writeText(text);
      this.dispatch({ type: 'announce', text: 'The report was copied.', status: 'Report copied' });
    } catch (error) {
      this.dispatch({ type: 'notify', notice: { key: 'copy', text: `The report could not be copied (${messageOf(error)}). It is in the browser’s console.` } });
      console.info(text);
    }
  }

  // ---- Choosing -------------------------------------------------------------------------------

  /** @param {Field} field @param {string} text  that was typed there */
  type(field, text) {
    this.dispatch({ type: 'type', field, text });
    if (!problemOf(this.#state, field)) this.#writeAddress();
    if (field === 'guide') this.#bringGradients();
  }

  /** @param {string} name */
  chooseClass(name) {
    if (this.dispatch({ type: 'chooseClass', name })) this.#writeAddress();
  }

  /** @param {string} text  that was typed as a word */
  typeWord(text) {
    this.dispatch({ type: 'typeWord', text });
    if (!wordProblem(this.#state)) this.#writeAddress();
  }

  /** @param {string} name  of the class that the images go to, or nothing */
  chooseClassTo(name) {
    if (this.dispatch({ type: 'chooseClassTo', name })) this.#writeAddress();
  }

  /** @param {import('./store/picture.js').Change} change  to the picture */
  change(change) {
    const { begins } = this.#state.picture;
    if (this.dispatch({ type: 'picture', change }) && this.#state.picture.begins !== begins) this.#writeAddress();
  }

  /** @param {boolean} one  typeface for all letters of a word */
  chooseTypeface(one) {
    this.dispatch({ type: 'chooseTypeface', one });
    this.#writeAddress();
  }

  /** @param {Settings['precision']} precision */
  choosePrecision(precision) {
    this.dispatch({ type: 'choosePrecision', precision });
    this.load(this.#state.wanted);
    this.#writeAddress();
  }

  /** @param {number} run  to be looked at */
  chooseRun(run) {
    if (this.dispatch({ type: 'chooseRun', run })) this.#writeAddress();
  }

  /** Compares the selected run with others from now on, or ends that. */
  togglePin() {
    const { pinned, runs } = this.#state;
    if (pinned !== null || runs.order.length > 1) this.dispatch({ type: 'pin', run: pinned === null ? rivalOf(this.#state) : null });
  }

  /** @param {boolean} keep */
  keepSeed(keep) {
    this.dispatch({ type: 'keepSeed', keep });
    this.#writeAddress();
  }

  /** @param {import('./store/recording.js').View} view */
  chooseView(view) {
    this.dispatch({ type: 'chooseView', view });
    this.#writeAddress();
  }

  drawSeed() {
    this.dispatch({ type: 'drawSeed', seed: randomSeed() });
    this.#writeAddress();
  }

  /** Puts the settings into the page's address, and beside it whether they are still those of somebody's link: this page's own are not when it is reloaded. */
  #writeAddress() {
    if (this.#state.loaded) history.replaceState({ shared: this.#state.shared }, '', `?${queryOf(this.#state, location.search)}`);
  }

  /** The clock of a run that is played. @param {State} state */
  #keepTime(state) {
    const { selection: { playing }, playback: { speed } } = state;
    if (playing === (this.#timer !== 0) && speed === this.#speed) return;
    clearInterval(this.#timer);
    this.#timer = 0;
    this.#speed = speed;
    if (!playing) return;
    const each = PLAY.whole / (selectedRun(state)?.recording.newest ?? 1);
    this.#timer = window.setInterval(() => this.dispatch({ type: 'playOn' }), Math.min(PLAY.longest, Math.max(PLAY.shortest, each)) / speed);
  }

  /** The clock of images that are leafed through. @param {State} state */
  #keepLeafing({ selection: { leafing } }) {
    if ((leafing !== 0) === (this.#leafing !== 0)) return;
    clearInterval(this.#leafing);
    this.#leafing = leafing ? window.setInterval(() => this.dispatch({ type: 'leafOn' }), EACH) : 0;
  }

  /** @param {string} key  of a notice */
  dismiss(key) {
    this.dispatch({ type: 'dismiss', key });
  }

  /** What a notice's button asks for. @param {import('./store/state.js').Intent} intent */
  act(intent) {
    switch (intent.do) {
      case 'withoutClassifier':
        this.dispatch({ type: 'type', field: 'guide', text: DEFAULTS.guide });
        return this.connect(intent.next);
      case 'connect': return this.connect(intent.next);
      case 'load': return this.load(intent.source);
      case 'loadNamed': return this.loadNamed(intent.name);
      case 'loadFewer':
        this.dispatch({ type: 'chooseCount', count: intent.count });
        return this.load(intent.source);
      case 'changeBackend': return this.changeBackend(intent.kind, intent.next);
      case 'openModelMenu': return this.#page.openModelMenu();
      case 'showReport': return this.#page.openPopover('backend-menu');
      case 'copyReport': return this.copyReport();
      case 'makeAgain':
        this.dismiss('underWay');
        return this.restore({ recipe: intent.recipe, preview: null, name: intent.name }, 'generate');
      case 'bringBack':
        this.dismiss('removed');
        return this.#page.bringBack(intent.entries);
      case 'update': return this.#page.update();
    }
  }
}
