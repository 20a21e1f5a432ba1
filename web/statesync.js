/**
 * The statesync client library.
 *
 * A `Connection` joins one room of a statesync server, tells what happens there as events, sends actions, and comes
 * back by itself when it is lost:
 *
 *     import { Connection } from "/web/statesync.js";
 *
 *     const counter = new Connection("ws://localhost:6789/");
 *     counter.addEventListener("state", ({ detail }) => console.log(detail.value));
 *     counter.send({ action: "plus" });
 *
 * It needs nothing but a WebSocket, and takes one as an option where there is none built in.
 */

/**
 * What the close codes of the server mean for a client. A code that is in no row comes back.
 *
 * @type {ReadonlyArray<{ first: number, last: number, comesBack: boolean, meaning: string }>}
 */
export const CLOSE_CODES = Object.freeze([
  { first: 1000, last: 1000, comesBack: false, meaning: "the server has closed the connection" },
  { first: 1001, last: 1001, comesBack: true, meaning: "the server is going away" },
  { first: 1002, last: 1002, comesBack: false, meaning: "the WebSocket protocol was broken" },
  { first: 1003, last: 1003, comesBack: false, meaning: "this kind of data is not accepted" },
  { first: 1007, last: 1007, comesBack: false, meaning: "a text was not valid UTF-8" },
  { first: 1008, last: 1008, comesBack: false, meaning: "a rule of the server was broken" },
  { first: 1009, last: 1009, comesBack: false, meaning: "a message was too large" },
  { first: 1012, last: 1012, comesBack: true, meaning: "the server is restarting" },
  { first: 1013, last: 1013, comesBack: true, meaning: "the server is too busy" },
  { first: 4409, last: 4409, comesBack: false, meaning: "another connection has taken this client's place" },
  { first: 4400, last: 4499, comesBack: false, meaning: "the server has refused this client" },
  { first: 4500, last: 4599, comesBack: true, meaning: "the server could not go on" },
]);

/**
 * @param {number} code a close code
 * @returns {{ comesBack: boolean, meaning: string }}
 */
export function closeCode(code) {
  const row = CLOSE_CODES.find(({ first, last }) => first <= code && code <= last);
  return row ?? { comesBack: true, meaning: "the connection was lost" };
}

/**
 * @typedef {object} StateDetail the room's state has changed, or is told for the first time
 * @property {unknown} value
 *
 * @typedef {object} UsersDetail somebody has come or gone
 * @property {number} count how many are connected, this one included
 *
 * @typedef {object} ErrorDetail the server did not accept what was sent; the connection stays
 * @property {string} code stable, for programs
 * @property {string} message for people
 *
 * @typedef {{ status: "connecting" }
 *   | { status: "connected" }
 *   | { status: "waiting", code: number, reason: string, retryInMs: number }
 *   | { status: "closed", code: number, reason: string }} StatusDetail
 *   `waiting`: lost, and will try again by itself. `closed`: will not.
 *
 * @typedef {object} ConnectionEvents
 * @property {CustomEvent<StateDetail>} state
 * @property {CustomEvent<UsersDetail>} users
 * @property {CustomEvent<ErrorDetail>} error
 * @property {CustomEvent<StatusDetail>} status
 */

/**
 * @typedef {object} Socket what is used of a WebSocket
 * @property {number} readyState
 * @property {((event: any) => unknown) | null} onopen
 * @property {((event: any) => unknown) | null} onmessage
 * @property {((event: any) => unknown) | null} onclose
 * @property {(text: string) => void} send
 * @property {(code?: number) => void} close
 *
 * @typedef {object} ConnectionOptions
 * @property {number} [baseDelayMs] the first wait before coming back is at most this long, each further one twice that,
 * @property {number} [maxDelayMs] but not more than this
 * @property {number} [stableAfterMs] a connection that lasts this long makes the waits short again
 * @property {(text: string) => unknown} [parse] reads an event's text
 * @property {new (url: string) => Socket} [WebSocket]
 * @property {(callback: () => void, delayMs: number) => any} [setTimeout]
 * @property {(timer: any) => void} [clearTimeout]
 * @property {() => number} [random] from 0 to 1, without 1
 * @property {EventTarget} [window] where `online` is heard
 * @property {EventTarget & { readonly visibilityState: string }} [document] where `visibilitychange` is heard
 */

/**
 * @typedef {<Type extends keyof ConnectionEvents>(
 *   type: Type,
 *   listener: (event: ConnectionEvents[Type]) => void,
 *   options?: AddEventListenerOptions | boolean,
 * ) => void} Listen
 *
 * @typedef {object} ConnectionEventTarget
 * @property {Listen} addEventListener
 * @property {Listen} removeEventListener
 * @property {(event: Event) => boolean} dispatchEvent
 */
const ConnectionEventTarget = /** @type {new () => ConnectionEventTarget} */ (/** @type {unknown} */ (EventTarget));

/** `readyState` of a socket that takes messages. In any other state `WebSocket.send` throws, or loses them silently. */
const OPEN = 1;

export class Connection extends ConnectionEventTarget {
  #url;
  #options;
  /** Ends the listening on `window` and `document`. */
  #listening = new AbortController();
  /** @type {Socket | undefined} */
  #socket;
  /** @type {StatusDetail} */
  #status = { status: "connecting" };
  /** Connections in a row that were not stable. */
  #failures = 0;
  /** Until the next try while waiting, until the connection counts as stable while connected. @type {any} */
  #timer;

