// The counter page itself: what it says and to whom, how it is used, and how it looks at its limits.
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { complaintsOf, startBrowser, untilShown } from "./chromium.mjs";
import { openCounter, press, untilAllCount, untilAllShow, untilJoined, valueOf } from "./counter_page.mjs";
import { WELCOME } from "./fake_world.mjs";
import { startServer } from "./statesync_server.mjs";

const server = await startServer({ after });
const browser = await startBrowser({ after });

/**
 * Opens the page with a server of the test's own making behind its socket.
 *
 * @param {(socket: import("playwright-core").WebSocketRoute) => void} serve
 * @param {import("playwright-core").BrowserContextOptions} [options]
 * @param {() => void} [before] runs in the page before its own scripts
 */
async function openCounterServedBy(serve, options, before = () => {}) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  await page.addInitScript(before);
  await page.routeWebSocket(/^ws:/, serve);
  await page.goto(server.url);
  return page;
}

/**
 * @param {string} value as JSON
 * @param {object} [welcome] what is not as usual in it
 */
function joins(value, welcome) {
  return (socket) => {
    socket.send(JSON.stringify({ ...WELCOME, ...welcome }));
    socket.send('{"type":"users","count":1}');
    socket.send(`{"type":"state","seq":1,"value":${value}}`);
  };
}

/** Runs in the page. */
function valueFits() {
  const display = document.querySelector(".display").getBoundingClientRect();
  const value = document.querySelector("#value").getBoundingClientRect();
  const inside = display.left <= value.left && value.right <= display.right && value.height <= display.height;
  return inside && document.documentElement.scrollWidth <= innerWidth;
}

describe("the page as served", () => {
  test("has a title, and one user online is singular", async () => {
    const page = await openCounter(await browser.newContext(), server.url);
    assert.equal(await page.title(), "Counter · statesync");
    await untilAllCount([page], 1);
    assert.equal(await page.textContent("#users"), "1 user online");
    const address = server.url.replace("http:", "ws:");
    assert.equal(await page.textContent("#address"), address);
    await page.close();
  });

  test("joins the room at its own path, whatever follows the path", async (t) => {
    const room = (path) => `[[room]]\npath = "${path}"\nkind = "counter"\n`;
    const rooms = await startServer(t, { config: room("/") + room("/rooms/second") });
    const context = await browser.newContext();
    const first = await openCounter(context, rooms.url);
    const second = await openCounter(context, `${rooms.url}rooms/second?x=1#y`);
    assert.equal(await second.textContent("#address"), `${rooms.url.replace("http:", "ws:")}rooms/second`);
    await press(second, "Plus");
    await untilAllShow([second], 1);
    await press(first, "Minus");
    await untilAllShow([first], -1);
    await untilAllCount([first, second], 1);
    await context.close();
  });

  test("gives nothing to complain about, under a strict content security policy", async () => {
    const page = await (await browser.newContext()).newPage();
    const complaints = complaintsOf(page);
    const response = await page.goto(server.url);
    assert.match(response?.headers()["content-security-policy"] ?? "", /^default-src 'none'/);
    await untilJoined(page);
    await press(page, "Plus");
    const icon = await page.getAttribute("link[rel=icon]", "href");
    assert.equal(await page.evaluate(async (url) => (await fetch(url)).status, icon), 200, `the icon ${icon}`);
    assert.deepEqual(complaints, []);
    await page.close();
  });

  test("says what it is to a screen reader", async () => {
    const page = await openCounter(await browser.newContext(), server.url);
    assert.equal(await page.getAttribute("html", "lang"), "en");
    await page.getByRole("heading", { level: 1 }).waitFor();
    const group = page.getByRole("group", { name: "Counter" });
    assert.deepEqual(await group.getByRole("button").evaluateAll((all) => all.map((one) => one.ariaLabel)), ["Minus", "Plus"]);
    assert.equal(await group.getByLabel("Value").textContent(), await page.textContent("#value"));
    await page.getByRole("status").filter({ hasText: "Connected" }).waitFor();
    await page.close();
  });

  test("works from the keyboard", async () => {
    const page = await openCounter(await browser.newContext(), server.url);
    const start = await valueOf(page);
    const steps = [["Tab", 0n], ["Enter", -1n], ["Space", -2n], ["Tab", -2n], ["Enter", -1n], ["Space", 0n]];
    for (const [key, change] of [...steps, ["ArrowUp", 1n], ["ArrowUp", 2n], ["ArrowDown", 1n]]) {
      await page.keyboard.press(String(key));
      await untilAllShow([page], start + BigInt(change));
    }
    await page.close();
  });
});

