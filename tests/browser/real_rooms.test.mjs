// The chat and document pages with the real server: several people, connections that are cut, a server that is killed.
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { openChat, say, untilJoined, untilTexts } from "./chat_page.mjs";
import { complaintsOf, startBrowser, untilShown } from "./chromium.mjs";
import { save, textOf, type, untilValue } from "./document_page.mjs";
import { startNetwork } from "./network.mjs";
import { startServer } from "./statesync_server.mjs";

const ROOMS = { "/": "counter", "/chat": "chat", "/document": "document" };
const CONFIG = Object.entries(ROOMS).map(([path, kind]) => `[[room]]\npath = "${path}"\nkind = "${kind}"\n`).join("");
const browser = await startBrowser({ after });

const startRooms = (t) => startServer(t, { config: CONFIG });

/** A page in a tab of its own, which comes back when the test lets it. */
async function openPage(t) {
  const context = await browser.newContext();
  t.after(() => context.close());
  const page = await context.newPage();
  await page.addInitScript(() => (Math.random = () => 1_000));
  return page;
}

async function join(t, url, name) {
  const page = await openPage(t);
  await openChat(page, `${url}chat`, name);
  return page;
}

/** However often it must try. */
async function comeBack(page) {
  const tries = async () => {
    await page.evaluate(() => dispatchEvent(new Event("online")));
    return page.waitForFunction(() => document.querySelector("#status").textContent === "Connected", null, { timeout: 1_000 }).catch(() => null);
  };
  for (let time = 0; time < 20; time += 1) if (await tries()) return;
  await untilShown(page, "#status", "Connected");
}

const untilPeople = (page, names) =>
  page.waitForFunction((names) => [...document.querySelectorAll("#people bdi")].map(({ textContent }) => textContent).join() === names, names.join());

describe("in a chat", () => {
  test("everybody sees the same texts in the same order, as they were written", async (t) => {
    const server = await startRooms(t);
    const ann = await openPage(t);
    const complaints = complaintsOf(ann);
    await openChat(ann, `${server.url}chat`, "Ann");
    const bob = await join(t, server.url, "<b>Bob</b>");
    await untilPeople(ann, ["<b>Bob</b>", "Ann"]);
    const all = ["<img src=x onerror=alert(1)>", "\u202Edesrever \u2067and שלום", "👩‍👩‍👧‍👦 🎉\nsecond line", "  spaces  and\ttabs", "\"quotes\" \\ \u2028"];
    for (const [index, text] of all.entries()) {
      await say(index % 2 ? bob : ann, text);
      await untilTexts(ann, all.slice(0, index + 1));
    }
    await untilTexts(bob, all);
    const long = "é".repeat(32_700);
    await say(bob, long);
    await ann.locator("#log").getByRole("button", { name: /^Show all of it/ }).click();
    await untilTexts(ann, [...all, long]);
    const newcomer = await join(t, server.url, "Cleo");
    await newcomer.locator("#log").getByRole("button", { name: /^Show all of it/ }).click();
    await untilTexts(newcomer, [...all, long]);
    assert.deepEqual(complaints, []);
  });

  test("a name belongs to one, until they leave", async (t) => {
    const server = await startRooms(t);
    const ann = await join(t, server.url, "Ann");
    const other = await join(t, server.url, "");
    await other.fill("#name", "Ann");
    await other.click("#join");
    await untilShown(other, "#login-error", "“Ann” is here already. Take another name.");
    await ann.getByRole("button", { name: "Leave" }).click();
    await untilPeople(other, []);
    await other.click("#join");
    await untilJoined(other, "Ann");
    await untilShown(ann, "#log", /Ann left.*Ann joined/);
  });

  test("who was cut off is back under the same name, and what they wrote meanwhile is said once", async (t) => {
    const server = await startRooms(t);
    const network = await startNetwork(t, server);
    const [ann, bob] = [await join(t, network.url, "Ann"), await join(t, server.url, "Bob")];
    await say(ann, "before");
    await untilTexts(bob, ["before"]);
    network.cut();
    await untilShown(ann, "#status", /trying again$/);
    await untilPeople(bob, ["Bob"]);
    await say(ann, "one");
    await say(ann, "two");
    await say(bob, "meanwhile");
    await untilTexts(bob, ["before", "meanwhile"]);
    network.restore();
    await comeBack(ann);
    for (const page of [ann, bob]) {
      await untilTexts(page, ["before", "meanwhile", "one", "two"]);
      await untilPeople(page, ["Ann", "Bob"]);
    }
    await untilShown(ann, "#waiting", "");
  });

  test("a message whose answer was lost is said once", async (t) => {
    const server = await startRooms(t);
    const network = await startNetwork(t, server);
    const [ann, bob] = [await join(t, network.url, "Ann"), await join(t, server.url, "Bob")];
    network.mute();
    await say(ann, "once");
    await untilTexts(bob, ["once"]);
    network.cut();
    network.restore();
    await untilShown(ann, "#status", /trying again$/);
    await comeBack(ann);
    await say(ann, "end");
    for (const page of [ann, bob]) await untilTexts(page, ["once", "end"]);
  });

  test("a server that is killed keeps what was said, and no name", async (t) => {
    const server = await startRooms(t);
    const [ann, bob] = [await join(t, server.url, "Ann"), await join(t, server.url, "Bob")];
    await say(ann, "kept");
    await untilTexts(bob, ["kept"]);
    await server.kill();
    for (const page of [ann, bob]) await untilShown(page, "#status", /trying again$/);
    await ann.context().close();
    await server.start();
    const other = await join(t, server.url, "Ann");
    await untilTexts(other, ["kept"]);
    await comeBack(bob);
    await untilPeople(bob, ["Ann", "Bob"]);
    await say(bob, "hello again");
    await untilTexts(other, ["kept", "hello again"]);
  });

  test("a reload is one of the same name, and what waited is said", async (t) => {
    const server = await startRooms(t);
    const network = await startNetwork(t, server);
    const ann = await join(t, network.url, "Ann");
    network.cut();
    await untilShown(ann, "#status", /trying again$/);
    await say(ann, "waited");
    network.restore();
    await ann.reload();
    await untilJoined(ann, "Ann");
    await untilTexts(ann, ["waited"]);
  });
});

