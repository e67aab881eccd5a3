// "This step": the arithmetic of one update with its numbers, and where it sits in the run.

import { makerOf } from '../store/forking.js';
import { guidanceOf, guidedOf } from '../store/guide.js';
import { selectedRun } from '../store/select.js';
import { number, time } from '../words/format.js';
import { byId, changes, make } from './dom.js';
import { term } from './maths.js';

/** @typedef {import('../engine/protocol.js').Row} Row */
/** The coefficients of a row. @typedef {'x0_from_x'|'x0_from_model'|'prev_from_x'|'prev_from_model'|'prev_from_x0'|'prev_from_noise'} Coefficient */
/** A line of the formulas. @typedef {(Node|string)[]} Line */

/** What the model computes. @type {Record<import('../pkg/denoise.js').PredictionType, string>} */
const OUTPUT = { epsilon: 'eps', sample: 'out', v_prediction: 'v', flow_prediction: 'flow' };

export class UpdatePanel {
  #title = byId('update-title');
  #formulas = byId('formulas');
  #changed = changes();
  /** @type {Row[]} */
  #rows = [];
  #output = 'eps';
  #guidance = 1;
  /** By a classifier, which shifts DDPM's mean, or else the noise that is seen. @type {{scale: number, shifts: 'mean'|'noise'}|null} */
  #guided = null;
  /** The coefficients that any step of the run uses: the others' terms are left out throughout. @type {Set<string>} */
  #used = new Set();
  #shown = -1;

  /** @param {import('../store/state.js').State} state */
  render(state) {
    const run = selectedRun(state);
    const step = run?.recording.states[state.selection.index].step ?? 0;
    const maker = run && makerOf(state, run, step);
    // What will guide the first run has its room already.
    const { guidance, guided, settings } = maker ?? { guidance: state.classes ? guidanceOf(state, state.settings) : 1, guided: guidedOf(state, state.settings), settings: state.settings };
    if (this.#changed(run?.id, maker?.id, guidance, guided?.scale, settings.sampler)) {
      this.#guidance = guidance;
      this.#guided = guided && { scale: guided.scale, shifts: settings.sampler === 'ddpm' ? 'mean' : 'noise' };
      if (maker) this.#begin(maker.recording, maker.model);
      else this.#forget();
    }
    if (run) this.#show(step);
  }

