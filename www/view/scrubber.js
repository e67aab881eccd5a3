// The scrubber: a native range input over a strip that is drawn from the run itself.

import { imageData } from './dom.js';

const THUMB = 14; // width of the slider's thumb in style.css
const TICKS = 9; // height under the pictures
const PLAY_SECONDS = 4;

export class Scrubber {
  /** Whether the slider moves along with the newest step of a run. */
  #following = true;
  #recording = null;
  #placeholder = null;
  #timer = 0;
  #paintRequested = false;
  #pictures = document.createElement('canvas');

  /**
   * @param {{slider: HTMLInputElement, bubble: HTMLElement, strip: HTMLCanvasElement, play: HTMLButtonElement}} parts
   * @param {{onmove: () => void, picture: (state: import('../store/recording.js').State) => Uint8Array|null, chosen: () => number}} page
   *   `picture` and `chosen` tell which view of which image the strip shows.
   */
  constructor({ slider, bubble, strip, play }, { onmove, picture, chosen }) {
    this.slider = slider;
    this.bubble = bubble;
    this.strip = strip;
    this.play = play;
    this.onmove = onmove;
    this.picture = picture;
    this.chosen = chosen;
    slider.addEventListener('input', () => {
      this.pause();
      this.#moveTo(Number(slider.value));
    });
    slider.addEventListener('keydown', (event) => this.#key(event));
    play.addEventListener('click', () => this.togglePlay());
    new ResizeObserver(() => this.paint()).observe(strip);
    this.#label();
  }

  get index() {
    return Number(this.slider.value);
  }

  get playing() {
    return this.#timer !== 0;
  }

  /** Shows a noise → image gradient; there is nothing to scrub yet. */
  showPlaceholder(noise, image) {
    this.#placeholder = { noise, image };
    this.paint();
  }

  /** The recording is gone, e.g. because its model is. */
  forget() {
    this.pause();
    this.#recording = null;
    this.slider.value = 0;
    this.slider.disabled = true;
    this.play.disabled = true;
    this.#label();
  }

  /** @param {import('../store/recording.js').Recording} recording  a run that begins */
  begin(recording) {
    this.pause();
    this.#recording = recording;
    this.#following = true;
    this.slider.max = recording.end;
    this.slider.value = 0;
    this.slider.disabled = false;
    this.play.disabled = true;
    this.#label();
    this.paint();
  }

  /** The recording has grown. */
  grow() {
    this.play.disabled = false;
    if (this.#following) this.slider.value = this.#recording.newest;
    this.#label();
    this.paint();
  }

  /** From the beginning if the slider is at the end; also during a run, which it may catch up with. */
  togglePlay() {
    if (this.playing) return this.pause();
    const { newest } = this.#recording ?? {};
    if (!newest) return;
    if (this.index >= newest) this.#moveTo(0);
    const pause = Math.min(200, Math.max(30, (PLAY_SECONDS * 1000) / newest));
    this.#timer = setInterval(() => {
      const { newest: end } = this.#recording;
      this.#moveTo(Math.min(this.index + 1, end));
      if (this.index >= end) this.pause();
    }, pause);
    this.#labelPlay();
  }

  pause() {
    clearInterval(this.#timer);
    this.#timer = 0;
    this.#labelPlay();
  }

  /** Repaints the strip at the next frame, however often it is asked to. */
  paint() {
    if (this.#paintRequested) return;
    this.#paintRequested = true;
    requestAnimationFrame(() => {
      this.#paintRequested = false;
      this.#paintStrip();
    });
  }

  #moveTo(index) {
    const { newest } = this.#recording;
    this.slider.value = Math.min(index, newest); // what is not made yet cannot be shown
    this.#following = this.index === newest;
    this.#label();
    this.onmove();
  }

  // Arrows, Home and End are the browser's own; browsers disagree about the pages.
  #key(event) {
    const page = Math.max(1, Math.round(this.slider.max / 10));
    const move = { PageUp: page, PageDown: -page }[event.key];
    if (!move || !this.#recording) return;
    event.preventDefault();
    this.pause();
    this.#moveTo(Math.max(0, this.index + move));
  }

  #label() {
    const { states, steps } = this.#recording ?? {};
    const step = states?.[this.index].step ?? 0;
    this.bubble.textContent = states ? step : '';
    this.bubble.style.setProperty('--at', this.slider.max > 0 ? this.index / this.slider.max : 0);
    this.slider.setAttribute('aria-valuetext', states ? `step ${step} of ${steps}` : 'nothing recorded yet');
  }