describe("in a document", () => {
  async function openDocument(t, url) {
    const page = await openPage(t);
    await page.goto(`${url}document`);
    await untilShown(page, "#position", /^Position \d+\.$/);
    return page;
  }

  async function write(page, value) {
    await page.fill("#text", JSON.stringify(value, null, 2));
    await save(page);
    await untilShown(page, "#saved", "Saved");
  }

  test("two edit at once, a newcomer sees both, and a server that is killed keeps it", async (t) => {
    const server = await startRooms(t);
    const [ann, bob] = [await openDocument(t, server.url), await openDocument(t, server.url)];
    await write(ann, { a: 1, list: [1], note: "<b>שלום</b>" });
    await untilValue(bob, { a: 1, list: [1], note: "<b>שלום</b>" });
    await type(ann, '"a": 1', '"a": 2');
    await type(bob, "<b>שלום</b>", "👋");
    await Promise.all([save(ann), save(bob)]);
    const both = { a: 2, list: [1], note: "👋" };
    for (const page of [ann, bob, await openDocument(t, server.url)]) await untilValue(page, both);
    await untilShown(ann, "#users", "3 users online");
    await server.kill();
    await untilShown(ann, "#status", /trying again$/);
    await type(ann, '"a": 2', '"a": 3');
    await save(ann);
    await server.start();
    await comeBack(ann);
    await comeBack(bob);
    for (const page of [ann, bob]) await untilValue(page, { ...both, a: 3 });
    await untilShown(ann, "#saved", "Saved");
  });

  test("who edits the same place later is told, and keeps what they typed", async (t) => {
    const server = await startRooms(t);
    const network = await startNetwork(t, server);
    const [ann, bob] = [await openDocument(t, server.url), await openDocument(t, network.url)];
    await write(ann, { title: "start", more: 1 });
    await untilValue(bob, { title: "start", more: 1 });
    network.cut();
    await untilShown(bob, "#status", /trying again$/);
    await type(bob, "start", "Bob's");
    await save(bob);
    await type(ann, "start", "Ann's");
    await save(ann);
    await untilShown(ann, "#saved", "Saved");
    network.restore();
    await comeBack(bob);
    await untilShown(bob, "#conflict-places", `/title is now "Ann's"`);
    assert.match(await textOf(bob), /"Bob's"/);
    await bob.getByRole("button", { name: "Save mine all the same" }).click();
    for (const page of [ann, bob]) await untilValue(page, { title: "Bob's", more: 1 });
  });
});

test("the start page leads to every room, and counts who is there", async (t) => {
  const server = await startRooms(t);
  const start = await openPage(t);
  const complaints = complaintsOf(start);
  await start.goto(`${server.url}web/`);
  await untilShown(start, "#summary", "3 rooms, 0 users online");
  const ann = await openPage(t);
  await ann.goto(`${server.url}web/`);
  await ann.getByRole("link", { name: "/chat" }).click();
  await untilShown(ann, "#status", "Connected");
  await untilShown(start, "#summary", "3 rooms, 1 user online");
  await ann.getByRole("link", { name: "All rooms" }).click();
  await ann.getByRole("link", { name: "/document" }).click();
  await untilShown(ann, "#position", /^Position/);
  assert.deepEqual(complaints, []);
});
