// How a network is taught: what a visitor can choose, what it is otherwise, and the recipe that the engine gets.

/** @typedef {import('../../engine/learning-protocol.js').Images} Images */
/** @typedef {import('../../engine/learning-protocol.js').Recipe} Recipe */

/**
 * @typedef {object} Settings
 * @property {'v_prediction'|'epsilon'} prediction
 * @property {'squaredcos_cap_v2'|'linear'} schedule
 * @property {string} widths    channels of each level of a new network, with spaces between
 * @property {number} steps
 * @property {number} batch
 * @property {number} rate      the learning rate
 * @property {number} ema
 * @property {number} unlabelled  the share of labels that are left out
 * @property {'0'|'1'} mirror
 * @property {number} seed
 * @property {'auto'|'gpu'|'cpu'} backend
 */

/** The settings, in the order of their fields. @type {readonly (keyof Settings)[]} */
export const SETTING_NAMES = ['prediction', 'schedule', 'widths', 'steps', 'batch', 'rate', 'ema', 'unlabelled', 'seed', 'mirror', 'backend'];

/** What only a new network is asked: what has learned already is as it is. @type {readonly (keyof Settings)[]} */
export const OF_NEW = ['prediction', 'schedule', 'widths'];

/** The model that learns more: what of it is known beforehand. @typedef {{channels: number, side: number|null, classes: number|null, names: string[], nullClass: number|null}} Known */

/** What a number may be. @type {Record<'steps'|'batch'|'rate'|'ema'|'unlabelled'|'seed', {least: number, most: number, whole: boolean}>} */
const NUMBERS = {
  steps: { least: 1, most: 1_000_000, whole: true },
  batch: { least: 1, most: 256, whole: true },
  rate: { least: 1e-7, most: 0.1, whole: false },
  ema: { least: 0, most: 0.99999, whole: false },
  unlabelled: { least: 0, most: 0.9, whole: false },
  seed: { least: 0, most: Number.MAX_SAFE_INTEGER, whole: true },
};

/** @type {Record<string, readonly string[]>} */
const CHOICES = { prediction: ['v_prediction', 'epsilon'], schedule: ['squaredcos_cap_v2', 'linear'], mirror: ['0', '1'], backend: ['auto', 'gpu', 'cpu'] };

/** GroupNorm's groups, which every level's channels are made of. */
const GROUPS = 8;
const MOST_CHANNELS = 512;

/** The levels that a text names, or what it has to be. @param {string} text @returns {{widths: number[], problem: null} | {widths: null, problem: string}} */
export function readWidths(text) {
  const widths = text.trim().split(/[\s,]+/).map(Number);
  const fits = widths.length >= 2 && widths.length <= 4 && widths.every((width) => Number.isInteger(width) && width >= GROUPS && width <= MOST_CHANNELS && width % GROUPS === 0);
  return fits ? { widths, problem: null } : { widths: null, problem: `two to four multiples of ${GROUPS} up to ${MOST_CHANNELS}, as in 16 32 32` };
}

/**
 * The value that a text stands for, or what it has to be.
 * @param {keyof Settings} name
 * @param {string} text
 * @returns {{value: string|number, problem: null} | {value: undefined, problem: string}}
 */
export function readSetting(name, text) {
  if (name === 'widths') {
    const { widths, problem } = readWidths(text);
    return widths ? { value: widths.join(' '), problem: null } : { value: undefined, problem };
  }
  if (name in CHOICES) return CHOICES[name].includes(text) ? { value: text, problem: null } : { value: undefined, problem: CHOICES[name].join(' or ') };
  const { least, most, whole } = NUMBERS[/** @type {keyof typeof NUMBERS} */ (name)];
  const value = text.trim() === '' ? NaN : Number(text);
  if (value >= least && value <= most && (!whole || Number.isInteger(value))) return { value, problem: null };
  return { value: undefined, problem: `a ${whole ? 'whole ' : ''}number from ${least} to ${most === Number.MAX_SAFE_INTEGER ? '2⁵³ − 1' : most}` };
}

/**
 * What is taken where nothing was chosen.
 * @param {'nothing'|'model'|'checkpoint'} beginning
 * @param {import('./state.js').From} from
 * @param {{count: number, side: number, channels: number}} images  as far as they are known
 * @returns {Settings}
 */
export function defaultSettings(beginning, from, { count, side, channels }) {
  const few = from === 'drawings';
  const tunes = beginning === 'model';
  return {
    prediction: 'v_prediction',
    schedule: 'squaredcos_cap_v2',
    widths: side > 32 || channels > 1 ? '32 64 64' : '16 32 32',
    steps: tunes ? (few ? 80 : 300) : few ? 600 : 2000,
    batch: Math.max(1, Math.min(tunes && few ? 8 : 16, count)),
    rate: tunes ? (few ? 3e-4 : 2e-4) : 1e-3,
    // The fewer steps, the shorter what is averaged over.
    ema: few || tunes ? 0.95 : 0.995,
    unlabelled: 0.1,
    mirror: '0',
    seed: 0,
    backend: 'auto',
  };
}

