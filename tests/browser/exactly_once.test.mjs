// The client library: identity, numbers, and actions that are counted once. The rules are those of docs/protocol.md.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { ActionError, counter } from "../../web/statesync.js";
import { CLOSING, FakeClock, FakeLocks, FakeStorage, ROOM, WELCOME } from "./fake_world.mjs";
import { connect, connected, outcomes, settled } from "./fake_world.mjs";

const ack = (id, seq = id) => ({ type: "ack", id, seq });
const refusal = (id, code, retry = false) => ({ type: "error", code, message: "no", id, retry });
const notDurable = (id) => refusal(id, "not_durable", true);
const gap = (id) => refusal(id, "id_gap", true);
const applied = (id, seq = id) => ({ id, seq, duplicate: false });
const decidedBefore = (id) => ({ id, seq: null, duplicate: true });

/** Loses the connection, and is welcomed on the next one. */
function comesBack(world, welcome) {
  world.socket().isLost();
  world.clock.advance(world.connection.status.retryInMs);
  world.socket().welcomes(welcome);
}

/** What pages of one tab, or of one origin, share. */
function tab({ storage = new FakeStorage(), locks = new FakeLocks() } = {}) {
  return { storage, locks, open: (options) => connect({ storage, locks, ...options }) };
}

describe("an action", () => {
  test("is sent with the next number, and resolves when it is acknowledged", async () => {
    const world = connected();
    const outcome = world.plus(2);
    assert.deepEqual(world.socket().sent, [{ id: 1, action: "plus" }, { id: 2, action: "plus" }]);
    assert.deepEqual(await outcomes(outcome), [undefined, undefined]);
    world.socket().receives(ack(1, 8));
    world.socket().receives({ ...ack(2, 9), duplicate: true });
    assert.deepEqual(await outcomes(outcome), [applied(1, 8), { id: 2, seq: 9, duplicate: true }]);
    assert.deepEqual(world.told("ack").map(({ id, seq, action }) => [id, seq, action]), [
      [1, 8, { action: "plus" }],
      [2, 9, { action: "plus" }],
    ]);
    assert.deepEqual(world.told("pending").map(({ count }) => count), [1, 2, 1, 0]);
  });

  test("that is refused rejects with the server's code, and its number is used up", async () => {
    const world = connected();
    const refused = world.connection.act({ action: "times" });
    world.socket().receives(refusal(1, "unknown_action"));
    await assert.rejects(refused, (error) => {
      assert.ok(error instanceof ActionError);
      assert.deepEqual([error.code, error.message, error.id], ["unknown_action", "no", 1]);
      assert.deepEqual(error.action, { action: "times" });
      return true;
    });
    const [error] = world.told("error");
    assert.deepEqual([error.code, error.id, error.action], ["unknown_action", 1, { action: "times" }]);
    world.plus();
    assert.deepEqual(world.socket().ids, [1, 2]);
  });

  test("is what it was when it was taken, and its number is the library's", () => {
    const world = connect();
    const action = { action: "plus", by: 5, id: 99 };
    world.connection.act(action);
    action.by = 6;
    world.socket().welcomes();
    assert.deepEqual(world.socket().sent, [{ id: 1, action: "plus", by: 5 }]);
  });

  for (const wrong of [undefined, null, "plus", [], {}, { by: 1n }, () => {}]) {
    test(`is not ${typeof wrong} ${Array.isArray(wrong) ? "list" : Object.keys(wrong ?? {})}`, () => {
      const world = connected();
      assert.throws(() => world.connection.act(wrong), TypeError);
      assert.equal(world.connection.pending, 0);
    });
  }

  test("that is too large is not sent, and leaves no gap", async () => {
    const world = connected({}, { max_message_bytes: 40 });
    const outcome = [world.plus()[0]];
    // 33 bytes around it, and three bytes each.
    const large = world.connection.act({ action: "plus", note: "€€€€€" });
    await assert.rejects(large, { code: "too_large" });
    outcome.push(...world.plus());
    assert.deepEqual(world.socket().ids, [1, 2]);
    assert.deepEqual(world.told("error").map(({ code }) => code), ["too_large"]);
  });

  test("that turns out to be too large is not sent, and leaves no gap", async () => {
    const world = connect();
    const before = world.plus();
    const large = world.connection.act({ action: "plus", note: "x".repeat(40) });
    const after = world.plus();
    world.socket().welcomes({ max_message_bytes: 40 });
    await assert.rejects(large, { code: "too_large" });
    assert.deepEqual(world.socket().ids, [1, 2]);
    world.socket().receives(ack(1));
    world.socket().receives(ack(2));
    assert.deepEqual(await outcomes([...before, ...after]), [applied(1), applied(2)]);
  });

  test("waits while there is no connection", () => {
    const world = connect();
    world.plus();
    world.socket().opens();
    world.plus();
    assert.deepEqual(world.socket().sent, [], "before the welcome");
    assert.equal(world.connection.pending, 2);
    comesBack(world, {});
    assert.deepEqual(world.socket().ids, [1, 2]);
    world.socket().readyState = CLOSING;
    world.plus();
    assert.deepEqual(world.socket().ids, [1, 2]);
    assert.equal(world.connection.pending, 3);
  });

  test("is not taken when too many wait, and the others are not lost", async () => {
    const world = connect({ maxWaiting: 2 });
    const outcome = world.plus(3);
    assert.deepEqual(await outcomes(outcome), [undefined, undefined, "queue_full"]);
    world.socket().welcomes();
    world.socket().receives(ack(1));
    const [fourth] = world.plus();
    assert.deepEqual(world.socket().ids, [1, 2, 3]);
    assert.deepEqual(await outcomes([fourth]), [undefined]);
    assert.deepEqual(world.told("error").map(({ code }) => code), ["queue_full"]);
  });

  test("a thousand may wait by default", async () => {
    const world = connect();
    const outcome = await outcomes(world.plus(1_001));
    assert.equal(outcome.indexOf("queue_full"), 1_000);
  });

  test("may be forgotten by who asked for it", async () => {
    const unhandled = [];
    const listener = (error) => unhandled.push(error);
    process.on("unhandledRejection", listener);
    const world = connected();
    world.connection.act({ action: "plus" });
    world.socket().receives(refusal(1, "out_of_range"));
    await settled();
    process.off("unhandledRejection", listener);
    assert.deepEqual(unhandled, []);
  });
});

