// The client library: connecting, events, coming back, closing. With a clock, chance and sockets that the tests hold in
// their hands.
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { CLOSE_CODES, Connection, closeCode, counter, parseExactly } from "../../web/statesync.js";
import { FakeStorage, ROOM, WELCOME, connect, connected } from "./fake_world.mjs";

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
  test("starts at once, at the address given, as somebody, with the protocol's name", () => {
    const { connection, sockets } = connect({ url: `${ROOM}?x=1` });
    assert.equal(sockets.length, 1);
    const [{ url, asksFor, client }] = sockets;
    assert.equal(url.origin + url.pathname, ROOM);
    assert.equal(url.searchParams.get("x"), "1");
    assert.equal(asksFor, "statesync.v1");
    assert.match(client, /^[A-Za-z0-9_-]{22,64}$/);
    assert.deepEqual(connection.status, { status: "connecting" });
    assert.equal(connection.welcome, undefined);
  });

  test("takes http for ws, and leaves the fragment out", () => {
    assert.equal(connect({ url: "https://h.example/a#b" }).socket().url.href.split("?")[0], "wss://h.example/a");
    assert.equal(connect({ url: new URL("http://h.example/a") }).socket().url.href.split("?")[0], "ws://h.example/a");
  });

  test("an option that is undefined is as by default", () => {
    const names = ["apply", "parse", "maxWaiting", "baseDelayMs", "maxDelayMs", "stableAfterMs", "lockWaitMs"];
    const world = connect(Object.fromEntries(names.map((name) => [name, undefined])));
    world.socket().isLost();
    assert.equal(world.connection.status.retryInMs, 500);
    world.clock.advance(500);
    world.socket().welcomes();
    world.plus(1_001);
    assert.equal(world.connection.pending, 1_000);
  });

  test("no two connections are the same", () => {
    assert.notEqual(connect().socket().client, connect().socket().client);
  });

  test("is connected when it is welcome, and tells each change of status, in order", () => {
    const world = connect();
    world.socket().opens();
    assert.deepEqual(world.events, []);
    world.socket().receives(WELCOME);
    const { type: _, ...welcome } = WELCOME;
    assert.deepEqual(world.connection.welcome, welcome);
    world.socket().isLost(1001, "bye");
    assert.equal(world.connection.welcome, undefined);
    world.clock.advance(500);
    world.socket().welcomes();
    assert.deepEqual(world.events, [
      { type: "status", status: "connected" },
      { type: "status", status: "waiting", code: 1001, reason: "bye", retryInMs: 500 },
      { type: "status", status: "connecting" },
      { type: "status", status: "connected" },
    ]);
  });

  for (const protocol of ["", "something.else"]) {
    // As browsers do not, nor does `ws`: they fail the handshake.
    test(`a socket that opens though the protocol is ${JSON.stringify(protocol)} is left for good`, () => {
      const world = connect();
      const socket = world.socket();
      socket.opens(protocol);
      assert.equal(socket.closedWith, 1000);
      const reason = "the server does not speak statesync.v1";
      assert.deepEqual(world.connection.status, { status: "closed", code: 1002, reason });
    });
  }

  for (const [what, message] of [
    ["of another protocol", { ...WELCOME, protocol: "statesync.v2" }],
    ["without last_id", { ...WELCOME, last_id: undefined }],
    ["with a last_id below zero", { ...WELCOME, last_id: -1 }],
    ["without refused", { ...WELCOME, refused: undefined }],
    ["that lets nothing be sent", { ...WELCOME, max_in_flight: 0 }],
  ]) {
    test(`a welcome ${what} is none`, () => {
      const world = connect();
      world.socket().opens();
      world.socket().receives(message);
      world.socket().receives({ type: "state", seq: 1, value: 1 });
      assert.deepEqual(world.events, []);
      world.socket().receives({ ...WELCOME, news: [1] });
      assert.equal(world.connection.status.status, "connected");
      assert.deepEqual(world.connection.welcome.news, [1]);
    });
  }

  test("throws for what is no address of a room, and what WebSocket throws", () => {
    assert.throws(() => connect({ url: "counter" }), TypeError);
    assert.throws(() => connect({ url: "ftp://counter.example/" }), SyntaxError);
    assert.throws(() => connect({ WebSocket: null }), /there is no WebSocket here/);
    const refuse = class {
      constructor() {
        throw new SyntaxError("bad address");
      }
    };
    assert.throws(() => connect({ WebSocket: refuse }), new SyntaxError("bad address"));
  });

  test("an error that the socket tells is heard, so that no library throws it", () => {
    const world = connect();
    assert.equal(typeof world.socket().onerror, "function");
    const [socket] = world.sockets;
    world.connection.close();
    assert.equal(typeof socket.onerror, "function", "after it was dropped");
  });
});

