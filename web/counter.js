/**
 * The counter page. It joins the room at the page's own address.
 *
 * @import { ErrorDetail, StatusDetail } from "./statesync.js"
 */
import { Connection, closeCode, counter, parseExactly } from "./statesync.js";

/** After so long without a change the value is spoken … */
const QUIET_MS = 700;
/** … and under a flood that never pauses, this often. */
const SPEAK_EVERY_MS = 5_000;
const NOTICE_MS = 6_000;
/** What is saved within this time was never seen to be sent: the word would only flicker. */
const SENDING_MS = 400;

const page = {
  minus: element("minus"),
  plus: element("plus"),
  value: element("value"),
  spoken: element("spoken"),
  status: element("status"),
  progress: element("progress"),
  users: element("users"),
  pending: element("pending"),
  notice: element("notice"),
  address: element("address"),
};
const room = roomAddress();
const connection = new Connection(room, { apply: counter, parse: parseExactly });

page.address.textContent = room.href;
page.minus.addEventListener("click", () => act("minus"));
page.plus.addEventListener("click", () => act("plus"));
document.addEventListener("keydown", pressed);
connection.addEventListener("optimistic", ({ detail }) => showValue(String(detail.value)));
connection.addEventListener("users", ({ detail }) => showUsers(detail.count));
connection.addEventListener("pending", showPending);
connection.addEventListener("ack", showThatItIsSaved);
connection.addEventListener("error", ({ detail }) => showError(detail));
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

/** @param {"plus" | "minus"} action */
function act(action) {
  if (isToBeRead) showNotice("");
  connection.act({ action });
  if (connection.status.status === "waiting") tellThatItWaits();
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
  const isConnected = connection.status.status === "connected";
  const waiting = isConnected ? "" : page.pending.textContent;
  const text = [page.value.textContent, waiting].filter(Boolean).join(", ");
  if (page.spoken.textContent !== text) page.spoken.textContent = text;
}

/** @param {number} count */
function showUsers(count) {
  page.users.textContent = `${count} ${count === 1 ? "user" : "users"} online`;
}

/**
 * Since something is undecided: kept, though it has ended, until nothing is, lest each change begin it anew.
 *
 * @type {ReturnType<typeof setTimeout> | undefined}
 */
let sending;
/** What became of the last change. */
let outcome = "";

function showPending() {
  const count = connection.pending;
  const isConnected = connection.status.status === "connected";
  if (isConnected && count > 0) {
    sending ??= setTimeout(() => (page.pending.textContent = "Sending…"), SENDING_MS);
    return;
  }
  clearTimeout(sending);
  sending = undefined;
  const waiting = count > 0 ? `${changes(count)} waiting` : "";
  page.pending.textContent = isConnected ? outcome : waiting;
  if (waiting) speakWhenQuiet();
}

function showThatItIsSaved() {
  outcome = "Saved";
  clearCalmNotice();
}

/** @param {number} count */
function changes(count) {
  return `${count} ${count === 1 ? "change" : "changes"}`;
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let noticeEnds;
/** The notice stays until somebody acts who may have read it. */
let isToBeRead = false;

/**
 * @param {string} text
 * @param {"bad" | "calm"} [tone]
 */
function showNotice(text, tone = "bad") {
  clearTimeout(noticeEnds);
  isToBeRead = false;
  page.notice.textContent = text;
  page.notice.dataset.tone = tone;
  noticeEnds = setTimeout(() => showNotice(""), NOTICE_MS);
}

/** @param {string} text of what goes on, or will soon */
function showCalmNotice(text) {
  if (!isToBeRead) showNotice(text, "calm");
}

function clearCalmNotice() {
  if (page.notice.dataset.tone === "calm") showNotice("");
}

/** @param {string} text */
function showNoticeToBeRead(text) {
  showNotice(text);
  clearTimeout(noticeEnds);
  isToBeRead = true;
}

/** Changes that wait outlive this page. */
let isKept = true;
/** It was said, since the connection was lost, that changes wait. */
let saidThatItWaits = false;

function tellThatItWaits() {
  if (saidThatItWaits) return;
  saidThatItWaits = true;
  const whenSent = "Your changes are sent when the connection is back.";
  showCalmNotice(isKept ? whenSent : "Your changes wait while this page is open.");
}

/** How many changes became unknown at once. */
let unknown = 0;

/** @param {ErrorDetail} detail */
function showError({ code, message, action, retry }) {
  if (retry) {
    if (code === "not_durable") showCalmNotice("The server cannot save just now; trying again.");
    return;
  }
  if (action) outcome = "";
  switch (code) {
    case "not_kept":
      isKept = false;
      break;
    case "unknown":
      unknown += 1;
      showNoticeToBeRead(`Nobody can tell whether ${changes(unknown)} of yours counted.`);
      setTimeout(() => (unknown = 0));
      break;
    case "queue_full":
      showNotice("Too many changes are waiting: this one was not taken.");
      break;
    case "closed":
      showNotice("The connection is closed: this did not count.");
      break;
    default:
      showNotice(sentence(message));
  }
}

/** @param {string} message as the server has it: in small letters, without a full stop */
function sentence(message) {
  return `${message.charAt(0).toUpperCase()}${message.slice(1)}${/[.!?]$/.test(message) ? "" : "."}`;
}

let failure = "No connection";
/** @type {ReturnType<typeof setInterval> | undefined} */
let countdown;

/** @param {StatusDetail} detail */
function showStatus(detail) {
  clearInterval(countdown);
  document.body.dataset.status = detail.status;
  const disabled = String(detail.status === "closed");
  for (const button of [page.minus, page.plus]) button.setAttribute("aria-disabled", disabled);
  switch (detail.status) {
    case "connecting":
      page.progress.textContent = page.status.textContent === "Connecting" ? "…" : " now…";
      break;
    case "connected":
      failure = "Connection lost";
      say("Connected");
      clearCalmNotice();
      saidThatItWaits = false;
      break;
    case "waiting":
      say(`${navigator.onLine ? failure : "Offline"}, trying again`);
      countDown(detail.retryInMs);
      break;
    case "closed":
      say(`${whyClosed(detail)}. Reload the page to try again.`);
  }
  showPending();
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

showStatus(connection.status);