describe("the value", () => {
  const limits = ["0", "-1", "9007199254740991", "9223372036854775807", "-9223372036854775808"];
  const screens = [[320, 568], [390, 844], [844, 390], [768, 1024], [1280, 800]];

  test("is exact and fits on every screen, up to 19 digits", async () => {
    let socket;
    const page = await openCounterServedBy((opened) => {
      joins("1")(opened);
      socket = opened;
    });
    await untilAllShow([page], 1);
    for (const [width, height] of screens) {
      await page.setViewportSize({ width, height });
      for (const value of limits) {
        socket.send(`{"type":"state","seq":1,"value":${value}}`);
        await untilAllShow([page], value);
        assert.equal(await page.evaluate(valueFits), true, `${value} does not fit in ${width} × ${height}`);
      }
    }
    await page.context().close();
  });

  test("is not spoken at every change of a flood", async () => {
    const page = await openCounterServedBy((socket) => {
      joins("0")(socket);
      socket.onMessage(() => {
        socket.send('{"type":"ack","id":1,"seq":2}');
        for (let seq = 2; seq <= 1_001; seq += 1) socket.send(`{"type":"state","seq":${seq},"value":${seq - 1}}`);
      });
    });
    await untilShown(page, "#spoken", "0");
    await page.evaluate(() => {
      globalThis.spoken = [];
      const speaks = () => globalThis.spoken.push(document.querySelector("#spoken").textContent);
      new MutationObserver(speaks).observe(document.querySelector("#spoken"), { childList: true });
    });
    await press(page, "Plus");
    await untilShown(page, "#spoken", "1000");
    const spoken = await page.evaluate(() => globalThis.spoken);
    assert.ok(spoken.length <= 3, `1,000 changes were spoken as ${spoken}`);
    await page.context().close();
  });
});

describe("a change of one's own", () => {
  test("is shown at once, and then whether it is saved", async () => {
    let socket;
    const page = await openCounterServedBy((opened) => {
      joins("5")(opened);
      socket = opened;
    });
    await untilAllShow([page], 5);
    assert.equal(await page.textContent("#pending"), "");
    await press(page, "Plus", 2);
    assert.equal(await page.textContent("#value"), "7");
    await untilShown(page, "#pending", "Sending…");
    socket.send('{"type":"ack","id":1,"seq":2}');
    socket.send('{"type":"ack","id":2,"seq":3}');
    await untilShown(page, "#pending", "Saved");
    assert.equal(await page.textContent("#value"), "7");
    socket.send('{"type":"state","seq":3,"value":17}');
    await untilAllShow([page], 17);
    await page.context().close();
  });

  test("is never shown as saved while no answer comes, however often one acts", async () => {
    let isMute = false;
    const page = await openCounterServedBy((socket) => {
      joins("0")(socket);
      socket.onMessage(() => isMute || socket.send('{"type":"ack","id":1,"seq":2}'));
    });
    await untilAllShow([page], 0);
    await press(page, "Plus");
    await untilShown(page, "#pending", "Saved");
    isMute = true;
    // Each press sooner after the one before than the page waits before it says that it sends.
    await page.evaluate(() => {
      globalThis.pressing = setInterval(() => document.querySelector("#plus").click(), 100);
    });
    await untilShown(page, "#pending", "Sending…");
    await page.evaluate(() => clearInterval(globalThis.pressing));
    await page.context().close();
  });

  test("that waits is told to who cannot see it, once", async () => {
    let connections = 0;
    const page = await openCounterServedBy((socket) => {
      connections += 1;
      if (connections === 1) joins("5")(socket);
      socket.onMessage(() => socket.close({ code: 1012 }));
    });
    await untilShown(page, "#spoken", "5");
    await press(page, "Plus");
    await untilShown(page, "#spoken", "6, 1 change waiting");
    await page.context().close();
  });

  test("is not spoken more often than others", async () => {
    const page = await openCounterServedBy((socket) => {
      joins("0")(socket);
      let id = 0;
      socket.onMessage(() => socket.send(`{"type":"ack","id":${(id += 1)},"seq":${id + 1}}`));
    });
    await untilShown(page, "#spoken", "0");
    await page.evaluate(() => {
      globalThis.spoken = [];
      const speaks = (changes) => globalThis.spoken.push(...changes.map(({ target }) => target.textContent));
      for (const live of document.querySelectorAll("[role=status]")) {
        new MutationObserver(speaks).observe(live, { childList: true, subtree: true, characterData: true });
      }
    });
    await press(page, "Plus", 20);
    await untilShown(page, "#spoken", "20");
    assert.deepEqual(await page.evaluate(() => globalThis.spoken), ["20"]);
    await page.context().close();
  });
});

