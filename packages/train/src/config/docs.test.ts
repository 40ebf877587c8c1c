import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";

import { referenceValues } from "./compat.ts";
import { configDocs, docsPath } from "./docs.ts";
import { evalSchema } from "./evaluation.ts";
import { pretrainSchema } from "./pretrain.ts";
import { knownKeys } from "./walk.ts";

test("docs/config.md is what the schema makes (bun packages/train/src/config/docs.ts)", () => {
  expect(readFileSync(docsPath, "utf8")).toBe(configDocs());
});

test("every key says what it means and what it expects", () => {
  for (const schema of [pretrainSchema, evalSchema])
    for (const key of knownKeys(schema)) {
      if (!key.isSection)
        expect([key.key, key.doc]).toEqual([key.key, expect.any(String)]);
      expect([key.key, key.expected]).toEqual([key.key, expect.any(String)]);
    }
});

test("docs/differences.md has each of the 34, and the keys it names exist", () => {
  const text = readFileSync(join(docsPath, "../differences.md"), "utf8");
  const rows = text.match(/^\| B\d+ /gm)!.map((row) => Number(row.slice(3)));
  expect(rows).toEqual(Array.from({ length: 34 }, (_, i) => i + 1));
  const keys = new Set(knownKeys(pretrainSchema).map(({ key }) => key));
  for (const key of knownKeys(evalSchema)) keys.add(key.key);
  for (const [, key] of text.matchAll(
    /`((?:data|model|optimization|meta|mask\[\]|logging|loss|pretrain)\.[\w.[\]]+)/g,
  ))
    expect([key, keys.has(key!)]).toEqual([key, true]);
  for (const key of Object.keys(referenceValues))
    expect(text).toContain(`\`${key}`);
});
