// What the settings mean that do not say it themselves: a button with a question mark beside each, and the tooltip.

import { byId, make } from '../../view/dom.js';

/** @type {Readonly<Partial<Record<keyof import('../store/settings.js').Settings, string>>>} */
const MEANINGS = {
  prediction: 'What the network makes of a noisy image: the noise ε in it, or v, a mixture of noise and image that is steadier where there is almost only noise.',
  schedule: 'How noise replaces the image over the timesteps t: cosine leaves more of it for longer; linear β is what DDPM began with.',
  widths: 'How many planes of features the network has at each size, from the whole image down, each half as large as the one before. More of them learn more, and more slowly.',
  ema: 'What makes the samples, and is kept, is a moving average of the weights. So much of itself it keeps at each step.',
  unlabelled: 'The share of images that are shown without their class. So the network learns to do without one too, which guidance needs.',
};

export function setUpExplaining() {
  for (const [name, meaning] of Object.entries(MEANINGS)) {
    const [label] = byId(name).labels;
    const both = make('span', { class: 'asked' });
    label.replaceWith(both);
    both.append(label, make('button', { type: 'button', class: 'why', 'data-tip': meaning, 'aria-label': `What “${label.textContent}” means` }, '?'));
  }
}
