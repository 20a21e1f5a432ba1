// The client library in rooms of other kinds than the counter: events of their own, what is said and not acted, messages
// that are told once, documents that change bit by bit, and a server that wants one to slow down.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { FakeLocks, FakeStorage, WELCOME, connect, connected } from "./fake_world.mjs";
import { document } from "../../web/statesync.js";

/** Tells what comes of these types too. */
function hearing(world, ...types) {
  const heard = [];
  for (const type of types) world.connection.addEventListener(type, ({ detail }) => heard.push({ type, ...detail }));
  return heard;
}

/** Loses the connection, and begins the next one, without a welcome. */
function comesBack(world) {
  if (world.connection.status.status !== "waiting") world.socket().isLost();
  world.clock.advance(world.connection.status.retryInMs);
  return world.socket();
}

const sinceOf = (socket) => socket.url.searchParams.get("since");
const message = (seq) => ({ type: "message", seq, from: "Ann", text: `number ${seq}`, time: "2026-11-24T10:00:00Z" });

describe("an event of the room's kind", () => {
  test("is passed on as it is, with its type as the event's", () => {
    const world = connected();
    const heard = hearing(world, "joined", "weather", "__proto__");
    const joined = { type: "joined", seq: 3, name: "Ann", more: [1] };
    for (const event of [joined, { type: "weather", rain: true }]) world.socket().receives(event);
    world.socket().receives('{"type":"__proto__","constructor":1}');
    assert.deepEqual(heard, [joined, { type: "weather", rain: true }, { type: "__proto__", constructor: 1 }]);
  });

  test("that is called like one of the library is not passed on", () => {
    const world = connected();
    const heard = hearing(world, "welcome", "missed", "optimistic", "pending", "status", "ack");
    for (const type of ["welcome", "missed", "optimistic", "pending", "status", "ack"]) world.socket().receives({ type });
    assert.deepEqual(heard, []);
  });

  test("may come only after the welcome", () => {
    const world = connect();
    const heard = hearing(world, "message");
    world.socket().opens();
    world.socket().receives(message(1));
    assert.deepEqual(heard, []);
  });

  test("users may have names", () => {
    const world = connected();
    world.socket().receives({ type: "users", count: 3, users: ["Ann", "Bob"] });
    world.socket().receives({ type: "users", count: 3, users: ["Ann", 1] });
    assert.deepEqual(world.events, [{ type: "users", count: 3, users: ["Ann", "Bob"] }, { type: "users", count: 3 }]);
  });
});

describe("what is said", () => {
  const login = { action: "login", name: "Ann" };

  test("has no number, takes none, and is not waited for", () => {
    const world = connected();
    assert.equal(world.connection.say(login), true);
    world.plus();
    assert.deepEqual(world.socket().sent, [login, { id: 1, action: "plus" }]);
    assert.equal(world.connection.pending, 1);
  });

  test("is not sent while there is no connection, nor later", () => {
    const world = connect();
    assert.equal(world.connection.say(login), false);
    world.socket().welcomes();
    assert.deepEqual(world.socket().sent, []);
    world.connection.close();
    assert.equal(world.connection.say(login), false);
  });

  test("is not sent if it is too large", () => {
    const world = connected({}, { max_message_bytes: 20 });
    assert.equal(world.connection.say(login), false);
    assert.deepEqual(world.socket().sent, []);
  });

  test("when one hears to be connected, comes before all that waits, which is sent once", () => {
    const world = connected();
    world.connection.addEventListener("status", ({ detail }) => {
      if (detail.status === "connected") world.connection.say(login);
    });
    world.plus(2);
    comesBack(world).welcomes({ last_id: 1 });
    assert.deepEqual(world.socket().sent, [login, { id: 2, action: "plus" }]);
  });

  test("is not kept: the next page of the tab knows nothing of it, and numbers have no gap", () => {
    const storage = new FakeStorage();
    const world = connected({ storage, locks: new FakeLocks() });
    world.connection.say(login);
    world.plus();
    assert.deepEqual(storage.record.waiting, [[1, '{"action":"plus"}']]);
    assert.equal(storage.record.used, 1);
  });

  test("wrongly, is told by an error without an action", () => {
    const world = connected();
    world.connection.say(login);
    world.socket().receives({ type: "error", code: "name_taken", message: "taken" });
    const [{ code, id, action }] = world.told("error");
    assert.deepEqual([code, id, action], ["name_taken", null, null]);
  });
});

