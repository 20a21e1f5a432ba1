// The start page: which rooms there are, who is in them, and the way in.
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { complaintsOf, startBrowser, untilShown } from "./chromium.mjs";
import { startServer } from "./statesync_server.mjs";

const server = await startServer({ after });
const browser = await startBrowser({ after });

/** Opens the page, where the server is said to have these rooms. @param {() => object} answer for `fulfill` */
async function openWith(answer, { path = "web/rooms.html", ...options } = {}) {
  const page = await (await browser.newContext(options)).newPage();
  // What the page waits for until it looks anew passes at once.
  await page.clock.install();
  await page.route("**/api/rooms", (route) => route.fulfill(answer(route.request())));
  await page.goto(server.url + path);
  return page;
}

const listing = (rooms) => ({ json: { rooms } });
const room = (path, kind = "counter", users = 0, seq = 0) => ({ path, kind, users, seq });
const paths = (page) => page.locator(".room .path").allTextContents();
const untilPaths = (page, expected) =>
  page.waitForFunction((expected) => [...document.querySelectorAll(".room .path")].map(({ textContent }) => textContent).join() === expected, expected.join());

describe("the list of rooms", () => {
  test("says of each room where it is, what it is, and who is there, and leads in where there is a page", async () => {
    const rooms = [room("/echo", "echo"), room("/chat", "chat", 2, 31), room("/", "counter", 1, 8), room("/document", "document")];
    const page = await openWith(() => listing(rooms));
    await untilPaths(page, ["/", "/chat", "/document", "/echo"]);
    await untilShown(page, "#summary", "4 rooms, 3 users online");
    const links = await page.locator(".room a").evaluateAll((all) => all.map(({ href }) => href));
    assert.deepEqual(links, ["", "chat", "document"].map((path) => server.url + path));
    await untilShown(page, ".room:nth-child(2)", "/chat2 usersChat: talk to who is hereposition 31");
    await untilShown(page, ".room:nth-child(4) .about", `echo: for programs, at ${server.url.replace("http", "ws")}echo`);
    await page.getByRole("link", { name: "/", exact: true }).click();
    await untilShown(page, "h1", "One number, shared");
    await page.getByRole("link", { name: "All rooms" }).click();
    await untilShown(page, "h1", "Rooms");
    await page.context().close();
  });

  test("changes by itself, and keeps the focus where it is", async () => {
    let rooms = [room("/a"), room("/b"), room("/c", "chat", 1)];
    const page = await openWith(() => listing(rooms));
    await untilPaths(page, ["/a", "/b", "/c"]);
    await page.getByRole("link", { name: "/b" }).focus();
    rooms = [room("/0"), room("/b", "counter", 5), room("/c", "document")];
    await page.clock.runFor(2_500);
    await untilPaths(page, ["/0", "/b", "/c"]);
    await untilShown(page, "#summary", "3 rooms, 5 users online");
    assert.equal(await page.evaluate(() => document.activeElement?.textContent), "/b");
    await page.context().close();
  });

  test("of a room with a strange path is safe", async () => {
    const strange = ["//example.org/x", "/<img src=x onerror=alert(1)>", "/\u202Eabc", `/${"long".repeat(100)}`];
    const page = await openWith(() => listing([...strange.map((path) => room(path)), { path: 5 }, null]), { viewport: { width: 360, height: 740 } });
    await untilPaths(page, strange.toSorted());
    const origins = await page.locator(".room a").evaluateAll((all) => all.map(({ origin }) => `${origin}/`));
    assert.deepEqual([...new Set(origins)], [server.url]);
    assert.equal(await page.locator(".room img").count(), 0);
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "it must be scrolled sideways");
    await page.context().close();
  });

  test("that is empty says so, and one that is very long is cut", async () => {
    let rooms = [];
    const page = await openWith(() => listing(rooms));
    await page.getByText("This server has no rooms yet.").waitFor();
    rooms = Array.from({ length: 502 }, (_, index) => room(`/${String(index).padStart(3, "0")}`));
    await page.clock.runFor(2_500);
    await untilShown(page, "#more", "… and 2 more rooms.");
    assert.equal(await page.getByText("This server has no rooms yet.").isVisible(), false);
    assert.equal((await paths(page)).length, 500);
    await page.context().close();
  });

  for (const [status, text] of [
    [401, /wants an access token/],
    [403, /does not show you/],
    [404, /does not list its rooms/],
    [503, /cannot list its rooms now \(503\); trying again/],
  ]) {
    test(`that is answered with ${status} says why, and is asked for again`, async () => {
      let answer = { status };
      const page = await openWith(() => answer);
      await untilShown(page, "#problem", text);
      answer = listing([room("/a")]);
      await page.clock.runFor(10_000);
      await untilPaths(page, ["/a"]);
      assert.equal(await page.locator("#problem").isVisible(), false);
      await page.context().close();
    });
  }

  test("keeps what was known while the server is gone", async () => {
    let isGone = false;
    const page = await (await browser.newContext()).newPage();
    await page.clock.install();
    await page.route("**/api/rooms", (route) => (isGone ? route.abort() : route.fulfill(listing([room("/a")]))));
    await page.goto(`${server.url}web/`);
    await untilPaths(page, ["/a"]);
    isGone = true;
    await page.clock.runFor(2_500);
    await untilShown(page, "#problem", "The server cannot be reached; trying again.");
    assert.deepEqual(await paths(page), ["/a"]);
    await page.context().close();
  });

  test("is asked for with the page's token, which goes on to the rooms", async () => {
    let asked;
    const answer = (request) => {
      asked = request.headers().authorization;
      return listing([room("/a b")]);
    };
    const page = await openWith(answer, { path: "web/rooms.html#access_token=s3cret" });
    await untilPaths(page, ["/a b"]);
    assert.equal(asked, "Bearer s3cret");
    assert.equal(await page.getByRole("link").getAttribute("href"), `${server.url}a%20b#access_token=s3cret`);
    await page.context().close();
  });
});

describe("every page", () => {
  for (const name of ["rooms", "chat", "document"]) {
    test(`${name}.html gives nothing to complain about, fits a phone and works without a mouse`, async () => {
      const page = await (await browser.newContext({ viewport: { width: 360, height: 640 } })).newPage();
      const complaints = complaintsOf(page);
      await page.routeWebSocket(/^ws:/, () => {});
      await page.route("**/api/rooms", (route) => route.fulfill(listing([room("/")])));
      const response = await page.goto(`${server.url}web/${name}.html`);
      assert.match(response?.headers()["content-security-policy"] ?? "", /^default-src 'none'/);
      await page.waitForLoadState("networkidle");
      assert.deepEqual(complaints, []);
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "it must be scrolled sideways");
      const reached = new Set();
      for (let step = 0; step < 12; step += 1) {
        await page.keyboard.press("Tab");
        const outline = await page.evaluate(() => {
          const focused = document.activeElement;
          if (!focused || focused === document.body) return undefined;
          const frame = focused.closest(".room") ?? focused;
          return [focused.id || focused.textContent, getComputedStyle(frame).outlineStyle];
        });
        if (!outline) continue;
        reached.add(outline[0]);
        assert.notEqual(outline[1], "none", `the focus on ${outline[0]} is not seen`);
      }
      const all = await page.evaluate(() => {
        const named = (element) => element.id || element.textContent;
        return [...document.querySelectorAll("a, button, input, textarea")].filter((element) => element.checkVisibility()).map(named);
      });
      assert.deepEqual(all.filter((one) => !reached.has(one)), [], "these cannot be reached");
      await page.context().close();
    });
  }
});
