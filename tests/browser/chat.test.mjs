// The chat page: who is here, what is said, and what becomes of it when connections and names are lost.
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { startBrowser, untilShown } from "./chromium.mjs";
import { openChat, say, texts, untilJoined, untilTexts } from "./chat_page.mjs";
import { SimulatedChat } from "./simulated_room.mjs";
import { startServer } from "./statesync_server.mjs";

const server = await startServer({ after });
const browser = await startBrowser({ after });
const PAGE = `${server.url}web/chat.html`;

/** A page in a simulated room, and a way to come back without waiting. */
async function openIn(chat, name, options) {
  const context = await browser.newContext({ locale: "en-GB", ...options });
  const page = await context.newPage();
  // However long the page would wait, it comes back when the test lets it.
  await page.addInitScript(() => (Math.random = () => 1_000));
  await chat.route(page);
  await openChat(page, PAGE, name);
  return page;
}

const comeBack = (page) => page.evaluate(() => dispatchEvent(new Event("online")));
const people = (page) => page.locator("#people bdi").allTextContents();
const isVisible = (page, selector) => page.locator(selector).isVisible();

describe("what is said", () => {
  test("is text, whatever it looks like, and disturbs nothing around it", async () => {
    const chat = new SimulatedChat();
    const page = await openIn(chat, "Ann", { viewport: { width: 360, height: 740 } });
    const html = "<b>bold</b><img src=x onerror=alert(1)><script>alert(1)</script>&amp;";
    const all = [html, "\u202Ereversed\u202C \u2067never closed", "👩‍👩‍👧‍👦 🎉", `W${"o".repeat(500)}w`, "שלום (10)", `a${"\u0315\u0301".repeat(200)}`];
    for (const text of all) chat.says("<i>Bob\u202E</i>", text);
    await untilTexts(page, all);
    assert.equal(await page.locator("#log b, #log i, #log img, #log script").count(), 0);
    const isWithin = await page.evaluate(() => {
      const { clientWidth } = document.querySelector("#scroll");
      const boxes = [...document.querySelectorAll("#scroll .text")].map((text) => text.getBoundingClientRect().width);
      return boxes.every((width) => width <= clientWidth) && document.documentElement.scrollWidth <= innerWidth;
    });
    assert.ok(isWithin, "a text reaches out of its place");
    assert.deepEqual([...new Set(await page.locator("#log .text").evaluateAll((all) => all.map(({ dir }) => dir)))], ["auto"]);
    await page.context().close();
  });

  test("is folded if it is very long, and all of it is there on demand", async () => {
    const chat = new SimulatedChat();
    const page = await openIn(chat, "Ann");
    const long = `${"x".repeat(499)}👍${"é".repeat(64 * 1_024)}`;
    chat.says("Bob", long);
    const fold = page.locator("#log").getByRole("button", { name: /^Show all of it/ });
    await fold.click();
    await untilTexts(page, [long]);
    await page.locator("#log").getByRole("button", { name: "Show less" }).click();
    const [folded] = await texts(page);
    assert.ok(folded.length < 1_000 && !/[\uD800-\uDBFF](?![\uDC00-\uDFFF])/.test(folded), folded);
    await page.context().close();
  });

  test("by oneself is shown at once, and stays one line in its place when it is told", async () => {
    const chat = new SimulatedChat();
    const page = await openIn(chat, "Ann");
    chat.isMute = true;
    await say(page, "mine");
    assert.deepEqual(await page.locator("#waiting .text").allTextContents(), ["mine"]);
    chat.says("Bob", "first");
    await untilTexts(page, ["first"]);
    // Each moment at which something changes: it is neither gone nor there twice.
    await page.evaluate(() => {
      globalThis.counts = new Set();
      const count = () => [...document.querySelectorAll("#scroll .text")].filter((text) => text.textContent === "mine").length;
      new MutationObserver(() => globalThis.counts.add(count())).observe(document.querySelector("#scroll"), { childList: true, subtree: true });
    });
    chat.speak();
    await untilTexts(page, ["first", "mine"]);
    await untilShown(page, "#waiting", "");
    assert.deepEqual(await page.evaluate(() => [...globalThis.counts]), [1]);
    await page.context().close();
  });

  test("is sent by Enter; Shift and Enter begin a line; nothing is nothing", async () => {
    const chat = new SimulatedChat();
    const page = await openIn(chat, "Ann");
    await page.locator("#text").focus();
    for (const key of ["Enter", "a", "Shift+Enter", "b", "Enter", "Space", "Enter"]) await page.keyboard.press(key);
    await untilTexts(page, ["a\nb"]);
    await say(page, "end");
    await untilTexts(page, ["a\nb", "end"]);
    await page.context().close();
  });

  test("leaves the reader where they read, tells how much is new, and follows at the end", async () => {
    const chat = new SimulatedChat();
    for (let number = 0; number < 60; number += 1) chat.says("Bob", `number ${number}`);
    const page = await openIn(chat, "Ann");
    const fromEnd = () => page.evaluate(() => {
      const { scrollHeight, scrollTop, clientHeight } = document.querySelector("#scroll");
      return Math.round(scrollHeight - scrollTop - clientHeight);
    });
    assert.equal(await fromEnd(), 0);
    await page.evaluate(() => (document.querySelector("#scroll").scrollTop = 100));
    await page.waitForFunction(() => document.querySelector("#scroll").scrollTop === 100);
    // The page has heard that it was scrolled when a frame is over.
    await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
    chat.says("Bob", "new");
    chat.says("Bob", "newer");
    await untilShown(page, "#newer", "2 new messages ↓");
    assert.equal(await page.title(), "(2) Chat · statesync");
    assert.equal(await page.evaluate(() => document.querySelector("#scroll").scrollTop), 100);
    await page.locator("#newer").click();
    await page.waitForFunction(() => document.querySelector("#newer").hidden && document.title === "Chat · statesync");
    assert.equal(await fromEnd(), 0);
    await page.context().close();
  });

  test("that is too long is not sent, and not lost", async () => {
    const chat = new SimulatedChat();
    const page = await openIn(chat, "Ann");
    await say(page, "x".repeat(65_600));
    await untilShown(page, "#notice", "This is longer than the server takes. Nothing was sent.");
    assert.equal((await page.locator("#text").inputValue()).length, 65_600);
    await page.context().close();
  });

  test("is a log to a screen reader, and each field has a name", async () => {
    const page = await openIn(new SimulatedChat(), "");
    await page.getByRole("log", { name: "Messages" }).waitFor({ state: "attached" });
    await page.getByLabel("Your name").fill("Ann");
    await page.getByRole("button", { name: "Join" }).click();
    await page.getByRole("textbox", { name: "Message" }).waitFor();
    assert.equal(await page.evaluate(() => document.activeElement?.id), "text");
    await page.context().close();
  });
});