/**
 * A U-Net for images of this size: one residual block a level, attention at the lowest.
 * @param {number[]} widths
 * @param {Images} images
 */
export function networkFor(widths, { shape: [, channels, height, width], labels, names }) {
  const divisor = 2 ** (widths.length - 1);
  const size = [height, width].map((side) => Math.ceil(side / divisor) * divisor);
  const last = widths.length - 1;
  return {
    _class_name: 'UNet2DModel',
    _diffusers_version: '0.34.0',
    sample_size: size[0] === size[1] ? size[0] : size,
    in_channels: channels,
    out_channels: channels,
    layers_per_block: 1,
    block_out_channels: widths,
    down_block_types: widths.map((_, level) => (level === last ? 'AttnDownBlock2D' : 'DownBlock2D')),
    up_block_types: widths.map((_, level) => (level === 0 ? 'AttnUpBlock2D' : 'UpBlock2D')),
    attention_head_dim: [32, 16, 8].find((dim) => widths[last] % dim === 0),
    norm_num_groups: GROUPS,
    ...(labels && { num_class_embeds: classCount({ labels, names }) + 1 }),
  };
}

/** @param {Pick<Images, 'labels'|'names'>} images */
export function classCount({ labels, names }) {
  let most = names.length;
  for (const label of labels ?? []) most = Math.max(most, label + 1);
  return most;
}

/**
 * diffusers' `DDPMScheduler`.
 * @param {Settings} settings
 */
const schedulerOf = ({ prediction, schedule }) => ({
  _class_name: 'DDPMScheduler',
  _diffusers_version: '0.34.0',
  num_train_timesteps: 1000,
  beta_start: 0.0001,
  beta_end: 0.02,
  beta_schedule: schedule,
  variance_type: 'fixed_small',
  clip_sample: true,
  clip_sample_range: 1,
  prediction_type: prediction,
  timestep_spacing: 'trailing',
  steps_offset: 0,
});

/**
 * The recipe of a network from nothing, or with `known` of a model that learns more: its own files tell the rest.
 * @param {Settings} settings
 * @param {Images} images
 * @param {string} title
 * @param {Known|null} known
 * @returns {Partial<Recipe>}
 */
export function recipeOf(settings, images, title, known) {
  const { widths } = readWidths(settings.widths);
  const classes = images.labels ? classCount(images) : 0;
  const learned = { seed: settings.seed, steps: settings.steps, batch: settings.batch, lr: settings.rate, ema: settings.ema, flip: settings.mirror === '1' };
  // A rate that rises first keeps the first steps from going too far.
  const rate = { lr_schedule: /** @type {const} */ ('cosine'), lr_warmup: Math.min(50, Math.floor(settings.steps / 10)), weight_decay: 0 };
  // Labels can be left out where one means "no class".
  const hasNull = known ? known.nullClass !== null && classes <= known.nullClass : classes > 0;
  const common = { ...learned, ...rate, label_dropout: hasNull && classes > 0 ? settings.unlabelled : 0 };
  if (known || !widths) return common;
  const card = { title, class_names: images.labels ? images.names : [], null_class: images.labels ? classes : null };
  return { ...common, config: JSON.stringify(networkFor(widths, images), null, 2), scheduler: JSON.stringify(schedulerOf(settings), null, 2), card: JSON.stringify(card, null, 2) };
}

/** What a recipe says of the settings. @param {Recipe} recipe @returns {Partial<Settings>} */
export function settingsIn({ config, scheduler, steps, batch, lr, ema, label_dropout, flip, seed }) {
  const { block_out_channels = [] } = JSON.parse(config);
  const { prediction_type = 'epsilon', beta_schedule = 'linear' } = JSON.parse(scheduler);
  return { steps, batch, rate: lr, ema, unlabelled: label_dropout, mirror: flip ? '1' : '0', seed, widths: block_out_channels.join(' '), prediction: prediction_type, schedule: beta_schedule };
}

/** Images of each run of samples, and evaluations for each. */
export const SAMPLES = { count: 16, steps: 16, share: 0.2, seed: 1234 };

/**
 * The samples that show what was learned: always from the same noise, the classes in turn.
 * @param {Images} images
 * @param {Known|null} known
 * @returns {import('../../engine/learning-protocol.js').Samples}
 */
export function samplesOf(images, known) {
  const { count, steps, share, seed } = SAMPLES;
  const classes = known?.classes ? (images.labels?.length ? [...new Set(images.labels)].sort((a, b) => a - b) : [known.nullClass ?? 0]) : images.labels ? Array.from({ length: classCount(images) }, (_, i) => i) : [];
  const class_labels = classes.length ? Array.from({ length: count }, (_, i) => classes[i % classes.length]) : null;
  return { share, settings: { sampler: 'ddim', steps, eta: 0, seed, class_labels, guidance: 1, count, timestep_spacing: 'trailing', variance_type: null } };
}
