// A tour of four steps for those who are here for the first time. It says what is where and leaves the rest of the page as usable
// as it is: it takes neither focus nor keys, and goes when it is told to, for good.

import { byId, make } from './dom.js';

/** What is shown: where, or where that is hidden elsewhere, and what is said of it. @type {{targets: string[], title: string, text: string}[]} */
const STOPS = [
  { targets: ['grid'], title: 'Pictures out of noise', text: 'A neural network made these from nothing but random numbers. It can make more, here in your browser.' },
  { targets: ['class-row', 'generate'], title: 'Make your own', text: 'Choose what it should be and press Generate. You can watch it come out of the noise, step by step.' },
  { targets: ['scrubber'], title: 'Go back in time', text: 'After a run, drag the strip: pure noise on the left, the finished picture on the right. Fork here goes on from any step with other settings.' },
  { targets: ['this-step-title'], title: 'What was computed', text: 'Every step is a little arithmetic, with the real numbers. A question mark explains what stands beside it.' },
];
const KEY = 'tour';

/** @returns {boolean} whether somebody has seen it; where nothing can be kept, nobody is bothered with it */
function seen() {
  try {
    return localStorage.getItem(KEY) !== null;
  } catch {
    return true;
  }
}

export class Tour {
  #bubble = byId('tour');
  #stop = -1;
  /** A comparison hides what it speaks of. */
  #isHidden = false;
  /** There is an error to be read. */
  #isWrong = false;
  /** Whoever has asked for it has seen the error. */
  #isAsked = false;

  constructor() {
    byId('tour-start').addEventListener('click', () => {
      byId('help').hidePopover();
      this.#isAsked = true;
      this.#go(0);
    });
    const place = () => this.#place();
    addEventListener('resize', place);
    addEventListener('scroll', place, { passive: true, capture: true });
    // It ends before anything else does: a run goes on.
    document.addEventListener('keydown', (event) => {
      if (event.key !== 'Escape' || this.#bubble.hidden || event.isComposing || document.querySelector(':popover-open')) return;
      event.preventDefault();
      this.#end();
    }, { capture: true });
    // Whoever does what it says has understood.
    byId('generate').addEventListener('click', () => {
      if (this.#stop === 1) this.#go(2);
    });
  }

  get #waits() {
    return this.#isHidden || (this.#isWrong && !this.#isAsked);
  }

  /** Begins, if there is somebody who has not seen it and something to be seen. @param {import('../store/state.js').State} state */
  render({ loaded, comparing: { shown }, notices }) {
    const before = this.#waits;
    this.#isHidden = shown;
    this.#isWrong = notices.some(({ error }) => error);
    if (this.#waits !== before && this.#stop in STOPS) this.#show();
    if (loaded && this.#stop === -1 && !seen()) this.#go(0);
  }

  /** @param {number} stop */
  #go(stop) {
    this.#leave();
    this.#stop = stop;
    const at = STOPS[stop];
    if (!at) return this.#end();
    const last = stop === STOPS.length - 1;
    const [skip, next] = [make('button', { type: 'button', class: 'quiet' }, 'Skip'), make('button', { type: 'button', class: 'secondary' }, last ? 'Done' : 'Next')];
    skip.addEventListener('click', () => this.#end());
    next.addEventListener('click', () => {
      this.#go(this.#stop + 1);
      this.#bubble.querySelector('.secondary')?.focus();
    });
    this.#bubble.replaceChildren(
      make('h2', { id: 'tour-title' }, at.title),
      make('p', {}, at.text),
      make('div', { class: 'actions' }, make('span', { class: 'hint' }, `${stop + 1} of ${STOPS.length}`), ...(last ? [] : [skip]), next),
    );
    this.#show();
  }

  #show() {
    if (this.#waits) return this.#leave();
    const target = this.#target();
    target.classList.add('toured');
    target.scrollIntoView({ block: 'nearest' });
    this.#bubble.hidden = false;
    this.#place();
  }

  #leave() {
    if (this.#bubble.contains(document.activeElement)) byId('generate').focus({ preventScroll: true });
    document.querySelector('.toured')?.classList.remove('toured');
    this.#bubble.hidden = true;
  }

  /** What is spoken of. @returns {HTMLElement} */
  #target() {
    const { targets } = STOPS[this.#stop];
    return byId(targets.find((id) => !byId(id).hidden) ?? targets[0]);
  }

  #end() {
    this.#leave();
    this.#stop = STOPS.length;
    try {
      localStorage.setItem(KEY, 'seen');
    } catch {
      // Without storage it is shown when it is asked for.
    }
  }

  /** Beside what it speaks of: under it where there is room, else over it, else at its lower edge. */
  #place() {
    if (this.#bubble.hidden) return;
    const box = this.#target().getBoundingClientRect();
    const { offsetWidth: width, offsetHeight: height } = this.#bubble;
    const [wide, high] = [document.documentElement.clientWidth, innerHeight];
    const left = Math.max(8, Math.min(box.left + box.width / 2 - width / 2, wide - width - 8));
    const room = { under: box.bottom + 12, over: box.top - height - 12, within: Math.min(box.bottom, high) - height - 16 };
    const top = room.under + height < high - 8 ? room.under : room.over > 8 ? room.over : room.within;
    this.#bubble.style.setProperty('--left', `${left}px`);
    // On the screen in any case, so that it can be answered wherever the page was scrolled to.
    this.#bubble.style.setProperty('--top', `${Math.max(8, Math.min(top, high - height - 8))}px`);
  }
}