  /**
   * Connects at once. Throws what `WebSocket` throws when it does not like the address.
   *
   * @param {string | URL} url of the room
   * @param {ConnectionOptions} [options]
   */
  constructor(url, options = {}) {
    super();
    this.#url = String(url);
    this.#options = {
      baseDelayMs: 1_000,
      maxDelayMs: 30_000,
      stableAfterMs: 5_000,
      parse: /** @type {(text: string) => unknown} */ (JSON.parse),
      WebSocket: globalThis.WebSocket,
      // Wrapped: browsers refuse to run these as methods of another object than the window.
      setTimeout: (/** @type {() => void} */ callback, /** @type {number} */ delayMs) => setTimeout(callback, delayMs),
      clearTimeout: (/** @type {any} */ timer) => clearTimeout(timer),
      random: Math.random,
      window: globalThis.window,
      document: globalThis.document,
      ...options,
    };
    this.#connect();
    this.#listen();
  }

  /** The detail of the last `status` event. */
  get status() {
    return this.#status;
  }

  /**
   * Hands an action to the connection. That it was handed over does not say that it arrived: only what the server
   * answers says that.
   *
   * @param {{ action: string, [key: string]: unknown }} action
   * @returns {boolean} false: there is no connection, and the action was dropped
   */
  send(action) {
    if (this.#socket?.readyState !== OPEN) return false;
    this.#socket.send(JSON.stringify(action));
    return true;
  }

  /** Leaves for good. */
  close() {
    if (this.#status.status === "closed") return;
    const socket = this.#socket;
    if (socket) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close(1000);
    }
    this.#end(1000, "");
  }

  #connect() {
    /** @type {Socket} */
    const socket = new this.#options.WebSocket(this.#url);
    socket.onopen = () => this.#opened();
    socket.onmessage = ({ data }) => this.#received(data);
    socket.onclose = ({ code, reason }) => this.#lost(code, reason);
    this.#socket = socket;
    this.#tellStatus({ status: "connecting" });
  }

  #opened() {
    this.#timer = this.#options.setTimeout(() => (this.#failures = 0), this.#options.stableAfterMs);
    this.#tellStatus({ status: "connected" });
  }

  /** @param {unknown} data */
  #received(data) {
    const event = this.#read(data);
    if (event) this.dispatchEvent(event);
  }

  /**
   * What is unknown is ignored, so that a server may say more than this client understands.
   *
   * @param {unknown} data
   * @returns {Event | undefined}
   */
  #read(data) {
    const message = parseObject(data, this.#options.parse);
    switch (message?.type) {
      case "state":
        if (message.value === undefined) return undefined;
        return new CustomEvent("state", { detail: { value: message.value } });
      case "users":
        if (!isCount(message.count)) return undefined;
        return new CustomEvent("users", { detail: { count: message.count } });
      case "error":
        if (typeof message.code !== "string" || typeof message.message !== "string") return undefined;
        return new CustomEvent("error", { detail: { code: message.code, message: message.message } });
      default:
        return undefined;
    }
  }

  /**
   * @param {number} code
   * @param {string} reason
   */
  #lost(code, reason) {
    this.#options.clearTimeout(this.#timer);
    if (!closeCode(code).comesBack) return this.#end(code, reason);
    const retryInMs = this.#nextDelayMs();
    this.#failures += 1;
    this.#socket = undefined;
    this.#timer = this.#options.setTimeout(() => this.#connect(), retryInMs);
    this.#tellStatus({ status: "waiting", code, reason, retryInMs });
  }

  /** The whole wait is left to chance ("full jitter"), so that those who were lost together do not return together. */
  #nextDelayMs() {
    const { baseDelayMs, maxDelayMs, random } = this.#options;
    return random() * Math.min(maxDelayMs, baseDelayMs * 2 ** this.#failures);
  }

  /**
   * @param {number} code
   * @param {string} reason
   */
  #end(code, reason) {
    this.#options.clearTimeout(this.#timer);
    this.#listening.abort();
    this.#socket = undefined;
    this.#tellStatus({ status: "closed", code, reason });
  }

  /** The network being back, or somebody looking, is a better reason to try than the end of a wait. */
  #listen() {
    const { window, document } = this.#options;
    const { signal } = this.#listening;
    const tryNow = () => {
      if (this.#status.status !== "waiting") return;
      this.#options.clearTimeout(this.#timer);
      this.#connect();
    };
    const tryWhenVisible = () => {
      if (document?.visibilityState === "visible") tryNow();
    };
    window?.addEventListener("online", tryNow, { signal });
    document?.addEventListener("visibilitychange", tryWhenVisible, { signal });
  }

  /** @param {StatusDetail} status */
  #tellStatus(status) {
    this.#status = status;
    this.dispatchEvent(new CustomEvent("status", { detail: status }));
  }
}

/**
 * @param {unknown} text
 * @param {(text: string) => unknown} parse
 * @returns {Record<string, unknown> | undefined} nothing, if it is not the text of a JSON object
 */
function parseObject(text, parse) {
  if (typeof text !== "string") return undefined;
  try {
    const value = parse(text);
    return typeof value === "object" && value !== null ? /** @type {Record<string, unknown>} */ (value) : undefined;
  } catch {
    return undefined;
  }
}

/** @param {unknown} value */
function isCount(value) {
  return Number.isSafeInteger(value) && /** @type {number} */ (value) >= 0;
}
