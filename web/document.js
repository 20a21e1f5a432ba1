/**
 * The document page. It joins the room at the page's own address, and shows its value as JSON text to edit.
 *
 * What others change comes into the text at once, while that disturbs nothing. One's own edits are sent as a patch that
 * fails where somebody else has changed the same place. Then both are told, and what was typed stays in the text.
 *
 * @import { ErrorDetail, PatchDetail, StateDetail, StatusDetail } from "./statesync.js"
 */
import { PatchError, applyPatch, difference, isEqual, valueAt } from "./json_patch.js";
import { faultIn, jsonOf, writable } from "./json_text.js";
import { Notice, StatusLine, adviceAfter, counted, element, elementOf, made, passTokenOn } from "./page.js";
import { roomAddress, sentence, socketAddress } from "./page.js";
import { ActionError, Connection, parseExactly } from "./statesync.js";

/** Bad JSON is told when somebody stops typing for so long: while one types, it is nearly always bad. */
const FAULT_AFTER_MS = 400;
/** More places than that nobody reads. */
const MOST_PLACES = 8;

const page = {
  address: element("address"),
  users: element("users"),
  text: elementOf("text", HTMLTextAreaElement),
  fault: element("fault"),
  faultLine: element("fault-line"),
  showFault: element("show-fault"),
  conflict: element("conflict"),
  conflictText: element("conflict-text"),
  conflictPlaces: element("conflict-places"),
  save: element("save"),
  discard: element("discard"),
  saved: element("saved"),
  position: element("position"),
  changed: element("changed"),
};
const statusLine = new StatusLine();
const notice = new Notice();
const connection = new Connection(socketAddress(), { parse: parseExactly });

/** The value that the text was made from. `undefined`: none yet. @type {any} */
let base;
/** What was sent, and is not decided. @type {{ value: any } | undefined} */
let saving;
/** The position that has what was saved: the text waits for it. */
let savedAt = 0;
/** It was saved on a connection that was lost: the next state has it. */
let isBehind = false;
/** The positions of one's own changes. @type {Set<number>} */
const own = new Set();
/** Somebody chooses a word in an input method: the text is not touched. */
let isComposing = false;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let faultSoon;
/** What the text says, as long as it is this one. @type {{ text: string, value: { value: any } | undefined } | undefined} */
let lastRead;
/** The line that `#fault-line` stands on. */
let faultLine = 1;

page.address.textContent = roomAddress().href;
passTokenOn();
page.text.addEventListener("input", edited);
page.text.addEventListener("scroll", placeFaultLine);
page.text.addEventListener("compositionstart", () => (isComposing = true));
page.text.addEventListener("compositionend", () => {
  isComposing = false;
  takeIn();
});
page.save.addEventListener("click", save);
page.discard.addEventListener("click", takeTheirs);
page.showFault.addEventListener("click", goToFault);
element("keep-mine").addEventListener("click", keepMine);
element("take-theirs").addEventListener("click", takeTheirs);
document.addEventListener("keydown", (event) => {
  if (!(event.ctrlKey || event.metaKey) || event.altKey || event.shiftKey) return;
  if (event.key !== "Enter" && event.key !== "s") return;
  event.preventDefault();
  save();
});
addEventListener("beforeunload", (event) => {
  if (isDirty()) event.preventDefault();
});
connection.addEventListener("status", ({ detail }) => showStatus(detail));
connection.addEventListener("users", ({ detail }) => (page.users.textContent = `${counted(detail.count, "user")} online`));
connection.addEventListener("patch", ({ detail }) => showWhatChanged(detail));
connection.addEventListener("state", ({ detail }) => showState(detail));
connection.addEventListener("error", ({ detail }) => showError(detail));

/** @param {any} value */
function format(value) {
  return jsonOf(value, 2);
}

/** @returns {{ value: any } | undefined} nothing, if the text is no JSON */
function written() {
  const text = page.text.value;
  if (lastRead?.text !== text) lastRead = { text, value: faultIn(text) ? undefined : { value: parseExactly(text) } };
  return lastRead.value;
}

/** Something is in the text that is neither saved nor being saved. */
function isDirty() {
  if (base === undefined) return false;
  const mine = written();
  return !mine || !isEqual(mine.value, saving ? saving.value : base);
}

function edited() {
  notice.isRead();
  page.saved.textContent = "";
  if (written()) showFault();
  clearTimeout(faultSoon);
  faultSoon = setTimeout(showFault, FAULT_AFTER_MS);
  // What came meanwhile may fit now.
  if (written()) takeIn();
  showTools();
}

/** @param {StateDetail} state */
function showState({ seq }) {
  isBehind = false;
  page.position.textContent = `Position ${seq}.`;
  takeIn();
}

