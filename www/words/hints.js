// What the settings are called, and what they do in a line: told while a field is in use.

/** @type {Record<import('../store/settings.js').Field, string>} */
export const LABELS = { sampler: 'Sampler', steps: 'Steps', count: 'Images', guide: 'Guided by', guidance: 'Guidance', scale: 'Scale', classAnd: 'and', weightAnd: 'Share', eta: 'η', seed: 'Seed', seedTo: 'Seed to', spacing: 'Spacing', variance: 'Variance' };
/** What a field does, by its name: told while it has the focus. @type {Record<string, string>} */
export const HINTS = {
  steps: 'Steps: evaluations of the model from noise to picture. More are slower and often better.',
  count: 'Images: how many are made at once, up to 64.',
  guidance: 'Guidance: how strongly the class counts. 1 is the model’s own way; more is clearer, less varied.',
  guide: 'Guided by: the network itself (classifier-free), a classifier’s gradient, or both.',
  scale: 'Scale s: how strongly the gradient of the classifier pulls. 0 is not at all; 2 to 4 are a good beginning.',
  classAnd: 'And: a second class, to which the classifier pulls at the same time.',
  weightAnd: 'Share: how much of the target the second class is.',
  eta: 'η: fresh noise in each step; 0 none, 1 as much as there can be.',
  seed: 'Seed: where the noise comes from. The same seed and settings make the same pictures.',
  seedTo: 'To another seed: the images are a strip from the one’s noise to the other’s, along a great circle.',
  spacing: 'Spacing: which of the trained times the steps fall on.',
  variance: 'Variance: how much fresh noise DDPM adds in a step.',
};
/** @type {Record<string, string>} */
export const ABOUT_SAMPLERS = {
  ddpm: 'DDPM: the process as it was trained, with fresh noise in each step. Wants many steps.',
  ddim: 'DDIM: adds no noise on the way when η is 0. Good from 25 steps on.',
  pndm: 'PNDM: blends the last four steps. The first few are evaluated more than once.',
  euler: 'Euler: one straight step after the other, in noise levels.',
  euler_ancestral: 'Euler ancestral: a little too far each time, then fresh noise.',
  heun: 'Heun: looks ahead and averages, with two evaluations a step.',
  kdpm2: 'KDPM2: looks half way ahead, with two evaluations a step.',
  kdpm2_ancestral: 'KDPM2 ancestral: half way ahead, then fresh noise.',
  lms: 'LMS: blends the last four steps.',
  dpm_solver: 'DPM-Solver++: bends with the last two steps. Good from 15 steps on.',
  dpm_solver_singlestep: 'DPM-Solver++ singlestep: higher orders within a few evaluations each.',
  deis: 'DEIS: integrates the last steps exactly. Good from 15 steps on.',
  unipc: 'UniPC: corrects each step once the next is known. Good from 10 steps on.',
  dpm_solver_sde: 'DPM-Solver SDE: half way ahead with fresh noise, two evaluations a step.',
  lcm: 'LCM: guesses the picture, adds noise, guesses again. For models distilled to it; 4 steps do.',
  tcd: 'TCD: jumps along the path, with as much fresh noise as η says. For models distilled to it.',
  consistency: 'Consistency: one step is a picture already; more of them add noise and guess again.',
  flow_euler: 'Flow Euler: one straight step after the other, from noise to picture.',
  flow_heun: 'Flow Heun: looks ahead and averages, with two evaluations a step.',
  edm_euler: 'EDM Euler: one straight step after the other, in the noise levels of EDM.',
  edm_dpm_solver: 'EDM DPM-Solver++: bends with the last two steps, in the noise levels of EDM.',
  score_sde_ve: 'Score SDE: predicts, then corrects with fresh noise. Wants very many steps.',
  ipndm: 'IPNDM: blends the last four steps. For models of v-diffusion.',
};