describe("rule 1: what is kept", () => {
  test("is kept before it is sent", () => {
    const storage = new FakeStorage();
    const world = connected({ storage });
    const kept = [];
    world.socket().onsend = () => kept.push(structuredClone(storage.record));
    world.plus(2);
    const { client } = world.socket();
    const born = { epoch: "first", seq: 0 };
    const text = '{"action":"plus"}';
    assert.deepEqual(kept, [
      { client, born, used: 1, waiting: [[1, text]] },
      { client, born, used: 2, waiting: [[1, text], [2, text]] },
    ]);
  });

  test("is kept while there is no connection, and not after it is decided", () => {
    const storage = new FakeStorage();
    const world = connect({ storage });
    world.plus(2);
    assert.deepEqual(storage.record.waiting.map(([id]) => id), [null, null]);
    world.socket().welcomes();
    world.socket().receives(ack(1));
    assert.deepEqual(storage.record.waiting.map(([id]) => id), [2]);
    world.socket().receives(refusal(2, "out_of_range"));
    const born = { epoch: "first", seq: 0 };
    assert.deepEqual(storage.record, { client: world.socket().client, born, used: 2, waiting: [] });
  });

  test("is taken up by the next page of the tab: identity, numbers, actions", async () => {
    const { storage, open } = tab();
    const before = open();
    before.socket().welcomes();
    before.plus(3);
    before.socket().receives(ack(1));
    before.hides();

    const after = open({ storage: storage.ofNextPage() });
    assert.equal(after.connection.pending, 2);
    await settled();
    assert.equal(after.socket().client, before.socket().client);
    after.socket().welcomes({ last_id: 2 });
    assert.deepEqual(after.told("ack").map(({ id, duplicate }) => [id, duplicate]), [[2, true]]);
    assert.deepEqual(after.socket().ids, [3]);
    after.plus();
    assert.deepEqual(after.socket().ids, [3, 4]);
    after.socket().receives(ack(3));
    after.socket().receives(ack(4));
    assert.equal(after.connection.pending, 0);
    assert.equal(storage.record.used, 4);
  });

  test("is kept for each room", () => {
    const storage = new FakeStorage();
    const worlds = ["", "second", "second?x=1"].map((path) => connect({ storage, url: ROOM + path }));
    assert.deepEqual([...storage.items.keys()], [`statesync.v1 ${ROOM}`, `statesync.v1 ${ROOM}second`]);
    assert.equal(new Set(worlds.map((world) => world.socket().client)).size, 3);
  });

  test("is not written over by a second connection of the same page, which says that it keeps nothing", async () => {
    const storage = new FakeStorage();
    const first = connect({ storage });
    const second = connect({ storage });
    await settled();
    assert.deepEqual(second.told("error").map(({ code }) => code), ["not_kept"]);
    second.plus();
    assert.equal(storage.record.client, first.socket().client);
    assert.deepEqual(storage.record.waiting, []);
    first.connection.close();
    assert.equal(connect({ storage }).socket().client, first.socket().client);
  });

  for (const text of ["", "{", "null", "[]", "{}", '{"client":"short","used":0,"waiting":[]}',
    '{"client":"a-random-client-identity","used":-1,"waiting":[]}',
    '{"client":"a-random-client-identity","used":1,"waiting":{}}',
    '{"client":"a-random-client-identity","used":1,"waiting":[[1,{}]]}',
    '{"client":"a-random-client-identity","used":1,"waiting":[["1","{}"]]}',
    '{"client":"a-random-client-identity","used":1,"waiting":[[1,"{"]]}',
    '{"client":"a-random-client-identity","used":1,"waiting":[null]}']) {
    test(`is nothing, if it is ${text || "empty"}`, () => {
      const storage = new FakeStorage();
      storage.items.set(`statesync.v1 ${ROOM}`, text);
      const world = connect({ storage });
      assert.equal(world.connection.pending, 0);
      assert.equal(world.sockets.length, 1);
      assert.equal(storage.record.client, world.socket().client);
    });
  }
});

describe("a storage that does not work", () => {
  test("is told, and the rest goes on", async () => {
    const storage = new FakeStorage();
    storage.isClosed = true;
    const world = connect({ storage });
    await settled();
    assert.deepEqual(world.told("error").map(({ code }) => code), ["not_kept"]);
    const outcome = world.plus();
    world.socket().welcomes();
    comesBack(world, { last_id: 0 });
    world.socket().receives(ack(1));
    assert.deepEqual(await outcomes(outcome), [applied(1)]);
    assert.equal(world.told("error").length, 1, "told more than once");
  });

  test("is told again when it is full after it worked, and keeps nothing that is older", async () => {
    const storage = new FakeStorage();
    const world = connected({ storage });
    world.plus();
    storage.isFull = true;
    world.plus(2);
    await settled();
    assert.deepEqual(world.socket().ids, [1, 2, 3]);
    assert.deepEqual(world.told("error").map(({ code }) => code), ["not_kept"]);
    assert.equal(storage.items.size, 0, "an older record would send again what was sent since");
    storage.isFull = false;
    world.socket().receives(ack(1));
    assert.deepEqual(storage.record.waiting.map(([id]) => id), [2, 3]);
    storage.isFull = true;
    world.plus();
    await settled();
    assert.equal(world.told("error").length, 2);
  });
});

