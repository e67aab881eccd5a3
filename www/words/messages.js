// What the page says of what it is doing, and of what went wrong.

/** What a stage is called, and which part of the progress bar it fills. @type {Record<import('../engine/protocol.js').LoadingStage, {text: string, from: number, to: number}>} */
export const STAGES = {
  engine: { text: 'Starting the engine', from: 0.02, to: 0.03 },
  gradients: { text: 'Downloading the engine with gradients', from: 0, to: 0.02 },
  download: { text: 'Downloading the model', from: 0.03, to: 0.5 },
  classifier: { text: 'Downloading the classifier', from: 0.5, to: 0.55 },
  compile: { text: 'Compiling the shaders', from: 0.55, to: 0.9 },
  parse: { text: 'Preparing the model', from: 0.9, to: 1 },
  check: { text: 'Checking the GPU', from: 0, to: 1 },
  replay: { text: 'Going back to where it forks', from: 0, to: 1 },
};

/** @param {unknown} error  what was thrown */
export const messageOf = (error) => ((error instanceof Error && error.message) || String(error));

/** @type {Record<Exclude<import('../engine/protocol.js').Stage, 'profile'>, string>} */
export const FAILURES = {
  engine: 'The engine did not start',
  load: 'The model did not load',
  start: 'The run did not start',
  run: 'The run was interrupted',
  check: 'The GPU could not be checked',
};
