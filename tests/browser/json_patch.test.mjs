// JSON Patch and JSON Merge Patch as their specifications have them, and the difference between two values.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { applyPatch, difference, isEqual, mergePatch, PatchError, valueAt } from "../../web/json_patch.js";
import { document } from "../../web/statesync.js";

/** The suite of json-patch-tests, which the server is held against too. */
const casesOf = (suite) => JSON.parse(readFileSync(new URL(`../golden/json-patch/${suite}.json`, import.meta.url), "utf8"));

/** All that is in a value is as it was. */
function frozen(value) {
  if (typeof value === "object" && value !== null) Object.values(Object.freeze(value)).forEach(frozen);
  return value;
}

/** What the operation makes of the value, or the code of its error. */
function outcome(apply) {
  try {
    return apply();
  } catch (error) {
    if (!(error instanceof PatchError)) throw error;
    return error.code;
  }
}

for (const suite of ["tests", "spec_tests"]) {
  describe(`JSON Patch, ${suite}`, () => {
    for (const [index, { comment, doc, patch, expected, error, disabled }] of casesOf(suite).entries()) {
      // Two operations in one object with the same key twice: no JSON.parse shows that.
      if (patch === undefined || disabled || /duplicate/i.test(comment ?? "")) continue;
      test(`${index} ${comment ?? JSON.stringify(patch)}`, () => {
        const made = outcome(() => applyPatch(frozen(doc), frozen(patch)));
        if (error !== undefined) assert.match(String(made), /^(test|patch)_failed$/, error);
        else assert.deepEqual(made, expected ?? doc);
      });
    }
  });
}

describe("JSON Patch", () => {
  for (const [name, value, ops, expected] of [
    ["applies all or nothing", { a: 1 }, [{ op: "add", path: "/b", value: 2 }, { op: "test", path: "/a", value: 2 }], "test_failed"],
    ["does not take away the whole", { a: 1 }, [{ op: "remove", path: "" }], "patch_failed"],
    ["moves nothing into itself", { a: { b: 1 } }, [{ op: "move", from: "/a", path: "/a/b" }], "patch_failed"],
    ["finds no inherited member", {}, [{ op: "copy", from: "/constructor", path: "/a" }], "patch_failed"],
    ["takes no wrong escape", { "~2": 1 }, [{ op: "remove", path: "/~2" }], "patch_failed"],
    ["takes no leading zero", [1, 2], [{ op: "remove", path: "/01" }], "patch_failed"],
  ]) {
    test(name, () => assert.deepEqual(outcome(() => applyPatch(frozen(value), ops)), expected));
  }

  test("makes a member that is called __proto__, and pollutes nothing", () => {
    const made = applyPatch(JSON.parse("{}"), JSON.parse('[{"op":"add","path":"/__proto__","value":{"polluted":true}}]'));
    assert.equal(JSON.stringify(made), '{"__proto__":{"polluted":true}}');
    assert.equal({}.polluted, undefined);
    assert.equal(made.polluted, undefined);
    assert.equal(JSON.stringify(applyPatch(made, [{ op: "remove", path: "/__proto__" }])), "{}");
    const merged = mergePatch({}, JSON.parse('{"__proto__":{"polluted":true}}'));
    assert.equal(JSON.stringify(merged), '{"__proto__":{"polluted":true}}');
    assert.equal(merged.polluted, undefined);
  });
});