describe("rule 2: the window", () => {
  test("at most max_in_flight are sent without an answer, in order", () => {
    const world = connect();
    world.plus(5);
    world.socket().welcomes({ max_in_flight: 2 });
    assert.deepEqual(world.socket().ids, [1, 2]);
    world.plus();
    assert.deepEqual(world.socket().ids, [1, 2]);
    world.socket().receives(ack(1));
    assert.deepEqual(world.socket().ids, [1, 2, 3]);
    world.socket().receives(refusal(2, "out_of_range"));
    world.socket().receives(ack(3));
    assert.deepEqual(world.socket().ids, [1, 2, 3, 4, 5]);
    world.socket().receives(ack(4));
    world.socket().receives(ack(5));
    assert.deepEqual(world.socket().ids, [1, 2, 3, 4, 5, 6]);
  });

  test("what an event's listener asks for waits its turn", () => {
    const world = connect();
    world.connection.addEventListener("ack", ({ detail }) => {
      if (detail.id <= 3) world.plus();
    });
    world.plus(2);
    world.socket().welcomes({ max_in_flight: 1 });
    for (let id = 1; id <= 5; id += 1) world.socket().receives(ack(id));
    assert.deepEqual(world.socket().ids, [1, 2, 3, 4, 5]);
    assert.equal(world.connection.pending, 0);
  });
});

describe("rule 4: after a welcome", () => {
  test("what is decided is settled, and the rest is sent again under its number", async () => {
    const world = connected();
    const outcome = world.plus(5);
    comesBack(world, { last_id: 3, refused: [2] });
    assert.deepEqual(await outcomes(outcome), [decidedBefore(1), "refused", decidedBefore(3), undefined, undefined]);
    assert.deepEqual(world.socket().ids, [4, 5]);
    assert.deepEqual(world.told("error").map(({ code, id }) => [code, id]), [["refused", 2]]);
    world.socket().receives({ ...ack(4, 9), duplicate: true });
    world.socket().receives(ack(5, 10));
    assert.deepEqual(await outcomes(outcome.slice(3)), [{ id: 4, seq: 9, duplicate: true }, applied(5, 10)]);
  });

  test("what is sent again fills the window before what is new", () => {
    const world = connected({}, { max_in_flight: 3 });
    world.plus(5);
    comesBack(world, { last_id: 1, max_in_flight: 3 });
    assert.deepEqual(world.socket().ids, [2, 3, 4]);
  });

  test("who acts as soon as it is connected does so after all else", async () => {
    const world = connected({}, { max_in_flight: 3 });
    const outcome = world.plus(3);
    const actsOnce = () => outcome.push(...world.plus());
    world.connection.addEventListener("status", ({ detail }) => detail.status === "connected" && actsOnce());
    comesBack(world, { last_id: 2, max_in_flight: 3 });
    assert.deepEqual(world.socket().ids, [3, 4]);
    world.plus(2);
    assert.deepEqual(world.socket().ids, [3, 4, 5]);
    assert.deepEqual(await outcomes(outcome), [decidedBefore(1), decidedBefore(2), undefined, undefined]);
  });

  test("it may take many connections", async () => {
    const world = connected();
    const outcome = world.plus(3);
    for (const last_id of [1, 1, 2, 2]) comesBack(world, { last_id });
    assert.deepEqual(world.socket().ids, [3]);
    world.socket().receives(ack(3));
    assert.deepEqual(await outcomes(outcome), [decidedBefore(1), decidedBefore(2), applied(3)]);
  });

  test("an answer that comes late to a connection that was left is not heard", async () => {
    const world = connected();
    const outcome = world.plus();
    world.clock.advance(40_000);
    const [left] = world.sockets;
    left.receives(ack(1));
    assert.deepEqual(await outcomes(outcome), [undefined]);
  });
});

