/** How long anything may take before it counts as broken. Generous: a busy machine is slow, not broken. */
export const DEADLINE_MS = 20_000;

/**
 * @template T
 * @param {Promise<T>} promise
 * @param {string | (() => string)} broken what it means when the deadline passes
 * @returns {Promise<T>}
 */
export async function within(promise, broken) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => {
      const what = typeof broken === "function" ? broken() : broken;
      reject(new Error(`${what} (waited ${DEADLINE_MS / 1_000} s)`));
    }, DEADLINE_MS);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
