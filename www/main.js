// The page: makes the store, the controller and the views, and wires them.

import { Controller } from './controller.js';
import { Keeper } from './keep/keeper.js';
import { UnderWay } from './keep/under-way.js';
import { SHIPPED } from './models/catalogue.js';
import { firstSource, readerOf } from './model/source.js';
import { keepGradients, setUpOffline, update } from './offline.js';
import { reduce } from './store/reduce.js';
import { missingFrom } from './store/beginning.js';
import { DEFAULTS, readQuery } from './store/settings.js';
import { initialState } from './store/state.js';
import { createStore } from './store/store.js';
import { Action } from './view/action.js';
import { BackendMenu } from './view/backend-menu.js';
import { CheckReport } from './view/check-report.js';
import { ClassChoice } from './view/class-choice.js';
import { Compare } from './view/compare.js';
import { ComparingButton } from './view/comparing-button.js';
import { ConditionRow } from './view/condition-row.js';
import { Fields } from './view/fields.js';
import { Gallery } from './view/gallery.js';
import { GuideRow } from './view/guide-row.js';
import { History } from './view/history.js';
import { showSymbols } from './view/maths.js';
import { Inspector } from './view/inspector.js';
import { ModelMenu } from './view/model-menu.js';
import { Leaf } from './view/leaf.js';
import { setUpNotes } from './view/notes.js';
import { Notices } from './view/notices.js';
import { PicturePanel } from './view/picture-panel.js';
import { Plots } from './view/plots.js';
import { Readouts } from './view/readouts.js';
import { SaveMenu } from './view/save-menu.js';
import { Scrubber } from './view/scrubber.js';
import { PAGE, setUpKeys, setUpPopovers, setUpTheme } from './view/shell.js';
import { TeachLink } from './view/teach-link.js';
import { Title } from './view/title.js';
import { setUpTooltips } from './view/tooltip.js';
import { Tour } from './view/tour.js';
import { Tree } from './view/tree.js';
import { UpdatePanel } from './view/update-panel.js';

const query = new URLSearchParams(location.search);
const { settings, given, problems } = readQuery(query);
const sourceOf = readerOf(query, new URL('.', document.baseURI).href);
const { source: wanted, problem } = firstSource(settings, sourceOf, DEFAULTS.model);
if (problem) problems.push(problem);
problems.push(...missingFrom(query));

const store = createStore(reduce, initialState({ settings, given, wanted, shipped: SHIPPED, shared: history.state?.shared ?? null }));
const controller = new Controller(store, { ...PAGE, update, bringBack: (entries) => keeper.bringBack(entries) }, sourceOf);
/** @type {Keeper} */
const keeper = new Keeper(store, controller);
store.dispatch({ type: 'open', problems });
new UnderWay(store);

showSymbols();
setUpTheme();
setUpPopovers();
setUpTooltips();
setUpNotes(() => import('./words/notes.js'));
setUpKeys(controller);

// The last one tells that all of the page shows what is under way.
const views = [
  new GuideRow(),
  new Fields(controller, store.state),
  new ClassChoice(controller),
  new ConditionRow(controller),
  new ModelMenu(controller),
  new BackendMenu(controller),
  new CheckReport(controller),
  new Notices(controller),
  new PicturePanel(controller),
  new Gallery(controller, store.state),
  new Inspector(controller, store.state),
  new Leaf(controller),
  new Scrubber(controller, store.state),
  new Tree(controller, store.state),
  new Compare(store.state),
  new ComparingButton(controller, store.state, () => import('./view/comparisons.js')),
  new Readouts(),
  new SaveMenu(controller, keeper),
  new History(keeper),
  new TeachLink(query.get('hub')),
  new Title(),
  new UpdatePanel(),
  new Plots(store.state),
  new Tour(),
  new Action(controller),
];
/** @param {import('./store/state.js').State} state */
const render = (state) => views.forEach((view) => view.render(state));
store.subscribe(render);
render(store.state);
controller.connect();
setUpOffline(controller);
store.subscribe(keepGradients);