describe("rule 5: retry", () => {
  test("waits for all answers, then a little, and sends again in order under the same numbers", async () => {
    const world = connected();
    const outcome = world.plus(4);
    world.socket().receives(ack(1));
    world.socket().receives(notDurable(2));
    world.plus();
    world.socket().receives(gap(3));
    world.clock.advance(10_000);
    assert.deepEqual(world.socket().ids, [1, 2, 3, 4], "something was sent while an answer was missing");
    world.socket().receives(gap(4));
    world.clock.advance(74);
    assert.deepEqual(world.socket().ids, [1, 2, 3, 4], "it did not wait");
    world.clock.advance(1);
    assert.deepEqual(world.socket().ids, [1, 2, 3, 4, 2, 3, 4, 5]);
    for (const id of [2, 3, 4]) world.socket().receives(ack(id));
    assert.deepEqual(await outcomes(outcome), [1, 2, 3, 4].map((id) => applied(id)));
    assert.deepEqual(world.told("error").map(({ code, id, retry }) => [code, id, retry]), [["not_durable", 2, true]]);
  });

  test("waits longer each time, and briefly again after an ack", () => {
    const world = connected();
    const waits = (times) =>
      Array.from({ length: times }, () => {
        const sent = world.socket().sent.length;
        world.socket().receives(notDurable(world.socket().ids.at(-1)));
        const from = world.clock.nowMs;
        while (world.socket().sent.length === sent) world.clock.advance(25);
        return world.clock.nowMs - from;
      });
    world.plus();
    assert.deepEqual(waits(11), [75, 150, 300, 600, 1_200, 2_400, 4_800, 9_600, 19_200, 22_500, 22_500]);
    world.socket().receives(refusal(1, "out_of_range"));
    world.plus();
    assert.deepEqual(waits(1), [22_500]);
    world.socket().receives(ack(2));
    world.plus();
    assert.deepEqual(waits(2), [75, 150]);
  });

  test("what is decided meanwhile is not sent again", () => {
    const world = connected();
    world.plus(3);
    world.socket().receives(notDurable(2));
    world.socket().receives(gap(3));
    world.socket().receives(refusal(1, "out_of_range"));
    world.clock.advance(1_000);
    assert.deepEqual(world.socket().ids, [1, 2, 3, 2, 3]);
  });

  test("of one action that is told twice leaves one timer", () => {
    const world = connected();
    world.plus();
    world.socket().receives(notDurable(1));
    world.socket().receives(notDurable(1));
    world.connection.close();
    assert.equal(world.clock.timers.size, 0, "timers were left behind");
  });

  test("is over when the connection is: the welcome tells what to send", () => {
    const world = connected();
    world.plus(2);
    world.socket().receives(notDurable(1));
    comesBack(world, { last_id: 0 });
    assert.deepEqual(world.socket().ids, [1, 2]);
    world.clock.advance(60_000);
    assert.deepEqual(world.sockets[1].ids, [1, 2]);
  });

  test("a gap before the first means that only a new welcome can tell what is missing", () => {
    const world = connected();
    world.plus(2);
    world.socket().receives(ack(1));
    world.socket().receives(gap(2));
    assert.equal(world.connection.status.reason, "out of step");
    world.clock.advance(1_000);
    world.socket().welcomes({ last_id: 1 });
    assert.deepEqual(world.socket().ids, [2]);
  });
});

describe("rule 6: a server that has forgotten", () => {
  test("what was sent is unknown, and what was not is sent by somebody new", async () => {
    const storage = new FakeStorage();
    const world = connected({ storage }, { max_in_flight: 2 });
    const outcome = world.plus(4);
    world.socket().receives(ack(1));
    const [before] = world.sockets;
    comesBack(world, { last_id: null, epoch: "second" });
    assert.deepEqual(await outcomes(outcome), [applied(1), "unknown", "unknown", undefined]);
    assert.equal(before.ids.length, 3);
    assert.equal(world.sockets[1].closedWith, 1000);
    world.clock.advance(1_000);
    assert.notEqual(world.socket().client, before.client);
    world.socket().welcomes({ epoch: "second" });
    assert.deepEqual(world.socket().ids, [1]);
    assert.equal(storage.record.client, world.socket().client);
    assert.deepEqual(storage.record.waiting.map(([id]) => id), [1]);
    assert.deepEqual(world.told("error").map(({ code, id }) => [code, id]), [["unknown", 2], ["unknown", 3]]);
  });

  test("what nobody has ever heard of was not forgotten: all of it is sent again from number 1", async () => {
    const { storage, open } = tab();
    const world = open();
    const [before] = world.sockets;
    before.welcomes({ seq: 9, forgotten_until: 5 });
    world.plus(2);
    comesBack(world, { last_id: null, seq: 20, forgotten_until: 9 });
    assert.deepEqual(world.socket().ids, [1, 2]);
    comesBack(world, { last_id: null, seq: 30, forgotten_until: 9 });
    assert.deepEqual(world.socket().ids, [1, 2]);
    world.hides();

    const after = open({ storage: storage.ofNextPage() });
    await settled();
    after.socket().welcomes({ last_id: null, seq: 40, forgotten_until: 9 });
    assert.deepEqual(after.socket().ids, [1, 2]);
    assert.equal(after.socket().client, before.client);
    assert.deepEqual([...world.told("error"), ...after.told("error")], []);
  });

  for (const [what, welcome] of [
    ["another history", { epoch: "second" }],
    ["a client that was forgotten since", { forgotten_until: 10 }],
  ]) {
    test(`but not if there is ${what}`, async () => {
      const world = connected({}, { seq: 9 });
      const outcome = world.plus();
      comesBack(world, { last_id: null, seq: 20, ...welcome });
      assert.deepEqual(await outcomes(outcome), ["unknown"]);
    });
  }

  test("nor if something was decided: then the past was taken back", async () => {
    const world = connected();
    const outcome = world.plus(2);
    world.socket().receives(ack(1));
    comesBack(world, { last_id: null });
    assert.deepEqual(await outcomes(outcome), [applied(1), "unknown"]);
  });

  test("what was decided nobody knows how is unknown", async () => {
    const world = connected();
    const outcome = world.plus();
    world.socket().receives(refusal(1, "id_too_old"));
    assert.deepEqual(await outcomes(outcome), ["unknown"]);
    assert.deepEqual(world.told("error").map(({ code }) => code), ["unknown"]);
  });

  test("an identity that was never used may be used", () => {
    const world = connected();
    comesBack(world, { last_id: null });
    assert.equal(world.sockets.length, 2);
    world.plus();
    assert.deepEqual(world.socket().ids, [1]);
  });

  test("what was sent keeps its number, though a welcome told that it was not there yet", async () => {
    const world = connected();
    const outcome = world.plus(2);
    comesBack(world, { last_id: 0, max_in_flight: 1 });
    comesBack(world, { last_id: null, epoch: "second" });
    assert.deepEqual(await outcomes(outcome), ["unknown", "unknown"]);
  });

  test("what was on its way to the disk at one welcome, and is forgotten at a later one, is not sent again", async () => {
    const world = connected();
    const outcome = world.plus();
    world.socket().isLost();
    world.clock.advance(1_000);
    world.socket().opens();
    world.socket().readyState = CLOSING;
    world.socket().receives(WELCOME);
    comesBack(world, { last_id: null, seq: 100, forgotten_until: 50 });
    assert.deepEqual(world.socket().ids, []);
    assert.deepEqual(await outcomes(outcome), ["unknown"]);
  });

  test("what was on its way to the disk at one welcome, and is decided at a later one, is known", async () => {
    const world = connected();
    const outcome = world.plus(2);
    world.socket().isLost();
    world.clock.advance(1_000);
    world.socket().opens();
    world.socket().readyState = CLOSING;
    world.socket().receives(WELCOME);
    comesBack(world, { last_id: 2, seq: 2 });
    assert.deepEqual(await outcomes(outcome), [decidedBefore(1), decidedBefore(2)]);
  });
});

