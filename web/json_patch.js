/**
 * Changes to JSON values: JSON Patch (RFC 6902), JSON Merge Patch (RFC 7396), and the difference between two values.
 *
 * No value that is given is changed: what comes out is new where it differs, and shares the rest.
 */

/**
 * @typedef {object} Operation one of a JSON Patch (RFC 6902, section 4)
 * @property {string} op `add`, `remove`, `replace`, `move`, `copy` or `test`
 * @property {string} path a JSON Pointer (RFC 6901)
 * @property {string} [from] of `move` and `copy`
 * @property {any} [value] of `add`, `replace` and `test`
 */

/** Why a JSON Patch cannot be applied. The codes are those of the server. */
export class PatchError extends Error {
  /**
   * @param {"test_failed" | "patch_failed"} code
   * @param {string} message
   * @param {string} path
   */
  constructor(code, message, path) {
    super(`${message}: ${JSON.stringify(path)}`);
    this.name = "PatchError";
    this.code = code;
    /** Where, as a JSON Pointer. */
    this.path = path;
  }
}

/**
 * Applies all operations, or none.
 *
 * @param {any} value
 * @param {readonly Operation[]} ops
 * @returns {any}
 * @throws {PatchError}
 */
export function applyPatch(value, ops) {
  return ops.reduce(applied, value);
}

/**
 * Applies a JSON Merge Patch (RFC 7396, section 2).
 *
 * @param {any} value
 * @param {any} patch
 * @returns {any}
 */
export function mergePatch(value, patch) {
  if (!isObject(patch)) return patch;
  const merged = new Map(isObject(value) ? Object.entries(value) : []);
  for (const [key, change] of Object.entries(patch)) {
    if (change === null) merged.delete(key);
    else merged.set(key, mergePatch(merged.get(key), change));
  }
  return Object.fromEntries(merged);
}

/**
 * What makes `after` of `before`, as a JSON Patch that fails with `test_failed` where what it changes has changed.
 *
 * Members of objects are tested one by one. Places in a list are not: where one thing was put in, all that follow have
 * other places. So an object in a list is tested as a whole, and the list, if anything else in it changes. JSON Patch
 * cannot test that a member is not there: of two who add the same one, the later wins.
 *
 * @param {any} before
 * @param {any} after
 * @returns {Operation[]} nothing, if they are equal
 */
export function difference(before, after) {
  /** @type {Operation[]} */
  const tests = [];
  /** @type {Operation[]} */
  const changes = [];
  differ(before, after, "", tests, changes);
  return [...tests, ...changes];
}

/**
 * @param {any} one
 * @param {any} other
 * @returns {boolean} whether they are the same JSON; the order of members is no part of it
 */
export function isEqual(one, other) {
  if (one === other) return true;
  if (Array.isArray(one) && Array.isArray(other)) {
    return one.length === other.length && one.every((item, index) => isEqual(item, other[index]));
  }
  if (!isObject(one) || !isObject(other)) return false;
  const keys = Object.keys(one);
  const hasEqual = (/** @type {string} */ key) => Object.hasOwn(other, key) && isEqual(one[key], other[key]);
  return keys.length === Object.keys(other).length && keys.every(hasEqual);
}

/**
 * @param {any} value
 * @param {string} path a JSON Pointer (RFC 6901)
 * @returns {any}
 * @throws {PatchError} if there is nothing
 */
export function valueAt(value, path) {
  return keysOf(path).reduce((inner, key) => member(inner, key, path), value);
}

/**
 * @param {any} value
 * @param {Operation} operation
 */
function applied(value, { op, path, from, value: given }) {
  const keys = keysOf(path);
  switch (op) {
    case "add":
      return put(value, keys, path, required(given, path), true);
    case "replace":
      return put(value, keys, path, required(given, path), false);
    case "remove":
      return removed(value, keys, path);
    case "copy":
      return put(value, keys, path, valueAt(value, source(from, path)), true);
    case "move": {
      const start = source(from, path);
      if (path.startsWith(`${start}/`)) throw failed("nothing moves into itself", path);
      const moved = valueAt(value, start);
      return start === path ? value : put(removed(value, keysOf(start), start), keys, path, moved, true);
    }
    case "test":
      if (isEqual(valueAt(value, path), required(given, path))) return value;
      throw new PatchError("test_failed", "this is not what was expected", path);
    default:
      throw failed("there is no such operation", path);
  }
}

/**
 * @param {any} value
 * @param {string[]} keys
 * @param {string} path
 * @param {any} given
 * @param {boolean} isNew in a list it makes room; in an object it need not be there
 * @returns {any}
 */
function put(value, [key, ...further], path, given, isNew) {
  if (key === undefined) return given;
  if (further.length > 0) return replaced(value, key, put(member(value, key, path), further, path, given, isNew));
  if (!isNew) return replaced(value, key, (member(value, key, path), given));
  if (!Array.isArray(value)) return isObject(value) ? replaced(value, key, given) : member(value, key, path);
  const index = key === "-" ? value.length : indexOf(key, path);
  if (index > value.length) throw failed("the list is not that long", path);
  return value.toSpliced(index, 0, given);
}

