/**
 * What the pages have in common: how a page finds its room, what it says of the connection, and what it notes.
 *
 * @import { StatusDetail } from "./statesync.js"
 */
import { closeCode } from "./statesync.js";

const NOTICE_MS = 6_000;

/** The server has not accepted who this is. */
const UNAUTHORISED = 4401;

/**
 * @param {string} id
 * @returns {HTMLElement}
 */
export function element(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no element #${id}`);
  return found;
}

/**
 * @template {HTMLElement} Kind
 * @param {string} id
 * @param {new () => Kind} kind
 * @returns {Kind}
 */
export function elementOf(id, kind) {
  const found = element(id);
  if (!(found instanceof kind)) throw new Error(`#${id} is no ${kind.name}`);
  return found;
}

/**
 * A new element with this text in it. Text is never read as HTML.
 *
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {string} text
 * @param {string} [className]
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function made(tag, text, className = "") {
  const element = document.createElement(tag);
  element.textContent = text;
  if (className) element.className = className;
  return element;
}

/**
 * What the page was given to show to the server. Best in the fragment of its address, which no server sees and no log
 * keeps.
 *
 * @returns {string | null}
 */
export function accessToken() {
  const given = (/** @type {string} */ part) => new URLSearchParams(part.slice(1)).get("access_token");
  return given(location.hash) ?? given(location.search);
}

/** Where the room of this page is, to be shown: without the token. */
export function roomAddress() {
  const url = new URL(location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.search = "";
  url.hash = "";
  return url;
}

/** Where to connect. A browser lets a page send no headers with a WebSocket, so the token is in the address. */
export function socketAddress() {
  const url = roomAddress();
  const token = accessToken();
  if (token !== null) url.searchParams.set("access_token", token);
  return url;
}

/**
 * The address of another page of this server, with the token.
 *
 * @param {string} path
 */
export function pageAddress(path) {
  const url = new URL(location.origin);
  url.pathname = path;
  const token = accessToken();
  if (token !== null) url.hash = `access_token=${encodeURIComponent(token)}`;
  return url.href;
}

/** Lets the links to other pages of this server pass the token on. */
export function passTokenOn() {
  for (const link of document.querySelectorAll("a[href^='/']")) {
    if (link instanceof HTMLAnchorElement) link.href = pageAddress(link.pathname);
  }
}

/** @param {string} message as the server has it: in small letters, without a full stop */
export function sentence(message) {
  return `${message.charAt(0).toUpperCase()}${message.slice(1)}${/[.!?]$/.test(message) ? "" : "."}`;
}

/**
 * @param {number} count
 * @param {string} one
 */
export function counted(count, one) {
  return `${count} ${count === 1 ? one : `${one}s`}`;
}

/** What is said of the connection, in `#status` and `#progress`; for the style, in the body's `data-status` too. */
export class StatusLine {
  #status = element("status");
  #progress = element("progress");
  #failure = "No connection";
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #countdown;

  /** @param {StatusDetail} detail */
  show(detail) {
    clearInterval(this.#countdown);
    document.body.dataset.status = detail.status;
    switch (detail.status) {
      case "connecting":
        this.#progress.textContent = this.#status.textContent === "Connecting" ? "…" : " now…";
        break;
      case "connected":
        this.#failure = "Connection lost";
        this.#say("Connected");
        break;
      case "waiting":
        this.#say(`${navigator.onLine ? this.#failure : "Offline"}, trying again`);
        this.#countDown(detail.retryInMs);
        break;
      case "closed":
        this.#say(`${whyClosed(detail)}. Reload the page to try again.`);
    }
  }

  /**
   * A sentence that stays is not set again, and so not spoken again.
   *
   * @param {string} status
   */
  #say(status) {
    this.#progress.textContent = "";
    if (this.#status.textContent !== status) this.#status.textContent = status;
  }

  /** @param {number} retryInMs */
  #countDown(retryInMs) {
    const endsAt = performance.now() + retryInMs;
    const show = () => {
      const seconds = Math.max(1, Math.ceil((endsAt - performance.now()) / 1_000));
      this.#progress.textContent = ` in ${seconds} s…`;
    };
    show();
    this.#countdown = setInterval(show, 1_000);
  }
}

/** @param {{ code: number, reason: string }} close */
function whyClosed({ code, reason }) {
  return `Closed (${code}): ${reason.replace(/\.$/, "") || closeCode(code).meaning}`;
}

/**
 * What somebody can do about a connection that was closed for good.
 *
 * @param {number} code
 * @returns {string} nothing, if there is nothing to say
 */
export function adviceAfter(code) {
  if (code !== UNAUTHORISED) return "";
  return accessToken() === null
    ? "This room wants an access token: open this page with #access_token=… at the end of its address."
    : "The access token in this page's address was not accepted, or its time is over.";
}

/** What is noted in `#notice`, for some seconds. */
export class Notice {
  #element = element("notice");
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #ends;
  /** It stays until somebody acts who may have read it. */
  #isToBeRead = false;

  /**
   * @param {string} text
   * @param {"bad" | "calm"} [tone]
   */
  show(text, tone = "bad") {
    clearTimeout(this.#ends);
    this.#isToBeRead = false;
    this.#element.textContent = text;
    this.#element.dataset.tone = tone;
    this.#ends = setTimeout(() => this.show(""), NOTICE_MS);
  }

  /** @param {string} text of what goes on, or will soon */
  showCalm(text) {
    if (!this.#isToBeRead) this.show(text, "calm");
  }

  /** @param {string} text */
  showToBeRead(text) {
    this.show(text);
    clearTimeout(this.#ends);
    this.#isToBeRead = true;
  }

  clearCalm() {
    if (this.#element.dataset.tone === "calm") this.show("");
  }

  /** Somebody acts. */
  isRead() {
    if (this.#isToBeRead) this.show("");
  }
}