describe("a name", () => {
  test("that is taken is told, and another one can be taken", async () => {
    const chat = new SimulatedChat();
    chat.held.add("Ann");
    const page = await openIn(chat, "");
    await page.fill("#name", "  Ann ");
    await page.click("#join");
    await untilShown(page, "#login-error", "“Ann” is here already. Take another name.");
    await page.fill("#name", "Anna");
    await page.keyboard.press("Enter");
    await untilJoined(page, "Anna");
    assert.deepEqual(await people(page), ["Ann", "Anna"]);
    await page.context().close();
  });

  test("is kept over a reload, and given up by leaving", async () => {
    const chat = new SimulatedChat();
    const page = await openIn(chat, "Ann");
    await page.reload();
    await untilJoined(page, "Ann");
    await page.getByRole("button", { name: "Leave" }).click();
    await page.locator("#login").waitFor();
    await page.waitForFunction(() => document.querySelector("#people").childElementCount === 0);
    await page.reload();
    await untilShown(page, "#status", "Connected");
    assert.equal(await isVisible(page, "#login"), true);
    assert.deepEqual(chat.names, []);
    await page.context().close();
  });

  test("that others take or give up is told", async () => {
    const chat = new SimulatedChat();
    const [ann, bob] = [await openIn(chat, "Ann"), await openIn(chat, "Bob")];
    await untilShown(ann, "#log", /Bob joined/);
    await ann.waitForFunction(() => document.querySelector("#people").textContent === "AnnBob");
    await bob.context().close();
    await untilShown(ann, "#log", /Bob left/);
    assert.deepEqual(await people(ann), ["Ann"]);
    // What says nothing new is no line.
    chat.tell({ type: "left", seq: 1, name: "Bob", time: "2026-11-24T10:00:00Z" });
    chat.tell({ type: "joined", seq: 1, name: "Ann", time: "2026-11-24T10:00:00Z" });
    chat.says("Cleo", "end");
    await untilTexts(ann, ["end"]);
    assert.equal(await ann.locator("#log .note").count(), 3, await ann.textContent("#log"));
    await ann.context().close();
  });
});

