#!/usr/bin/env node
// Tests statesync with the Node library `ws`.
//
//     ws_client.js SCENARIO URL [ECHO_URL] [--deadline SECONDS]
//     ws_client.js --list
//
// URL is a counter room that nobody else uses meanwhile, ECHO_URL an echo room
// with the template {message} and a max_message of 128KiB. SCENARIO may be
// `all`. `shutdown` is not in the list: it prints `connected`, then waits for
// the server to be stopped and to close the connection with 1001.

import { readFileSync } from "node:fs";
import { performance } from "node:perf_hooks";
import { parseArgs } from "node:util";
import WebSocket from "ws";

const PLUS = '{"action":"plus"}';
const MINUS = '{"action":"minus"}';

const users = (count) => JSON.stringify({ type: "users", count });
const state = (value) => JSON.stringify({ type: "state", value });

const SHOWN_CHARACTERS = 200;
const SHOWN_LINES = 60;

function shown(message) {
  const text = Buffer.isBuffer(message) ? `binary ${message.toString("hex")}` : String(message);
  if (text.length <= SHOWN_CHARACTERS) return text;
  return `${text.slice(0, SHOWN_CHARACTERS)}... (${message.length} in all)`;
}

const same = (one, other) => (Buffer.isBuffer(one) && Buffer.isBuffer(other) ? one.equals(other) : one === other);

/** The server did something else than expected. */
class Failed extends Error {}

/** One scenario's run: where the server is, what was said so far, and who takes part. */
class Run {
  constructor(url, echoUrl, deadlineSeconds) {
    Object.assign(this, { url, echoUrl, deadlineSeconds, started: performance.now(), lines: [], clients: [] });
  }

  seconds() {
    return ((performance.now() - this.started) / 1000).toFixed(3);
  }

  note(client, what) {
    this.lines.push(`${this.seconds().padStart(8)} s  ${client}: ${what}`);
  }

  failure(client, expected, got) {
    const told = this.lines.slice(-SHOWN_LINES);
    if (told.length < this.lines.length) told.unshift(`      ... ${this.lines.length - told.length} lines before`);
    return new Failed([
      `  expected: ${client}: ${expected}`,
      `  got:      ${got}`,
      `  when:     ${this.seconds()} s after the start`,
      "  conversation:",
      ...told.map((line) => `  ${line}`),
    ].join("\n"));
  }

  /** What the promise gives, or a failure when it has not come by the deadline. */
  async wait(client, expected, promise) {
    let timer;
    const late = new Promise((_, reject) => {
      const giveUp = () => reject(this.failure(client, expected, `nothing for ${this.deadlineSeconds} s`));
      timer = setTimeout(giveUp, this.deadlineSeconds * 1000);
    });
    try {
      return await Promise.race([promise, late]);
    } finally {
      clearTimeout(timer);
    }
  }
}

/** One connection; everything on it is noted in the run's conversation. */
class Client {
  constructor(run, name) {
    Object.assign(this, { run, name, arrived: [], waiting: [], closed: null });
    run.clients.push(this);
  }

  failure(expected, got) {
    return this.run.failure(this.name, expected, got);
  }

  check(condition, expected, got) {
    if (!condition) throw this.failure(expected, got);
  }

  async open(url, protocols = [], options = {}) {
    this.run.note(this.name, `connects to ${url} ${JSON.stringify(options)}`);
    this.socket = new WebSocket(url, protocols, options);
    this.socket.on("message", (data, isBinary) => this.arrive({ message: isBinary ? data : data.toString() }));
    this.socket.on("upgrade", (response) => (this.headers = response.headers));
    this.closing = new Promise((resolve) => {
      this.socket.on("close", (code) => {
        this.run.note(this.name, `is closed with ${code}`);
        this.arrive({ closed: code });
        resolve(code);
      });
    });
    const opening = new Promise((resolve, reject) => {
      this.socket.on("open", resolve);
      this.socket.on("error", (error) => {
        this.run.note(this.name, `has an error: ${error.message}`);
        reject(this.failure("to be let in", error.message));
      });
    });
    await this.run.wait(this.name, "to be let in", opening);
    return this;
  }

