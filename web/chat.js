/**
 * The chat page. It joins the room at the page's own address. What people write is text, never HTML.
 *
 * @import { AckDetail, ErrorDetail, MessageDetail, PersonDetail, StatusDetail, UsersDetail } from "./statesync.js"
 */
import { Lines } from "./chat_lines.js";
import { Notice, StatusLine, adviceAfter, counted, element, elementOf, made, passTokenOn } from "./page.js";
import { roomAddress, sentence, socketAddress } from "./page.js";
import { Connection } from "./statesync.js";

/**
 * After a lost connection the server may hold one's name for the old one, until it notices. So it is asked again,
 * this often …
 */
const SAME_NAME_TRIES = 5;
/** … and so long after each refusal. */
const SAME_NAME_WAIT_MS = 2_000;

const page = {
  address: element("address"),
  users: element("users"),
  people: element("people"),
  nobody: element("nobody"),
  login: elementOf("login", HTMLFormElement),
  name: elementOf("name", HTMLInputElement),
  loginError: element("login-error"),
  composer: elementOf("composer", HTMLFormElement),
  me: element("me"),
  leave: element("leave"),
  text: elementOf("text", HTMLTextAreaElement),
};
const nameKey = `statesync name ${location.pathname}`;
const statusLine = new StatusLine();
const notice = new Notice();
const lines = new Lines(() => name);
const connection = new Connection(socketAddress());

/** Who this page is, or wants to be. */
let name = storedName();
/** This connection is logged in as that. */
let isIn = false;
/** It was, on this connection or one before; or the page before a reload was. */
let wasIn = name !== "";
/** This page was logged in as that, so it may be its own lost connection that has the name still. */
let mayBeOwn = false;
let triesLeft = 0;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let nextTry;
/** Who is logged in. @type {Set<string>} */
let people = new Set();
/** They are drawn then. */
let peopleSoon = 0;
const alphabet = new Intl.Collator();
/** Applied, and not told yet as a message. @type {{ text: string, seq: number }[]} */
let applied = [];
/** Refused since this page was not logged in: sent anew when it is. @type {string[]} */
let refused = [];
/** What nobody knows of whether it was said. @type {string[]} */
let unknown = [];
let newestSeq = 0;

page.address.textContent = roomAddress().href;
passTokenOn();
page.name.value = name;
page.login.addEventListener("submit", (event) => {
  event.preventDefault();
  logIn(page.name.value.normalize().trim());
});
page.composer.addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
page.text.addEventListener("keydown", (event) => {
  // Enter that ends the choice of a word in an input method sends nothing.
  // (Safari says so by the key code alone.)
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
  event.preventDefault();
  send();
});
page.text.addEventListener("input", fitText);
page.leave.addEventListener("click", logOut);
connection.addEventListener("status", ({ detail }) => showStatus(detail));
connection.addEventListener("users", ({ detail }) => showUsers(detail));
connection.addEventListener("joined", ({ detail }) => showJoined(detail));
connection.addEventListener("left", ({ detail }) => showLeft(detail));
connection.addEventListener("message", ({ detail }) => showMessage(detail));
connection.addEventListener("missed", ({ detail }) => {
  if (detail.isNewHistory) lines.clear();
  lines.note(detail.isNewHistory ? "The server began anew." : "Some messages in between are lost.");
  applied = [];
  newestSeq = 0;
});
connection.addEventListener("ack", ({ detail }) => keepUntilTold(detail));
connection.addEventListener("pending", showWaiting);
connection.addEventListener("error", ({ detail }) => showError(detail));

function storedName() {
  try {
    return sessionStorage.getItem(nameKey) ?? "";
  } catch {
    return "";
  }
}

/** @param {string} name */
function storeName(name) {
  try {
    if (name) sessionStorage.setItem(nameKey, name);
    else sessionStorage.removeItem(nameKey);
  } catch {
    // Then a reload asks for it.
  }
}

/** @param {string} wanted */
function logIn(wanted) {
  page.loginError.textContent = wanted ? "" : "A name is needed.";
  if (!wanted) return;
  name = wanted;
  sayLogin();
}

/** A login belongs to the connection. This is the first that the server hears on it. */
function sayLogin() {
  clearTimeout(nextTry);
  if (name && !isIn) connection.say({ action: "login", name });
}

function loggedIn() {
  isIn = wasIn = mayBeOwn = true;
  page.loginError.textContent = "";
  storeName(name);
  const again = refused;
  refused = [];
  for (const text of again) act(text);
  showForms();
}

/** What waits is sent first. */
function logOut() {
  connection.say({ action: "logout" });
  name = "";
  isIn = wasIn = mayBeOwn = false;
  storeName("");
  showForms();
}

/** @param {ErrorDetail} error */
function notLoggedIn({ code, message }) {
  const isOldConnection = code === "name_taken" && mayBeOwn && triesLeft > 0;
  if (isOldConnection) {
    triesLeft -= 1;
    clearTimeout(nextTry);
    nextTry = setTimeout(sayLogin, SAME_NAME_WAIT_MS);
    return notice.showCalm("The server still holds your name for the connection that was lost; trying again.");
  }
  wasIn = mayBeOwn = false;
  page.loginError.textContent =
    code === "name_taken" ? `“${name}” is here already. Take another name.` : sentence(message);
  page.name.value = name;
  // It is somebody else's: what they say is not this page's, and the next connection does not ask for it.
  name = "";
  showForms();
}