describe("rule 7: forgotten while connected", () => {
  test("all that was not applied is sent by somebody new, under new numbers", async () => {
    const world = connected();
    const outcome = world.plus(4);
    world.socket().receives(ack(1));
    world.socket().receives(refusal(2, "forgotten"));
    world.socket().receives(refusal(3, "forgotten"));
    assert.equal(world.sockets.length, 1, "an answer is still missing");
    world.socket().receives(refusal(4, "forgotten"));
    world.clock.advance(1_000);
    const [before, after] = world.sockets;
    assert.equal(before.closedWith, 1000);
    assert.notEqual(after.client, before.client);
    after.welcomes();
    assert.deepEqual(after.ids, [1, 2, 3]);
    for (const id of [1, 2, 3]) after.receives(ack(id));
    assert.deepEqual(await outcomes(outcome), [applied(1), applied(1), applied(2), applied(3)]);
    assert.deepEqual(world.told("error"), []);
  });

  test("those without an answer are unknown if the connection ends first", async () => {
    const world = connected();
    const outcome = world.plus(3);
    world.socket().receives(ack(1));
    world.socket().receives(refusal(2, "forgotten"));
    comesBack(world, { last_id: null });
    world.clock.advance(2_000);
    world.socket().welcomes();
    assert.deepEqual(await outcomes(outcome), [applied(1), undefined, "unknown"]);
    assert.deepEqual(world.socket().ids, [1]);
  });
});

describe("rule 8: one identity, one place", () => {
  test("a page that was reloaded gets its lock again, however late the page before it goes", async () => {
    const { open, locks } = tab();
    const before = open();
    const { client } = before.socket();
    // As a browser does that ends a page without a word: the lock goes with it, later.
    const storage = new FakeStorage();
    const record = { client, used: 1, waiting: [[null, '{"action":"plus"}']] };
    storage.setItem(`statesync.v1 ${ROOM}`, JSON.stringify(record));
    const reloaded = open({ storage });
    reloaded.clock.advance(999);
    await settled();
    assert.equal(reloaded.sockets.length, 0, "it connected before it had the lock");
    before.hides();
    await settled();
    assert.equal(reloaded.socket().client, client);
    assert.equal(reloaded.connection.pending, 1);
    assert.ok(locks.isHeld(`statesync ${client}`));
  });

  test("a page that was busy for longer than it waits for its lock is not taken for a duplicate", async () => {
    const { storage, open } = tab();
    const before = open();
    await settled();
    before.plus(2);
    before.hides();
    await settled();
    const reloaded = open({ storage: storage.ofNextPage() });
    // Its time is over before it could hear of anything.
    reloaded.clock.advance(1_500);
    await settled();
    assert.equal(reloaded.socket().client, before.sockets[0].client);
    assert.equal(reloaded.connection.pending, 2);
  });

  test("somebody new waits for no lock, however late it is granted", async () => {
    const { locks, open } = tab();
    const world = open();
    world.clock.advance(60_000);
    await settled();
    assert.ok(locks.isHeld(`statesync ${world.sockets[0].client}`));
  });

  test("where nobody can ask who has the lock, the time decides", async () => {
    const locks = new FakeLocks();
    locks.query = undefined;
    const { storage, open } = tab({ locks });
    const original = open();
    await settled();
    const duplicate = open({ storage: storage.copy() });
    duplicate.clock.advance(1_000);
    await settled();
    assert.notEqual(duplicate.socket().client, original.socket().client);
  });

  test("a duplicated tab becomes somebody new, and drops what was copied but not what is its own", async () => {
    const { storage, locks, open } = tab();
    const original = open();
    original.socket().welcomes();
    original.plus(2);

    const duplicate = open({ storage: storage.copy() });
    const [own] = duplicate.plus();
    assert.equal(duplicate.connection.pending, 3);
    duplicate.clock.advance(1_000);
    await settled();
    assert.notEqual(duplicate.socket().client, original.socket().client);
    duplicate.socket().welcomes();
    assert.deepEqual(duplicate.socket().ids, [1]);
    duplicate.socket().receives(ack(1));
    assert.deepEqual(await outcomes([own]), [applied(1)]);
    assert.deepEqual(duplicate.told("error"), []);
    assert.ok(locks.isHeld(`statesync ${original.socket().client}`));
    assert.ok(locks.isHeld(`statesync ${duplicate.socket().client}`));
  });

  test("a duplicate is somebody new to its next page, too", async () => {
    const { storage, locks, open } = tab();
    open();
    const copy = storage.copy();
    const duplicate = open({ storage: copy });
    duplicate.clock.advance(1_000);
    await settled();
    duplicate.hides();
    const reloaded = connect({ storage: copy.ofNextPage(), locks });
    await settled();
    assert.equal(reloaded.socket().client, duplicate.socket().client);
  });

  test("a place that is taken by a late handshake of its own is taken again", async () => {
    const { open } = tab();
    for (const world of [open(), connect()]) {
      await settled();
      world.socket().welcomes();
      world.plus();
      world.socket().isLost(4409);
      assert.equal(world.connection.status.status, "waiting");
      world.clock.advance(1_000);
      world.socket().welcomes({ last_id: 0 });
      assert.deepEqual(world.socket().ids, [1]);
    }
  });

  test("whose place is taken is closed, knows not what became of its actions, and leaves nothing", async () => {
    const storage = new FakeStorage();
    const world = connected({ storage }, { max_in_flight: 1 });
    const outcome = world.plus(2);
    world.socket().isLost(4409, "another connection");
    assert.deepEqual(world.connection.status, { status: "closed", code: 4409, reason: "another connection" });
    assert.deepEqual(await outcomes(outcome), ["unknown", "unknown"]);
    assert.deepEqual(world.told("error").map(({ code }) => code), ["unknown", "unknown"]);
    assert.equal(world.connection.pending, 0);
    assert.equal(storage.items.size, 0);
    assert.notEqual(connect({ storage }).socket().client, world.socket().client);
  });

  test("where locks are refused, it is as if there were none", async () => {
    const locks = { request: () => Promise.reject(new Error("not here")) };
    const { storage, open } = tab({ locks });
    const before = open();
    before.hides();
    const after = open({ storage: storage.copy() });
    await settled();
    assert.equal(after.socket().client, before.socket().client);
  });

  test("without locks nothing waits", () => {
    const { storage, open } = tab({ locks: null });
    const before = open();
    assert.equal(open({ storage: storage.copy() }).socket().client, before.socket().client);
  });

  test("a lock is let go when the connection ends", async () => {
    const { locks, open } = tab();
    const world = open();
    const name = `statesync ${world.socket().client}`;
    assert.ok(locks.isHeld(name));
    world.connection.close();
    await settled();
    assert.ok(!locks.isHeld(name));
  });

  test("somebody new takes a lock of its own", async () => {
    const { locks, open } = tab();
    const world = open();
    const [before] = world.sockets;
    before.welcomes({ last_id: 5 });
    world.clock.advance(1_000);
    await settled();
    assert.ok(!locks.isHeld(`statesync ${before.client}`));
    assert.ok(locks.isHeld(`statesync ${world.socket().client}`));
  });
});

