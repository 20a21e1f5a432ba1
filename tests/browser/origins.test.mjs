// A page served by somebody else, from another origin.
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { test } from "node:test";
import { startBrowser, untilShown } from "./chromium.mjs";
import { within } from "./deadline.mjs";
import { startServer } from "./statesync_server.mjs";

const PAGE = await readFile(new URL("original/counter.html", import.meta.url));

/** @returns {Promise<string>} the page's origin, under a name that is not loopback */
async function servePage(t) {
  const server = createServer((_request, response) => {
    response.setHeader("content-type", "text/html; charset=utf-8");
    response.end(PAGE);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://counter.example:${server.address().port}`;
}

/** @param {string[]} allowed */
async function openFromElsewhere(t, origin, allowed) {
  const server = await startServer(t, { config: `[origins]\nallow = ${JSON.stringify(allowed)}\n` });
  const hosts = { "localhost:6789": `127.0.0.1:${server.port}`, "counter.example": "127.0.0.1" };
  const browser = await startBrowser(t, { hosts });
  const page = await (await browser.newContext()).newPage();
  return { page, go: () => page.goto(`${origin}/`) };
}

test("a page from an origin that is listed works", async (t) => {
  const origin = await servePage(t);
  const { page, go } = await openFromElsewhere(t, origin, [origin]);
  await go();
  await untilShown(page, ".state", "1 user online");
  await untilShown(page, ".value", "0");
  await page.click(".plus");
  await untilShown(page, ".value", "1");
});

for (const allowed of [[], ["same-host", "loopback", "null"], ["http://counter.example"]]) {
  test(`a page from an origin that is not listed is refused with 403: allow = ${JSON.stringify(allowed)}`, async (t) => {
    const origin = await servePage(t);
    const { page, go } = await openFromElsewhere(t, origin, allowed);
    const refused = new Promise((resolve) => {
      page.on("console", (message) => message.text().endsWith("Unexpected response code: 403") && resolve(undefined));
    });
    await go();
    await within(refused, "the handshake was not refused with 403");
    await untilShown(page, ".value", "?");
  });
}
