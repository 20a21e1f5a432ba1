// Several tabs share one counter.
import { once } from "node:events";
import { test } from "node:test";
import { startBrowser } from "./chromium.mjs";
import { openCounter, press, untilAllCount, untilAllShow, valueOf } from "./counter_page.mjs";
import { within } from "./deadline.mjs";
import { startServer } from "./statesync_server.mjs";

for (const tabs of [2, 10]) {
  test(`${tabs} tabs that press at the same time agree`, async (t) => {
    const server = await startServer(t);
    const browser = await startBrowser(t);
    const context = await browser.newContext();
    const pages = await Promise.all(Array.from({ length: tabs }, () => openCounter(context, server.url)));
    await untilAllCount(pages, tabs);
    const start = await valueOf(pages[0]);

    // No two tabs press equally often, so that a lost or doubled press cannot be made up for by another.
    await Promise.all(
      pages.map(async (page, index) => {
        await press(page, "Plus", index + 2);
        await press(page, "Minus");
      }),
    );

    const sum = pages.reduce((total, _page, index) => total + index + 1, 0);
    await untilAllShow(pages, start + BigInt(sum));
    await untilAllCount(pages, tabs);
  });
}

test("a number below zero", async (t) => {
  const server = await startServer(t);
  const browser = await startBrowser(t);
  const page = await openCounter(await browser.newContext(), server.url);
  await press(page, "Minus", 2);
  await untilAllShow([page], -2);
});

test("a tab that is closed, or whose renderer crashes, is no longer counted", async (t) => {
  const server = await startServer(t);
  const browser = await startBrowser(t);
  // Contexts of their own: tabs of one context may share a renderer, and would crash together.
  const open = async () => openCounter(await browser.newContext(), server.url);
  const [stays, closes, crashes] = [await open(), await open(), await open()];
  await untilAllCount([stays, closes, crashes], 3);

  await closes.close();
  await untilAllCount([stays, crashes], 2);

  const crashed = once(crashes, "crash");
  const devtools = await crashes.context().newCDPSession(crashes);
  // Never answered: there is nobody left to answer.
  devtools.send("Page.crash").catch(() => {});
  await within(crashed, "the browser did not report the crash of the renderer");
  await untilAllCount([stays], 1);

  await press(stays, "Plus");
  await untilAllShow([stays], 1);
});
