import { expect, test } from "bun:test";

import { AvjepaError, formatError } from "./error.ts";

test("an error prints its message, its further lines and its hint", () => {
  const error = new AvjepaError("AVJ_CONFIG", 'unknown key "a"\nx.yaml:1:2', {
    hint: 'did you mean "b"?',
  });
  expect(formatError(error)).toBe(
    'error: unknown key "a"\n  x.yaml:1:2\n  did you mean "b"?',
  );
});

test("an error of the native addon counts by its code", () => {
  const native = Object.assign(new Error("shapes differ"), {
    code: "AVJ_SHAPE",
  });
  expect(AvjepaError.is(native)).toBe(true);
  expect(formatError(native)).toBe("error: shapes differ");
  const system = Object.assign(new Error("gone"), { code: "ENOENT" });
  expect(AvjepaError.is(system)).toBe(false);
  expect(AvjepaError.is("text")).toBe(false);
});

test("anything else says that it is a bug", () => {
  expect(formatError(new TypeError("x is undefined"))).toContain("bug");
});
