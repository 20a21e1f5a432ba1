/**
 * The counter page. It joins the room at the page's own address.
 *
 * @import { ErrorDetail, StatusDetail } from "./statesync.js"
 */
import { Notice, StatusLine, adviceAfter, counted, element, passTokenOn } from "./page.js";
import { roomAddress, sentence, socketAddress } from "./page.js";
import { Connection, counter, parseExactly } from "./statesync.js";

/** After so long without a change the value is spoken … */
const QUIET_MS = 700;
/** … and under a flood that never pauses, this often. */
const SPEAK_EVERY_MS = 5_000;
/** What is saved within this time was never seen to be sent: the word would only flicker. */
const SENDING_MS = 400;

const page = {
  minus: element("minus"),
  plus: element("plus"),
  value: element("value"),
  spoken: element("spoken"),
  users: element("users"),
  pending: element("pending"),
  address: element("address"),
};
const statusLine = new StatusLine();
const notice = new Notice();
const connection = new Connection(socketAddress(), { apply: counter, parse: parseExactly });

passTokenOn();
page.address.textContent = roomAddress().href;
page.minus.addEventListener("click", () => act("minus"));
page.plus.addEventListener("click", () => act("plus"));
document.addEventListener("keydown", pressed);
connection.addEventListener("optimistic", ({ detail }) => showValue(String(detail.value)));
connection.addEventListener("users", ({ detail }) => showUsers(detail.count));
connection.addEventListener("pending", showPending);
connection.addEventListener("ack", showThatItIsSaved);
connection.addEventListener("error", ({ detail }) => showError(detail));
connection.addEventListener("status", ({ detail }) => showStatus(detail));

/** @param {"plus" | "minus"} action */
function act(action) {
  notice.isRead();
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
  page.users.textContent = `${counted(count, "user")} online`;
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
  const waiting = count > 0 ? `${counted(count, "change")} waiting` : "";
  page.pending.textContent = isConnected ? outcome : waiting;
  if (waiting) speakWhenQuiet();
}

function showThatItIsSaved() {
  outcome = "Saved";
  notice.clearCalm();
}

/** Changes that wait outlive this page. */
let isKept = true;
/** It was said, since the connection was lost, that changes wait. */
let saidThatItWaits = false;

function tellThatItWaits() {
  if (saidThatItWaits) return;
  saidThatItWaits = true;
  const whenSent = "Your changes are sent when the connection is back.";
  notice.showCalm(isKept ? whenSent : "Your changes wait while this page is open.");
}

/** How many changes became unknown at once. */
let unknown = 0;

/** @param {ErrorDetail} detail */
function showError({ code, message, action, retry }) {
  if (retry) {
    if (code === "not_durable") notice.showCalm("The server cannot save just now; trying again.");
    return;
  }
  if (action) outcome = "";
  switch (code) {
    case "not_kept":
      isKept = false;
      break;
    case "unknown":
      unknown += 1;
      notice.showToBeRead(`Nobody can tell whether ${counted(unknown, "change")} of yours counted.`);
      setTimeout(() => (unknown = 0));
      break;
    case "queue_full":
      notice.show("Too many changes are waiting: this one was not taken.");
      break;
    case "closed":
      notice.show("The connection is closed: this did not count.");
      break;
    default:
      notice.show(sentence(message));
  }
}

/** @param {StatusDetail} detail */
function showStatus(detail) {
  const disabled = String(detail.status === "closed");
  for (const button of [page.minus, page.plus]) button.setAttribute("aria-disabled", disabled);
  statusLine.show(detail);
  if (detail.status === "connected") {
    notice.clearCalm();
    saidThatItWaits = false;
  }
  const advice = detail.status === "closed" ? adviceAfter(detail.code) : "";
  if (advice) notice.showToBeRead(advice);
  showPending();
}

showStatus(connection.status);