  arrive(what) {
    if (what.message !== undefined) this.run.note(this.name, `receives ${shown(what.message)}`);
    if (this.isRepeatedCount(what.message)) return;
    const waiting = this.waiting.shift();
    if (waiting) waiting(what);
    else this.arrived.push(what);
  }

  // Counts are paced: who joined while one was waiting to be told is told it
  // again with all others. A count that comes again is no news, and no fault.
  isRepeatedCount(message) {
    if (typeof message !== "string" || !message.startsWith('{"type":"users"')) return false;
    const isRepeated = message === this.lastCount;
    this.lastCount = message;
    return isRepeated;
  }

  send(message) {
    this.run.note(this.name, `sends ${shown(message)}`);
    this.socket.send(message);
  }

  /** The next message; `expected` is for the failure if none comes. */
  async receive(expected) {
    const next = this.arrived.length > 0
      ? Promise.resolve(this.arrived.shift())
      : new Promise((resolve) => this.waiting.push(resolve));
    const what = await this.run.wait(this.name, expected, next);
    this.check(what.closed === undefined, expected, `the end of the connection, code ${what.closed}`);
    return what.message;
  }

  /** Exactly these messages come next, as text or binary as given. */
  async expect(...messages) {
    for (const message of messages) {
      const got = await this.receive(shown(message));
      this.check(same(got, message), shown(message), shown(got));
    }
  }

  async expectError(...codes) {
    const expected = `an error event with a message and the code ${codes.join(" or ")}`;
    const text = await this.receive(expected);
    let event;
    try {
      event = JSON.parse(text);
    } catch {
      throw this.failure(expected, shown(text));
    }
    const hasMessage = typeof event.message === "string" && event.message !== "";
    this.check(event.type === "error" && codes.includes(event.code) && hasMessage, expected, shown(text));
  }

  async expectPingAnswered(payload) {
    const expected = `a pong with ${shown(payload)}`;
    const pong = new Promise((resolve) => this.socket.once("pong", resolve));
    this.run.note(this.name, `pings with ${shown(payload)}`);
    this.socket.ping(payload);
    const answer = await this.run.wait(this.name, expected, pong);
    this.check(same(answer, payload), expected, shown(answer));
  }

  async expectClosed(code) {
    const got = await this.run.wait(this.name, `to be closed with ${code}`, this.closing);
    this.check(got === code, `to be closed with ${code}`, `closed with ${got}`);
  }

  /** The closing handshake: the server answers with the same code. */
  async close() {
    this.run.note(this.name, "closes with 1000");
    this.socket.close(1000);
    await this.expectClosed(1000);
  }

  /** Ends the connection with a reset, as a crash does. */
  cut() {
    this.run.note(this.name, "cuts the connection (RST)");
    const socket = this.socket._socket;
    // Node cannot reset a connection with TLS; it ends that without a word of TLS.
    if (socket.encrypted) socket.destroy();
    else socket.resetAndDestroy();
  }
}

/** A client that is alone in the room, and the room's value. */
async function joinEmptyRoom(run, options) {
  const client = await new Client(run, "first").open(run.url, [], options);
  let event = JSON.parse(await client.receive("users, the first event on joining"));
  client.check(event.type === "users", "users, the first event on joining", JSON.stringify(event));
  let { count } = event;
  let value;
  // Whoever was in the room before may be counted out only now.
  while (value === undefined || count !== 1) {
    event = JSON.parse(await client.receive("the state, and a count of 1 in a room that nobody else uses"));
    if (event.type === "state") value = event.value;
    else count = event.count;
  }
  return { client, value };
}

/** One more client; it and all others see exactly what they should. */
async function join(run, name, others, value, options) {
  const client = await new Client(run, name).open(run.url, [], options);
  const count = others.length + 1;
  await client.expect(users(count), state(value));
  for (const other of others) await other.expect(users(count));
  return client;
}

