// A worker with an engine, of which one thing is asked at a time.

import { listen, send } from '../engine/protocol.js';

/** @typedef {import('../engine/protocol.js').Event} Event */
/**
 * @template {Event['type']} Type
 * @typedef {Extract<Event, {type: Type}>} EventOf
 */
/** Hear of the events before the last. @typedef {import('../engine/protocol.js').Handlers<Event>} Handlers */
/**
 * @template Command
 * @typedef {Command extends unknown ? Omit<Command, 'id'> : never} WithoutId
 */

export class EngineWorker {
  #worker = new Worker(new URL('../engine/worker.js', import.meta.url), { type: 'module' });
  /** What was asked last. @type {{id: number, last: string, handlers: Handlers, resolve: (event: any) => void, reject: (error: Error) => void}|null} */
  #asked = null;
  #id = 0;

  constructor() {
    this.#worker.addEventListener('error', (event) => {
      event.preventDefault();
      this.#fail(event.message || 'The engine’s worker could not be loaded. Reload the page.');
    });
    const receive = (/** @type {Event} */ event) => this.#receive(event);
    /** @type {Handlers} */
    const handlers = { backend: receive, progress: receive, preview: receive, model: receive, started: receive, frame: receive, finished: receive, profiled: receive, failed: ({ message }) => this.#fail(message) };
    listen(this.#worker, handlers);
  }

  /**
   * Sends a command and waits for the event that ends it.
   * @template {Event['type']} Type
   * @param {WithoutId<import('../engine/protocol.js').Asking>} command
   * @param {Type} last
   * @param {Handlers} [handlers]
   * @returns {Promise<EventOf<Type>>}
   */
  ask(command, last, handlers = {}) {
    const id = ++this.#id;
    return new Promise((resolve, reject) => {
      this.#asked = { id, last, handlers, resolve, reject };
      send(this.#worker, /** @type {import('../engine/protocol.js').Asking} */ ({ ...command, id }));
    });
  }

  /** Ends it, whatever it does. */
  end() {
    this.#worker.terminate();
    this.#asked?.reject(new Error('stopped'));
  }

  /** @param {Event} event */
  #receive(event) {
    if (!this.#asked || event.id !== this.#asked.id) return; // the preview may come late
    const { last, handlers, resolve } = this.#asked;
    handlers[event.type]?.(/** @type {any} */ (event));
    if (event.type === last) resolve(event);
  }

  /** @param {string} message */
  #fail(message) {
    this.#asked?.reject(new Error(message));
  }
}
