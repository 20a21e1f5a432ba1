// Runs a real browser, and waits for what its pages show.
import { existsSync } from "node:fs";
import { chromium } from "playwright-core";
import { DEADLINE_MS } from "./deadline.mjs";

const BINARY = process.env.CHROMIUM ?? "/usr/bin/chromium";

/**
 * The browser ends with the test.
 *
 * @param {{ after(end: () => Promise<void>): void }} test
 * @param {object} [options]
 * @param {Record<string, string>} [options.hosts] where names lead, instead of asking a name server
 * @param {boolean} [options.keepsPagesThatAreLeft] in its back/forward cache, as browsers do unless they are driven
 */
export async function startBrowser(test, { hosts = {}, keepsPagesThatAreLeft = false } = {}) {
  if (!existsSync(BINARY)) {
    throw new Error(`there is no ${BINARY}: install Chromium, or name its binary in CHROMIUM`);
  }
  const rules = Object.entries(hosts).map(([name, address]) => `MAP ${name} ${address}`);
  const browser = await chromium.launch({
    executablePath: BINARY,
    headless: true,
    timeout: DEADLINE_MS,
    ignoreDefaultArgs: keepsPagesThatAreLeft ? ["--disable-back-forward-cache"] : [],
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      ...(rules.length > 0 ? [`--host-resolver-rules=${rules.join(",")}`] : []),
    ],
  });
  test.after(() => browser.close());
  return browser;
}

/**
 * @param {import("playwright-core").Page} page
 * @param {string} selector
 * @param {string | RegExp} expected the element's whole text, or a pattern in it
 */
export async function untilShown(page, selector, expected) {
  const source = expected instanceof RegExp ? expected.source : undefined;
  const shows = ({ selector, text, source }) => {
    const shown = document.querySelector(selector)?.textContent ?? "";
    return source === undefined ? shown === text : new RegExp(source).test(shown);
  };
  try {
    await page.waitForFunction(shows, { selector, text: String(expected), source }, { timeout: DEADLINE_MS });
  } catch (error) {
    const found = await page.textContent(selector, { timeout: 1_000 }).catch(() => undefined);
    throw new Error(`${page.url()}: ${selector} shows ${JSON.stringify(found)}, not ${expected}`, { cause: error });
  }
}

/**
 * What a page complains about: errors and warnings in its console, exceptions, refused requests, and what its
 * content security policy blocked.
 *
 * @param {import("playwright-core").Page} page
 * @returns {string[]} grows
 */
export function complaintsOf(page) {
  const complaints = [];
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("requestfailed", (request) => complaints.push(`${request.url()}: ${request.failure()?.errorText}`));
  page.on("response", (response) => {
    if (response.status() >= 400) complaints.push(`${response.url()}: ${response.status()}`);
  });
  return complaints;
}