/**
 * Brings what others changed into the text: at once if nothing was edited, around one's own edits if they do not touch,
 * and else not: then it is told.
 */
function takeIn() {
  const state = connection.confirmed;
  if (!state || isComposing || saving || isBehind || state.seq < savedAt) return;
  const theirs = state.value;
  if (base === undefined) {
    page.text.readOnly = connection.status.status === "closed";
    return showAnew(theirs);
  }
  if (isEqual(theirs, base)) return;
  const mine = written();
  if (!mine) return showTools();
  const merged = mergedInto(theirs, mine.value);
  if (!merged) return showConflict(theirs, mine.value);
  base = theirs;
  hideConflict();
  // How somebody has laid the text out is left alone, until there is something new in it.
  if (!isEqual(merged.value, mine.value)) put(format(merged.value));
  showTools();
}

/**
 * @param {any} theirs
 * @param {any} mine
 * @returns {{ value: any } | undefined} nothing, if both changed the same place, and not to the same
 */
function mergedInto(theirs, mine) {
  if (isEqual(theirs, mine)) return { value: theirs };
  try {
    return { value: applyPatch(theirs, difference(base, mine)) };
  } catch (error) {
    if (error instanceof PatchError) return undefined;
    throw error;
  }
}

/** @param {any} value */
function showAnew(value) {
  base = value;
  put(format(value));
  hideConflict();
  showFault();
  showTools();
}

/**
 * Changes only what differs, so that who reads or writes elsewhere in the text stays where they are.
 *
 * @param {string} text
 */
function put(text) {
  const before = page.text.value;
  if (text === before) return;
  const shorter = Math.min(text.length, before.length);
  let start = 0;
  while (start < shorter && text[start] === before[start]) start += 1;
  let same = 0;
  while (same < shorter - start && text.at(-1 - same) === before.at(-1 - same)) same += 1;
  const { scrollTop, scrollLeft } = page.text;
  page.text.setRangeText(text.slice(start, text.length - same), start, before.length - same, "preserve");
  Object.assign(page.text, { scrollTop, scrollLeft });
}

function save() {
  if (!isDirty() || saving || connection.status.status === "closed") return;
  const mine = written();
  if (!mine) {
    showFault();
    return goToFault();
  }
  if (!page.conflict.hidden) return element("keep-mine").focus();
  send(mine.value, difference(base, mine.value));
}

/**
 * While it is undecided the text is the writer's alone: nothing comes in.
 *
 * @param {any} value
 * @param {import("./json_patch.js").Operation[]} ops
 */
async function send(value, ops) {
  saving = { value };
  page.saved.textContent = connection.status.status === "connected" ? "Saving…" : "Saved when the connection is back.";
  showTools();
  try {
    const { seq } = await connection.act({ action: "patch", ops: writable(ops) });
    savedAt = seq ?? 0;
    isBehind = seq === null;
    if (seq !== null) own.add(seq);
    base = value;
    page.saved.textContent = "Saved";
    notice.clearCalm();
  } catch (error) {
    // An event has told why, if it was taken. The text stays, and is an edit still.
    page.saved.textContent = "";
    if (!(error instanceof ActionError)) notice.show("Not saved: this is nested too deeply.");
  }
  saving = undefined;
  takeIn();
  showTools();
}

/** One's own edits, where others changed the same: on what they changed elsewhere, if that can be. */
function keepMine() {
  const mine = written();
  const state = connection.confirmed;
  if (!state || saving) return;
  if (!mine) {
    showFault();
    return goToFault();
  }
  const theirs = state.value;
  const changes = difference(base, mine.value).filter(({ op }) => op !== "test");
  let value = mine.value;
  try {
    value = applyPatch(theirs, changes);
  } catch (error) {
    if (!(error instanceof PatchError)) throw error;
  }
  base = theirs;
  put(format(value));
  hideConflict();
  page.text.focus({ preventScroll: true });
  send(value, difference(theirs, value));
}

/** One's own edits are given up. */
function takeTheirs() {
  const state = connection.confirmed;
  if (!state || saving) return;
  showAnew(state.value);
  // Not to where the caret is, which may be far from what was read.
  page.text.focus({ preventScroll: true });
}

/**
 * @param {any} theirs
 * @param {any} mine
 */
function showConflict(theirs, mine) {
  const theirPlaces = placesOf(difference(base, theirs));
  const myPlaces = placesOf(difference(base, mine));
  const isWithin = (/** @type {string} */ one, /** @type {string} */ other) => one === other || one.startsWith(`${other}/`);
  const places = theirPlaces.filter((place) => myPlaces.some((own) => isWithin(place, own) || isWithin(own, place)));
  const told = places.length > 0 ? places : theirPlaces;
  page.conflictText.textContent =
    "Somebody else has changed the same place while you edited it. Nothing of yours is lost: it is still in the text, and not saved.";
  const items = told.slice(0, MOST_PLACES).map((place) => placeItem(place, theirs));
  if (told.length > MOST_PLACES) items.push(made("li", `and ${told.length - MOST_PLACES} more`));
  page.conflictPlaces.replaceChildren(...items);
  page.conflict.hidden = false;
  showTools();
}

