// The symbols of the papers, typeset, each with what it means in plain words.

import { make } from './dom.js';

/** @typedef {{name: string, build: () => (Node|string)[], tip: string}} Symbol  what it is called, and what it means */

/** @type {Record<string, Symbol>} */
const SYMBOLS = {
  xt: { name: 'x_t', build: () => ['x', sub('t')], tip: 'x_t: the picture as it is at this step, part image and part noise.' },
  clean: { name: 'x_0', build: () => ['x', sub('0')], tip: 'x_0: the picture without noise.' },
  noise: { name: 'ε', build: () => ['ε'], tip: 'ε: standard normal noise, drawn from the seed.' },
  xT: { name: 'x_T', build: () => ['x', sub('T')], tip: 'x_T: the noise that the picture would have come from.' },
  again: { name: 'x̃_0', build: () => [over('x', 'tilde'), sub('0')], tip: 'x̃_0: the picture that is made of the noise again.' },
  x0: { name: 'x̂0', build: () => [over('x', 'hat'), sub('0')], tip: 'x̂0: the finished picture as the model guesses it from this step. The guess gets sharper as the noise goes.' },
  eps: { name: 'ε̂', build: () => [over('ε', 'hat')], tip: 'ε̂: the noise that the model believes is in the picture. This is what the network computes.' },
  change: { name: 'Δx', build: () => ['Δx'], tip: 'Δx: what the last step changed in the picture, enlarged to be seen.' },
  gradient: { name: '∇ log p', build: () => ['∇ log p'], tip: '∇ log p: how each number of x_t would have to change for the classifier to become surer of the class.' },
  out: { name: 'model output', build: () => [over('x', 'hat')], tip: 'The network’s output: here it is the finished picture itself.' },
  v: { name: 'v̂', build: () => [over('v', 'hat')], tip: 'v̂: what the network computes here, a fixed blend of noise and picture.' },
  flow: { name: 'û', build: () => [over('u', 'hat')], tip: 'û: what the network computes here, noise minus picture: the way along which x_t = (1 − σ) x_0 + σ ε goes from one to the other.' },
  z: { name: 'z', build: () => ['z'], tip: 'z: fresh random noise, drawn from the seed. It keeps the sampler exploring; DDIM with η = 0 adds none.' },
  t: { name: 't', build: () => ['t'], tip: 't: the time the network is told. It was trained on 1000 of them: 999 is pure noise, 0 is almost clean.' },
  abar: { name: 'ᾱ_t', build: () => [over('α', 'bar'), sub('t')], tip: 'ᾱ_t: how much of the picture is left at this step, from 0 (only noise) to 1 (clean).' },
  sigma: { name: '√(1−ᾱ_t)', build: () => ['√(1−', over('α', 'bar'), sub('t'), ')'], tip: 'Noise level: the strength of the noise at this step, from 1 (only noise) to 0 (none).' },
  snr: { name: 'SNR', build: () => ['SNR'], tip: 'Signal-to-noise ratio. At 0 dB picture and noise are equally strong; below it noise wins.' },
};

// Those of equations that stand for no value of the run that is shown.
for (const [key, build] of /** @type {[string, () => (Node|string)[]][]} */ ([
  ['prev', () => [sub('t−1')]], ['abarPrev', () => [over('α', 'bar'), sub('t−1')]], ['zero', () => [sub('0')]], ['sub_t', () => [sub('t')]], ['T', () => [sub('T')]],
])) SYMBOLS[key] = { name: key, build, tip: '' };

// With guidance the network is asked twice, with and without the class, and leans towards the first.
for (const [key, letter, what] of [['eps', 'ε', 'noise'], ['out', 'x', 'finished picture'], ['v', 'v', 'output'], ['flow', 'u', 'way from picture to noise']]) {
  SYMBOLS[`${key}_guided`] = { name: `${letter}̃`, build: () => [over(letter, 'tilde')], tip: `${letter}̃: the ${what} after guidance, which stretches the difference that the class makes.` };
  SYMBOLS[`${key}_class`] = { name: `${letter}_c`, build: () => [letter, sub('c')], tip: `${letter} with c: the ${what} as the network sees it when it is told the class.` };
  SYMBOLS[`${key}_none`] = { name: `${letter}_∅`, build: () => [letter, sub('∅')], tip: `${letter} with ∅: the ${what} as the network sees it without a class.` };
}

const sub = (/** @type {string} */ text) => make('sub', {}, text);
// Hats and bars are drawn by the style sheet: combining characters sit badly in most fonts.
const over = (/** @type {string} */ letter, /** @type {'hat'|'bar'|'tilde'} */ mark) => make('span', { class: mark }, letter);

/** Typesets the symbols that stand in index.html. */
export function showSymbols() {
  for (const place of document.querySelectorAll(/** @type {'span'} */ ('[data-symbol]'))) place.append(symbol(place.dataset.symbol ?? ''));
  for (const place of document.querySelectorAll(/** @type {'dt'} */ ('[data-term]'))) place.append(term(place.dataset.term ?? ''));
}

/** A symbol without explanation, e.g. inside another control. @param {string} key */
export function symbol(key) {
  return make('span', { class: 'math' }, ...SYMBOLS[key].build());
}

/** A symbol that explains itself on hover, focus and touch. @param {string} key @param {string|null} [subscript]  replaces a "t" by its number */
export function term(key, subscript = null) {
  const { name, build, tip } = SYMBOLS[key];
  const typeset = make('span', { 'aria-hidden': 'true' }, ...build());
  const below = typeset.querySelector('sub');
  if (subscript !== null && below) below.textContent = subscript;
  const spoken = make('span', { class: 'unseen' }, subscript === null ? name : name.replace(/_t$/, `_${subscript}`));
  return make('button', { type: 'button', class: 'term math', 'data-tip': tip }, typeset, spoken);
}
