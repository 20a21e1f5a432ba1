/**
 * The counter page. It joins the room at the page's own address.
 *
 * @import { StatusDetail } from "./statesync.js"
 */
import { Connection, closeCode } from "./statesync.js";

/** After so long without a change the value is spoken … */
const QUIET_MS = 700;
/** … and under a flood that never pauses, this often. */
const SPEAK_EVERY_MS = 5_000;
const NOTICE_MS = 6_000;

const page = {
  minus: element("minus"),
  plus: element("plus"),
  value: element("value"),
  spoken: element("spoken"),
  status: element("status"),
  progress: element("progress"),
  users: element("users"),
  notice: element("notice"),
  address: element("address"),
};
const room = roomAddress();
const connection = new Connection(room, { parse: parseExactly });

page.address.textContent = room.href;
page.minus.addEventListener("click", () => act("minus"));
page.plus.addEventListener("click", () => act("plus"));
document.addEventListener("keydown", pressed);
connection.addEventListener("state", ({ detail }) => showValue(String(detail.value)));
connection.addEventListener("users", ({ detail }) => showUsers(detail.count));
connection.addEventListener("error", ({ detail }) => showNotice(detail.message));
connection.addEventListener("status", ({ detail }) => showStatus(detail));

/** @param {string} id */
function element(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no element #${id}`);
  return found;
}

function roomAddress() {
  const url = new URL(location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.search = "";
  url.hash = "";
  return url;
}

/**
 * The server counts further than a JavaScript number is exact (2^53 − 1). Where the browser shows the source text of a
 * number, what lies beyond is kept as a bigint, so that the page does not show another value than the server's.
 *
 * @param {string} text
 */
function parseExactly(text) {
  /** @type {(key: string, value: unknown, context?: { source?: string }) => unknown} */
  const exact = (_key, value, context) =>
    Number.isInteger(value) && !Number.isSafeInteger(value) && context?.source ? BigInt(context.source) : value;
  return JSON.parse(text, exact);
}

/** @param {"plus" | "minus"} action */
function act(action) {
  if (!connection.send({ action })) showNotice("Not connected: this did not count.");
}

/** @param {KeyboardEvent} event */
function pressed(event) {
  if (event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
  // Where the page is too large for its window, the arrows are needed to scroll it.
  if (document.documentElement.scrollHeight > window.innerHeight) return;
  if (event.key === "ArrowUp") act("plus");
  else if (event.key === "ArrowDown") act("minus");
  else return;
  event.preventDefault();
}

/** @param {string} value */
function showValue(value) {
  const shown = value.replace("-", "−");
  page.value.textContent = shown;
  page.value.style.setProperty("--digits", String(shown.length));
  speakWhenQuiet();
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let speaking;
/** When the first change was shown that is not spoken yet. @type {number | undefined} */
let unspokenSince;

function speakWhenQuiet() {
  clearTimeout(speaking);
  unspokenSince ??= performance.now();
  if (performance.now() - unspokenSince > SPEAK_EVERY_MS) speak();
  else speaking = setTimeout(speak, QUIET_MS);
}

function speak() {
  unspokenSince = undefined;
  page.spoken.textContent = page.value.textContent;
}

/** @param {number} count */
function showUsers(count) {
  page.users.textContent = `${count} ${count === 1 ? "user" : "users"} online`;
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let noticeEnds;

/** @param {string} text */
function showNotice(text) {
  clearTimeout(noticeEnds);
  page.notice.textContent = text;
  noticeEnds = setTimeout(() => (page.notice.textContent = ""), NOTICE_MS);
}

let failure = "No connection";
/** @type {ReturnType<typeof setInterval> | undefined} */
let countdown;

/** @param {StatusDetail} detail */
function showStatus(detail) {
  clearInterval(countdown);
  document.body.dataset.status = detail.status;
  const disabled = String(detail.status !== "connected");
  for (const button of [page.minus, page.plus]) button.setAttribute("aria-disabled", disabled);
  switch (detail.status) {
    case "connecting":
      page.progress.textContent = " now…";
      break;
    case "connected":
      failure = "Connection lost";
      say("Connected");
      showNotice("");
      break;
    case "waiting":
      say(`${failure}, trying again`);
      countDown(detail.retryInMs);
      break;
    case "closed":
      say(`${whyClosed(detail)}. Reload the page to try again.`);
  }
}

/**
 * A sentence that stays is not set again, and so not spoken again.
 *
 * @param {string} status
 */
function say(status) {
  page.progress.textContent = "";
  if (page.status.textContent !== status) page.status.textContent = status;
}

/** @param {number} retryInMs */
function countDown(retryInMs) {
  const endsAt = performance.now() + retryInMs;
  const show = () => {
    const seconds = Math.max(1, Math.ceil((endsAt - performance.now()) / 1_000));
    page.progress.textContent = ` in ${seconds} s…`;
  };
  show();
  countdown = setInterval(show, 1_000);
}

/** @param {{ code: number, reason: string }} close */
function whyClosed({ code, reason }) {
  return `Closed (${code}): ${reason.replace(/\.$/, "") || closeCode(code).meaning}`;
}
