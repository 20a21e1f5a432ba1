// The document page, as somebody who looks at it and writes in it.
import { DEADLINE_MS } from "./deadline.mjs";

/** @param {import("playwright-core").Page} page */
export function textOf(page) {
  return page.locator("#text").inputValue();
}

/**
 * @param {import("playwright-core").Page} page
 * @param {unknown} value
 */
export async function untilValue(page, value) {
  const text = JSON.stringify(value, null, 2);
  try {
    await page.waitForFunction((text) => document.querySelector("#text").value === text, text, { timeout: DEADLINE_MS });
  } catch (error) {
    throw new Error(`the text is\n${await textOf(page)}\nnot\n${text}`, { cause: error });
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
