// A chat and a document room behind the sockets of pages, as docs/protocol.md has them, for what a real server does not
// do on demand: to lose connections between two messages, to hold a name, to forget, to answer late.
import { applyPatch, mergePatch } from "../../web/json_patch.js";
import { WELCOME } from "./fake_world.mjs";

class SimulatedRoom {
  kind = "";
  epoch = "first";
  seq = 0;
  /** What is more in the next welcomes. */
  welcome = {};
  /** Nothing is answered, nor told. What comes in is kept. */
  isMute = false;
  /** The last number of each client. @type {Map<string, number>} */
  clients = new Map();
  /** @type {Set<Member>} */
  members = new Set();
  #unheard = [];

  /** For `routeWebSocket`. @param {import("playwright-core").WebSocketRoute} route */
  serve = (route) => {
    const { searchParams } = new URL(route.url());
    const member = { route, client: searchParams.get("client"), since: searchParams.get("since"), name: null };
    route.onMessage((text) => this.#received(member, JSON.parse(String(text))));
    route.onClose(() => this.#gone(member));
    this.members.add(member);
    const last_id = this.clients.get(member.client) ?? null;
    const { epoch, kind, seq } = this;
    this.send(member, { ...WELCOME, kind, epoch, seq, last_id, session: this.members.size, ...this.welcome });
    this.joined(member);
  };

  /** Routes the sockets of the page. */
  async route(page) {
    await page.routeWebSocket(/^ws:/, this.serve);
  }

  /** Ends all connections, as a server that restarts. */
  lose(code = 1012, reason = "") {
    for (const member of [...this.members]) {
      member.route.close({ code, reason });
      this.#gone(member);
    }
  }

  /** Answers what came in while it was mute. */
  speak() {
    this.isMute = false;
    for (const [member, message] of this.#unheard.splice(0)) this.#received(member, message);
  }

  send(member, event) {
    if (this.members.has(member)) member.route.send(JSON.stringify(event));
  }

  tell(event) {
    for (const member of this.members) this.send(member, event);
  }

  #received(member, message) {
    if (this.isMute) return this.#unheard.push([member, message]);
    if (!this.members.has(member)) return;
    const { id, ...action } = message;
    const last = this.clients.get(member.client) ?? 0;
    if (id !== undefined && id <= last) return this.send(member, { type: "ack", id, seq: this.seq, duplicate: true });
    const outcome = this.act(member, action);
    if (outcome.retry !== true && id !== undefined) this.clients.set(member.client, id);
    if (outcome.code) return this.send(member, { type: "error", message: outcome.code.replaceAll("_", " "), id, retry: false, ...outcome });
    if (id !== undefined) this.send(member, { type: "ack", id, seq: this.seq });
    for (const event of outcome.events) this.tell(event);
  }

  #gone(member) {
    if (!this.members.delete(member)) return;
    this.left(member);
  }

  joined() {}
  left() {}
}

export class SimulatedChat extends SimulatedRoom {
  kind = "chat";
  messages = [];
  /** The most messages that are kept. */
  history = 100;
  /** Names that somebody has who is not here. */
  held = new Set();

  get names() {
    return [...this.held, ...[...this.members].map(({ name }) => name).filter(Boolean)];
  }

  joined(member) {
    this.send(member, { type: "users", count: this.members.size, users: this.names });
    const since = Number(member.since ?? 0);
    for (const message of this.messages.slice(-this.history)) if (message.seq > since) this.send(member, message);
  }

  left({ name }) {
    if (name) this.tell({ type: "left", seq: this.seq, name, time: now() });
  }

  act(member, { action, name, text }) {
    switch (action) {
      case "login":
        if (member.name === name) return { events: [] };
        if (this.names.includes(name)) return { code: "name_taken" };
        member.name = name;
        return { events: [{ type: "joined", seq: this.seq, name, time: now() }] };
      case "logout": {
        const { name: before } = member;
        if (!before) return { code: "not_logged_in" };
        member.name = null;
        return { events: [{ type: "left", seq: this.seq, name: before, time: now() }] };
      }
      case "message": {
        if (!member.name) return { code: "not_logged_in" };
        const message = { type: "message", seq: (this.seq += 1), from: member.name, text, time: now() };
        this.messages.push(message);
        return { events: [message] };
      }
      default:
        return { code: "unknown_action" };
    }
  }

  /** Somebody else says something. */
  says(from, text, time = now()) {
    const message = { type: "message", seq: (this.seq += 1), from, text, time };
    this.messages.push(message);
    this.tell(message);
  }
}

export class SimulatedDocument extends SimulatedRoom {
  kind = "document";

  constructor(value) {
    super();
    this.value = value;
  }

  joined(member) {
    this.send(member, { type: "users", count: this.members.size });
    this.send(member, { type: "state", seq: this.seq, value: this.value });
  }

  act(_member, action) {
    try {
      return { events: [this.change(action)] };
    } catch ({ code }) {
      return { code };
    }
  }

  /** @returns {object} the event that tells it */
  change({ action, value, patch, ops }) {
    const from = this.seq;
    if (action === "set") this.value = value;
    else if (action === "merge") this.value = mergePatch(this.value, patch);
    else this.value = applyPatch(this.value, ops);
    this.seq += 1;
    const told = action === "patch" ? ops.filter(({ op }) => op !== "test") : [{ op: "replace", path: "", value: this.value }];
    return { type: "patch", from, seq: this.seq, ops: told };
  }

  /** Somebody else changes something. */
  changes(...ops) {
    this.tell(this.change({ action: "patch", ops }));
  }
}

function now() {
  return new Date().toISOString();
}
