// The client library, with a clock, chance and sockets that the tests hold in their hands.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { CLOSE_CODES, Connection, closeCode } from "../../web/statesync.js";

const URL = "ws://counter.example/";
const CONNECTING = 0;
const OPEN = 1;
const CLOSING = 2;
const CLOSED = 3;

class FakeSocket {
  readyState = CONNECTING;
  sent = [];
  closedWith = undefined;
  onopen = null;
  onmessage = null;
  onclose = null;

  constructor(url) {
    this.url = url;
  }

  send(text) {
    assert.equal(this.readyState, OPEN, "send on a socket that is not open");
    this.sent.push(text);
  }

  close(code) {
    this.closedWith = code;
    this.readyState = CLOSING;
  }

  opens() {
    this.readyState = OPEN;
    this.onopen?.({});
  }

  receives(data) {
    this.onmessage?.({ data });
  }

  isLost(code = 1006, reason = "") {
    this.readyState = CLOSED;
    this.onclose?.({ code, reason });
  }
}

class FakeClock {
  nowMs = 0;
  timers = new Set();

  setTimeout = (callback, delayMs) => {
    const timer = { callback, at: this.nowMs + delayMs };
    this.timers.add(timer);
    return timer;
  };

  clearTimeout = (timer) => {
    this.timers.delete(timer);
  };

  advance(ms) {
    const end = this.nowMs + ms;
    for (;;) {
      const [next] = [...this.timers].sort((one, other) => one.at - other.at);
      if (!next || next.at > end) break;
      this.nowMs = next.at;
      this.timers.delete(next);
      next.callback();
    }
    this.nowMs = end;
  }
}

/** A connection and all that surrounds it. Chance is 0.5 unless a test says otherwise. */
function connect(options = {}) {
  const clock = new FakeClock();
  const sockets = [];
  const window = new EventTarget();
  const document = Object.assign(new EventTarget(), { visibilityState: "hidden" });
  const connection = new Connection(URL, {
    WebSocket: class extends FakeSocket {
      constructor(url) {
        super(url);
        sockets.push(this);
      }
    },
    setTimeout: clock.setTimeout,
    clearTimeout: clock.clearTimeout,
    random: () => 0.5,
    window,
    document,
    baseDelayMs: 1_000,
    maxDelayMs: 30_000,
    stableAfterMs: 5_000,
    ...options,
  });
  const events = [];
  for (const type of ["state", "users", "error", "status"]) {
    connection.addEventListener(type, ({ detail }) => events.push({ type, ...detail }));
  }
  return { connection, clock, sockets, window, document, events, socket: () => sockets.at(-1) };
}

/** The waits before the next `count` tries, all of which fail. */
function delays(world, count) {
  return Array.from({ length: count }, () => {
    world.socket().isLost();
    const { retryInMs } = world.connection.status;
    world.clock.advance(retryInMs);
    return retryInMs;
  });
}

describe("connecting", () => {
  test("starts at once, at the address given", () => {
    const { connection, sockets } = connect();
    assert.deepEqual(sockets.map(({ url }) => url), [URL]);
    assert.deepEqual(connection.status, { status: "connecting" });
  });

  test("tells each change of status, in order", () => {
    const world = connect();
    world.socket().opens();
    world.socket().isLost(1001, "bye");
    world.clock.advance(500);
    world.socket().opens();
    assert.deepEqual(world.events, [
      { type: "status", status: "connected" },
      { type: "status", status: "waiting", code: 1001, reason: "bye", retryInMs: 500 },
      { type: "status", status: "connecting" },
      { type: "status", status: "connected" },
    ]);
  });

  test("throws what WebSocket throws for a bad address", () => {
    const refuse = class {
      constructor() {
        throw new SyntaxError("bad address");
      }
    };
    assert.throws(() => connect({ WebSocket: refuse }), new SyntaxError("bad address"));
  });
});