describe("events", () => {
  const received = (data) => {
    const world = connected();
    world.socket().receives(data);
    return world.events.filter(({ type }) => type !== "optimistic");
  };
  const nobodys = { id: null, action: null, retry: false, duplicate: false };
  const error = { type: "error", code: "bad_json", message: "no", ...nobodys };

  for (const [name, data, expected] of [
    ["state", '{"type":"state","seq":3,"value":7}', { type: "state", value: 7, seq: 3 }],
    ["a state that is nothing", '{"type":"state","seq":3,"value":null}', { type: "state", value: null, seq: 3 }],
    ["a state that is a list", '{"type":"state","seq":3,"value":[[1]]}', { type: "state", value: [[1]], seq: 3 }],
    ["users", '{"type":"users","count":2}', { type: "users", count: 2 }],
    ["error", '{"type":"error","code":"bad_json","message":"no"}', error],
    ["an error of a number that nobody waits for", '{"type":"error","code":"bad_json","message":"no","id":9}', error],
    ["unknown keys, left out", '{"type":"state","seq":3,"value":7,"by":"Ann"}', { type: "state", value: 7, seq: 3 }],
  ]) {
    test(`passes on ${name}`, () => assert.deepEqual(received(data), [expected]));
  }

  for (const [name, data] of [
    ["a type that is no text", '{"type":{"weather":1},"value":1}'],
    ["no type", '{"value":1}'],
    ["a status that the server made up", '{"type":"status","status":"closed"}'],
    ["a second welcome", { ...WELCOME, epoch: "second" }],
    ["a state without a value", '{"type":"state","seq":3}'],
    ["a state without a position", '{"type":"state","value":7}'],
    ["an ack of a number that nobody waits for", '{"type":"ack","id":9,"seq":3}'],
    ["an ack without a number", '{"type":"ack","seq":3}'],
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
    const world = connected({ parse: parseExactly });
    world.socket().receives('{"type":"state","seq":1,"value":7}');
    assert.deepEqual(world.connection.confirmed, { value: 7, seq: 1 });
  });

  const golden = new URL("../golden/v1-events.json", import.meta.url);
  test("that the server is known to send are all understood", () => {
    for (const { about, text, event } of JSON.parse(readFileSync(golden, "utf8"))) {
      const world = connect();
      if (event.type !== "welcome") world.socket().welcomes();
      else world.socket().opens();
      world.plus();
      // Numbers of actions of this connection begin at 1.
      world.socket().receives(event.type === "ack" ? text.replace(/"id":\d+/, '"id":1') : text);
      const told = event.type === "welcome" ? world.told("status") : world.told(event.type);
      assert.equal(told.length, 1, about);
      // The code with which a server has no way to say what became of an action.
      const code = event.code === "id_too_old" ? "unknown" : event.code;
      if (event.type === "error") assert.equal(told[0].code, code, about);
    }
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

  test("is as the same client", () => {
    const world = connected();
    world.socket().isLost();
    world.clock.advance(500);
    assert.equal(world.sockets[1].client, world.sockets[0].client);
  });

  test("waits briefly again after a connection that was stable", () => {
    const world = connect();
    assert.deepEqual(delays(world, 3), [500, 1_000, 2_000]);
    world.socket().welcomes();
    world.clock.advance(5_000);
    assert.deepEqual(delays(world, 2), [500, 1_000]);
  });

  test("goes on waiting longer after a connection that was not", () => {
    const world = connect();
    assert.deepEqual(delays(world, 3), [500, 1_000, 2_000]);
    world.socket().welcomes();
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
    world.clock.advance(10_000);
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
    world.socket().welcomes();
    world.window.dispatchEvent(new Event("online"));
    assert.equal(world.sockets.length, 1, "while connected");
    world.socket().isLost(4400);
    world.window.dispatchEvent(new Event("online"));
    assert.equal(world.sockets.length, 1, "when closed for good");
  });

  test("needs neither a window nor a document", () => {
    const world = connect({ window: null, document: null });
    world.socket().isLost();
    world.clock.advance(500);
    assert.equal(world.sockets.length, 2);
  });
});

describe("a server that is not there any more", () => {
  const isDropped = (world) => world.connection.status.status === "waiting";

  test("is one that owes an answer and says nothing for two heartbeats", () => {
    const world = connected({}, { heartbeat_ms: 1_000 });
    const socket = world.socket();
    world.plus();
    world.clock.advance(1_999);
    assert.equal(isDropped(world), false);
    world.clock.advance(1);
    assert.equal(isDropped(world), true);
    const { code, reason } = world.connection.status;
    assert.deepEqual([code, reason], [1006, "nothing was heard"]);
    assert.equal(socket.closedWith, 1000);
    socket.isLost(1000);
    world.clock.advance(500);
    assert.equal(world.sockets.length, 2, "it did not come back");
    world.socket().welcomes({ last_id: 0 });
    assert.deepEqual(world.socket().ids, [1]);
  });

  test("is none that says anything, whatever it is", () => {
    const world = connected({}, { heartbeat_ms: 1_000 });
    world.plus();
    for (let time = 0; time < 10; time += 1) {
      world.clock.advance(1_999);
      world.socket().receives({ type: "users", count: 2 });
    }
    assert.equal(isDropped(world), false);
    world.clock.advance(2_000);
    assert.equal(isDropped(world), true);
  });

  test("is none that owes nothing", () => {
    const world = connected({}, { heartbeat_ms: 1_000 });
    world.clock.advance(60_000);
    world.plus();
    world.socket().receives({ type: "ack", id: 1, seq: 1 });
    world.clock.advance(60_000);
    assert.equal(isDropped(world), false);
  });

  for (const [what, begin] of [
    ["that does not answer the handshake", () => {}],
    ["that does not say welcome", (socket) => socket.opens()],
  ]) {
    test(`is one ${what}, too`, () => {
      const world = connect();
      begin(world.socket());
      world.clock.advance(39_999);
      assert.equal(isDropped(world), false);
      world.clock.advance(1);
      assert.equal(isDropped(world), true);
    });
  }
});

describe("close codes", () => {
  for (const code of [1000, 1002, 1003, 1007, 1008, 1009, 4400, 4401, 4409, 4450, 4499]) {
    test(`${code} ends it for good`, () => {
      const world = connected({ storage: new FakeStorage() });
      world.socket().isLost(code, "why");
      assert.deepEqual(world.connection.status, { status: "closed", code, reason: "why" });
      world.clock.advance(3_600_000);
      assert.equal(world.sockets.length, 1);
      assert.equal(world.clock.timers.size, 0, "timers were left behind");
    });
  }

  for (const code of [1001, 1005, 1006, 1010, 1011, 1012, 1013, 1014, 1015, 3000, 4000, 4399, 4500, 4508, 4599, 4600]) {
    test(`${code} comes back`, () => {
      const world = connected();
      world.socket().isLost(code);
      world.clock.advance(1_000);
      assert.equal(world.sockets.length, 2);
    });
  }

  test("are told by one table, where a single code stands before the range that it is in", () => {
    for (const [index, { first, last, comesBack, meaning }] of CLOSE_CODES.entries()) {
      const before = CLOSE_CODES.slice(0, index);
      assert.ok(first <= last, `the row of ${first}`);
      const hides = (row) => row.first <= last && first <= row.last && row.first !== row.last;
      assert.ok(!before.some(hides), `the row of ${first}`);
      assert.deepEqual(closeCode(first), CLOSE_CODES[index]);
      assert.equal(typeof comesBack, "boolean");
      assert.notEqual(meaning, "");
    }
    assert.equal(closeCode(4409).meaning, "another connection has taken this client's place");
    assert.equal(closeCode(4408).meaning, closeCode(4410).meaning);
  });
});

describe("closing", () => {
  test("closes the socket normally and hears nothing more from it", () => {
    const world = connected();
    const socket = world.socket();
    world.connection.close();
    socket.receives({ type: "state", seq: 1, value: 1 });
    socket.isLost(1000);
    assert.equal(socket.closedWith, 1000);
    assert.deepEqual(world.events, [{ type: "status", status: "closed", code: 1000, reason: "" }]);
    assert.equal(world.clock.timers.size, 0, "timers were left behind");
  });

  test("ends a wait", () => {
    const world = connect();
    world.socket().isLost();
    world.connection.close();
    world.clock.advance(60_000);
    world.window.dispatchEvent(new Event("online"));
    world.shows();
    assert.equal(world.sockets.length, 1);
  });

  test("twice is once", () => {
    const world = connect();
    world.connection.close();
    world.connection.close();
    assert.equal(world.events.length, 1);
  });
});

describe("the counter", () => {
  const top = 2n ** 63n - 1n;
  for (const [value, action, expected] of [
    [1, { action: "plus" }, 2],
    [1, { action: "minus" }, 0],
    [-3, { action: "minus", by: 4 }, -7],
    [Number.MAX_SAFE_INTEGER, { action: "plus" }, 2n ** 53n],
    [2n ** 53n, { action: "minus" }, Number.MAX_SAFE_INTEGER],
    [0, { action: "plus", by: top }, top],
    [top, { action: "plus" }, top],
    [-top - 1n, { action: "minus" }, -top - 1n],
    [-top, { action: "minus" }, -top - 1n],
    [5, { action: "times" }, 5],
    [5, { action: "plus", by: 0 }, 5],
    [5, { action: "plus", by: -1 }, 5],
    [5, { action: "plus", by: 1.5 }, 5],
    [5, { action: "plus", by: "1" }, 5],
    [5, { action: "plus", by: null }, 5],
    [1.5, { action: "plus" }, 1.5],
    [NaN, { action: "plus" }, NaN],
    ["5", { action: "plus" }, "5"],
    [null, { action: "minus" }, null],
    [true, { action: "minus" }, true],
  ]) {
    test(`${value} ${action.action} ${action.by ?? 1} is ${expected}`, () => {
      assert.equal(counter(value, action), expected);
    });
  }

  const golden = new URL("../golden/v1-actions.json", import.meta.url);
  test("does what the server is known to do", () => {
    for (const { about, text, by = 0, error } of JSON.parse(readFileSync(golden, "utf8"))) {
      // To JavaScript 2.0 is 2, and is sent as that.
      const isWritten = !text.includes('"by":2.0');
      if (error === "bad_json" || !isWritten || !readsExactly(text)) continue;
      const action = parseExactly(text);
      // A wrong number is no matter of the value: the library makes the numbers.
      const isWrongNumber = error === "bad_field" && "id" in action && about.startsWith("a number");
      if (!isWrongNumber) assert.equal(Number(counter(0, action)), by, about);
    }
  });

  test("is read exactly where the engine shows a number's text", () => {
    assert.deepEqual(parseExactly('{"value":9007199254740991}'), { value: 9_007_199_254_740_991 });
    const hasSource = JSON.parse("1", (_key, value, context) => (context?.source ? true : value)) === true;
    if (hasSource) assert.equal(parseExactly("9223372036854775807"), top);
    assert.equal(parseExactly("1e21"), 1e21);
    assert.equal(parseExactly("9007199254740993.0"), 9_007_199_254_740_992);
  });
});

/** Whether this engine reads all numbers of a JSON text as they are. */
function readsExactly(text) {
  return !/\d{16}/.test(text) || typeof parseExactly("9007199254740993") === "bigint";
}

test("the library exports what its package promises", () => {
  const { exports, files } = JSON.parse(readFileSync(new URL("../../web/package.json", import.meta.url), "utf8"));
  for (const file of Object.values(exports).flatMap(Object.values)) assert.ok(files.includes(file.slice(2)), `${file} is not packed`);
  for (const file of files) assert.ok(existsSync(new URL(`../../web/${file}`, import.meta.url)), `there is no ${file}`);
  const license = (path) => readFileSync(new URL(`../../${path}`, import.meta.url), "utf8");
  assert.equal(license("web/LICENSE-MIT"), license("LICENSE-MIT"));
  assert.equal(typeof Connection, "function");
});