describe("a lost connection", () => {
  test("is followed by a login before what waited, each said once and in order", async () => {
    const chat = new SimulatedChat();
    const page = await openIn(chat, "Ann");
    await say(page, "one");
    await untilTexts(page, ["one"]);
    chat.lose();
    await untilShown(page, "#status", /trying again$/);
    await say(page, "two");
    await say(page, "three");
    chat.says("Bob", "meanwhile");
    await comeBack(page);
    await untilTexts(page, ["one", "meanwhile", "two", "three"]);
    await untilShown(page, "#waiting", "");
    assert.deepEqual(chat.messages.map(({ from, text }) => [from, text]), [["Ann", "one"], ["Bob", "meanwhile"], ["Ann", "two"], ["Ann", "three"]]);
    assert.deepEqual(await people(page), ["Ann"]);
    await page.context().close();
  });

  test("whose name the server still holds is asked for again, and nothing that was written is lost", async () => {
    const chat = new SimulatedChat();
    const page = await openIn(chat, "Ann");
    chat.held.add("Ann");
    chat.lose();
    await untilShown(page, "#status", /trying again$/);
    await say(page, "kept");
    await comeBack(page);
    await untilShown(page, "#waiting", /keptNot sent: join to send it/);
    chat.held.delete("Ann");
    await untilTexts(page, ["kept"]);
    await untilJoined(page, "Ann");
    assert.equal(await isVisible(page, "#login"), false);
    await page.context().close();
  });

  test("tells what was missed, and shows another history from its beginning", async () => {
    const chat = new SimulatedChat();
    chat.says("Bob", "before");
    const page = await openIn(chat, "Ann");
    chat.lose();
    await untilShown(page, "#status", /trying again$/);
    chat.welcome = { missed: true };
    for (const text of ["lost", "after"]) chat.says("Bob", text);
    chat.history = 1;
    await comeBack(page);
    await untilTexts(page, ["before", "after"]);
    await untilShown(page, "#log", /before.*Some messages in between are lost\..*after/);
    chat.welcome = {};
    Object.assign(chat, { epoch: "second", seq: 0, messages: [], clients: new Map() });
    chat.lose();
    chat.says("Bob", "anew");
    // Twice: the first connection has asked for the wrong messages.
    for (let time = 0; time < 2; time += 1) {
      await untilShown(page, "#status", /trying again$/);
      await comeBack(page);
      if (time === 0) await page.waitForFunction(() => document.querySelector("#progress").textContent.includes(" in "));
    }
    await untilTexts(page, ["anew"]);
    await untilJoined(page, "Ann");
    await page.context().close();
  });

  test("of which nobody knows what became of a message leaves that to who wrote it", async () => {
    const chat = new SimulatedChat();
    const page = await openIn(chat, "Ann");
    await say(page, "known");
    await untilTexts(page, ["known"]);
    chat.isMute = true;
    await say(page, "unknown");
    chat.clients.clear();
    chat.lose();
    chat.isMute = false;
    await untilShown(page, "#status", /trying again$/);
    await comeBack(page);
    await untilShown(page, "#waiting", /Nobody can tell whether this was sent/);
    await comeBack(page);
    await untilJoined(page, "Ann");
    await page.getByRole("button", { name: "Send again" }).click();
    await untilTexts(page, ["known", "unknown"]);
    await untilShown(page, "#waiting", "");
    await page.context().close();
  });

  test("for want of a token says so", async () => {
    const chat = new SimulatedChat();
    const page = await openIn(chat, "Ann");
    chat.lose(4401, "no token");
    await untilShown(page, "#status", "Closed (4401): no token. Reload the page to try again.");
    await untilShown(page, "#notice", /#access_token=/);
    await page.context().close();
  });
});

test("the token in the page's address goes to the socket and to the other pages, and is not shown", async () => {
  const page = await (await browser.newContext()).newPage();
  const chat = new SimulatedChat();
  const asked = [];
  await page.routeWebSocket(/^ws:/, (route) => {
    asked.push(new URL(route.url()).searchParams.get("access_token"));
    chat.serve(route);
  });
  await page.goto(`${PAGE}#access_token=a%2Bb`);
  await untilShown(page, "#status", "Connected");
  assert.deepEqual(asked, ["a+b"]);
  assert.equal(await page.getByRole("link", { name: "All rooms" }).getAttribute("href"), `${server.url}web/rooms.html#access_token=a%2Bb`);
  assert.doesNotMatch(await page.textContent("#address"), /token/);
  await page.context().close();
});
