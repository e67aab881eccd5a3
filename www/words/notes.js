// What a control does, for those who ask: in plain words, with the equation and where it comes from. It comes with the first
// question; what each note is called stands at its button.

/** A formula: text, and symbols by their names in view/maths.js. @typedef {(string | [string])[]} Formula */
/** @typedef {{text: string, formula: Formula, paper: string, url: string}} Note */

const DDPM = { paper: 'Ho et al. 2020', url: 'https://arxiv.org/abs/2006.11239' };
const DDIM = { paper: 'Song et al. 2020', url: 'https://arxiv.org/abs/2010.02502' };

/** @type {Record<string, Note>} */
export const NOTES = {
  class: {
    text: 'The network was told during training what each picture shows. Tell it the same now, and the noise becomes that. “any” is without a class: it makes whatever it likes. “mixed” gives each image the next class in turn.',
    formula: [['eps'], ' = ε(', ['xt'], ', t, c)'], paper: 'Ho and Salimans 2022, section 3', url: 'https://arxiv.org/abs/2207.12598',
  },
  sampler: {
    text: 'All samplers ask the same network how much noise there is. They differ in what they do with the answer: DDPM adds a little fresh noise after each step, DDIM adds none, and multistep samplers remember earlier answers to get along with fewer steps.',
    formula: ['x', ['prev'], ' = √', ['abarPrev'], ' ', ['x0'], ' + √(1−', ['abarPrev'], '−σ²) ', ['eps'], ' + σ ', ['z']], ...DDIM, paper: 'Song et al. 2020, equation 12',
  },
  steps: {
    text: 'From noise to picture in this many steps. Few are fast and coarse, since each has to take away much at once; from some number on nothing gets better.',
    formula: [['xt'], ' → x', ['prev'], ' → … → x', ['zero']], ...DDPM, paper: 'Ho et al. 2020, Algorithm 2',
  },
  seed: {
    text: 'Every picture begins as a sheet of random numbers. The seed says which: the same seed and settings make the same picture again, on any day.',
    formula: ['x', ['T'], ' ~ N(0, 1)'], ...DDPM, paper: 'Ho et al. 2020, Algorithm 2',
  },
  guidance: {
    text: 'The network is asked twice, with the class and without, and the difference is enlarged. More guidance makes clearer examples of the class and fewer different ones; 1 is the network’s own way.',
    formula: [['eps_guided'], ' = ', ['eps_none'], ' + w (', ['eps_class'], ' − ', ['eps_none'], ')'], paper: 'Ho and Salimans 2022, equation 6', url: 'https://arxiv.org/abs/2207.12598',
  },
  guide: {
    text: 'A second network, a classifier of noisy pictures, lies beside this model. At each step its gradient tells how the picture would have to change to look more like the class, and the step goes that way too, s times as far. With “classifier” alone the first network is told no class; with “both” it is. The target may be a share of two classes. “classifier-free” needs no second network.',
    formula: [['eps'], ' ← ', ['eps'], ' − √(1−', ['abar'], ') s ', ['gradient']], paper: 'Dhariwal and Nichol 2021, Algorithm 2', url: 'https://arxiv.org/abs/2105.05233',
  },
  eta: {
    text: 'At 0 the way from noise to picture is fixed. At 1 each step adds as much fresh noise as DDPM does. Between them is everything between.',
    formula: ['σ = η √((1−', ['abarPrev'], ') / (1−', ['abar'], ')) √(1−', ['abar'], '/', ['abarPrev'], ')'], ...DDIM, paper: 'Song et al. 2020, equation 16',
  },
  spacing: {
    text: 'The network knows as many times as it was trained on, mostly 1000. With fewer steps some are left out: “trailing” begins at the last, which is pure noise; “leading” ends at the first; “linspace” has both ends.',
    formula: ['t = T, T − T/N, …, T/N'], paper: 'Lin et al. 2023, table 2', url: 'https://arxiv.org/abs/2305.08891',
  },
  variance: {
    text: 'Either all that the forward process added in this step, or what is known about it once the picture is guessed. Both are right at their ends; some models learn what lies between.',
    formula: ['σ² = β', ['sub_t'], '  or  (1−', ['abarPrev'], ')/(1−', ['abar'], ') β', ['sub_t']], ...DDPM, paper: 'Ho et al. 2020, section 3.2',
  },
  view: {
    text: 'The picture as it is, part image and part noise; the finished picture that the network expects from there; the noise that it sees; and what the last step changed. Where a classifier guides the run, its gradient is a fifth.',
    formula: [['xt'], ' = √', ['abar'], ' ', ['x0'], ' + √(1−', ['abar'], ') ', ['eps']], ...DDPM, paper: 'Ho et al. 2020, equation 4',
  },
  update: {
    text: 'First the finished picture is guessed; then the picture moves a little towards it. These are the numbers that were used for the step that is shown. In the plots below, Mixture is how much picture and how much noise there is at each step, and Spread is how often each number occurs in the picture, beside the bell curve of pure noise. Belief is what the classifier that guides a run takes the picture for.',
    formula: ['x', ['prev'], ' = (', ['xt'], ' − β', ['sub_t'], '/√(1−', ['abar'], ') ', ['eps'], ')/√α', ['sub_t'], ' + σ', ['sub_t'], ' ', ['z']], ...DDPM, paper: 'Ho et al. 2020, Algorithm 2',
  },
  fork: {
    text: 'What comes next depends on the picture as it is now, and on nothing before. So a run can be left at any step and go on with another seed, class, guidance or sampler.',
    formula: ['p(x', ['prev'], ' | ', ['xt'], ')'], ...DDPM, paper: 'Ho et al. 2020, equation 1',
  },
};