describe("events", () => {
  const received = (data) => {
    const world = connect();
    world.socket().opens();
    world.events.length = 0;
    world.socket().receives(data);
    return world.events;
  };

  for (const [name, data, expected] of [
    ["state", '{"type":"state","value":7}', { type: "state", value: 7 }],
    ["a state that is nothing", '{"type":"state","value":null}', { type: "state", value: null }],
    ["a state that is a document", '{"type":"state","value":{"a":[1]}}', { type: "state", value: { a: [1] } }],
    ["users", '{"type":"users","count":2}', { type: "users", count: 2 }],
    ["error", '{"type":"error","code":"bad_json","message":"no"}', { type: "error", code: "bad_json", message: "no" }],
    ["unknown keys, left out", '{"type":"state","value":7,"seq":3}', { type: "state", value: 7 }],
  ]) {
    test(`passes on ${name}`, () => assert.deepEqual(received(data), [expected]));
  }

  for (const [name, data] of [
    ["an unknown type", '{"type":"weather","value":1}'],
    ["no type", '{"value":1}'],
    ["a status that the server made up", '{"type":"status","status":"closed"}'],
    ["a state without a value", '{"type":"state"}'],
    ["users without a count", '{"type":"users"}'],
    ["a count that is a text", '{"type":"users","count":"2"}'],
    ["a count below zero", '{"type":"users","count":-1}'],
    ["a count that is not whole", '{"type":"users","count":1.5}'],
    ["an error without a code", '{"type":"error","message":"no"}'],
    ["an error without a message", '{"type":"error","code":"bad_json"}'],
    ["a text that is not JSON", "{"],
    ["an empty text", ""],
    ["JSON null", "null"],
    ["a JSON list", '[{"type":"state","value":1}]'],
    ["a JSON text", '"state"'],
    ["binary data", new ArrayBuffer(2)],
  ]) {
    test(`ignores ${name}`, () => assert.deepEqual(received(data), []));
  }

  test("are read by the parser given", () => {
    const world = connect({ parse: () => ({ type: "state", value: 9n }) });
    world.socket().receives("x");
    assert.deepEqual(world.events, [{ type: "state", value: 9n }]);
  });
});

describe("sending", () => {
  test("hands the action over as JSON", () => {
    const { connection, socket } = connect();
    socket().opens();
    assert.equal(connection.send({ action: "plus", by: 5 }), true);
    assert.deepEqual(socket().sent, ['{"action":"plus","by":5}']);
  });

  test("says so when there is no open socket, instead of losing the action silently", () => {
    const { connection, socket } = connect();
    assert.equal(connection.send({ action: "plus" }), false, "while connecting");
    socket().opens();
    socket().readyState = CLOSING;
    assert.equal(connection.send({ action: "plus" }), false, "while closing");
    socket().isLost();
    assert.equal(connection.send({ action: "plus" }), false, "while waiting");
    connection.close();
    assert.equal(connection.send({ action: "plus" }), false, "when closed");
    assert.deepEqual(socket().sent, []);
  });
});

