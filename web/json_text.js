/**
 * Where a text stops being JSON, and what is wrong there, for people. The messages of browsers differ, and some do not
 * say where.
 */

/**
 * @typedef {object} Fault
 * @property {number} index of the character, from 0
 * @property {number} line from 1
 * @property {number} column from 1
 * @property {string} message
 */

const SPACE = /[ \t\n\r]*/y;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const WORD = /[\p{L}\p{N}_$.+-]+/uy;
/** A string up to what is wrong in it, or to its end. */
const STRING = /"[^"\\\u0000-\u001f]*(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\u0000-\u001f]*)*/y;

/** Browsers have it where `parseExactly` reads bigints: both or neither. */
const { rawJSON } = /** @type {{ rawJSON?: (text: string) => unknown }} */ (JSON);

/**
 * The JSON of a value that `parseExactly` has read: bigints are whole numbers.
 *
 * @param {any} value
 * @param {number} [indent]
 */
export function jsonOf(value, indent) {
  return JSON.stringify(value, (_key, inner) => exactly(inner), indent);
}

/**
 * The same value, with its bigints as `JSON.stringify` takes them.
 *
 * @param {any} value
 * @returns {any}
 */
export function writable(value) {
  if (typeof value !== "object" || value === null) return exactly(value);
  if (Array.isArray(value)) return value.map(writable);
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, writable(inner)]));
}

/** @param {unknown} value */
function exactly(value) {
  return typeof value === "bigint" && rawJSON ? rawJSON(String(value)) : value;
}

/**
 * @param {string} text
 * @returns {Fault | undefined} nothing, if it is JSON
 */
export function faultIn(text) {
  try {
    JSON.parse(text, finite);
    return undefined;
  } catch {
    const { index, message } = new Reader(text).fault();
    const before = text.slice(0, index).split("\n");
    return { index, line: before.length, column: (before.at(-1)?.length ?? 0) + 1, message };
  }
}

/**
 * JavaScript makes Infinity of a number that is too large, and `null` of that.
 *
 * @param {string} _key
 * @param {unknown} value
 */
function finite(_key, value) {
  if (typeof value === "number" && !Number.isFinite(value)) throw new RangeError("this number is too large");
  return value;
}

class Wrong extends Error {
  /**
   * @param {number} index
   * @param {string} message
   */
  constructor(index, message) {
    super(message);
    this.index = index;
  }
}

class Reader {
  #text;
  #index = 0;
  /** Where the last value ended: what is missing is missing there, not where the next thing begins. */
  #end = 0;

  /** @param {string} text */
  constructor(text) {
    this.#text = text;
  }

  /** @returns {{ index: number, message: string }} */
  fault() {
    try {
      this.#value("a value is missing");
      if (this.#index < this.#text.length) this.#fail("nothing may follow the value");
    } catch (error) {
      if (error instanceof Wrong) return error;
      if (!(error instanceof RangeError)) throw error;
      return { index: this.#index, message: "this is nested too deeply" };
    }
    // The browser's reader is stricter than this one.
    return { index: this.#index, message: "this is not JSON" };
  }

  /** @param {string} missing */
  #value(missing) {
    this.#skip(SPACE);
    const start = this.#index;
    const first = this.#text[start];
    if (first === "{") this.#list("}", () => this.#member());
    else if (first === "[") this.#list("]", () => this.#value("a value is missing"));
    else if (first === '"') this.#string();
    else this.#word(missing);
    this.#end = this.#index;
    this.#skip(SPACE);
  }

  /** @param {string} missing */
  #word(missing) {
    const start = this.#index;
    const word = this.#take(WORD);
    if (["true", "false", "null"].includes(word)) return;
    if (/^-?\d/.test(word)) {
      this.#index = start;
      if (this.#take(NUMBER) !== word) this.#fail("this is no number", start);
      if (!Number.isFinite(Number(word))) this.#fail("this number is too large", start);
      return;
    }
    if (this.#text[start] === "'") this.#fail("a text stands in double quotes", start);
    if (word) this.#fail(`“${word.slice(0, 20)}” is no value: a text stands in double quotes`, start);
    this.#fail(missing, start);
  }

  #member() {
    this.#skip(SPACE);
    if (this.#text[this.#index] !== '"') this.#fail("a name in double quotes is missing");
    this.#string();
    const end = this.#index;
    this.#skip(SPACE);
    if (this.#text[this.#index] !== ":") this.#fail("a colon is missing", end);
    this.#index += 1;
    this.#value("a value is missing");
  }

  /**
   * @param {string} end
   * @param {() => void} item
   */
  #list(end, item) {
    const start = this.#index;
    this.#index += 1;
    this.#skip(SPACE);
    if (this.#text[this.#index] === end) return void (this.#index += 1);
    for (;;) {
      item();
      this.#skip(SPACE);
      const next = this.#text[this.#index];
      if (next === end) return void (this.#index += 1);
      if (next === undefined) this.#fail(`a ${end} is missing for the ${this.#text[start]} of line ${this.#lineOf(start)}`);
      if (next !== ",") this.#fail(`a comma or ${end} is missing`, this.#end);
      const comma = this.#index;
      this.#index += 1;
      this.#skip(SPACE);
      if (this.#text[this.#index] === end) this.#fail("this comma is one too many", comma);
    }
  }

  #string() {
    const start = this.#index;
    this.#skip(STRING);
    const next = this.#text[this.#index];
    if (next === '"') return void (this.#index += 1);
    if (next === "\\") this.#fail("after \\ only one of \" \\ / b f n r t u may stand");
    if (next === undefined || next === "\n" || next === "\r") this.#fail("the closing double quote is missing", start);
    this.#fail("this character must be written as \\u and four digits");
  }

  /** @param {number} index */
  #lineOf(index) {
    return this.#text.slice(0, index).split("\n").length;
  }

  /** @param {RegExp} pattern */
  #skip(pattern) {
    this.#take(pattern);
  }

  /** @param {RegExp} pattern */
  #take(pattern) {
    pattern.lastIndex = this.#index;
    const [found = ""] = pattern.exec(this.#text) ?? [];
    this.#index += found.length;
    return found;
  }

  /**
   * @param {string} message
   * @param {number} [index]
   * @returns {never}
   */
  #fail(message, index = this.#index) {
    throw new Wrong(index, message);
  }
}
