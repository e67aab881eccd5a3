// The numbers of the state that is shown.

import { selectedRun } from '../store/select.js';
import { alphaBar, number, snr, time } from '../words/format.js';
import { byId, changes } from './dom.js';

export class Readouts {
  #changed = changes();

  /** @param {import('../store/state.js').State} state */
  render(state) {
    const run = selectedRun(state);
    const shown = run?.recording.states[state.selection.index];
    if (!this.#changed(run?.id, shown?.step)) return;
    if (!run || !shown) {
      for (const readout of document.querySelectorAll('.readouts dd[id]')) readout.textContent = '–';
      return;
    }
    const { rows, steps } = run.recording;
    const row = rows.at(shown.step); // none after the last
    const alpha = row?.alpha_cumprod ?? 1;
    byId('at-step').textContent = `${shown.step} of ${steps}`;
    byId('at-t').textContent = row ? time(row.timestep) : 'done';
    byId('at-alpha').textContent = alphaBar(alpha);
    byId('at-sigma').textContent = number(Math.sqrt(1 - alpha));
    byId('at-snr').textContent = snr(alpha);
  }
}
