// The library outside browsers, with a WebSocket that somebody else wrote, on the real server.
import assert from "node:assert/strict";
import { test } from "node:test";
import WebSocket from "ws";
import { Connection, counter, parseExactly } from "../../web/statesync.js";
import { within } from "./deadline.mjs";
import { startServer } from "./statesync_server.mjs";

function join(t, server) {
  const options = { WebSocket, apply: counter, parse: parseExactly, baseDelayMs: 50 };
  const connection = new Connection(server.url, options);
  t.after(() => connection.close());
  return connection;
}

/**
 * @param {Connection} connection
 * @param {string} type
 * @param {() => boolean} isSo
 */
function until(connection, type, isSo) {
  const happens = new Promise((resolve) => {
    const look = () => isSo() && resolve(undefined);
    connection.addEventListener(type, look);
    look();
  });
  return within(happens, () => `not so: ${isSo}; ${JSON.stringify(connection.status)}, ${connection.pending} pending`);
}

test("acts, hears, and is refused", async (t) => {
  const server = await startServer(t);
  const connection = join(t, server);
  const first = await within(connection.act({ action: "plus", by: 5 }), "no answer");
  assert.equal(first.id, 1);
  await until(connection, "state", () => connection.confirmed?.seq >= first.seq);
  assert.equal(connection.confirmed.value, 5);
  assert.equal(connection.welcome.kind, "counter");
  await assert.rejects(within(connection.act({ action: "times" }), "no answer"), { code: "unknown_action", id: 2 });
});

test("a room that speaks no JSON looks like a lost connection, and is tried again after longer waits", async (t) => {
  const server = await startServer(t);
  const waits = [];
  const options = { WebSocket, baseDelayMs: 1, random: () => 0.5 };
  const connection = new Connection(`${server.url}echo`, options);
  t.after(() => connection.close());
  connection.addEventListener("status", ({ detail }) => {
    if (detail.status === "waiting") waits.push([detail.code, detail.retryInMs]);
  });
  await until(connection, "status", () => waits.length === 4);
  assert.deepEqual(waits, [[1006, 0.5], [1006, 1], [1006, 2], [1006, 4]]);
  assert.equal(connection.welcome, undefined);
});

test("three clients lose and double nothing, however often the server is killed under them", async (t) => {
  const server = await startServer(t);
  const clients = [join(t, server), join(t, server), join(t, server)];
  const decisions = [];
  const act = (client) => decisions.push(client.act({ action: "plus" }));
  for (let kill = 1; kill <= 5; kill += 1) {
    for (const client of clients) for (let action = 0; action < 150; action += 1) act(client);
    // In the midst: some are answered, most are not.
    await until(clients[0], "ack", () => clients[0].pending <= 150 - 10 * kill);
    await server.stop("SIGKILL");
    for (const client of clients) for (let action = 0; action < 20; action += 1) act(client);
    await server.start();
    await Promise.all(clients.map((client) => until(client, "status", () => client.status.status === "connected")));
  }

  const expected = 5 * 3 * 170;
  await within(Promise.all(decisions), "not all is decided");
  for (const client of clients) {
    await until(client, "state", () => client.confirmed?.value === expected);
    assert.equal(client.optimistic, expected);
    assert.equal(client.pending, 0);
  }
});
