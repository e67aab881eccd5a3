// The Teach page: a network learns, and one watches. Makes the store, the controller and the views, and wires them.

import { readerOf } from '../model/source.js';
import { createStore } from '../store/store.js';
import { byId } from '../view/dom.js';
import { Notices } from '../view/notices.js';
import { setUpTheme } from '../view/shell.js';
import { setUpTooltips } from '../view/tooltip.js';
import { Controller } from './controller.js';
import { reduce } from './store/reduce.js';
import { initialState } from './store/state.js';
import { Action } from './view/action.js';
import { Boxes } from './view/boxes.js';
import { Chart } from './view/chart.js';
import { setUpExplaining } from './view/explain.js';
import { Film } from './view/film.js';
import { Learns } from './view/learns.js';
import { Order } from './view/order.js';
import { Result } from './view/result.js';
import { Setup } from './view/setup.js';
import { setUpDropping } from './view/dropping.js';

const query = new URLSearchParams(location.search);
const store = createStore(reduce, initialState());
const controller = new Controller(store, readerOf(query, new URL('.', document.baseURI).href));

setUpTheme();
setUpExplaining();
setUpTooltips();
setUpDropping(controller);

// The last one tells that all of the page shows what is under way.
const views = [new Setup(controller), new Learns(), new Boxes(controller), new Film(controller), new Order(), new Chart(), new Result(controller), new Notices(controller, byId('teach')), new Action(controller)];
/** @param {import('./store/state.js').State} state */
const render = (state) => views.forEach((view) => view.render(state));
store.subscribe(render);
render(store.state);
controller.open(query);