const scenarios = {
  async join_order(run) {
    const { client: first, value } = await joinEmptyRoom(run);
    const second = await join(run, "second", [first], value);
    await second.close();
    // Had there been one more event for the first, it would come before the state.
    await first.expect(users(1));
    first.send(PLUS);
    await first.expect(state(value + 1));
    await first.close();
  },

  async actions(run) {
    const { client: first, value } = await joinEmptyRoom(run);
    const second = await join(run, "second", [first], value);
    const script = [
      [first, PLUS, value + 1],
      [second, MINUS, value],
      [first, Buffer.from(MINUS), value - 1],
      [second, Buffer.from(PLUS), value],
    ];
    for (const [sender, message, after] of script) {
      sender.send(message);
      await first.expect(state(after));
      await second.expect(state(after));
    }
    await first.close();
    await second.close();
  },

  // Two act at the same time; both see the same, each state once.
  async one_order(run) {
    const times = 100;
    const { client: first, value } = await joinEmptyRoom(run);
    const second = await join(run, "second", [first], value);
    for (let time = 0; time < times; time += 1) {
      first.send(PLUS);
      second.send(MINUS);
    }
    let before = value;
    let ups = 0;
    for (let number = 1; number <= 2 * times; number += 1) {
      const text = await first.receive(`state number ${number} of ${2 * times}`);
      const after = JSON.parse(text).value;
      first.check(Math.abs(after - before) === 1, `one step from ${before}`, text);
      if (after > before) ups += 1;
      before = after;
      await second.expect(text);
    }
    const isEven = ups === times && before === value;
    first.check(isEven, `${times} steps up and as many down, back to ${value}`, `${ups} up, ending on ${before}`);
    first.send(PLUS);
    for (const client of [first, second]) await client.expect(state(value + 1));
    await first.close();
    await second.close();
  },

  async bad_input(run) {
    const { client: first, value } = await joinEmptyRoom(run);
    const second = await join(run, "second", [first], value);
    const inputs = [['{"action":"multiply"}', "unknown_action"], ["{", "bad_json"], ["", "bad_json"]];
    for (const [message, code] of inputs) {
      first.send(message);
      await first.expectError(code);
    }
    first.send(PLUS);
    await first.expect(state(value + 1));
    await second.expect(state(value + 1));
    await first.close();
    await second.close();
  },

  async ping(run) {
    const { client, value } = await joinEmptyRoom(run);
    for (const payload of [Buffer.alloc(0), Buffer.from("are you there"), Buffer.alloc(125)]) {
      await client.expectPingAnswered(payload);
    }
    client.send(PLUS);
    await client.expect(state(value + 1));
    await client.close();
  },

  async clean_close(run) {
    const { client: first, value } = await joinEmptyRoom(run);
    const second = await join(run, "second", [first], value);
    await second.close();
    await first.expect(users(1));
    await first.close();
  },

  // Both ways to be gone without a word: a reset, and an end of the stream without a close frame.
  async abrupt_end(run) {
    const { client: first, value } = await joinEmptyRoom(run);
    const second = await join(run, "one that cuts", [first], value);
    second.cut();
    await first.expect(users(1));
    const third = await join(run, "one that only ends its stream", [first], value);
    third.socket._socket.end();
    await first.expect(users(1));
    const fourth = await join(run, "fourth", [first], value);
    await fourth.close();
    await first.expect(users(1));
    await first.close();
  },

  // The library offers permessage-deflate by default; it is agreed, and all works.
  async compression(run) {
    const { client: first, value } = await joinEmptyRoom(run);
    const agreed = first.headers["sec-websocket-extensions"];
    first.check(agreed?.startsWith("permessage-deflate"), "permessage-deflate in the answer", String(agreed));
    const everything = { threshold: 0, serverNoContextTakeover: true, clientNoContextTakeover: true };
    const second = await join(run, "second, which compresses everything it may", [first], value, {
      perMessageDeflate: everything,
    });
    first.send(PLUS);
    for (const client of [first, second]) await client.expect(state(value + 1));
    second.send(MINUS);
    for (const client of [first, second]) await client.expect(state(value));
    await first.close();
    await second.close();
  },

  // Each parameter, and messages of every length that a frame writes in its own way.
  async compressed_echo(run) {
    const offers = [
      {},
      { serverNoContextTakeover: true },
      { clientNoContextTakeover: true },
      { serverMaxWindowBits: 9 },
      { clientMaxWindowBits: 9 },
    ];
    for (const [number, offer] of offers.entries()) {
      const perMessageDeflate = { threshold: 0, ...offer };
      const client = await new Client(run, `client ${number}`).open(run.echoUrl, [], { perMessageDeflate });
      const agreed = client.headers["sec-websocket-extensions"];
      client.check(agreed?.startsWith("permessage-deflate"), "permessage-deflate in the answer", String(agreed));
      for (const length of [0, 1, 125, 126, 127, 128, 511, 512, 65535, 65536, 70000]) {
        const bytes = Buffer.from(Array.from({ length }, (_, index) => (index * index) % 251));
        for (const message of ["statesync, ".padEnd(length, "e").slice(0, length), bytes]) {
          client.send(message);
          await client.expect(message);
        }
      }
      await client.close();
    }
  },

  // The server lets such a client in without a subprotocol. This library then
  // leaves by itself, which is its right; the session must be counted out.
  async unknown_subprotocol(run) {
    const { client: first } = await joinEmptyRoom(run);
    const second = new Client(run, "second");
    await second.open(run.url, ["mqtt", "wamp.2.json"]).catch(() => {});
    second.check(second.headers, "an accepted upgrade", "a refusal, or no answer");
    const answer = second.headers["sec-websocket-protocol"];
    second.check(answer === undefined, "an answer without Sec-WebSocket-Protocol, as the server knows neither", answer);
    // Coming and going fast, it may not be told of; that it is gone shows in the next one's count.
    const third = await new Client(run, "third").open(run.url);
    let count;
    while (count !== 2) {
      const event = JSON.parse(await third.receive("a count of 2: the first and the third"));
      if (event.type === "users") ({ count } = event);
    }
    await first.close();
    await third.close();
  },

  async echo(run) {
    const client = new Client(run, "client");
    client.check(run.echoUrl, "the ECHO_URL argument", "none");
    await client.open(run.echoUrl);
    const everyByte = Buffer.from(Array.from({ length: 65536 }, (_, index) => index % 256));
    const texts = ["hello", "a".repeat(70_000), "计数器，大家一起数。👍", ""];
    for (const message of [...texts, Buffer.from("00ff80", "hex"), everyByte]) {
      client.send(message);
      await client.expect(message);
    }
    await client.close();
  },

  async shutdown(run) {
    const { client } = await joinEmptyRoom(run);
    console.log("connected");
    // The server is stopped by whoever started this; that may take a while.
    run.deadlineSeconds = Math.max(run.deadlineSeconds, 60);
    await client.expectClosed(1001);
    console.log("closed with 1001");
  },
};

