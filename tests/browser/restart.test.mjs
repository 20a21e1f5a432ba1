// The server goes away under an open page, and comes back.
import assert from "node:assert/strict";
import { test } from "node:test";
import { startBrowser, untilShown } from "./chromium.mjs";
import { openCounter, press, untilAllCount, untilAllShow } from "./counter_page.mjs";
import { within } from "./deadline.mjs";
import { startServer } from "./statesync_server.mjs";

/**
 * The first value that the server sends on a connection of the page that is made from now on.
 *
 * @param {import("playwright-core").Page} page
 * @returns {Promise<number>}
 */
function nextFirstValue(page) {
  return new Promise((resolve) => {
    page.on("websocket", (socket) => {
      socket.on("framereceived", ({ payload }) => {
        const event = JSON.parse(String(payload));
        if (event.type === "state") resolve(event.value);
      });
    });
  });
}

for (const signal of ["SIGTERM", "SIGKILL"]) {
  test(`an open page shows the loss and comes back by itself after ${signal}`, async (t) => {
    const server = await startServer(t);
    const browser = await startBrowser(t);
    const context = await browser.newContext();
    const page = await openCounter(context, server.url);
    await press(page, "Plus");
    await untilAllShow([page], 1);

    const code = await server.stop(signal);
    if (signal === "SIGTERM") assert.equal(code, 0, "the exit code after SIGTERM");
    await untilShown(page, "#status", "Connection lost, trying again");
    await untilShown(page, "#progress", /^ (in \d+ s|now)…$/);
    assert.equal(await page.isVisible("#users"), false, "users are shown though nobody can know them");
    await pressInVain(page);

    const firstValue = nextFirstValue(page);
    await server.start();
    await untilShown(page, "#status", "Connected");
    const value = await within(firstValue, "the page came back, but was sent no state");
    await untilAllShow([page], value);
    await untilShown(page, "#notice", "");
    await press(page, "Plus");
    const second = await openCounter(context, server.url);
    await untilAllShow([page, second], value + 1);
    await untilAllCount([page, second], 2);
  });
}

/** @param {import("playwright-core").Page} page */
async function pressInVain(page) {
  const plus = page.getByRole("button", { name: "Plus" });
  assert.equal(await plus.getAttribute("aria-disabled"), "true", "the button looks usable while there is no connection");
  const shown = await page.textContent("#value");
  await plus.click({ force: true });
  await page.keyboard.press("ArrowUp");
  await untilShown(page, "#notice", "Not connected: this did not count.");
  assert.equal(await page.textContent("#value"), shown, "a press that did not count changed the value");
}
