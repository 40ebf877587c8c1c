/**
 * Every case of `test/fixtures/parity`, and of the folder `AVJEPA_FIXTURES`
 * names, against this code.
 */

import { type DType, setDefaultDevice } from "@avjepa/core";
import { afterAll, describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { Glob } from "bun";
import { device as wgpu, wanted as wgpuWanted } from "../wgpu/support.ts";
import { ParityCase } from "./case.ts";
import { type Kind, kinds, pending } from "./kinds.ts";

const roots = [
  new URL("../fixtures/parity", import.meta.url).pathname,
  process.env.AVJEPA_FIXTURES ?? "",
].filter((root) => root !== "");
const cases: ParityCase[] = [];
for (const root of roots) {
  const before = cases.length;
  for (const path of jsonFiles(root)) {
    try {
      const found = ParityCase.read(path);
      if (found !== null) cases.push(found);
    } catch (error) {
      // A case that cannot be read fails by itself; the others still run.
      test(path, () => {
        throw error;
      });
    }
  }
  const own = cases.length - before;
  test(`${root} has cases`, () => expect(own).toBeGreaterThan(0));
}

/** Below a folder; none where there is no such folder. */
function jsonFiles(root: string): string[] {
  if (!existsSync(root)) return [];
  const options = { cwd: root, absolute: true, followSymlinks: true };
  return [...new Glob("**/*.json").scanSync(options)].sort();
}

/** What computes on tensors runs on every device there is that has the type; the rest is the host's. */
function devicesOf(kind: Kind, dtype: DType): string[] {
  const tensors = kind.dtypes.length > 1;
  return wgpuWanted && tensors && dtype === "float32" ? ["cpu", wgpu] : ["cpu"];
}

let passed = 0;
const waiting = new Map<string, number>();

for (const [kind, own] of Map.groupBy(cases, (found) => found.kind)) {
  const known = kinds[kind];
  if (known === undefined && kind in pending) {
    waiting.set(kind, own.length);
    continue;
  }
  describe(kind, () => {
    for (const found of own) {
      if (known === undefined) {
        test(found.path, () => {
          throw new Error(`${found.path}: nothing knows the kind "${kind}"`);
        });
        continue;
      }
      for (const dtype of known.dtypes) {
        const precision = known.dtypes.length > 1 ? ` in ${dtype}` : "";
        for (const device of devicesOf(known, dtype)) {
          const place = device === "cpu" ? "" : ` on ${device}`;
          test(`${found.name}${precision}${place}`, async () => {
            const fresh = found.again();
            setDefaultDevice(device);
            try {
              await known.run(fresh, dtype);
            } finally {
              setDefaultDevice("cpu");
            }
            fresh.finish();
            passed++;
          }, 900_000);
        }
      }
    }
  });
}

afterAll(() => {
  for (const [kind, count] of waiting)
    console.log(
      `parity: pending: ${kind}, ${count} cases: wait for ${pending[kind]}`,
    );
  const total = waiting.values().reduce((sum, count) => sum + count, 0);
  console.log(
    `parity: ${passed} runs of ${cases.length - total} cases passed, ${total} cases pending`,
  );
});
