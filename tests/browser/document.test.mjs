// The document page: what others change comes in, what one changes is saved, and where both meet nothing is lost.
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { startBrowser, untilShown } from "./chromium.mjs";
import { save, textOf, type, untilValue } from "./document_page.mjs";
import { SimulatedDocument } from "./simulated_room.mjs";
import { startServer } from "./statesync_server.mjs";

const server = await startServer({ after });
const browser = await startBrowser({ after });
const START = { title: "Fair", list: [{ name: "a", done: false }], note: null };

async function openIn(room, options) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  // However long the page would wait, it comes back when the test lets it.
  await page.addInitScript(() => (Math.random = () => 1_000));
  await room.route(page);
  await page.goto(`${server.url}web/document.html`);
  await untilValue(page, room.value);
  return page;
}

const replace = (path, value) => ({ op: "replace", path, value });
const comeBack = (page) => page.evaluate(() => dispatchEvent(new Event("online")));
const isDisabled = (page, id) => page.getAttribute(`#${id}`, "aria-disabled");

describe("what others change", () => {
  test("is in the text at once, and told", async () => {
    const room = new SimulatedDocument(START);
    const page = await openIn(room);
    room.changes(replace("/title", "<b>Market</b>"), { op: "add", path: "/list/-", value: { name: "b" } });
    await untilValue(page, room.value);
    await untilShown(page, "#changed", /^Last changed by somebody else, in 2 places, /);
    await untilShown(page, "#position", "Position 1.");
    await untilShown(page, "#users", "1 user online");
    room.changes(replace("", [1]));
    await untilValue(page, [1]);
    assert.equal(await page.getAttribute("body", "data-dirty"), null);
    await page.context().close();
  });

  test("leaves the caret where it is", async () => {
    const room = new SimulatedDocument({ a: "first", z: "last" });
    const page = await openIn(room);
    await page.locator("#text").evaluate((area) => {
      area.focus();
      area.setSelectionRange(area.value.indexOf("last"), area.value.indexOf("last") + 2);
    });
    room.changes(replace("/a", "a much longer text"));
    await untilValue(page, room.value);
    assert.equal(await page.locator("#text").evaluate((area) => area.value.slice(area.selectionStart, area.selectionEnd)), "la");
    await page.context().close();
  });

  test("comes in around one's own edits, which are saved on top", async () => {
    const room = new SimulatedDocument(START);
    const page = await openIn(room);
    await type(page, "Fair", "Fair 2026");
    room.changes(replace("/note", "theirs"));
    await untilValue(page, { ...START, title: "Fair 2026", note: "theirs" });
    assert.equal(room.value.title, "Fair");
    await untilShown(page, "#saved", "Not saved");
    await save(page);
    await untilShown(page, "#saved", "Saved");
    assert.deepEqual(room.value, { ...START, title: "Fair 2026", note: "theirs" });
    await untilShown(page, "#changed", /^Last changed by you, at \/title, /);
    assert.equal(await isDisabled(page, "save"), "true");
    await page.context().close();
  });

  test("waits while the text is no JSON, and comes in when it is", async () => {
    const room = new SimulatedDocument(START);
    const page = await openIn(room);
    await type(page, '"Fair",', '"Fair"');
    room.changes(replace("/note", 5));
    await untilShown(page, "#saved", "Not saved. Others have changed it meanwhile.");
    await type(page, '"Fair"', '"Fair",');
    await untilValue(page, { ...START, note: 5 });
    await page.context().close();
  });

  test("while one was not connected is there afterwards, with one's own edits", async () => {
    const room = new SimulatedDocument(START);
    const page = await openIn(room);
    room.lose();
    await untilShown(page, "#status", /trying again$/);
    await type(page, "Fair", "Mine");
    await save(page);
    await untilShown(page, "#saved", "Saved when the connection is back.");
    await type(page, '"name": "a"', '"name": "also mine"');
    room.changes(replace("/note", "theirs"));
    await comeBack(page);
    const both = { title: "Mine", list: [{ name: "also mine", done: false }], note: "theirs" };
    await untilValue(page, both);
    await untilShown(page, "#saved", "Not saved");
    await save(page);
    await untilShown(page, "#saved", "Saved");
    assert.deepEqual(room.value, both);
    await page.context().close();
  });

  test("that does not follow what is here makes the page ask for all of it", async () => {
    const room = new SimulatedDocument(START);
    const page = await openIn(room);
    room.seq = 7;
    room.changes(replace("/title", "skipped"));
    await untilShown(page, "#status", /trying again$/);
    await comeBack(page);
    await untilValue(page, room.value);
    await untilShown(page, "#position", "Position 8.");
    await page.context().close();
  });

  test("is all told anew to who was too slow", async () => {
    const room = new SimulatedDocument(START);
    const page = await openIn(room);
    Object.assign(room, { seq: 40, value: { all: "new" } });
    room.tell({ type: "state", seq: 40, value: room.value });
    await untilValue(page, { all: "new" });
    room.changes(replace("/all", "newer"));
    await untilValue(page, { all: "newer" });
    await page.context().close();
  });
});

