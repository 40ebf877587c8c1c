import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { makeSchedules } from "./schedules.ts";

const fixtures = join(
  import.meta.dir,
  "../../../test/fixtures/parity/schedules",
);

/** The F64 and I32 tensors of a safetensors file. */
function readTensors(path: string): Map<string, Float64Array | Int32Array> {
  const bytes = readFileSync(path);
  const size = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.subarray(8, 8 + size).toString()) as Record<
    string,
    { dtype: string; data_offsets: [number, number] }
  >;
  const tensors = new Map<string, Float64Array | Int32Array>();
  for (const [name, entry] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const [from, to] = entry.data_offsets;
    const data = bytes.buffer.slice(
      bytes.byteOffset + 8 + size + from,
      bytes.byteOffset + 8 + size + to,
    ) as ArrayBuffer;
    tensors.set(
      name,
      entry.dtype === "F64" ? new Float64Array(data) : new Int32Array(data),
    );
  }
  return tensors;
}

describe("equal to the reference", () => {
  for (const file of readdirSync(fixtures).filter((f) => f.endsWith(".json"))) {
    test(file, () => {
      const c = JSON.parse(readFileSync(join(fixtures, file), "utf8"));
      const tensors = readTensors(join(fixtures, c.file));
      const h = c.hyper;
      const schedules = makeSchedules({
        ipe: h.ipe,
        epochs: h.epochs,
        ipeScale: h.ipe_scale,
        warmup: h.warmup,
        startLr: h.start_lr,
        lr: h.lr,
        finalLr: h.final_lr,
        weightDecay: h.wd,
        finalWeightDecay: h.final_wd,
        ema: h.ema,
      });
      const at = {
        lr: (i: number) => schedules.lrAt(i + 1),
        wd: (i: number) => schedules.wdAt(i + 1),
        ema: (i: number) => schedules.emaAt(i),
      };
      for (const name of ["lr", "wd", "ema"] as const) {
        const { source, index, values, tol } = c.tensors[name];
        const want = tensors.get(source === "sample" ? values : name)!;
        const where = source === "sample" ? tensors.get(index)! : undefined;
        expect(want.length).toBeGreaterThan(0);
        want.forEach((value, k) => {
          const got = at[name](where ? where[k]! : k);
          const error = Math.abs(got - value);
          if (!(error <= tol.atol + tol.rtol * Math.abs(value)))
            throw new Error(`${name}[${k}]: got ${got}, want ${value}`);
        });
      }
    });
  }
});

test("past its end the momentum stays at its last value", () => {
  const { emaAt } = makeSchedules({
    ipe: 2,
    epochs: 2,
    ipeScale: 1,
    warmup: 0,
    startLr: 0,
    lr: 1,
    finalLr: 0,
    weightDecay: 0,
    finalWeightDecay: 0,
    ema: [0.5, 1],
  });
  expect([0, 2, 4, 5, 100].map(emaAt)).toEqual([0.5, 0.75, 1, 1, 1]);
});