test("what waits can be looked at, in order", () => {
  const world = connect();
  world.connection.act({ action: "message", text: "a" });
  world.connection.act({ action: "message", text: "b" });
  assert.deepEqual(world.connection.waiting.map(({ text }) => text), ["a", "b"]);
  world.socket().welcomes();
  world.socket().receives({ type: "ack", id: 1, seq: 5 });
  assert.deepEqual(world.connection.waiting.map(({ text }) => text), ["b"]);
});

describe("messages", () => {
  test("go on after the last one that was told", () => {
    const world = connected({}, { seq: 9 });
    assert.equal(sinceOf(world.socket()), null);
    world.socket().receives(message(7));
    world.socket().receives(message(9));
    const heard = hearing(world, "missed");
    const socket = comesBack(world);
    assert.equal(sinceOf(socket), "9");
    socket.welcomes({ seq: 12 });
    assert.equal(world.connection.status.status, "connected");
    assert.deepEqual(heard, []);
  });

  test("that the server has no more are told to be missed, before those that follow", () => {
    const world = connected({}, { seq: 9 });
    const heard = hearing(world, "missed", "message");
    world.socket().receives(message(9));
    const socket = comesBack(world);
    socket.welcomes({ seq: 900, missed: true });
    socket.receives(message(900));
    assert.deepEqual(heard, [message(9), { type: "missed", isNewHistory: false }, message(900)]);
  });

  for (const [what, welcome] of [
    ["another history", { epoch: "second", seq: 50 }],
    ["a history that was taken back", { epoch: "first", seq: 8 }],
  ]) {
    test(`of ${what} are all told anew`, () => {
      const world = connected({}, { seq: 9 });
      const heard = hearing(world, "missed", "message");
      world.socket().receives(message(9));
      comesBack(world).welcomes(welcome);
      assert.equal(world.connection.status.status, "waiting");
      const socket = comesBack(world);
      assert.equal(sinceOf(socket), null);
      socket.welcomes(welcome);
      socket.receives(message(3));
      assert.deepEqual(heard, [message(9), { type: "missed", isNewHistory: true }, message(3)]);
      assert.equal(sinceOf(comesBack(world)), "3");
    });
  }

  test("without a position are told, and asked for by none", () => {
    const world = connected();
    world.socket().receives({ type: "message", text: "hi" });
    assert.equal(sinceOf(comesBack(world)), null);
  });

  test("keep what else the address asks for", () => {
    const world = connect({ url: "ws://chat.example/chat?access_token=abc" });
    world.socket().welcomes({ seq: 3 });
    world.socket().receives(message(3));
    const { searchParams } = comesBack(world).url;
    assert.deepEqual([searchParams.get("access_token"), searchParams.get("since")], ["abc", "3"]);
  });
});

