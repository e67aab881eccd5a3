// What a visitor can choose, and its two-way mapping to the page's address.

/** @typedef {import('../engine/protocol.js').Model} Model */

/**
 * @typedef {object} Settings
 * @property {string} sampler
 * @property {number} steps
 * @property {number} eta
 * @property {number} seed
 * @property {number|''} seedTo   another seed: the images go from the one's noise to the other's; nothing: they do not
 * @property {string} class        a class of the model, "any", or "mixed": each image the next class in turn; where classes are letters, a word
 * @property {string} classTo      another class: the images go from the one to the other; nothing: they do not
 * @property {'0'|'1'} typeface    whether the letters of a word all begin with the same noise
 * @property {'none'|'free'|'classifier'|'both'} guide  what guides a run: nothing, the network itself (classifier-free), a classifier, or both
 * @property {number} guidance     how strongly the class is followed; 1 is the model's own way
 * @property {number} scale        what the gradient of the classifier is multiplied by
 * @property {string} classAnd     another class that the classifier guides to beside the first; nothing: there is none
 * @property {number} weightAnd    its share, in percent
 * @property {'leading'|'trailing'|'linspace'} spacing
 * @property {'own'|'fixed_small'|'fixed_large'} variance  "own" is what the model's author chose
 * @property {number} count
 * @property {string} model        where the first model comes from
 * @property {string} network      a folder of the model's; nothing: the first there is
 * @property {string} variant      the name of its weights; nothing: the first there are
 * @property {'auto'|'gpu'|'cpu'} backend
 * @property {'auto'|'f32'|'f16'} precision
 * @property {'0'|'1'} autotune    whether the fastest kernels of a GPU are looked for
 * @property {'0'|'1'} lock        whether the seed is kept, where the address has one
 * @property {import('./recording.js').View} view  what the pictures show when the page opens
 */

/** The settings that have a field to type or choose in. @typedef {'sampler'|'steps'|'count'|'guide'|'guidance'|'scale'|'classAnd'|'weightAnd'|'eta'|'seed'|'seedTo'|'spacing'|'variance'} Field */

/** In the order in which their mistakes are told. @type {readonly Field[]} */
export const FIELD_NAMES = ['sampler', 'steps', 'count', 'guide', 'guidance', 'scale', 'classAnd', 'weightAnd', 'eta', 'seed', 'seedTo', 'spacing', 'variance'];

/** What of a state can be looked at. @type {readonly import('./recording.js').View[]} */
export const VIEWS = ['x', 'x0', 'eps', 'change', 'gradient'];

/** The ways to sample, by the engine's names. @type {Readonly<Record<string, string>>} */
export const SAMPLERS = Object.freeze({
  ddpm: 'DDPM',
  ddim: 'DDIM',
  pndm: 'PNDM',
  euler: 'Euler',
  euler_ancestral: 'Euler ancestral',
  heun: 'Heun',
  kdpm2: 'KDPM2',
  kdpm2_ancestral: 'KDPM2 ancestral',
  lms: 'LMS',
  dpm_solver: 'DPM-Solver++',
  dpm_solver_singlestep: 'DPM-Solver++ singlestep',
  deis: 'DEIS',
  unipc: 'UniPC',
  dpm_solver_sde: 'DPM-Solver SDE',
  lcm: 'LCM',
  tcd: 'TCD',
  consistency: 'Consistency',
  flow_euler: 'Flow Euler',
  flow_heun: 'Flow Heun',
  edm_euler: 'EDM Euler',
  edm_dpm_solver: 'EDM DPM-Solver++',
  score_sde_ve: 'Score SDE (VE)',
  ipndm: 'IPNDM',
});

/** Samplers that a setting does nothing for, or the only ones that it does something for. */
const WITH_ETA = ['ddim', 'tcd'];
const WITH_VARIANCE = ['ddpm'];
const WITHOUT_SPACING = ['dpm_solver_singlestep', 'lcm', 'tcd', 'consistency', 'flow_euler', 'flow_heun', 'edm_euler', 'edm_dpm_solver', 'score_sde_ve', 'ipndm'];

/**
 * Whether a setting changes what a sampler makes.
 * @param {'eta'|'variance'|'spacing'} name
 * @param {string} sampler
 * @param {string} [predictionType]  of the model
 */
export function isUseful(name, sampler, predictionType) {
  // Where a flow goes by its shift, no sampler asks for the spacing.
  if (name === 'spacing') return !WITHOUT_SPACING.includes(sampler) && predictionType !== 'flow_prediction';
  return (name === 'eta' ? WITH_ETA : WITH_VARIANCE).includes(sampler);
}

/** Samplers of models that were made to need few steps, and sampled otherwise would not do. */
const DISTILLED = ['lcm', 'tcd'];

/**
 * What the page samples a model with by itself: as it does any other, or as the model's author does where that is needed.
 * @param {Pick<Model, 'samplers'|'own_sampler'|'default_steps'>} model
 * @returns {{sampler: string, steps: number}}
 */
export function defaultSampling({ samplers, own_sampler: own, default_steps: steps }) {
  if (samplers.includes(DEFAULTS.sampler) && !DISTILLED.includes(own ?? '')) return { sampler: DEFAULTS.sampler, steps: DEFAULTS.steps };
  return { sampler: own ?? samplers[0], steps };
}

/**
 * More steps than times it was trained or distilled at no model takes, and more than a thousand nobody waits for.
 * @param {Pick<Model, 'num_train_timesteps'|'original_inference_steps'>} model
 * @param {string} sampler
 */
export const mostSteps = (model, sampler) => Math.min(1000, model.num_train_timesteps, DISTILLED.includes(sampler) ? model.original_inference_steps : Infinity);