describe("where both change the same place", () => {
  async function conflict() {
    const room = new SimulatedDocument(START);
    const page = await openIn(room);
    await type(page, "Fair", "Mine");
    room.changes(replace("/title", "Theirs"), replace("/note", 1));
    await untilShown(page, "#conflict-text", /^Somebody else has changed the same place/);
    await untilShown(page, "#conflict-places", '/title is now "Theirs"');
    assert.match(await textOf(page), /"Mine"/);
    return { room, page };
  }

  test("it is told, and mine can be saved all the same, with what they changed elsewhere", async () => {
    const { room, page } = await conflict();
    await page.getByRole("button", { name: "Save mine all the same" }).click();
    await untilShown(page, "#saved", "Saved");
    assert.deepEqual(room.value, { ...START, title: "Mine", note: 1 });
    await untilValue(page, room.value);
    assert.equal(await page.locator("#conflict").isVisible(), false);
    await page.context().close();
  });

  test("theirs can be taken", async () => {
    const { room, page } = await conflict();
    await page.getByRole("button", { name: "Take theirs" }).click();
    await untilValue(page, { ...START, title: "Theirs", note: 1 });
    assert.equal(room.value.title, "Theirs");
    assert.equal(await isDisabled(page, "save"), "true");
    await page.context().close();
  });

  test("at the same moment, the later is refused, and keeps what was typed", async () => {
    const room = new SimulatedDocument(START);
    const [ann, bob] = [await openIn(room), await openIn(room)];
    room.isMute = true;
    await type(ann, "Fair", "Ann's");
    await save(ann);
    await type(bob, "Fair", "Bob's");
    await save(bob);
    await untilShown(bob, "#saved", "Saving…");
    room.speak();
    await untilShown(ann, "#saved", "Saved");
    await untilShown(bob, "#conflict-places", `/title is now "Ann's"`);
    assert.match(await textOf(bob), /"Bob's"/);
    assert.equal(room.value.title, "Ann's");
    await untilValue(ann, room.value);
    await ann.context().close();
    await bob.context().close();
  });

  test("to the same, there is nothing to be told", async () => {
    const room = new SimulatedDocument(START);
    const page = await openIn(room);
    await type(page, "Fair", "Same");
    room.changes(replace("/title", "Same"));
    await untilShown(page, "#position", "Position 1.");
    await page.waitForFunction(() => document.querySelector("#save").ariaDisabled === "true");
    assert.equal(await page.locator("#conflict").isVisible(), false);
    await page.context().close();
  });
});

describe("one's own edits", () => {
  test("that are no JSON are told at their place, and not saved", async () => {
    const room = new SimulatedDocument(START);
    const page = await openIn(room);
    await type(page, '"Fair",', '"Fair"');
    await untilShown(page, "#fault", "Line 2, column 18: a comma or } is missing");
    assert.equal(await page.getAttribute("#text", "aria-invalid"), "true");
    assert.equal(await page.getAttribute("#text", "aria-describedby"), "fault");
    assert.equal(await isDisabled(page, "save"), "true");
    const [line, mark] = await page.evaluate(() => {
      const { top } = document.querySelector("#text").getBoundingClientRect();
      return [top + 16 + 24, document.querySelector("#fault-line").getBoundingClientRect().top];
    });
    assert.ok(Math.abs(line - mark) < 3, `the mark is at ${mark}, the line at ${line}`);
    await page.getByRole("button", { name: "Show the place" }).click();
    assert.equal(await page.evaluate(() => document.activeElement?.id), "text");
    await page.keyboard.insertText(",\n");
    await untilShown(page, "#fault", "");
    assert.equal(room.seq, 0);
    await page.context().close();
  });

  test("are saved from the keyboard", async () => {
    const room = new SimulatedDocument(START);
    const page = await openIn(room);
    for (const [key, title] of [["Control+Enter", "One"], ["Control+s", "Two"]]) {
      await type(page, `"title": ${JSON.stringify(room.value.title)}`, `"title": "${title}"`);
      await page.keyboard.press(key);
      await untilShown(page, "#saved", "Saved");
      assert.equal(room.value.title, title);
    }
    await page.context().close();
  });

  test("of which nobody knows whether they were saved are still in the text", async () => {
    const room = new SimulatedDocument(START);
    const page = await openIn(room);
    await type(page, "Fair", "One");
    await save(page);
    await untilShown(page, "#saved", "Saved");
    room.isMute = true;
    await type(page, "One", "Two");
    await save(page);
    room.clients.clear();
    room.lose();
    room.isMute = false;
    await untilShown(page, "#status", /trying again$/);
    await comeBack(page);
    await untilShown(page, "#notice", "Nobody can tell whether your edits were saved. They are still in the text.");
    await comeBack(page);
    await untilShown(page, "#status", "Connected");
    await untilShown(page, "#saved", "Not saved");
    assert.match(await textOf(page), /"Two"/);
    await save(page);
    await untilShown(page, "#saved", "Saved");
    assert.equal(room.value.title, "Two");
    await page.context().close();
  });

  test("can be given up", async () => {
    const room = new SimulatedDocument(START);
    const page = await openIn(room);
    await type(page, '"Fair",', "nonsense");
    await page.getByRole("button", { name: "Discard" }).click();
    await untilValue(page, START);
    await untilShown(page, "#fault", "");
    await page.context().close();
  });

  test("of a text laid out otherwise leave it so, and are no edits", async () => {
    const room = new SimulatedDocument({ a: 1 });
    const page = await openIn(room);
    await type(page, await textOf(page), '{"a":    1}');
    assert.equal(await isDisabled(page, "save"), "true");
    assert.equal(await textOf(page), '{"a":    1}');
    await page.context().close();
  });
});