  /** Before a run there are no numbers, so letters stand for them. */
  #forget() {
    this.#output = 'eps';
    this.#title.textContent = '';
    const output = () => term(this.#isGuided ? 'eps_guided' : 'eps');
    const next = term('xt', 't−1');
    this.#write(
      [term('x0'), ' = a ', term('xt'), ' − b ', output()],
      [next, ' = c ', term('x0'), ' + d ', output(), ' + σ ', term('z')],
      this.#lean(output),
      this.#push(null, next, output),
    );
  }

  /** @param {import('../store/recording.js').Recording} recording @param {import('../engine/protocol.js').Model} model */
  #begin({ rows }, { prediction_type: predicts }) {
    this.#rows = rows;
    this.#output = OUTPUT[predicts];
    this.#used = new Set(rows.flatMap((row) => Object.entries(row).filter(([, value]) => value).map(([name]) => name)));
    this.#shown = -1;
  }

  /** Shows the update that leads from state `step` to the next; for the last state, the one that made it. @param {number} step */
  #show(step) {
    const i = Math.min(step, this.#rows.length - 1);
    if (i === this.#shown) return;
    this.#shown = i;
    const row = this.#rows[i];
    const from = time(row.timestep);
    const to = time(this.#rows[i + 1]?.timestep ?? 0);
    this.#title.textContent = `${i} to ${i + 1} · t ${from} → ${to}`;

    const output = () => term(this.#isGuided ? `${this.#output}_guided` : this.#output);
    const x0 = this.#sum([
      ['x0_from_x', term('xt', from)],
      ['x0_from_model', output()],
    ], row);
    const aside = (/** @type {boolean} */ useful, /** @type {string} */ text) => (useful ? [make('span', { class: 'aside' }, text)] : []);
    const clip = [...aside(row.clip !== null, `, kept within ±${row.clip}`), ...aside(row.thresholded, ', kept within what most of it is')];
    const next = term('xt', i + 1 === this.#rows.length ? '0' : to);
    const prev = this.#sum([
      ['prev_from_x', term('xt', from)],
      ['prev_from_x0', term('x0')],
      ['prev_from_model', output()],
      ['prev_from_noise', term('z')],
    ], row);
    // Multistep methods also use what earlier evaluations found.
    const earlier = [...aside(row.prev_from_kept.some(Boolean), ' + earlier steps'), ...aside(row.learned_sigma, ', the noise as strong as the model says')];
    this.#write([term('x0'), ' = ', ...x0, ...clip], [next, ' = ', ...prev, ...earlier], this.#lean(output), this.#push(row, next, this.#output === 'eps' ? output : () => term('eps')));
  }

  get #isGuided() {
    return this.#guidance !== 1;
  }

  /** ε_∅ + w (ε_c − ε_∅) @param {() => Node} output @returns {Line|null} */
  #lean(output) {
    if (!this.#isGuided) return null;
    const [of, none] = [term(`${this.#output}_class`), () => term(`${this.#output}_none`)];
    const product = make('span', { class: 'product' }, make('span', { class: 'number' }, String(this.#guidance)), ' (', of, ' − ', none(), ')');
    return [output(), ' = ', none(), ' + ', product];
  }

  /** What the gradient of a classifier adds. @param {Row|null} row  null: of no step yet @param {Node} next  what the step leads to @param {() => Node} noise  as it is before @returns {Line|null} */
  #push(row, next, noise) {
    if (!this.#guided) return null;
    const { scale, shifts } = this.#guided;
    const factor = (/** @type {string} */ text) => make('span', { class: 'number' }, text);
    const product = (/** @type {(Node|string)[]} */ ...first) => make('span', { class: 'product' }, ...first, ' · ', factor(String(scale)), ' ', term('gradient'));
    if (shifts === 'noise') return [noise(), ' ← ', noise(), ' − ', product(row ? factor(number(Math.sqrt(1 - row.alpha_cumprod))) : '√(1 − ᾱ)')];
    // Σ is the variance of the noise that the step adds.
    return [next.cloneNode(true), ' ← ', next.cloneNode(true), ' + ', product(!row || row.learned_sigma ? 'Σ' : factor(number(row.prev_from_noise ** 2)))];
  }

  /** What the pictures show of a model that computes something else than the noise. @returns {Line} */
  #besides() {
    return this.#output === 'v' || this.#output === 'flow' ? ['; ', term('eps'), ' follows from ', term(this.#output)] : [];
  }

  /** @param {Line} guess @param {Line} move @param {Line|null} [lean] @param {Line|null} [push] */
  #write(guess, move, lean = null, push = null) {
    const pushed = push ? [make('p', { class: 'says' }, 'Push (', make('a', { href: 'https://arxiv.org/abs/2105.05233', target: '_blank', rel: 'noopener' }, `Dhariwal and Nichol 2021, Algorithm ${this.#guided?.shifts === 'mean' ? 1 : 2}`), ')'), make('p', { class: 'formula' }, ...push)] : [];
    const isAfter = this.#guided?.shifts === 'mean';
    this.#formulas.replaceChildren(
      ...(lean ? [make('p', { class: 'says' }, 'Lean towards the class'), make('p', { class: 'formula' }, ...lean)] : []),
      ...(isAfter ? [] : pushed),
      make('p', { class: 'says' }, 'Guess the finished picture', ...this.#besides()),
      make('p', { class: 'formula' }, ...guess),
      make('p', { class: 'says' }, 'Go one step towards it'),
      make('p', { class: 'formula' }, ...move),
      ...(isAfter ? pushed : []),
    );
  }

  /** @param {[Coefficient, Node][]} terms @param {Row} row @returns {Line} */
  #sum(terms, row) {
    const used = terms.filter(([name]) => this.#used.has(name));
    return used.flatMap(([name, symbol], i) => {
      const value = row[name];
      const sign = value < 0 ? (i ? ' − ' : '−') : i ? ' + ' : '';
      // A coefficient and its symbol stay on one line.
      return [sign, make('span', { class: 'product' }, make('span', { class: 'number' }, number(Math.abs(value))), ' ', symbol)];
    });
  }
}