describe("coming back", () => {
  test("waits twice as long each time, up to the longest wait", () => {
    const world = connect({ random: () => 0.999_999 });
    const rounded = delays(world, 8).map((delayMs) => Math.ceil(delayMs));
    assert.deepEqual(rounded, [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
  });

  test("leaves the whole wait to chance", () => {
    assert.deepEqual(delays(connect({ random: () => 0 }), 4), [0, 0, 0, 0]);
    assert.deepEqual(delays(connect({ random: () => 0.25 }), 4), [250, 500, 1_000, 2_000]);
  });

  test("keeps its bounds after very many failures", () => {
    const random = Math.random;
    for (const delayMs of delays(connect({ random }), 2_000)) {
      assert.ok(delayMs >= 0 && delayMs < 30_000, `a wait of ${delayMs} ms`);
    }
  });

  test("does not try before the wait is over", () => {
    const world = connect();
    world.socket().isLost();
    world.clock.advance(499);
    assert.equal(world.sockets.length, 1);
    world.clock.advance(1);
    assert.equal(world.sockets.length, 2);
  });

  test("waits briefly again after a connection that was stable", () => {
    const world = connect();
    assert.deepEqual(delays(world, 3), [500, 1_000, 2_000]);
    world.socket().opens();
    world.clock.advance(5_000);
    assert.deepEqual(delays(world, 2), [500, 1_000]);
  });

  test("goes on waiting longer after a connection that was not", () => {
    const world = connect();
    assert.deepEqual(delays(world, 3), [500, 1_000, 2_000]);
    world.socket().opens();
    world.clock.advance(4_999);
    assert.deepEqual(delays(world, 1), [4_000]);
    world.clock.advance(10_000);
    assert.deepEqual(delays(world, 1), [8_000], "the time after the loss made it count as stable");
  });

  test("is at once when the network is back", () => {
    const world = connect();
    world.socket().isLost();
    world.window.dispatchEvent(new Event("online"));
    assert.equal(world.sockets.length, 2);
    world.clock.advance(60_000);
    assert.equal(world.sockets.length, 2, "the wait that was cut short went on");
  });

  test("is at once when the tab becomes visible, not when it is hidden", () => {
    const world = connect();
    world.socket().isLost();
    world.document.dispatchEvent(new Event("visibilitychange"));
    assert.equal(world.sockets.length, 1);
    world.document.visibilityState = "visible";
    world.document.dispatchEvent(new Event("visibilitychange"));
    assert.equal(world.sockets.length, 2);
  });

  test("happens only to a connection that is lost", () => {
    const world = connect();
    world.window.dispatchEvent(new Event("online"));
    assert.equal(world.sockets.length, 1, "while connecting");
    world.socket().opens();
    world.window.dispatchEvent(new Event("online"));
    assert.equal(world.sockets.length, 1, "while connected");
    world.socket().isLost(4400);
    world.window.dispatchEvent(new Event("online"));
    assert.equal(world.sockets.length, 1, "when closed for good");
  });

  test("needs neither a window nor a document", () => {
    const world = connect({ window: undefined, document: undefined });
    world.socket().isLost();
    world.clock.advance(500);
    assert.equal(world.sockets.length, 2);
  });
});

describe("close codes", () => {
  for (const code of [1000, 1002, 1003, 1007, 1008, 1009, 4400, 4401, 4450, 4499]) {
    test(`${code} ends it for good`, () => {
      const world = connect();
      world.socket().opens();
      world.socket().isLost(code, "why");
      assert.deepEqual(world.connection.status, { status: "closed", code, reason: "why" });
      world.clock.advance(3_600_000);
      assert.equal(world.sockets.length, 1);
      assert.equal(world.clock.timers.size, 0, "timers were left behind");
    });
  }

  for (const code of [1001, 1005, 1006, 1010, 1011, 1012, 1013, 1014, 1015, 3000, 4000, 4399, 4500, 4508, 4599, 4600]) {
    test(`${code} comes back`, () => {
      const world = connect();
      world.socket().opens();
      world.socket().isLost(code);
      world.clock.advance(1_000);
      assert.equal(world.sockets.length, 2);
    });
  }

  test("are told by one table without overlaps", () => {
    for (const [index, { first, last, comesBack, meaning }] of CLOSE_CODES.entries()) {
      assert.ok(first <= last && (CLOSE_CODES[index - 1]?.last ?? 0) < first, `the row of ${first}`);
      assert.deepEqual(closeCode(first), CLOSE_CODES[index]);
      assert.equal(typeof comesBack, "boolean");
      assert.notEqual(meaning, "");
    }
  });
});

describe("closing", () => {
  test("closes the socket normally and hears nothing more from it", () => {
    const world = connect();
    world.socket().opens();
    world.events.length = 0;
    world.connection.close();
    world.socket().receives('{"type":"state","value":1}');
    world.socket().isLost(1000);
    assert.equal(world.socket().closedWith, 1000);
    assert.deepEqual(world.events, [{ type: "status", status: "closed", code: 1000, reason: "" }]);
    assert.equal(world.clock.timers.size, 0, "timers were left behind");
  });

  test("ends a wait", () => {
    const world = connect();
    world.socket().isLost();
    world.connection.close();
    world.clock.advance(60_000);
    world.window.dispatchEvent(new Event("online"));
    assert.equal(world.sockets.length, 1);
  });

  test("twice is once", () => {
    const world = connect();
    world.connection.close();
    world.connection.close();
    assert.equal(world.events.length, 1);
  });
});