/**
 * @param {string} place
 * @param {any} theirs
 */
function placeItem(place, theirs) {
  const item = made("li", "");
  item.append(made("code", place || "the whole document"), " is now ", made("code", shortly(theirs, place)));
  return item;
}

/**
 * @param {any} value
 * @param {string} place
 */
function shortly(value, place) {
  try {
    const text = jsonOf(valueAt(value, place));
    return text.length > 80 ? `${text.slice(0, 79)}…` : text;
  } catch {
    return "gone";
  }
}

function hideConflict() {
  page.conflict.hidden = true;
}

/** @param {import("./json_patch.js").Operation[]} ops */
function placesOf(ops) {
  return [...new Set(ops.filter(({ op }) => op !== "test").map(({ path }) => path))];
}

/** @param {PatchDetail} patch */
function showWhatChanged({ seq, ops }) {
  const places = placesOf(ops);
  const who = own.delete(seq) ? "you" : "somebody else";
  const where = places.length === 1 ? `, at ${places[0] || "the whole"}` : `, in ${counted(places.length, "place")}`;
  const time = new Date().toLocaleTimeString();
  page.changed.textContent = `Last changed by ${who}${where}, ${time}.`;
}

function showTools() {
  const isClosed = connection.status.status === "closed";
  const dirty = isDirty();
  page.save.setAttribute("aria-disabled", String(!dirty || isClosed || saving !== undefined || !written()));
  page.discard.setAttribute("aria-disabled", String(!dirty || saving !== undefined));
  document.body.toggleAttribute("data-dirty", dirty);
  if (dirty && !saving) page.saved.textContent = waitsForThem() ? "Not saved. Others have changed it meanwhile." : "Not saved";
}

/** Others have changed something that is not in the text: it is no JSON just now. */
function waitsForThem() {
  const state = connection.confirmed;
  return state !== undefined && state.seq >= savedAt && !isEqual(state.value, base);
}

function showFault() {
  clearTimeout(faultSoon);
  const fault = base === undefined ? undefined : faultIn(page.text.value);
  page.text.setAttribute("aria-invalid", String(fault !== undefined));
  page.faultLine.hidden = page.showFault.hidden = fault === undefined;
  faultLine = fault?.line ?? 1;
  const text = fault ? `Line ${fault.line}, column ${fault.column}: ${fault.message}` : "";
  if (page.fault.textContent !== text) page.fault.textContent = text;
  placeFaultLine();
}

/** On the line in the text: as far down as that is scrolled. */
function placeFaultLine() {
  if (page.faultLine.hidden) return;
  const { lineHeight, paddingTop } = getComputedStyle(page.text);
  const top = parseFloat(paddingTop) + (faultLine - 1) * parseFloat(lineHeight) - page.text.scrollTop;
  page.faultLine.style.transform = `translateY(${top}px)`;
}

function goToFault() {
  const fault = faultIn(page.text.value);
  if (!fault) return;
  page.text.focus();
  page.text.setSelectionRange(fault.index, fault.index + 1);
  const { lineHeight } = getComputedStyle(page.text);
  page.text.scrollTop = (fault.line - 1) * parseFloat(lineHeight) - page.text.clientHeight / 2;
}

/** @param {ErrorDetail} error */
function showError({ code, message, action, retry }) {
  if (retry) {
    if (code === "rate_limited") notice.showCalm("That was faster than the server takes it; the rest follows.");
    if (code === "not_durable") notice.showCalm("The server cannot save just now; trying again.");
    return;
  }
  if (code === "not_kept") return;
  switch (code) {
    case "test_failed":
    case "patch_failed":
      // What they changed comes, or is here; the text is compared with it.
      notice.show("Not saved: somebody else was faster.");
      break;
    case "unknown":
      notice.showToBeRead("Nobody can tell whether your edits were saved. They are still in the text.");
      break;
    default:
      notice.show(action ? `Not saved: ${message}.` : sentence(message));
  }
}

/** @param {StatusDetail} detail */
function showStatus(detail) {
  statusLine.show(detail);
  if (detail.status === "connected") notice.clearCalm();
  // A new connection may be to another history.
  if (detail.status === "connected") {
    savedAt = 0;
    own.clear();
  }
  if (detail.status === "closed") {
    page.text.readOnly = true;
    const advice = adviceAfter(detail.code);
    if (advice) notice.showToBeRead(advice);
  }
  showTools();
}

showStatus(connection.status);
