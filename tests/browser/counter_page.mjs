// The counter page, as somebody who looks at it sees it.
import { untilShown } from "./chromium.mjs";

/**
 * Opens the page, and waits until it has joined.
 *
 * @param {import("playwright-core").BrowserContext} context
 * @param {string} url
 */
export async function openCounter(context, url) {
  const page = await context.newPage();
  await page.goto(url);
  await untilJoined(page);
  return page;
}

/** @param {import("playwright-core").Page} page */
export async function untilJoined(page) {
  await untilShown(page, "#status", "Connected");
  await untilShown(page, "#users", /online$/);
  await untilShown(page, "#value", /^−?\d+$/);
}

/**
 * @param {import("playwright-core").Page} page
 * @returns {Promise<bigint>}
 */
export async function valueOf(page) {
  return BigInt((await page.textContent("#value")).replace("−", "-"));
}

/**
 * @param {import("playwright-core").Page} page
 * @param {"Plus" | "Minus"} name
 * @param {number} [times]
 */
export async function press(page, name, times = 1) {
  const button = page.getByRole("button", { name, exact: true });
  for (let time = 0; time < times; time += 1) await button.click();
}

/**
 * @param {import("playwright-core").Page[]} pages
 * @param {bigint | number} value
 */
export async function untilAllShow(pages, value) {
  await Promise.all(pages.map((page) => untilShown(page, "#value", String(value).replace("-", "−"))));
}

/**
 * @param {import("playwright-core").Page[]} pages
 * @param {number} count
 */
export async function untilAllCount(pages, count) {
  const text = `${count} ${count === 1 ? "user" : "users"} online`;
  await Promise.all(pages.map((page) => untilShown(page, "#users", text)));
}
