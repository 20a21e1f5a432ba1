// The browser of the walk: walk.mjs PAGE. It does what each line of standard input says, and answers each with a line
// of JSON: what it saw, or why that failed. One browser for all rows, since its start takes longer than most of them.
import assert from "node:assert/strict";
import { createInterface } from "node:readline";
import { startBrowser, untilShown } from "../browser/chromium.mjs";
import { openCounter, press, untilAllCount, untilAllShow, valueOf } from "../browser/counter_page.mjs";

const url = process.argv[2];
let end = async () => {};
const browser = await startBrowser({ after: (close) => (end = close) });
const context = await browser.newContext();
/** The page that is open over a restart of the server. */
let page;

const steps = {
  /** The first page of a browser takes longest. It is none that joins a room. */
  async start() {
    const first = await context.newPage();
    await first.goto(new URL("/health/", url).href);
    await first.close();
    return `Chromium ${browser.version()}`;
  },

  async tabs() {
    const pages = [await openCounter(context, url), await openCounter(context, url), await openCounter(context, url)];
    await untilAllCount(pages, 3);
    const start = await valueOf(pages[0]);
    await Promise.all(pages.map((tab, index) => press(tab, "Plus", index + 1)));
    await press(pages[0], "Minus");
    await untilAllShow(pages, start + 5n);
    await pages[1].close();
    await pages[2].close();
    await untilAllCount([pages[0]], 1);
    await pages[0].close();
    return "6 presses of plus and 1 of minus agree in all tabs; 3 users online, then 1 user online";
  },

  /** The browser's own WebSocket, as a script of a page uses it. */
  async library() {
    const opened = await context.newPage();
    await opened.goto(url);
    const extensions = await opened.evaluate(async () => {
      const websocket = new WebSocket(new URL("/echo", location.href.replace(/^http/, "ws")));
      const text = "大家好 ".repeat(300);
      return new Promise((resolve) => {
        websocket.onopen = () => websocket.send(text);
        websocket.onclose = () => resolve("closed");
        websocket.onmessage = ({ data }) => resolve(data === text ? websocket.extensions : data);
      });
    });
    assert.match(extensions, /permessage-deflate/);
    await opened.close();
    return "each joins, sends and hears";
  },

  async join() {
    page = await openCounter(context, url);
    return String(await valueOf(page));
  },

  async lose() {
    await untilShown(page, "#status", "Connection lost, trying again");
    return "the page says so";
  },

  async back() {
    await untilShown(page, "#status", "Connected");
    return String(await valueOf(page));
  },

  /** Others have made it `from`, which may be still on its way to this page. */
  async press(from) {
    await untilAllShow([page], from);
    const value = BigInt(from) + 1n;
    await press(page, "Plus");
    await untilShown(page, "#pending", "Saved");
    await untilAllShow([page], value);
    await page.close();
    return String(value);
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const [step, argument] = line.split(" ");
  const answer = await steps[step](argument).then(
    (saw) => ({ saw }),
    (error) => ({ failed: String(error.message) }),
  );
  console.log(JSON.stringify({ step, ...answer }));
}
await end();