/** η, which TCD calls γ, where nobody chose one: diffusers' defaults. @param {string} sampler */
export const defaultEta = (sampler) => (sampler === 'tcd' ? 0.3 : DEFAULTS.eta);

/** @type {Readonly<Settings>} */
export const DEFAULTS = Object.freeze({
  sampler: 'ddim',
  steps: 50,
  eta: 0,
  seed: 1234,
  seedTo: '',
  class: 'any',
  classTo: '',
  typeface: '0',
  guide: 'free',
  guidance: 1,
  scale: 3,
  classAnd: '',
  weightAnd: 50,
  spacing: 'trailing',
  variance: 'own',
  count: 16,
  model: 'models/letters',
  network: '',
  variant: '',
  backend: 'auto',
  precision: 'auto',
  autotune: '1',
  lock: '1',
  view: 'x',
});

/** How a value is read, undefined if it is not allowed, and what is allowed. @typedef {{read: (text: string) => any, allowed: string}} Reader */

/** @type {Record<keyof Settings, Reader>} */
const FIELDS = {
  sampler: choice(...Object.keys(SAMPLERS)),
  steps: whole(1, 1000),
  eta: decimal(0, 1),
  seed: whole(0, Number.MAX_SAFE_INTEGER),
  seedTo: orNothing(whole(0, Number.MAX_SAFE_INTEGER)),
  class: { read: (text) => text || undefined, allowed: 'a class of the model, any or mixed' },
  classTo: { read: (text) => text, allowed: 'a class of the model, or nothing' },
  typeface: choice('0', '1'),
  guide: choice('none', 'free', 'classifier', 'both'),
  guidance: decimal(0, 20),
  scale: decimal(0, 20),
  classAnd: { read: (text) => text, allowed: 'a class of the model, or nothing' },
  weightAnd: decimal(0, 100),
  spacing: choice('leading', 'trailing', 'linspace'),
  variance: choice('own', 'fixed_small', 'fixed_large'),
  count: whole(1, 64),
  model: { read: (text) => text.replace(/\/+$/, '') || undefined, allowed: 'owner/name or the address of a model folder' },
  network: { read: (text) => text || undefined, allowed: 'a folder of the model' },
  variant: { read: (text) => text || undefined, allowed: 'weights of the model, as fp16' },
  backend: choice('auto', 'gpu', 'cpu'),
  precision: choice('auto', 'f32', 'f16'),
  autotune: choice('0', '1'),
  lock: choice('0', '1'),
  view: choice(...VIEWS),
};
const NAMES = /** @type {(keyof Settings)[]} */ (Object.keys(FIELDS));

/** @param {...string} values @returns {Reader} */
function choice(...values) {
  return { read: (text) => (values.includes(text) ? text : undefined), allowed: values.join(' or ') };
}

/** @param {number} low @param {number} high @returns {Reader} */
function whole(low, high) {
  const limit = high === Number.MAX_SAFE_INTEGER ? '2⁵³ − 1' : high;
  return {
    read: (text) => (/^\d{1,16}$/.test(text) && Number(text) >= low && Number(text) <= high ? Number(text) : undefined),
    allowed: `a whole number from ${low} to ${limit}`,
  };
}

/** @param {Reader} reader @returns {Reader} */
function orNothing({ read, allowed }) {
  return { read: (text) => (text === '' ? '' : read(text)), allowed: `${allowed}, or nothing` };
}

/** @param {number} low @param {number} high @returns {Reader} */
function decimal(low, high) {
  return {
    read: (text) => (isDecimal(text) && Number(text) >= low && Number(text) <= high ? Number(text) : undefined),
    allowed: `a number from ${low} to ${high}`,
  };
}

/** @param {string} text */
const isDecimal = (text) => /^(\d+\.?\d*|\.\d+)(e-?\d+)?$/i.test(text);

/**
 * Reads one value as a person typed it.
 * @param {keyof Settings} name
 * @param {string} text
 * @returns {{value: any, problem: null} | {value: undefined, problem: string}}
 */
export function readField(name, text) {
  const value = FIELDS[name].read(text.trim());
  return value === undefined ? { value, problem: FIELDS[name].allowed } : { value, problem: null };
}

/**
 * Settings from the query of an address. Parameters it does not know are none of its business.
 * @param {URLSearchParams} query
 * @returns {{settings: Settings, given: Set<keyof Settings>, problems: string[]}}
 */
export function readQuery(query) {
  const settings = { ...DEFAULTS };
  /** @type {Set<keyof Settings>} */
  const given = new Set();
  const problems = [];
  for (const name of NAMES) {
    const text = query.get(name);
    if (text === null) continue;
    const { value, problem } = readField(name, text);
    if (problem) {
      problems.push(`${name}=${text} in the address is not ${problem}; ${DEFAULTS[name]} is used.`);
    } else {
      Object.assign(settings, { [name]: value });
      given.add(name);
    }
  }
  return { settings, given, problems };
}

/**
 * The query that reproduces these settings: the seed and whatever differs from the defaults.
 * Parameters that belong to others stay.
 * @param {Settings} settings
 * @param {URLSearchParams} before
 * @param {Settings} [defaults]  what the page takes by itself with this model
 */
export function writeQuery(settings, before, defaults = DEFAULTS) {
  const query = new URLSearchParams(before);
  for (const name of NAMES) {
    if (name === 'seed' || settings[name] !== defaults[name]) query.set(name, String(settings[name]));
    else query.delete(name);
  }
  // These are legal in a query and read better.
  return query.toString().replaceAll('%2F', '/').replaceAll('%3A', ':').replaceAll('%40', '@');
}

/** A seed short enough to read out loud. */
export function randomSeed() {
  return Math.floor(Math.random() * 1_000_000);
}
