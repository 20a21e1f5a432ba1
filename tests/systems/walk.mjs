// The rows of the walk that a browser walks: walk.mjs SCENARIO PAGE. Prints what it saw.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { startBrowser, untilShown } from "../browser/chromium.mjs";
import { openCounter, press, untilAllCount, untilAllShow, valueOf } from "../browser/counter_page.mjs";

const SCENARIOS = { tabs, library, returns };
const [scenario, url] = process.argv.slice(2);
let end = async () => {};
const browser = await startBrowser({ after: (close) => (end = close) });
try {
  await SCENARIOS[scenario](await browser.newContext());
} finally {
  await end();
}

async function tabs(context) {
  const pages = [await openCounter(context, url), await openCounter(context, url), await openCounter(context, url)];
  await untilAllCount(pages, 3);
  const start = await valueOf(pages[0]);
  await Promise.all(pages.map((page, index) => press(page, "Plus", index + 2)));
  await press(pages[0], "Minus");
  await untilAllShow(pages, start + 8n);
  await pages[1].close();
  await pages[2].close();
  await untilAllCount([pages[0]], 1);
  console.log("9 presses of plus and 1 of minus agree in all tabs; 3 users online, then 1 user online");
}

/** The browser's own WebSocket, as a script of the page uses it. */
async function library(context) {
  const page = await context.newPage();
  await page.goto(url);
  const heard = await page.evaluate(async () => {
    const websocket = new WebSocket(new URL("/echo", location.href.replace(/^http/, "ws")));
    return new Promise((resolve) => {
      websocket.onopen = () => websocket.send("大家好 ".repeat(300));
      websocket.onerror = websocket.onclose = () => resolve("closed");
      websocket.onmessage = ({ data }) => resolve(data === "大家好 ".repeat(300) ? websocket.extensions : data);
    });
  });
  assert.match(heard, /permessage-deflate/);
  console.log("each joins, sends and hears; the browser compresses");
}

/** Told on standard input when to press. */
async function returns(context) {
  const page = await openCounter(context, url);
  console.log("joined");
  await untilShown(page, "#status", "Connection lost, trying again");
  console.log("lost");
  await untilShown(page, "#status", "Connected");
  console.log("back");
  const input = createInterface(process.stdin);
  await once(input, "line");
  input.close();
  const value = (await valueOf(page)) + 1n;
  await press(page, "Plus");
  await untilShown(page, "#pending", "Saved");
  await untilAllShow([page], value);
  console.log(`shows ${value}`);
}