describe("bad news", () => {
  test("what the server refuses is shown in its words", async () => {
    const page = await openCounterServedBy((socket) => {
      joins("5")(socket);
      const refusal = '{"type":"error","code":"out_of_range","message":"it goes no higher","id":1}';
      socket.onMessage(() => socket.send(refusal));
    });
    await press(page, "Plus");
    await untilShown(page, "#notice", "It goes no higher.");
    assert.equal(await page.textContent("#value"), "5");
    assert.equal(await page.textContent("#pending"), "", "what was refused is shown as saved");
    await page.context().close();
  });

  test("what nobody knows is told, and counted", async () => {
    let connections = 0;
    const page = await openCounterServedBy((socket) => {
      connections += 1;
      joins("5", { epoch: `history ${connections}` })(socket);
      let sent = 0;
      socket.onMessage(() => {
        sent += 1;
        if (connections === 1 && sent === 2) socket.close({ code: 1012 });
      });
    });
    await untilAllShow([page], 5);
    await press(page, "Plus", 2);
    await untilShown(page, "#notice", "Nobody can tell whether 2 changes of yours counted.");
    await untilAllShow([page], 5);
    await untilShown(page, "#status", "Connected");
    await page.context().close();
  });

  test("what nobody knows stays on the page until somebody acts again, though changes waited", async () => {
    let connections = 0;
    const serve = (socket) => {
      connections += 1;
      joins("5", { epoch: `history ${Math.min(connections, 2)}` })(socket);
      socket.onMessage(() => connections === 1 && socket.close({ code: 1012 }));
    };
    // The page waits until the test lets it come back, however slow either is. The library takes the function that is
    // there when it begins.
    const page = await openCounterServedBy(serve, {}, () => (Math.random = () => 1_000));
    const comeBack = () => page.evaluate(() => dispatchEvent(new Event("online")));
    await untilAllShow([page], 5);
    await press(page, "Plus");
    await untilShown(page, "#status", /trying again$/);
    await press(page, "Plus");
    await untilShown(page, "#notice", "Your changes are sent when the connection is back.");
    await comeBack();
    const unknown = "Nobody can tell whether 1 change of yours counted.";
    await untilShown(page, "#notice", unknown);
    await comeBack();
    await untilShown(page, "#status", "Connected");
    await untilAllShow([page], 6);
    assert.equal(await page.textContent("#notice"), unknown);
    await press(page, "Plus");
    await untilShown(page, "#notice", "");
    await page.context().close();
  });

  test("a server that cannot save just now is no bad news: it is tried again, and then saved", async () => {
    const page = await openCounterServedBy((socket) => {
      joins("5")(socket);
      const notDurable = '{"type":"error","code":"not_durable","message":"not now","id":1,"retry":true}';
      let sent = 0;
      socket.onMessage(() => socket.send((sent += 1) === 3 ? '{"type":"ack","id":1,"seq":2}' : notDurable));
    });
    await untilAllShow([page], 5);
    await page.evaluate(() => {
      globalThis.notices = [];
      const notes = ({ textContent, dataset }) => globalThis.notices.push([textContent, dataset.tone]);
      const notice = document.querySelector("#notice");
      new MutationObserver(() => notes(notice)).observe(notice, { childList: true });
    });
    await press(page, "Plus");
    await untilShown(page, "#pending", "Saved");
    await untilShown(page, "#notice", "");
    const [first] = await page.evaluate(() => globalThis.notices);
    assert.deepEqual(first, ["The server cannot save just now; trying again.", "calm"]);
    await page.context().close();
  });

  test("nothing moves under the finger, however much is said", async () => {
    const page = await openCounterServedBy(joins("5"), { viewport: { width: 390, height: 844 } });
    await untilAllShow([page], 5);
    const placeOfPlus = () => page.evaluate(() => document.querySelector("#plus").getBoundingClientRect().top);
    const place = await placeOfPlus();
    for (const [id, lines] of [["notice", 1], ["notice", 5], ["status", 4]]) {
      await page.evaluate(([id, lines]) => {
        document.querySelector(`#${id}`).textContent = "word ".repeat(9 * lines);
      }, [id, lines]);
      assert.equal(await placeOfPlus(), place, `${lines} lines in #${id} move the buttons`);
    }
    await page.context().close();
  });

  for (const [reason, expected] of [
    ["Log in first.", "Closed (4450): Log in first. Reload the page to try again."],
    ["", "Closed (4450): the server has refused this client. Reload the page to try again."],
  ]) {
    test(`a connection closed for good says why${reason ? "" : ", with no reason given"}`, async () => {
      const page = await openCounterServedBy((socket) => socket.close({ code: 4450, reason }));
      await untilShown(page, "#status", expected);
      assert.equal(await page.getByRole("button", { name: "Plus" }).getAttribute("aria-disabled"), "true");
      await page.context().close();
    });
  }
});
