/**
 * The start page: the rooms of this server, who is in them, and where to go in. It looks anew by itself.
 */
import { accessToken, counted, element, made, pageAddress } from "./page.js";

/**
 * @typedef {object} Room
 * @property {string} path
 * @property {string} kind
 * @property {number} users
 * @property {number} seq
 */

/** Looked at often enough to see people come and go, and a small request. */
const LOOK_EVERY_MS = 2_000;
/** Each look that fails makes the next wait twice as long, up to this. */
const LONGEST_WAIT_MS = 30_000;
/** A server that says nothing for so long is not there. */
const ANSWER_WITHIN_MS = 10_000;
/** More than anybody reads. */
const MOST_SHOWN = 500;

/** What is said of the kinds that have a page. @type {Record<string, string>} */
const PAGES = {
  counter: "Counter: one number, shared",
  chat: "Chat: talk to who is here",
  document: "Document: one JSON text, edited together",
};

const page = {
  summary: element("summary"),
  problem: element("problem"),
  empty: element("empty"),
  rooms: element("rooms"),
  more: element("more"),
};

/** The cards by the path and kind of their rooms, so that one that stays keeps its focus. @type {Map<string, Card>} */
const cards = new Map();
let failures = 0;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let next;
let isLooking = false;

document.addEventListener("visibilitychange", look);
addEventListener("online", look);
look();

/** Not while nobody sees it. */
async function look() {
  if (document.visibilityState !== "visible" || isLooking) return;
  clearTimeout(next);
  isLooking = true;
  const problem = await showRooms().then(() => "", whatIsWrong);
  isLooking = false;
  failures = problem ? failures + 1 : 0;
  if (problem && cards.size === 0) page.summary.textContent = "";
  page.problem.hidden = !problem;
  if (page.problem.textContent !== problem) page.problem.textContent = problem;
  next = setTimeout(look, Math.min(LONGEST_WAIT_MS, LOOK_EVERY_MS * 2 ** failures));
}

async function showRooms() {
  const token = accessToken();
  const headers = token === null ? undefined : { Authorization: `Bearer ${token}` };
  const response = await fetch("/api/rooms", { headers, cache: "no-store", signal: AbortSignal.timeout(ANSWER_WITHIN_MS) });
  if (!response.ok) throw new Refused(response.status);
  const { rooms } = await response.json();
  show(rooms.filter(isRoom));
}

class Refused extends Error {
  /** @param {number} status */
  constructor(status) {
    super(`status ${status}`);
    this.status = status;
  }
}

/** @param {unknown} error */
function whatIsWrong(error) {
  const status = error instanceof Refused ? error.status : undefined;
  if (status === 401) return "This server wants an access token: add #access_token=… to the address of this page, and reload it.";
  if (status === 403) return "This server does not show you its rooms.";
  if (status === 404) return "This server does not list its rooms.";
  if (status !== undefined) return `The server cannot list its rooms now (${status}); trying again.`;
  return navigator.onLine ? "The server cannot be reached; trying again." : "You are offline; trying again.";
}

/**
 * @param {any} room
 * @returns {room is Room}
 */
function isRoom(room) {
  return typeof room?.path === "string" && typeof room.kind === "string" && Number.isInteger(room.users);
}

/** @param {Room[]} rooms */
function show(rooms) {
  rooms.sort((one, other) => (one.path < other.path ? -1 : 1));
  const shown = rooms.slice(0, MOST_SHOWN);
  const wanted = shown.map((room) => cardOf(room).element);
  const isAsWanted = wanted.length === page.rooms.children.length && wanted.every((card, index) => page.rooms.children[index] === card);
  if (!isAsWanted) arrange(wanted);
  page.empty.hidden = rooms.length > 0;
  page.more.hidden = rooms.length <= MOST_SHOWN;
  page.more.textContent = `… and ${counted(rooms.length - shown.length, "more room")}.`;
  const users = rooms.reduce((sum, room) => sum + room.users, 0);
  const summary = `${counted(rooms.length, "room")}, ${counted(users, "user")} online`;
  if (page.summary.textContent !== summary) page.summary.textContent = summary;
}

/**
 * Moves only what is not in its place: who is moved loses the focus.
 *
 * @param {HTMLElement[]} wanted
 */
function arrange(wanted) {
  const staying = new Set(wanted);
  for (const [key, { element }] of cards) {
    if (staying.has(element)) continue;
    element.remove();
    cards.delete(key);
  }
  for (const [index, card] of wanted.entries()) {
    const there = page.rooms.children[index];
    if (there !== card) page.rooms.insertBefore(card, there ?? null);
  }
}

/** @param {Room} room */
function cardOf(room) {
  const key = JSON.stringify([room.path, room.kind]);
  const card = cards.get(key) ?? new Card(room);
  cards.set(key, card);
  card.show(room);
  return card;
}

class Card {
  element = made("li", "", "room");
  #people = made("p", "", "people");
  #position = made("p", "", "position");

  /** @param {Room} room */
  constructor({ path, kind }) {
    const title = made("p", "", "path");
    const address = made("bdi", path);
    const about = Object.hasOwn(PAGES, kind) ? PAGES[kind] : undefined;
    if (about === undefined) {
      title.append(address);
    } else {
      const link = made("a", "");
      link.href = pageAddress(path);
      link.append(address);
      title.append(link);
    }
    this.element.append(title, this.#people, made("p", about ?? `${kind}: for programs, at ${socketAt(path)}`, "about"), this.#position);
  }

  /** @param {Room} room */
  show({ users, seq }) {
    this.#people.textContent = counted(users, "user");
    this.#people.toggleAttribute("data-some", users > 0);
    this.#position.textContent = Number.isInteger(seq) ? `position ${seq}` : "";
  }
}

/** @param {string} path */
function socketAt(path) {
  const url = new URL(location.origin);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.pathname = path;
  return url.href;
}
