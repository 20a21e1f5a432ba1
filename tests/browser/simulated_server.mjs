// A server that answers as docs/protocol.md says, on a network where a test decides what arrives, and when, and what is
// cut. Nothing in it happens by itself.
import { CLOSED, CLOSING, CONNECTING, OPEN, WELCOME } from "./fake_world.mjs";

export class SimulatedServer {
  value = 0;
  seq = 0;
  /** The position of the last action that changed the value. */
  stateSeq = 0;
  /** Whether the journal keeps actions now. */
  isDurable = true;
  maxInFlight = 4;
  /** How often each action was applied, by its `tag`. @type {Map<number, number>} */
  applied = new Map();
  /** What is known of each client. @type {Map<string, { last: number, refused: Set<number>, actedAt: number }>} */
  clients = new Map();
  forgottenUntil = 0;
  /** @type {Set<Link>} */
  links = new Set();

  /** A class for the option `WebSocket`. */
  get WebSocket() {
    const server = this;
    return class extends Link {
      constructor(url) {
        super(server, new URL(url).searchParams.get("client"));
        server.links.add(this);
      }
    };
  }

  /** @param {string} client */
  forget(client) {
    this.forgottenUntil = Math.max(this.forgottenUntil, this.clients.get(client)?.actedAt ?? 0);
    this.clients.delete(client);
  }

  /** @param {Link} link */
  joined(link) {
    for (const other of this.links) {
      if (other !== link && other.isJoined && other.client === link.client) other.sendToClient({ close: 4409 });
    }
    const known = this.clients.get(link.client);
    link.knowsClient = known !== undefined;
    link.sendToClient({
      ...WELCOME,
      seq: this.seq,
      last_id: known?.last ?? null,
      refused: [...(known?.refused ?? [])].filter((id) => id > known.last - this.maxInFlight),
      forgotten_until: this.forgottenUntil,
      max_in_flight: this.maxInFlight,
    });
    link.sendToClient(this.#state());
  }

  /**
   * @param {Link} link
   * @param {{ id: number, action: string, by?: number, tag: number }} message
   */
  received(link, { id, action, by = 1, tag }) {
    const error = (code, retry = false) => link.sendToClient({ type: "error", code, message: code, id, retry });
    const known = this.clients.get(link.client);
    const last = known?.last ?? 0;
    if (!known && link.knowsClient) return error("forgotten");
    if (id > last + 1) return error("id_gap", true);
    if (id <= last) {
      if (known.refused.has(id)) return error("refused");
      return link.sendToClient({ type: "ack", id, seq: this.stateSeq, duplicate: true });
    }
    if (!this.isDurable) return error("not_durable", true);
    this.seq += 1;
    const client = known ?? { last: 0, refused: new Set(), actedAt: 0 };
    this.clients.set(link.client, client);
    link.knowsClient = true;
    client.last = id;
    client.actedAt = this.seq;
    if (action !== "plus") {
      client.refused.add(id);
      return error("unknown_action");
    }
    this.value += by;
    this.stateSeq = this.seq;
    this.applied.set(tag, (this.applied.get(tag) ?? 0) + 1);
    link.sendToClient({ type: "ack", id, seq: this.seq });
    for (const other of this.links) if (other.isJoined) other.sendToClient(this.#state());
  }

  #state() {
    return { type: "state", seq: this.stateSeq, value: this.value };
  }
}

/** One connection: a WebSocket at its one end, the server at its other, and what is on its way between them. */
class Link {
  readyState = CONNECTING;
  protocol = "";
  onopen = null;
  onmessage = null;
  onclose = null;
  isJoined = false;
  /** The server knew the client at some time since it joined. */
  knowsClient = false;
  #server;
  #toServer = ["join"];
  #toClient = [];

  constructor(server, client) {
    this.#server = server;
    this.client = client;
  }

  send(text) {
    this.#toServer.push(JSON.parse(text));
  }

  /** What was sent before may still arrive. */
  close() {
    this.readyState = CLOSING;
    this.#toServer.push("leave");
  }

  sendToClient(message) {
    this.#toClient.push(message);
    if (message.close) this.#leave();
  }

  get canArrive() {
    return { atServer: this.#toServer.length > 0, atClient: this.#toClient.length > 0 };
  }

  arriveAtServer() {
    const message = this.#toServer.shift();
    if (message === "join") {
      this.isJoined = true;
      this.#server.joined(this);
    } else if (message === "leave") {
      this.#leave();
      this.#toClient.length = 0;
    } else if (this.isJoined) {
      this.#server.received(this, message);
    }
  }

  arriveAtClient() {
    const message = this.#toClient.shift();
    if (message.close) return this.#closed(message.close);
    if (this.readyState === CONNECTING) {
      this.readyState = OPEN;
      this.protocol = "statesync.v1";
      this.onopen?.({});
    }
    this.onmessage?.({ data: JSON.stringify(message) });
  }

  /** All that is on its way is lost. */
  cut() {
    this.#leave();
    this.#closed(1006);
  }

  #leave() {
    this.isJoined = false;
    this.#toServer.length = 0;
    if (this.readyState === CLOSING) this.#server.links.delete(this);
  }

  #closed(code) {
    this.#server.links.delete(this);
    this.#toClient.length = 0;
    this.readyState = CLOSED;
    this.onclose?.({ code, reason: "" });
  }
}
