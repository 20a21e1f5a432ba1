/**
 * What was said, as lines on the page: in order, bounded, and without taking the place that somebody reads.
 *
 * @import { MessageDetail } from "./statesync.js"
 */
import { counted, element, made } from "./page.js";

/** More than that is in no one's head, and the page stays quick. */
const MOST_LINES = 1_000;
/** A text that is longer is folded. */
const SHORT = { characters: 1_500, lines: 20 };
/** What is seen of it. */
const FOLDED = { characters: 500, lines: 10 };
/** So near the end somebody follows what is said. */
const END_PX = 60;
/** What the same person says within this time stands together. */
const TOGETHER_MS = 3 * 60_000;

/**
 * @typedef {object} WaitingLine
 * @property {string} text
 * @property {string} note
 * @property {Record<string, () => void>} [choices] what can be done about it
 */

export class Lines {
  #scroll = element("scroll");
  #log = element("log");
  #waiting = element("waiting");
  #empty = element("empty");
  #newer = element("newer");
  #title = document.title;
  #me;
  #isFollowed = true;
  #unread = 0;
  /** Who said the last line, and when. @type {{ from: string, at: number } | undefined} */
  #last;
  /** The day of the last line that has a time. */
  #day = "";
  /** What the lines that wait show. */
  #shown = "";

  /** @param {() => string} me the name of who looks at it */
  constructor(me) {
    this.#me = me;
    this.#scroll.addEventListener("scroll", () => this.#scrolled());
    this.#newer.addEventListener("click", () => {
      this.follow();
      // The button is gone now: who uses the keyboard goes on from what was said.
      this.#scroll.focus({ preventScroll: true });
    });
    document.addEventListener("visibilitychange", () => this.#scrolled());
    // A keyboard on the screen, a turned phone, a longer text to be sent.
    new ResizeObserver(() => this.#stayAtEnd()).observe(this.#scroll);
  }

  /** @param {MessageDetail} message */
  message({ from, text, time }) {
    this.#dayOf(time);
    const isMine = from === this.#me();
    const at = Date.parse(time);
    const isTogether = this.#last?.from === from && at - this.#last.at < TOGETHER_MS;
    const line = made("div", "", ["message", isMine && "mine", isTogether && "together"].filter(Boolean).join(" "));
    const who = made("p", "", "who");
    who.append(made("bdi", from), " ", timeOf(time));
    line.append(who, textOf(text));
    this.#last = { from, at };
    this.#append(line);
    if (!isMine && (!this.#isFollowed || document.hidden)) this.#unread += 1;
    this.#tellUnread();
  }

  /**
   * @param {string} text
   * @param {string} [time]
   * @param {string} [name] the text begins with it: it is kept from disturbing the rest
   */
  note(text, time, name = "") {
    if (time) this.#dayOf(time);
    const line = made("p", "", "note");
    if (name) line.append(made("bdi", name));
    line.append(text.slice(name.length));
    if (time) line.append(" ", timeOf(time));
    this.#last = undefined;
    this.#append(line);
  }

  clear() {
    this.#log.replaceChildren();
    this.#last = undefined;
    this.#day = "";
    this.#unread = 0;
    this.#tellUnread();
  }

  /** @param {WaitingLine[]} lines one's own that are not in the order yet: after all others */
  waiting(lines) {
    const shown = JSON.stringify(lines.map(({ text, note }) => [text, note]));
    if (shown === this.#shown) return;
    this.#shown = shown;
    this.#waiting.replaceChildren(...lines.map(waitingLine));
    this.#showWhetherEmpty();
    this.#stayAtEnd();
  }

  /** Goes to the end, and stays there. */
  follow() {
    this.#isFollowed = true;
    this.#stayAtEnd();
    this.#scrolled();
  }

  /** @param {string} time */
  #dayOf(time) {
    const day = new Date(time).toLocaleDateString([], { dateStyle: "long" });
    if (day === this.#day) return;
    this.#day = day;
    this.#last = undefined;
    this.#append(made("p", day, "day"));
  }

  /** @param {HTMLElement} line */
  #append(line) {
    this.#log.append(line);
    while (this.#log.childElementCount > MOST_LINES) this.#log.firstElementChild?.remove();
    this.#showWhetherEmpty();
    this.#stayAtEnd();
  }

  #showWhetherEmpty() {
    this.#empty.hidden = this.#log.childElementCount + this.#waiting.childElementCount > 0;
  }

  #stayAtEnd() {
    if (this.#isFollowed) this.#scroll.scrollTop = this.#scroll.scrollHeight;
  }

  #scrolled() {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroll;
    this.#isFollowed = scrollHeight - scrollTop - clientHeight < END_PX;
    if (this.#isFollowed && !document.hidden) this.#unread = 0;
    this.#tellUnread();
  }

  #tellUnread() {
    const isBelow = this.#unread > 0 && !this.#isFollowed;
    this.#newer.hidden = !isBelow;
    const text = `${counted(this.#unread, "new message")} ↓`;
    if (isBelow && this.#newer.textContent !== text) this.#newer.textContent = text;
    const title = this.#unread > 0 ? `(${this.#unread}) ${this.#title}` : this.#title;
    if (document.title !== title) document.title = title;
  }
}

/** @param {string} time as in RFC 3339 */
export function timeOf(time) {
  const date = new Date(time);
  const shown = made("time", date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }));
  shown.dateTime = time;
  shown.title = date.toLocaleString();
  return shown;
}

/** @param {WaitingLine} line */
function waitingLine({ text, note, choices = {} }) {
  const line = made("div", "", "message mine not-sent");
  line.append(textOf(text));
  if (note) line.append(made("p", note, "state"));
  for (const [name, choose] of Object.entries(choices)) {
    const button = made("button", name, "plain");
    button.type = "button";
    button.addEventListener("click", choose);
    line.append(button);
  }
  return line;
}

/**
 * A long text is folded. Each paragraph has the direction of its own letters.
 *
 * @param {string} text
 */
function textOf(text) {
  const whole = made("div", text, "text");
  whole.dir = "auto";
  const isShort = text.length <= SHORT.characters && text.split("\n", SHORT.lines + 1).length <= SHORT.lines;
  if (isShort) return whole;
  const start = startOf(text);
  const fold = made("button", "", "plain");
  fold.type = "button";
  const show = (/** @type {boolean} */ isWhole) => {
    whole.textContent = isWhole ? text : `${start}…`;
    fold.textContent = isWhole ? "Show less" : `Show all of it (${text.length.toLocaleString()} characters)`;
    fold.setAttribute("aria-expanded", String(isWhole));
  };
  fold.addEventListener("click", () => show(fold.getAttribute("aria-expanded") === "false"));
  show(false);
  const folded = made("div", "", "folded");
  folded.append(whole, fold);
  return folded;
}

/** @param {string} text */
function startOf(text) {
  const start = text.split("\n", FOLDED.lines).join("\n").slice(0, FOLDED.characters);
  // Not through the middle of a character.
  return start.replace(/[\uD800-\uDBFF]$/, "").trimEnd();
}
