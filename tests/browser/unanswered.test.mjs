// Changes that were not answered when something happened to the page: each is counted once all the same.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { startBrowser, untilShown } from "./chromium.mjs";
import { openCounter, press, untilAllCount, untilAllShow } from "./counter_page.mjs";
import { startNetwork } from "./network.mjs";
import { startServer } from "./statesync_server.mjs";

/** A page behind a network that can be broken, and one that is not. Both have changed the counter once: it is 2. */
async function openBoth(t, options) {
  const server = await startServer(t);
  const network = await startNetwork(t, server);
  const browser = await startBrowser(t, options);
  const page = await openCounter(await browser.newContext(), network.url);
  const witness = await openCounter(await browser.newContext(), server.url);
  for (const one of [page, witness]) {
    await press(one, "Plus");
    await untilShown(one, "#pending", "Saved");
  }
  await untilAllShow([page, witness], 2);
  return { server, network, page, witness };
}

/** The identity that a page has stored. */
function identityOf(page) {
  return page.evaluate(() => JSON.parse(Object.values(sessionStorage)[0]).client);
}

describe("each change counts once", () => {
  test("when the page is reloaded while some are applied but not acknowledged, and some not sent", async (t) => {
    const { network, page, witness } = await openBoth(t);
    const identity = await identityOf(page);
    network.mute();
    await press(page, "Plus", 3);
    await untilAllShow([witness], 5);
    network.cut();
    await untilShown(page, "#status", /trying again$/);
    await press(page, "Plus", 2);
    await untilShown(page, "#pending", "5 changes waiting");
    assert.equal(await page.textContent("#value"), "7");

    await page.reload();
    await untilShown(page, "#pending", "5 changes waiting");
    await press(page, "Plus");
    await untilShown(page, "#pending", "6 changes waiting");

    network.restore();
    await untilShown(page, "#pending", "Saved");
    await untilAllShow([page, witness], 8);
    assert.equal(await identityOf(page), identity);
  });

  test("when the tab is duplicated while some are not acknowledged", async (t) => {
    const { network, page, witness } = await openBoth(t);
    network.mute();
    await press(page, "Plus", 3);
    await untilAllShow([witness], 5);
    network.cut();
    await press(page, "Plus");
    network.restore();

    // A window that another one opened begins with a copy of its session storage.
    const [duplicate] = await Promise.all([page.waitForEvent("popup"), page.evaluate(() => void open(location.href))]);
    await untilShown(duplicate, "#status", "Connected");
    await Promise.all([press(page, "Plus", 5), press(duplicate, "Plus", 7)]);
    for (const one of [page, duplicate]) await untilShown(one, "#pending", "Saved");
    await untilAllShow([page, duplicate, witness], 18);
    assert.notEqual(await identityOf(duplicate), await identityOf(page));
    await untilAllCount([witness], 3);

    const identity = await identityOf(duplicate);
    await duplicate.reload();
    await untilShown(duplicate, "#status", "Connected");
    assert.equal(await identityOf(duplicate), identity, "a duplicate that is reloaded is somebody else");
    for (const one of [page, duplicate]) assert.equal(await one.textContent("#notice"), "");
  });

  test("when the browser is offline, and online again", async (t) => {
    const { network, page, witness } = await openBoth(t);
    await page.context().setOffline(true);
    network.cut();
    await untilShown(page, "#status", "Offline, trying again");
    await press(page, "Minus", 3);
    await untilShown(page, "#pending", "3 changes waiting");
    await untilAllShow([page], -1);
    await untilAllShow([witness], 2);
    network.restore();
    await page.context().setOffline(false);
    await untilShown(page, "#pending", "Saved");
    await untilAllShow([page, witness], -1);
  });

  test("when the page was left, and the browser goes back to it", async (t) => {
    const { network, page, witness } = await openBoth(t, { keepsPagesThatAreLeft: true });
    await page.evaluate(() => addEventListener("pageshow", ({ persisted }) => (globalThis.wasKept = persisted)));
    network.mute();
    await press(page, "Plus", 3);
    await untilAllShow([witness], 5);
    network.restore();
    await page.goto(new URL("/health/", network.url).href);
    // A page that was kept is not loaded again.
    await page.goBack({ waitUntil: "commit" });
    await untilShown(page, "#pending", "Saved");
    await untilAllShow([page, witness], 5);
    const wasKept = await page.evaluate(() => globalThis.wasKept);
    assert.equal(wasKept, true, "the browser did not keep the page: nothing was tested");
    await press(page, "Plus");
    await untilAllShow([page, witness], 6);
    await untilAllCount([witness], 2);
  });

  test("when the browser goes back past another page of the same counter", async (t) => {
    const { network, page, witness } = await openBoth(t, { keepsPagesThatAreLeft: true });
    await page.evaluate(() => addEventListener("pageshow", ({ persisted }) => (globalThis.wasKept = persisted)));
    await page.goto(`${network.url}?again`);
    await untilShown(page, "#status", "Connected");
    network.cut();
    await untilShown(page, "#status", /trying again$/);
    await press(page, "Plus", 3);
    await untilShown(page, "#pending", "3 changes waiting");
    await page.goBack({ waitUntil: "commit" });
    await untilShown(page, "#pending", "3 changes waiting");
    assert.equal(await page.evaluate(() => globalThis.wasKept), true, "the browser did not keep the page");
    await press(page, "Plus");
    network.restore();
    await untilShown(page, "#pending", "Saved");
    await untilAllShow([page, witness], 6);
  });

  test("when the page is reloaded and busy for longer than it waits for its lock", async (t) => {
    const { network, page, witness } = await openBoth(t);
    const identity = await identityOf(page);
    network.cut();
    await untilShown(page, "#status", /trying again$/);
    await press(page, "Plus", 3);
    await page.addInitScript(() => {
      const { request } = LockManager.prototype;
      LockManager.prototype.request = function (...given) {
        const answer = request.apply(this, given);
        const until = performance.now() + 1_100;
        while (performance.now() < until);
        return answer;
      };
    });
    await page.reload();
    network.restore();
    await untilShown(page, "#pending", "Saved");
    await untilAllShow([page, witness], 5);
    assert.equal(await identityOf(page), identity);
  });
});

test("a page that may store nothing says so when it matters, and works", async (t) => {
  const server = await startServer(t);
  const network = await startNetwork(t, server);
  const browser = await startBrowser(t);
  const context = await browser.newContext();
  await context.addInitScript(() => {
    Object.defineProperty(globalThis, "sessionStorage", {
      get() {
        throw new DOMException("access is denied", "SecurityError");
      },
    });
  });
  const page = await openCounter(context, network.url);
  await press(page, "Plus");
  await untilShown(page, "#pending", "Saved");
  assert.equal(await page.textContent("#notice"), "");
  network.cut();
  await untilShown(page, "#status", /trying again$/);
  await press(page, "Plus");
  await untilShown(page, "#notice", "Your changes wait while this page is open.");
  network.restore();
  await untilAllShow([page], 2);
  await untilShown(page, "#pending", "Saved");
});
