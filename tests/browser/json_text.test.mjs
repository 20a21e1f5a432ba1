// What is told of a text that is no JSON: where, and what.
import assert from "node:assert/strict";
import { test } from "node:test";
import { faultIn, jsonOf, writable } from "../../web/json_text.js";
import { parseExactly } from "../../web/statesync.js";

for (const [text, line, column, message] of [
  ["", 1, 1, /value is missing/],
  ["\n ", 2, 2, /value is missing/],
  ['{"a": 1\n "b": 2}', 1, 8, /comma or } is missing/],
  ['[1\n 2]', 1, 3, /comma or ] is missing/],
  ['{"a" 1}', 1, 5, /colon is missing/],
  ['{"a": }', 1, 7, /value is missing/],
  ["{a: 1}", 1, 2, /name in double quotes/],
  ['{"a": 1,}', 1, 8, /comma is one too many/],
  ["[1,\n]", 1, 3, /comma is one too many/],
  ['{"a": [1, 2}', 1, 12, /comma or ] is missing/],
  ['{"a": 1', 1, 8, /} is missing for the { of line 1/],
  ['["abc\n]', 1, 2, /closing double quote/],
  ['"a\\q"', 1, 3, /after \\/],
  ['"a\\u12g4"', 1, 3, /after \\/],
  ['"a\tb"', 1, 3, /must be written as/],
  ["'a'", 1, 1, /double quotes/],
  ["[True]", 1, 2, /“True” is no value/],
  ["[01]", 1, 2, /no number/],
  ["[1.]", 1, 2, /no number/],
  ["[-]", 1, 2, /is no value/],
  ["[1e400]", 1, 2, /number is too large/],
  ["1 2", 1, 3, /may follow/],
]) {
  test(JSON.stringify(text), () => {
    const fault = faultIn(text);
    assert.deepEqual([fault?.line, fault?.column], [line, column], fault?.message);
    assert.match(fault?.message ?? "", message);
    assert.equal(text.slice(0, fault.index).split("\n").length, line);
  });
}

test("JSON has no fault, and whatever is none has one, however it is broken", () => {
  const whole = JSON.stringify({ a: [1, -2.5e10, "b\n\\ \"\u2028", null, true], "": { "é": [] } }, null, 2);
  assert.equal(faultIn(whole), undefined);
  for (let index = 0; index < whole.length; index += 1) {
    for (const put of ["", "{", "]", '"', ",", "x", "\n"]) {
      const text = whole.slice(0, index) + put + whole.slice(index + 1);
      const isJSON = (() => {
        try {
          JSON.parse(text);
          return true;
        } catch {
          return false;
        }
      })();
      const fault = faultIn(text);
      assert.equal(fault === undefined, isJSON, text);
      // Its own reader has found it, so it says what is wrong.
      if (fault) assert.notEqual(fault.message, "this is not JSON", text);
    }
  }
});

test("a text that is very deep is told to be none, and ends nothing", () => {
  assert.equal(typeof faultIn("[".repeat(200_000))?.message, "string");
});

const isExact = "rawJSON" in JSON;

test("what was read exactly is written exactly", { skip: !isExact && "this engine reads no exact numbers" }, () => {
  const text = '{"big":[9007199254740993,-9223372036854775808],"small":1.5}';
  assert.equal(jsonOf(parseExactly(text)), text);
  assert.equal(JSON.stringify(writable(parseExactly(text))), text);
});
