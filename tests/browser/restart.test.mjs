// The server goes away under an open page, and comes back.
import assert from "node:assert/strict";
import { test } from "node:test";
import { startBrowser, untilShown } from "./chromium.mjs";
import { openCounter, press, untilAllCount, untilAllShow } from "./counter_page.mjs";
import { startServer } from "./statesync_server.mjs";

for (const signal of ["SIGTERM", "SIGKILL"]) {
  test(`an open page shows the loss, goes on counting and comes back by itself after ${signal}`, async (t) => {
    const server = await startServer(t);
    const browser = await startBrowser(t);
    const context = await browser.newContext();
    const page = await openCounter(context, server.url);
    await press(page, "Plus");
    await untilShown(page, "#pending", "Saved");
    await untilAllShow([page], 1);

    const code = await server.stop(signal);
    if (signal === "SIGTERM") assert.equal(code, 0, "the exit code after SIGTERM");
    await untilShown(page, "#status", "Connection lost, trying again");
    await untilShown(page, "#progress", /^ (in \d+ s|now)…$/);
    assert.equal(await page.isVisible("#users"), false, "users are shown though nobody can know them");
    await pressMeanwhile(page);

    await server.start();
    await untilShown(page, "#status", "Connected");
    await untilShown(page, "#notice", "");
    await untilShown(page, "#pending", "Saved");
    await press(page, "Plus");
    const second = await openCounter(context, server.url);
    await untilAllShow([page, second], 4);
    await untilAllCount([page, second], 2);
  });
}

/** @param {import("playwright-core").Page} page */
async function pressMeanwhile(page) {
  const plus = page.getByRole("button", { name: "Plus" });
  assert.equal(await plus.getAttribute("aria-disabled"), "false", "the button looks unusable");
  await plus.click();
  await untilShown(page, "#notice", "Your changes are sent when the connection is back.");
  await untilShown(page, "#pending", "1 change waiting");
  await page.keyboard.press("ArrowUp");
  await untilShown(page, "#pending", "2 changes waiting");
  assert.equal(await page.textContent("#value"), "3", "what waits is not shown");
}

test("a page under heavy clicking loses and doubles nothing, however often the server is killed", async (t) => {
  const server = await startServer(t);
  const browser = await startBrowser(t);
  const context = await browser.newContext();
  const pages = [await openCounter(context, server.url), await openCounter(context, server.url)];
  for (let kill = 1; kill <= 4; kill += 1) {
    await Promise.all(pages.map((page, index) => page.evaluate(clickOften, { before: 60 + index, after: 40 })));
    await server.stop("SIGKILL");
    await Promise.all(pages.map((page) => page.evaluate(clickOften, { before: 0, after: 10 })));
    await server.start();
    await Promise.all(pages.map((page) => untilShown(page, "#status", "Connected")));
  }

  const clicks = 4 * (110 + 111);
  await Promise.all(pages.map((page) => untilShown(page, "#pending", "Saved")));
  await untilAllShow(pages, clicks);
  await untilAllShow([await openCounter(context, server.url)], clicks);
});

/**
 * Runs in the page. Clicks `before` times with the network between the clicks, then `after` times at once, so that the
 * server is ended in the midst.
 */
async function clickOften({ before, after }) {
  const plus = document.querySelector("#plus");
  const turn = new MessageChannel();
  for (let click = 0; click < before; click += 1) {
    plus.click();
    await new Promise((resolve) => {
      turn.port1.onmessage = resolve;
      turn.port2.postMessage("");
    });
  }
  for (let click = 0; click < after; click += 1) plus.click();
}