describe("JSON Merge Patch, the examples of RFC 7396", () => {
  for (const [value, patch, expected] of [
    [{ a: "b" }, { a: "c" }, { a: "c" }],
    [{ a: "b" }, { b: "c" }, { a: "b", b: "c" }],
    [{ a: "b" }, { a: null }, {}],
    [{ a: "b", b: "c" }, { a: null }, { b: "c" }],
    [{ a: ["b"] }, { a: "c" }, { a: "c" }],
    [{ a: "c" }, { a: ["b"] }, { a: ["b"] }],
    [{ a: { b: "c" } }, { a: { b: "d", c: null } }, { a: { b: "d" } }],
    [{ a: [{ b: "c" }] }, { a: [1] }, { a: [1] }],
    [["a", "b"], ["c", "d"], ["c", "d"]],
    [{ a: "b" }, ["c"], ["c"]],
    [{ a: "foo" }, null, null],
    [{ a: "foo" }, "bar", "bar"],
    [{ e: null }, { a: 1 }, { e: null, a: 1 }],
    [[1, 2], { a: "b", c: null }, { a: "b" }],
    [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
  ]) {
    test(`${JSON.stringify(value)} with ${JSON.stringify(patch)}`, () => {
      assert.deepEqual(mergePatch(frozen(value), frozen(patch)), expected);
    });
  }
});

describe("the difference", () => {
  /** Repeatable chance (mulberry32). */
  function chance(seed) {
    return () => {
      seed = (seed + 0x6d2b79f5) | 0;
      let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
      mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
      return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
    };
  }

  function anyValue(random, depth) {
    const below = (end) => Math.floor(random() * end);
    const kind = below(depth > 0 ? 5 : 3);
    if (kind === 0) return below(3);
    if (kind === 1) return ["", "a", "~/"][below(3)];
    if (kind === 2) return [null, true, false][below(3)];
    const inner = Array.from({ length: below(4) }, () => anyValue(random, depth - 1));
    return kind === 3 ? inner : Object.fromEntries(inner.map((value) => [["a", "b", "~1", "a/b", ""][below(5)], value]));
  }

  test("makes the one value of the other, whatever they are, and is nothing between equals", () => {
    for (let seed = 0; seed < 3_000; seed += 1) {
      const random = chance(seed);
      const [before, after] = [frozen(anyValue(random, 3)), frozen(anyValue(random, 3))];
      const ops = difference(before, after);
      assert.deepEqual(applyPatch(before, ops), after, `${seed}: ${JSON.stringify([before, after, ops])}`);
      assert.equal(ops.length === 0, isEqual(before, after), `${seed}`);
      assert.deepEqual(difference(before, structuredClone(before)), [], `${seed}`);
    }
  });

  for (const [name, before, mine, theirs, expected] of [
    ["two members", { a: 1, b: 1 }, { a: 2, b: 1 }, { a: 1, b: 2 }, { a: 2, b: 2 }],
    ["the same member", { a: 1 }, { a: 2 }, { a: 3 }, "test_failed"],
    ["a member that is gone", { a: 1, b: 1 }, { a: 2, b: 1 }, { b: 1 }, "patch_failed"],
    ["two things in a list", [{ a: 1 }, { a: 1 }], [{ a: 2 }, { a: 1 }], [{ a: 1 }, { a: 3 }], [{ a: 2 }, { a: 3 }]],
    ["a place that is another's now", [{ n: 1, d: 0 }, { n: 2, d: 0 }], [{ n: 1, d: 0 }, { n: 2, d: 1 }], [{ n: 2, d: 0 }], "patch_failed"],
    ["a thing where another was put in before", [{ n: 1, d: 0 }], [{ n: 1, d: 1 }], [{ n: 0, d: 0 }, { n: 1, d: 0 }], "test_failed"],
    ["the ends of a list", [1], [1, 2], [0, 1], "test_failed"],
  ]) {
    test(`between edits of ${name}`, () => {
      assert.deepEqual(outcome(() => applyPatch(theirs, difference(before, mine))), expected);
    });
  }

  test("of a long list says only what changed", () => {
    const list = Array.from({ length: 100 }, (_, index) => index);
    const [test, ...changes] = difference({ list }, { list: list.toSpliced(50, 1) });
    assert.equal(test.op, "test");
    assert.deepEqual(changes, [{ op: "remove", path: "/list/50" }]);
  });
});

describe("a document's actions", () => {
  for (const [action, expected] of [
    [{ action: "set", value: [1] }, [1]],
    [{ action: "merge", patch: { a: null, b: 2 } }, { b: 2 }],
    [{ action: "patch", ops: [{ op: "replace", path: "/a", value: 5 }] }, { a: 5 }],
    [{ action: "patch", ops: [{ op: "test", path: "/a", value: 5 }] }, { a: 1 }],
    [{ action: "patch", ops: "none" }, { a: 1 }],
    [{ action: "set" }, { a: 1 }],
    [{ action: "merge" }, { a: 1 }],
    [{ action: "plus" }, { a: 1 }],
  ]) {
    test(JSON.stringify(action), () => assert.deepEqual(document(frozen({ a: 1 }), action), expected));
  }

  test("a value in a value is found by its path", () => {
    assert.equal(valueAt({ "a/b": [{ "~": 7 }] }, "/a~1b/0/~0"), 7);
    assert.throws(() => valueAt({}, "/a"), PatchError);
  });
});