describe("rule 9: a past that is not ours", () => {
  test("if it was taken back, what was sent is unknown, and what was not is sent by somebody new", async () => {
    const world = connected({}, { max_in_flight: 2 });
    const outcome = world.plus(5);
    world.socket().receives(ack(1));
    world.socket().receives(ack(2));
    const [{ client }] = world.sockets;
    comesBack(world, { last_id: 1 });
    assert.deepEqual(await outcomes(outcome), [applied(1), applied(2), "unknown", "unknown", undefined]);
    world.clock.advance(1_000);
    assert.notEqual(world.socket().client, client);
    world.socket().welcomes();
    assert.deepEqual(world.socket().ids, [1]);
  });

  test("if it was taken back after all was decided, the next page finds out too", async () => {
    const { storage, open } = tab();
    const before = open();
    before.socket().welcomes();
    before.plus();
    before.socket().receives(ack(1));
    before.hides();
    const after = open({ storage: storage.ofNextPage() });
    await settled();
    after.socket().welcomes({ last_id: 0 });
    after.clock.advance(1_000);
    assert.equal(after.sockets.length, 2);
    assert.notEqual(after.socket().client, before.socket().client);
  });

  test("if somebody else made it, what was not decided is unknown, sent or not", async () => {
    const world = connected({}, { max_in_flight: 1 });
    const outcome = world.plus(2);
    const [{ client }] = world.sockets;
    comesBack(world, { last_id: 2 });
    assert.deepEqual(await outcomes(outcome), ["unknown", "unknown"]);
    world.clock.advance(1_000);
    assert.notEqual(world.socket().client, client);
    world.socket().welcomes();
    world.plus();
    assert.deepEqual(world.socket().ids, [1]);
  });

  test("a server that says so of everybody is not asked without a pause", () => {
    const world = connect();
    world.socket().welcomes({ last_id: 5 });
    assert.equal(world.connection.status.status, "waiting");
    world.clock.advance(500);
    world.socket().welcomes({ last_id: 5 });
    assert.equal(world.connection.status.retryInMs, 1_000);
  });
});

