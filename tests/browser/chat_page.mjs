// The chat page, as somebody who looks at it sees it.
import { DEADLINE_MS } from "./deadline.mjs";
import { untilShown } from "./chromium.mjs";

/**
 * Opens the page, waits until it is connected, and joins.
 *
 * @param {import("playwright-core").Page} page
 * @param {string} url
 * @param {string} name empty: does not join
 */
export async function openChat(page, url, name) {
  await page.goto(url);
  await untilShown(page, "#status", "Connected");
  if (!name) return;
  await page.fill("#name", name);
  await page.click("#join");
  await untilJoined(page, name);
}

/**
 * @param {import("playwright-core").Page} page
 * @param {string} name
 */
export async function untilJoined(page, name) {
  await untilShown(page, "#people .me", name);
  await untilShown(page, "#me", name);
}

/**
 * @param {import("playwright-core").Page} page
 * @param {string} text
 */
export async function say(page, text) {
  await page.fill("#text", text);
  await page.press("#text", "Enter");
}

/**
 * The messages, in order, of everybody.
 *
 * @param {import("playwright-core").Page} page
 */
export function texts(page) {
  return page.locator("#log .text").allTextContents();
}

/**
 * @param {import("playwright-core").Page} page
 * @param {string[]} expected
 */
export async function untilTexts(page, expected) {
  const shows = (expected) => {
    const texts = [...document.querySelectorAll("#log .text")].map(({ textContent }) => textContent);
    return texts.length === expected.length && texts.every((text, index) => text === expected[index]);
  };
  try {
    await page.waitForFunction(shows, expected, { timeout: DEADLINE_MS });
  } catch (error) {
    const found = (await texts(page)).map((text) => text.slice(0, 100));
    throw new Error(`the messages are ${JSON.stringify(found)}, not ${JSON.stringify(expected).slice(0, 1_000)}`, { cause: error });
  }
}