describe("a document", () => {
  const state = (seq, value) => ({ type: "state", seq, value });
  const patch = (from, seq, ...ops) => ({ type: "patch", from, seq, ops });
  const replace = (path, value) => ({ op: "replace", path, value });

  test("changes by patches: what has changed is told, then the new state", () => {
    const world = connected();
    const heard = hearing(world, "patch");
    world.socket().receives(state(5, { a: 1, b: [1] }));
    const before = world.connection.confirmed.value;
    world.socket().receives(patch(5, 8, replace("/a", 2)));
    assert.deepEqual(heard, [patch(5, 8, replace("/a", 2))]);
    assert.deepEqual(world.connection.confirmed, { seq: 8, value: { a: 2, b: [1] } });
    assert.deepEqual(before, { a: 1, b: [1] }, "what was told before was changed");
    assert.deepEqual(world.told("state").map(({ seq }) => seq), [5, 8]);
    world.socket().receives(state(20, "all anew"));
    world.socket().receives(patch(20, 21, replace("", null)));
    assert.deepEqual(world.connection.confirmed, { seq: 21, value: null });
  });

  for (const [what, event] of [
    ["from another position", patch(4, 8, replace("/a", 2))],
    ["that cannot be applied", patch(5, 8, replace("/b", 2))],
  ]) {
    test(`comes back for the whole after a patch ${what}`, () => {
      const world = connected();
      world.socket().receives(state(5, { a: 1 }));
      world.socket().receives(event);
      const { status, reason } = world.connection.status;
      assert.deepEqual([status, reason], ["waiting", "out of step"]);
      assert.deepEqual(world.connection.confirmed, { seq: 5, value: { a: 1 } });
      comesBack(world).welcomes();
      world.socket().receives(state(8, { a: 7 }));
      assert.deepEqual(world.connection.optimistic, { a: 7 });
    });
  }

  test("takes no patch on this connection for the state of the last", () => {
    const world = connected();
    world.socket().receives(state(5, { a: 1 }));
    comesBack(world).welcomes();
    world.socket().receives(patch(5, 6, replace("/a", 2)));
    assert.equal(world.connection.status.status, "waiting");
  });

  test("has one's own changes at once, until they are refused", () => {
    const world = connected({ apply: document });
    world.socket().receives(state(5, { a: 1, b: 1 }));
    world.connection.act({ action: "merge", patch: { a: 2 } });
    world.connection.act({ action: "patch", ops: [replace("/b", 2)] });
    assert.deepEqual(world.connection.optimistic, { a: 2, b: 2 });
    world.socket().receives({ type: "ack", id: 1, seq: 6 });
    assert.deepEqual(world.connection.optimistic, { a: 2, b: 2 });
    world.socket().receives(patch(5, 6, replace("/a", 2)));
    world.socket().receives({ type: "error", code: "patch_failed", message: "no", id: 2, retry: false });
    assert.deepEqual(world.connection.optimistic, { a: 2, b: 1 });
  });
});

describe("a server that wants one to slow down", () => {
  const limited = (id, ms) => ({ type: "error", code: "rate_limited", message: "slower", id, retry: true, retry_after_ms: ms });

  test("gets nothing before the time is over, and then all of it, in order", () => {
    const world = connected();
    world.plus(3);
    world.socket().receives(limited(1, 5_000));
    world.socket().receives(limited(2, 5_500));
    world.socket().receives({ type: "error", code: "id_gap", message: "gap", id: 3, retry: true });
    const [{ code, retryAfterMs }] = world.told("error");
    assert.deepEqual([code, retryAfterMs], ["rate_limited", 5_000]);
    assert.equal(world.told("error").length, 1, "what follows says nothing new");
    world.clock.advance(5_499);
    assert.deepEqual(world.socket().ids, [1, 2, 3]);
    world.clock.advance(200);
    assert.deepEqual(world.socket().ids, [1, 2, 3, 1, 2, 3]);
    assert.equal(world.connection.pending, 3);
  });

  test("is not waited for longer than was said the next time", () => {
    const world = connected();
    world.plus();
    world.socket().receives(limited(1, 60_000));
    world.clock.advance(61_000);
    world.socket().receives({ ...limited(1), code: "not_durable" });
    world.clock.advance(1_000);
    assert.deepEqual(world.socket().ids, [1, 1, 1]);
  });

  test("on another connection is asked anew", () => {
    const world = connected();
    world.plus();
    world.socket().receives(limited(1, 60_000));
    comesBack(world).welcomes({ last_id: 0 });
    assert.deepEqual(world.socket().ids, [1]);
  });

  test("that says nonsense is asked as usual", () => {
    const world = connected();
    world.plus();
    world.socket().receives({ ...WELCOME, ...limited(1, "soon") });
    world.clock.advance(100);
    assert.deepEqual(world.socket().ids, [1, 1]);
  });
});