describe("a page that is left", () => {
  test("lets go of its connection and its lock, and may come back", async () => {
    const { locks, open } = tab();
    const world = open();
    world.socket().welcomes();
    const outcome = world.plus(2);
    world.socket().receives(ack(1));
    const [before] = world.sockets;
    world.hides();
    await settled();
    assert.equal(before.closedWith, 1000);
    assert.ok(!locks.isHeld(`statesync ${before.client}`));
    assert.equal(world.clock.timers.size, 0, "timers were left behind");
    world.window.dispatchEvent(new Event("online"));
    outcome.push(...world.plus());

    world.shows();
    await settled();
    assert.equal(world.socket().client, before.client);
    assert.ok(locks.isHeld(`statesync ${before.client}`));
    world.socket().welcomes({ last_id: 1 });
    assert.deepEqual(world.socket().ids, [2, 3]);
    for (const id of [2, 3]) world.socket().receives(ack(id));
    assert.deepEqual(await outcomes(outcome), [applied(1), applied(2), applied(3)]);
  });

  test("and whose tab was duplicated meanwhile becomes somebody new when it comes back", async () => {
    const { storage, locks, open } = tab();
    const world = open();
    world.socket().welcomes();
    const outcome = world.plus();
    world.hides();
    await settled();
    const duplicate = connect({ storage: storage.copy(), locks });
    await settled();
    assert.equal(duplicate.socket().client, world.socket().client);

    world.shows();
    outcome.push(...world.plus());
    world.clock.advance(1_000);
    await settled();
    world.socket().welcomes();
    assert.deepEqual(world.socket().ids, [1]);
    world.socket().receives(ack(1));
    assert.deepEqual(await outcomes(outcome), ["unknown", applied(1)]);
    assert.deepEqual(duplicate.connection.pending, 1);
  });

  test("goes on from what another page of the tab has stored meanwhile", async () => {
    const { storage, open } = tab();
    const first = open();
    first.socket().welcomes();
    first.plus();
    first.socket().receives(ack(1));
    first.hides();
    await settled();
    const second = open({ storage: storage.ofNextPage() });
    await settled();
    second.socket().welcomes({ last_id: 1 });
    second.socket().isLost();
    second.plus(3);
    second.hides();
    await settled();

    first.shows();
    const outcome = first.plus();
    await settled();
    assert.equal(first.connection.pending, 4);
    assert.deepEqual(first.told("pending").at(-1).count, 4);
    assert.equal(storage.record.waiting.length, 4);
    first.socket().welcomes({ last_id: 1 });
    assert.deepEqual(first.socket().ids, [2, 3, 4, 5]);
    for (const id of [2, 3, 4, 5]) first.socket().receives(ack(id));
    assert.deepEqual(await outcomes(outcome), [applied(5)]);
  });

  test("does not send again what another page of the tab has sent as somebody new", async () => {
    const { storage, locks, open } = tab();
    const first = open();
    first.socket().welcomes();
    const sent = first.plus();
    first.socket().receives(ack(1));
    first.socket().isLost();
    const outcome = first.plus(2);
    first.hides();
    await settled();
    const second = open({ storage: storage.ofNextPage() });
    await settled();
    second.socket().welcomes({ epoch: "second" });
    second.clock.advance(1_000);
    second.socket().welcomes({ epoch: "second" });
    second.socket().receives(ack(1));
    second.hides();
    await settled();

    first.shows();
    await settled();
    const { client } = second.socket();
    assert.equal(first.socket().client, client);
    assert.ok(locks.isHeld(`statesync ${client}`));
    first.socket().welcomes({ epoch: "second", last_id: 1 });
    assert.deepEqual(first.socket().ids, [2]);
    assert.deepEqual(await outcomes([...sent, ...outcome]), [applied(1), "unknown", "unknown"]);
    assert.deepEqual(first.told("error"), [], "told though it may still be counted");
  });

  test("and finds nothing stored any more knows not what became of its actions, and is somebody new", async () => {
    const { storage, open } = tab();
    const world = open();
    const outcome = world.plus();
    const [{ client }] = world.sockets;
    world.hides();
    await settled();
    storage.items.clear();
    world.shows();
    await settled();
    assert.notEqual(world.socket().client, client);
    assert.equal(storage.record.client, world.socket().client);
    assert.deepEqual(await outcomes(outcome), ["unknown"]);
    assert.deepEqual(world.told("error").map(({ code }) => code), ["unknown"]);
  });

  test("before it has its lock does not connect later", async () => {
    const { storage, open } = tab();
    open();
    const duplicate = open({ storage: storage.copy() });
    duplicate.hides();
    duplicate.clock.advance(60_000);
    await settled();
    assert.equal(duplicate.sockets.length, 0);
  });

  test("a page that is shown for the first time has nothing to do", () => {
    const world = connected();
    world.shows();
    assert.equal(world.sockets.length, 1);
  });
});

describe("the end", () => {
  test("leaves what waits in the storage, to the next connection", async () => {
    const { storage, open } = tab();
    const before = open();
    const outcome = before.plus(2);
    before.connection.close();
    assert.deepEqual(await outcomes(outcome), ["closed", "closed"]);
    assert.equal(before.connection.pending, 2);
    assert.deepEqual(await outcomes(before.plus()), ["closed"]);
    assert.equal(storage.record.waiting.length, 2);
    const after = open();
    await settled();
    after.socket().welcomes();
    assert.deepEqual(after.socket().ids, [1, 2]);
  });

  test("by a refusal of the server leaves it too", async () => {
    const { open } = tab();
    const before = open();
    before.plus();
    before.socket().isLost(4401, "log in first");
    assert.equal(open().connection.pending, 1);
  });

  test("because a message was too large does not leave it to do that again", async () => {
    const { storage, open } = tab();
    const world = open();
    world.socket().welcomes({ max_in_flight: 1 });
    const outcome = world.plus(2);
    world.socket().isLost(1009);
    assert.deepEqual(await outcomes(outcome), ["unknown", "closed"]);
    assert.deepEqual(storage.record.waiting.map(([id]) => id), [null]);
  });
});

