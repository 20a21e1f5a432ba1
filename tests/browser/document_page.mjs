// The document page, as somebody who looks at it and writes in it.
import { DEADLINE_MS } from "./deadline.mjs";

/** @param {import("playwright-core").Page} page */
export function textOf(page) {
  return page.locator("#text").inputValue();
}

/**
 * Until the text is this value, laid out as the page does it. The order of members is no part of a value.
 *
 * @param {import("playwright-core").Page} page
 * @param {unknown} value
 */
export async function untilValue(page, value) {
  const shows = (expected) => {
    const sorted = (value) => {
      if (typeof value !== "object" || value === null) return value;
      if (Array.isArray(value)) return value.map(sorted);
      return Object.fromEntries(Object.keys(value).sort().map((key) => [key, sorted(value[key])]));
    };
    const { value: text } = document.querySelector("#text");
    try {
      const shown = JSON.parse(text);
      return text === JSON.stringify(shown, null, 2) && JSON.stringify(sorted(shown)) === JSON.stringify(sorted(expected));
    } catch {
      return false;
    }
  };
  try {
    await page.waitForFunction(shows, value, { timeout: DEADLINE_MS });
  } catch (error) {
    throw new Error(`the text is\n${await textOf(page)}\nnot\n${JSON.stringify(value, null, 2)}`, { cause: error });
  }
}

/**
 * Types over what is in the text.
 *
 * @param {import("playwright-core").Page} page
 * @param {string} part
 * @param {string} instead
 */
export async function type(page, part, instead) {
  const text = await textOf(page);
  const start = text.indexOf(part);
  if (start < 0) throw new Error(`there is no ${part} in ${text}`);
  await page.locator("#text").evaluate((area, [start, end]) => {
    area.focus();
    area.setSelectionRange(start, end);
  }, [start, start + part.length]);
  await page.keyboard.insertText(instead);
}

/** @param {import("playwright-core").Page} page */
export function save(page) {
  return page.getByRole("button", { name: "Save", exact: true }).click();
}