/** Whoever was logged in writes on while the connection is lost: it is sent after the next login. */
function showForms() {
  const mayWrite = isIn || wasIn;
  const hadFocus = (mayWrite ? page.login : page.composer).contains(document.activeElement);
  page.login.hidden = mayWrite;
  page.composer.hidden = !mayWrite;
  page.me.textContent = name;
  if (!hadFocus) return;
  if (mayWrite) page.text.focus();
  else page.name.focus();
}

function send() {
  const text = page.text.value;
  if (text.trim() === "") return;
  page.text.value = "";
  notice.isRead();
  lines.follow();
  act(text);
  fitText();
}

/** @param {string} text */
function act(text) {
  connection.act({ action: "message", text });
}

/** As high as what is written, within what the style allows. */
function fitText() {
  page.text.style.height = "auto";
  page.text.style.height = `${page.text.scrollHeight + 2}px`;
}

/**
 * What was not taken goes back to where it was written, before what was written since.
 *
 * @param {string} text
 */
function putBack(text) {
  page.text.value = [text, page.text.value].filter(Boolean).join("\n");
  fitText();
}

/** @param {MessageDetail} message */
function showMessage(message) {
  newestSeq = message.seq;
  applied = applied.filter(({ seq }) => seq > message.seq);
  lines.message(message);
  showWaiting();
}

/**
 * An action is acknowledged before its message is told. In between it stays where it was.
 *
 * @param {AckDetail} ack
 */
function keepUntilTold({ action, seq, duplicate }) {
  if (action.action !== "message") return;
  if (seq !== null && !duplicate && seq > newestSeq) applied.push({ text: String(action.text), seq });
}

function showWaiting() {
  const waiting = connection.waiting.filter(({ action }) => action === "message");
  lines.waiting([
    ...applied.map(({ text }) => ({ text, note: "" })),
    ...waiting.map(({ text }) => ({ text: String(text), note: isIn ? "Sending…" : "Waiting" })),
    ...refused.map((text) => ({ text, note: "Not sent: join to send it" })),
    ...unknown.map((text) => ({ text, note: "Nobody can tell whether this was sent", choices: choicesFor(text) })),
  ]);
}

/** @param {string} text */
function choicesFor(text) {
  const without = () => {
    unknown = unknown.toSpliced(unknown.indexOf(text), 1);
  };
  return {
    "Send again": () => {
      without();
      act(text);
    },
    Forget: () => {
      without();
      showWaiting();
    },
  };
}

/** @param {UsersDetail} detail */
function showUsers({ count, users }) {
  page.users.textContent = `${counted(count, "user")} online`;
  if (!users) return;
  people = new Set(users);
  showPeople();
}

/** @param {PersonDetail} joined */
function showJoined({ name: who, time }) {
  // One's own coming back is told by the status.
  const isBack = who === name && mayBeOwn;
  if (!people.has(who) && !isBack) lines.note(`${who} joined`, time, who);
  people.add(who);
  if (who === name && !isIn) loggedIn();
  showPeople();
}

/** @param {PersonDetail} left */
function showLeft({ name: who, time }) {
  if (people.delete(who)) lines.note(`${who} left`, time, who);
  showPeople();
}

/** Once for all who come and go between two pictures: after a restart everybody comes at once. */
function showPeople() {
  cancelAnimationFrame(peopleSoon);
  peopleSoon = requestAnimationFrame(drawPeople);
}

function drawPeople() {
  const names = [...people].sort(alphabet.compare);
  page.people.replaceChildren(
    ...names.map((who) => {
      const item = made("li", "", who === name && isIn ? "me" : "");
      item.append(made("bdi", who));
      return item;
    }),
  );
  page.nobody.hidden = names.length > 0;
}

/** @param {ErrorDetail} error */
function showError(error) {
  const { code, message, action, retry, id } = error;
  if (retry) {
    if (id === null && code === "rate_limited") {
      clearTimeout(nextTry);
      nextTry = setTimeout(sayLogin, error.retryAfterMs ?? SAME_NAME_WAIT_MS);
    }
    if (code === "rate_limited") notice.showCalm("That was faster than the server takes it; the rest follows.");
    if (code === "not_durable") notice.showCalm("The server cannot save just now; trying again.");
    return;
  }
  if (code === "not_kept") return;
  if (action === null) {
    // Of what is said, only the login can be wrong; a logout that has nothing to end is none.
    if (!isIn && code !== "not_logged_in") notLoggedIn(error);
    return;
  }
  const text = String(action.text);
  switch (code) {
    case "not_logged_in":
      refused.push(text);
      break;
    case "unknown":
      unknown.push(text);
      break;
    case "queue_full":
      putBack(text);
      notice.show("Too many messages are waiting: this one was not taken.");
      break;
    case "too_large":
      putBack(text);
      notice.show("This is longer than the server takes. Nothing was sent.");
      break;
    default:
      putBack(text);
      notice.show(sentence(message));
  }
  showWaiting();
}

/** @param {StatusDetail} detail */
function showStatus(detail) {
  statusLine.show(detail);
  isIn = false;
  clearTimeout(nextTry);
  if (detail.status === "connected") {
    notice.clearCalm();
    triesLeft = SAME_NAME_TRIES;
    sayLogin();
  } else if (detail.status === "waiting" && connection.waiting.length > 0) {
    notice.showCalm(`${counted(connection.waiting.length, "message")} will be sent when the connection is back.`);
  } else if (detail.status === "closed") {
    const advice = adviceAfter(detail.code);
    if (advice) notice.showToBeRead(advice);
  }
  for (const button of [page.login, page.composer].flatMap((form) => [...form.querySelectorAll("button.primary")])) {
    button.setAttribute("aria-disabled", String(detail.status === "closed"));
  }
  showForms();
  showWaiting();
}

showStatus(connection.status);
if (!page.login.hidden) page.name.focus();