describe("the optimistic value", () => {
  const state = (value, seq) => ({ type: "state", value, seq });
  const shown = (world) => world.told("optimistic").map(({ value }) => value);

  test("is the confirmed one with what waits on it", () => {
    const world = connect({ apply: counter });
    world.plus();
    assert.equal(world.connection.optimistic, undefined);
    assert.equal(world.connection.confirmed, undefined);
    world.socket().welcomes();
    world.socket().receives(state(5, 3));
    assert.equal(world.connection.optimistic, 6);
    world.connection.act({ action: "minus", by: 10 });
    assert.equal(world.connection.optimistic, -4);
    assert.deepEqual(world.connection.confirmed, { value: 5, seq: 3 });
    assert.deepEqual(shown(world), [6, -4]);
  });

  test("does not flicker: an action stays until both its ack and its state are here", () => {
    const world = connected({ apply: counter });
    world.socket().receives(state(0, 1));
    world.plus(2);
    world.socket().receives(ack(1, 4));
    // Somebody else's, before ours.
    world.socket().receives(state(10, 3));
    world.socket().receives(state(11, 4));
    world.socket().receives(ack(2, 5));
    world.socket().receives(state(12, 5));
    assert.deepEqual(shown(world), [0, 1, 2, 12]);
  });

  test("does not flicker when the state is here before a duplicate's ack", () => {
    const world = connected({ apply: counter });
    world.socket().receives(state(0, 1));
    world.plus();
    comesBack(world, { last_id: 0, epoch: "first" });
    world.socket().receives(state(0, 1));
    world.socket().receives(state(1, 4));
    world.socket().receives({ ...ack(1, 4), duplicate: true });
    assert.equal(world.connection.optimistic, 1);
  });

  test("does not flicker when the connection is lost between ack and state, whatever the history is then", () => {
    for (const epoch of ["first", "second"]) {
      const world = connected({ apply: counter });
      world.socket().receives(state(0, 100));
      world.plus(3);
      world.socket().receives(ack(1, 101));
      comesBack(world, { last_id: 2, epoch });
      assert.equal(world.connection.optimistic, 3);
      world.socket().receives(ack(3, 8));
      world.socket().receives(state(2, 7));
      assert.equal(world.connection.optimistic, 3);
      world.socket().receives(state(3, 8));
      assert.deepEqual(shown(world), [0, 1, 2, 3]);
    }
  });

  test("is right in every listener", () => {
    const world = connected({ apply: counter });
    const seen = new Set();
    world.socket().receives(state(0, 1));
    world.plus(3);
    for (const type of ["ack", "status", "pending", "state", "error"]) {
      world.connection.addEventListener(type, () => seen.add(world.connection.optimistic));
    }
    world.socket().receives(ack(1, 2));
    comesBack(world, { last_id: 3 });
    world.socket().receives(state(3, 4));
    assert.deepEqual([...seen], [3]);
    world.plus(2);
    world.socket().receives(refusal(5, "forgotten"));
    seen.clear();
    world.socket().receives(ack(4, 5));
    assert.equal(world.connection.status.reason, "as a new client");
    assert.deepEqual([...seen], [5]);
  });

  test("goes back by what is refused or unknown", () => {
    const world = connected({ apply: counter });
    world.socket().receives(state(0, 1));
    world.plus(3);
    world.socket().receives(refusal(1, "out_of_range"));
    assert.equal(world.connection.optimistic, 2);
    comesBack(world, { last_id: null, epoch: "second" });
    assert.equal(world.connection.optimistic, 0);
  });

  test("is the confirmed one where what says what actions do fails, and the action is sent all the same", () => {
    const apply = (value) => {
      throw new TypeError(`no ${value}`);
    };
    const world = connected({ apply });
    world.socket().receives(state("five", 1));
    world.plus();
    assert.equal(world.connection.optimistic, "five");
    assert.deepEqual(world.socket().ids, [1]);
  });

  test("is the confirmed one where nothing says what actions do", () => {
    const world = connected();
    world.socket().receives(state({ a: 1 }, 1));
    world.plus();
    assert.deepEqual(world.connection.optimistic, { a: 1 });
  });

  test("of a thousand actions that are applied at once is told in no other order than up", () => {
    const world = connect({ apply: counter });
    world.plus(1_000);
    world.socket().welcomes();
    world.socket().receives(state(0, 0));
    for (let id = 1; id <= 1_000; id += 1) {
      world.socket().receives(ack(id, id));
      world.socket().receives(state(id, id));
    }
    assert.deepEqual(shown(world), [1_000]);
    assert.equal(world.connection.pending, 0);
  });
});

describe("a listener that closes the connection closes it", () => {
  test("when an action is out of step", () => {
    const world = connected();
    world.plus(2);
    world.socket().receives(ack(1));
    world.connection.addEventListener("error", () => world.connection.close());
    world.socket().receives(gap(2));
    assert.equal(world.connection.status.status, "closed");
    assert.equal(world.clock.timers.size, 0, "timers were left behind");
  });

  test("when an action is to be sent again", () => {
    const world = connected();
    world.plus();
    world.connection.addEventListener("error", () => world.connection.close());
    world.socket().receives(notDurable(1));
    assert.equal(world.connection.status.status, "closed");
    assert.equal(world.clock.timers.size, 0, "timers were left behind");
  });

  test("when it turns out to be a duplicate's", async () => {
    const { storage, open } = tab();
    const original = open();
    await settled();
    original.plus(2);
    const duplicate = open({ storage: storage.copy() });
    duplicate.connection.addEventListener("pending", () => duplicate.connection.close());
    duplicate.clock.advance(1_000);
    await settled();
    assert.equal(duplicate.connection.status.status, "closed");
    assert.equal(duplicate.sockets.length, 0);
  });
});

test("timers are left to the clock that was given", () => {
  const clock = new FakeClock();
  const world = connected({ clock });
  world.plus();
  assert.ok(clock.timers.size > 0);
  world.connection.close();
  assert.equal(clock.timers.size, 0);
});