const unlisted = ["shutdown"];
const listed = Object.keys(scenarios).filter((name) => !unlisted.includes(name));

function libraryVersion() {
  const packageFile = new URL("node_modules/ws/package.json", import.meta.url);
  return JSON.parse(readFileSync(packageFile, "utf8")).version;
}

/** Runs one scenario; true if it went as it should. */
async function perform(name, url, echoUrl, deadlineSeconds) {
  const run = new Run(url, echoUrl, deadlineSeconds);
  const library = `ws ${libraryVersion()}`;
  try {
    await scenarios[name](run);
    console.log(`ok ${name} (${library}, ${run.seconds()} s)`);
    return true;
  } catch (error) {
    const failure = error instanceof Failed ? error : run.failure("the client", "no error", error.stack);
    console.error(`FAILED ${name} (${library}, ${url})\n${failure.message}`);
    return false;
  } finally {
    // After a failure nobody may be left in the room for the next scenario to trip over.
    for (const client of run.clients) client.socket?.terminate();
  }
}

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { list: { type: "boolean" }, deadline: { type: "string", default: "10" } },
  });
  if (values.list) {
    console.log(listed.join("\n"));
    return 0;
  }
  const [scenario, url, echoUrl] = positionals;
  const names = scenario === "all" ? listed : [scenario];
  if (!url || !names.every((name) => Object.hasOwn(scenarios, name))) {
    const known = Object.keys(scenarios).join(", ");
    console.error(`usage: ws_client.js SCENARIO URL [ECHO_URL], or --list\nscenarios: all, ${known}`);
    return 2;
  }
  let failures = 0;
  for (const name of names) {
    if (!(await perform(name, url, echoUrl, Number(values.deadline)))) failures += 1;
  }
  return failures === 0 ? 0 : 1;
}

process.exitCode = await main();
