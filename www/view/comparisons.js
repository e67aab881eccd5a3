// What comparisons are planned and shown with: a program of its own, which comes with its style when it is asked for.

import { ComparingForm } from './comparing.js';
import { ComparisonView } from './comparison.js';
import { addStyle } from './dom.js';

await addStyle(new URL('./comparisons.css', import.meta.url));

/** @param {import('../controller.js').Controller} controller @param {import('../store/state.js').State} state */
export const viewsOf = (controller, state) => [new ComparingForm(controller), new ComparisonView(controller, state)];