  #labelPlay() {
    const label = this.playing ? 'Pause' : 'Play';
    if (this.play.getAttribute('aria-label') === label) return;
    this.play.setAttribute('aria-label', label);
    this.play.classList.toggle('playing', this.playing);
  }

  #paintStrip() {
    const { clientWidth, clientHeight } = this.strip;
    if (!clientWidth) return;
    const scale = devicePixelRatio;
    const width = Math.round(clientWidth * scale);
    const height = Math.round(clientHeight * scale);
    if (this.strip.width !== width || this.strip.height !== height) Object.assign(this.strip, { width, height });
    const context = this.strip.getContext('2d');
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, clientWidth, clientHeight);
    context.imageSmoothingEnabled = false;

    const size = clientHeight - TICKS;
    context.save();
    context.beginPath();
    context.roundRect(0, 0, clientWidth, size, 8);
    context.clip();
    // As many tiles as fit when each is at most a little cropped; the first is noise, the last the end.
    const tiles = Math.max(2, Math.ceil(clientWidth / size));
    const tileWidth = clientWidth / tiles;
    for (let tile = 0; tile < tiles; tile++) {
      this.#paintTile(context, { left: tile * tileWidth, width: tileWidth, size }, tile / (tiles - 1));
    }
    context.restore();
    if (this.#recording) this.#paintTicks(context, clientWidth, size + 3);
  }

  #paintTile(context, place, fraction) {
    if (!this.#recording) {
      if (!this.#placeholder) return;
      const { noise, image } = this.#placeholder;
      if (image) this.#paintImage(context, image.pixels, image, place, 1);
      this.#paintImage(context, noise.pixels, noise, place, 1 - fraction ** 2);
      return;
    }
    const recording = this.#recording;
    const index = Math.round(fraction * recording.end);
    const ready = index <= recording.newest;
    const pixels = this.picture(recording.states[ready ? index : 0]) ?? recording.states[0].x;
    this.#paintImage(context, pixels, recording, place, ready ? 1 : 0.16);
  }

  #paintImage(context, pixels, { width, height, count }, place, alpha) {
    const data = imageData(pixels, Math.min(this.chosen(), count - 1), width, height);
    Object.assign(this.#pictures, { width, height });
    this.#pictures.getContext('2d').putImageData(data, 0, 0);
    // The middle of the picture, in the tile's proportions.
    const aspect = place.width / place.size;
    const shown = Math.min(width, height * aspect);
    const high = shown / aspect;
    context.globalAlpha = alpha;
    context.drawImage(this.#pictures, (width - shown) / 2, (height - high) / 2, shown, high, place.left, 0, place.width, place.size);
    context.globalAlpha = 1;
  }

  #paintTicks(context, width, top) {
    const { end, newest } = this.#recording;
    const gap = (width - THUMB) / end;
    // Ticks closer than 4 px would be a grey bar: then only every 5th, 10th, … is drawn.
    const every = [1, 5, 10, 25, 50].find((n) => n * gap >= 4) ?? 50;
    context.fillStyle = '#878d90'; // readable on either theme
    for (let i = 0; i <= end; i += every) {
      context.globalAlpha = i <= newest ? 0.9 : 0.35;
      const long = i % (every * 5) === 0;
      context.fillRect(THUMB / 2 + i * gap - 0.5, top, 1, long ? 6 : 3);
    }
    context.globalAlpha = 1;
  }
}