/**
 * @param {any} value
 * @param {string[]} keys
 * @param {string} path
 * @returns {any}
 */
function removed(value, [key, ...further], path) {
  if (key === undefined) throw failed("the whole value cannot be removed", path);
  const inner = member(value, key, path);
  if (further.length > 0) return replaced(value, key, removed(inner, further, path));
  if (Array.isArray(value)) return value.toSpliced(Number(key), 1);
  const { [key]: _, ...rest } = value;
  return rest;
}

/**
 * A computed key makes a member, also if it is called `__proto__`.
 *
 * @param {any} value
 * @param {string} key
 * @param {any} given
 */
function replaced(value, key, given) {
  return Array.isArray(value) ? value.with(Number(key), given) : { ...value, [key]: given };
}

/**
 * @param {any} value
 * @param {string} key
 * @param {string} path
 */
function member(value, key, path) {
  const isThere = Array.isArray(value)
    ? indexOf(key, path) < value.length
    : isObject(value) && Object.hasOwn(value, key);
  if (!isThere) throw failed("there is nothing", path);
  return value[key];
}

/**
 * @param {string} key
 * @param {string} path
 */
function indexOf(key, path) {
  if (!/^(0|[1-9]\d*)$/.test(key)) throw failed("this is no place in a list", path);
  return Number(key);
}

/** @param {string} path */
function keysOf(path) {
  if (path === "") return [];
  const isPointer = typeof path === "string" && path.startsWith("/") && !/~(?![01])/.test(path);
  if (!isPointer) throw failed("this is no JSON Pointer", String(path));
  return path.slice(1).split("/").map((key) => key.replaceAll("~1", "/").replaceAll("~0", "~"));
}

/** @param {string} key */
function escaped(key) {
  return key.replaceAll("~", "~0").replaceAll("/", "~1");
}

/**
 * @param {any} given
 * @param {string} path
 */
function required(given, path) {
  if (given === undefined) throw failed('"value" is missing', path);
  return given;
}

/**
 * @param {string | undefined} from
 * @param {string} path
 */
function source(from, path) {
  if (from === undefined) throw failed('"from" is missing', path);
  return from;
}

/**
 * @param {string} message
 * @param {string} path
 */
function failed(message, path) {
  return new PatchError("patch_failed", message, path);
}

/**
 * @param {any} before
 * @param {any} after
 * @param {string} path
 * @param {Operation[]} tests
 * @param {Operation[]} changes
 */
function differ(before, after, path, tests, changes) {
  if (isEqual(before, after)) return;
  if (Array.isArray(before) && Array.isArray(after)) {
    differInList(before, after, path, tests, changes);
  } else if (isObject(before) && isObject(after)) {
    differInObject(before, after, path, tests, changes);
  } else {
    tests.push({ op: "test", path, value: before });
    changes.push({ op: "replace", path, value: after });
  }
}

/**
 * @param {Record<string, any>} before
 * @param {Record<string, any>} after
 * @param {string} path
 * @param {Operation[]} tests
 * @param {Operation[]} changes
 */
function differInObject(before, after, path, tests, changes) {
  for (const key of Object.keys(before)) {
    const place = `${path}/${escaped(key)}`;
    if (Object.hasOwn(after, key)) {
      differ(before[key], after[key], place, tests, changes);
    } else {
      tests.push({ op: "test", path: place, value: before[key] });
      changes.push({ op: "remove", path: place });
    }
  }
  for (const key of Object.keys(after)) {
    if (!Object.hasOwn(before, key)) changes.push({ op: "add", path: `${path}/${escaped(key)}`, value: after[key] });
  }
}

/**
 * @param {any[]} before
 * @param {any[]} after
 * @param {string} path
 * @param {Operation[]} tests
 * @param {Operation[]} changes
 */
function differInList(before, after, path, tests, changes) {
  const places = before.map((_, index) => index).filter((index) => !isEqual(before[index], after[index]));
  const areObjects = places.every((index) => isObject(before[index]) && isObject(after[index]));
  if (before.length === after.length && areObjects) {
    for (const index of places) {
      tests.push({ op: "test", path: `${path}/${index}`, value: before[index] });
      differInObject(before[index], after[index], `${path}/${index}`, [], changes);
    }
    return;
  }
  tests.push({ op: "test", path, value: before });
  const shorter = Math.min(before.length, after.length);
  let start = 0;
  while (start < shorter && isEqual(before[start], after[start])) start += 1;
  let same = 0;
  while (same < shorter - start && isEqual(before.at(-1 - same), after.at(-1 - same))) same += 1;
  for (let index = before.length - same - 1; index >= start; index -= 1) {
    changes.push({ op: "remove", path: `${path}/${index}` });
  }
  for (let index = start; index < after.length - same; index += 1) {
    changes.push({ op: "add", path: `${path}/${index}`, value: after[index] });
  }
}

/**
 * @param {unknown} value
 * @returns {value is Record<string, any>}
 */
function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
