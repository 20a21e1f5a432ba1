// A page written for the original server, opened from disk and unchanged: it connects to ws://localhost:6789/. Only the
// browser's way from that name to an address leads to the server's own port.
import assert from "node:assert/strict";
import { test } from "node:test";
import { complaintsOf, startBrowser, untilShown } from "./chromium.mjs";
import { startServer } from "./statesync_server.mjs";

const PAGE = new URL("original/counter.html", import.meta.url).href;

test("the original counter page, opened from disk", async (t) => {
  const server = await startServer(t);
  const browser = await startBrowser(t, { hosts: { "localhost:6789": `127.0.0.1:${server.port}` } });
  const context = await browser.newContext();
  const [first, second] = [await context.newPage(), await context.newPage()];
  const complaints = [complaintsOf(first), complaintsOf(second)];

  await first.goto(PAGE);
  await untilShown(first, ".state", "1 user online");
  await untilShown(first, ".value", "0");

  await second.goto(PAGE);
  await Promise.all([first, second].map((page) => untilShown(page, ".state", "2 users online")));

  for (let time = 0; time < 3; time += 1) await first.click(".plus");
  await second.click(".minus");
  await Promise.all([first, second].map((page) => untilShown(page, ".value", "2")));

  await second.close();
  await untilShown(first, ".state", "1 user online");
  assert.deepEqual(complaints, [[], []]);
});
