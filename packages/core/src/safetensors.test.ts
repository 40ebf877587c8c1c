import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { memory, synchronize } from "./device.ts";
import { AvjepaError } from "./error.ts";
import {
  loadSafetensors,
  readTensors,
  saveSafetensors,
} from "./safetensors.ts";
import { type Tensor, tensor, zeros } from "./tensor.ts";
import { settledMemory } from "./testing.ts";
import { invoke } from "./transport.ts";

let folder = "";
beforeAll(
  () => void (folder = mkdtempSync(join(tmpdir(), "avjepa-safetensors-"))),
);
afterAll(() => rmSync(folder, { recursive: true }));

/** A file of this header, or header text, and body. */
async function write(
  header: unknown,
  body: Uint8Array = new Uint8Array(0),
  length?: bigint,
): Promise<string> {
  const text = Buffer.from(
    typeof header === "string" ? header : JSON.stringify(header),
  );
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(length ?? BigInt(text.length));
  const path = join(folder, `${crypto.randomUUID()}.safetensors`);
  await writeFile(path, Buffer.concat([size, text, body]));
  return path;
}

async function refusal(path: string): Promise<AvjepaError> {
  const before = (await settledMemory()).tensors;
  const error: unknown = await loadSafetensors(path).then(
    () => new Error("it loaded"),
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(AvjepaError);
  expect(memory().tensors).toBe(before);
  return error as AvjepaError;
}

describe("round trip", () => {
  const tensors = (): Record<string, Tensor> => ({
    "blocks.0.weight": tensor(
      Float32Array.of(1, Number.NaN, -0, 1e-40),
      [2, 2],
    ),
    half: tensor(Uint16Array.of(1, 2, 3), [3]),
    double: tensor(Float64Array.of(Math.E), []),
    long: tensor(BigInt64Array.of(-1n), [1, 1]),
    int: tensor(Int32Array.of(5)),
    byte: tensor(Uint8Array.of(7, 8, 9)),
    empty: zeros([0, 3]),
    'ümlaut "quoted"': tensor([1]),
  });

  test("every type, any name, empty ones and metadata", async () => {
    const path = join(folder, "all.safetensors");
    const saved = tensors();
    await saveSafetensors(path, saved, { format: "pt" });
    const { tensors: loaded, metadata } = await loadSafetensors(path);
    expect(metadata).toEqual({ format: "pt" });
    expect(Object.keys(loaded)).toEqual(Object.keys(saved));
    for (const [name, x] of Object.entries(saved)) {
      const y = loaded[name] as Tensor;
      expect([y.dtype, y.shape]).toEqual([x.dtype, x.shape]);
      const bytes = async (t: Tensor) =>
        Buffer.from((await t.toArray()).buffer).toString("hex");
      expect(await bytes(y)).toBe(await bytes(x));
    }
  });

  test("equal tensors give equal bytes, aligned to eight", async () => {
    const [a, b] = [
      join(folder, "a.safetensors"),
      join(folder, "b.safetensors"),
    ];
    await saveSafetensors(a, tensors());
    await saveSafetensors(b, tensors());
    const bytes = await readFile(a);
    expect(bytes.equals(await readFile(b))).toBe(true);
    expect(Number(bytes.readBigUInt64LE()) % 8).toBe(0);
  });

  test("some keys only", async () => {
    const path = join(folder, "some.safetensors");
    await saveSafetensors(path, tensors());
    const { tensors: loaded } = await loadSafetensors(path, {
      keys: (name) => name === "int",
    });
    expect(Object.keys(loaded)).toEqual(["int"]);
  });

  test("a view is written as itself", async () => {
    const path = join(folder, "view.safetensors");
    await saveSafetensors(path, {
      rows: tensor([1, 2, 3, 4], [2, 2]).slice(0, 1, 2),
    });
    expect(statSync(path).size % 8).toBe(0);
    const { tensors: loaded } = await loadSafetensors(path);
    expect([...((await loaded.rows?.toNumbers()) ?? [])]).toEqual([3, 4]);
  });

  test("a folder that is not there", async () => {
    const path = join(folder, "no", "where.safetensors");
    await expect(saveSafetensors(path, {})).rejects.toThrow(
      "where.safetensors",
    );
  });
});

const entry = (shape: number[], begin: number, end: number, dtype = "F32") => ({
  dtype,
  shape,
  data_offsets: [begin, end],
});
const bytes = (count: number) => new Uint8Array(count);

describe("damaged files are refused by what is wrong with them", () => {
  test.each<[string, () => Promise<string>, RegExp]>([
    ["empty", () => writeRaw(new Uint8Array(0)), /has 0 bytes/],
    ["shorter than its first number", () => writeRaw(bytes(5)), /has 5 bytes/],
    ["all zero", () => writeRaw(bytes(64)), /no JSON/],
    [
      "a header longer than the file",
      () => write({}, bytes(0), 1000n),
      /header claims 1000 bytes/,
    ],
    [
      "a header of 2^63 bytes",
      () => write({}, bytes(0), 2n ** 63n),
      /header claims/,
    ],
    ["no JSON", () => write("not json"), /no JSON/],
    [
      "no UTF-8",
      () => writeRaw(Buffer.from([2, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe])),
      /no JSON/,
    ],
    ["a list", () => write([]), /no object/],
    ["a number", () => write("7"), /no object/],
    ["an entry that is none", () => write({ a: 3 }), /^.*\ba\b/],
    ["a null entry", () => write({ a: null }), /^.*\ba\b/],
    [
      "an unknown type",
      () => write({ a: entry([1], 0, 1, "F8_E4M3") }, bytes(1)),
      /F8_E4M3/,
    ],
    [
      "no shape",
      () => write({ a: { dtype: "F32", data_offsets: [0, 4] } }, bytes(4)),
      /no proper shape/,
    ],
    [
      "a negative size",
      () => write({ a: entry([-1], 0, 4) }, bytes(4)),
      /no proper shape/,
    ],
    [
      "a fraction of a size",
      () => write({ a: entry([0.5], 0, 2) }, bytes(2)),
      /no proper shape/,
    ],
    [
      "offsets that fall",
      () => write({ a: entry([1], 4, 0) }, bytes(4)),
      /takes 4 bytes, but has -4/,
    ],
    [
      "negative offsets",
      () => write({ a: entry([1], -4, 0) }, bytes(4)),
      /no proper shape and offsets/,
    ],
    [
      "three offsets",
      () =>
        write(
          { a: { ...entry([1], 0, 4), data_offsets: [0, 4, 8] } },
          bytes(8),
        ),
      /offsets/,
    ],
    [
      "a shape of other bytes",
      () => write({ a: entry([2], 0, 4) }, bytes(4)),
      /\[2\] takes 8 bytes, but has 4/,
    ],
    [
      "a shape whose product overflows",
      () => write({ a: entry([2 ** 32, 2 ** 32], 0, 0) }),
      /takes .* bytes, but has 0/,
    ],
    [
      "outside the file",
      () => write({ a: entry([4], 0, 16) }, bytes(8)),
      /take 16 bytes, but 8 are there/,
    ],
    [
      "truncated",
      () => write({ a: entry([1], 0, 4), b: entry([2], 4, 12) }, bytes(10)),
      /take 12 bytes/,
    ],
    [
      "longer than its tensors",
      () => write({ a: entry([1], 0, 4) }, bytes(5)),
      /take 4 bytes, but 5/,
    ],
    [
      "overlapping",
      () => write({ a: entry([2], 0, 8), b: entry([1], 4, 8) }, bytes(8)),
      /b begins at byte 4, not at 8/,
    ],
    [
      "a hole",
      () => write({ a: entry([1], 0, 4), b: entry([1], 8, 12) }, bytes(12)),
      /b begins at byte 8, not at 4/,
    ],
    [
      "metadata that is no map of texts",
      () => write({ __metadata__: { a: 1 } }),
      /__metadata__/,
    ],
    [
      "metadata that is a list",
      () => write({ __metadata__: [] }),
      /__metadata__/,
    ],
  ])("%s", async (_, make, message) => {
    const path = await make();
    const error = await refusal(path);
    expect(error.code).toBe("AVJ_SAFETENSORS");
    expect(error.message).toMatch(message);
    expect(error.message).toContain(path);
    expect(error.hint).toContain("another copy");
  });

  test("a tensor named like a part of objects is just a tensor", async () => {
    const path = await write(
      '{"__proto__": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}',
      bytes(4),
    );
    const { tensors } = await loadSafetensors(path);
    expect(Object.keys(tensors)).toEqual(["__proto__"]);
    expect(({} as Record<string, unknown>).dtype).toBeUndefined();
    await synchronize();
  });

  test("no file, and a folder", async () => {
    expect((await refusal(join(folder, "none.safetensors"))).message).toContain(
      "cannot open",
    );
    expect((await refusal(folder)).code).toBe("AVJ_SAFETENSORS");
  });
});

async function writeRaw(content: Uint8Array): Promise<string> {
  const path = join(folder, `${crypto.randomUUID()}.safetensors`);
  await writeFile(path, content);
  return path;
}

test("many tensors are copied as they are when it is asked for", async () => {
  using a = tensor([1, 2, 3]);
  using b = tensor([4], [1, 1], { dtype: "int32" });
  using c = zeros([0, 2]);
  const reading = readTensors({ b, a, empty: c });
  invoke("fill_", [a.handle, 7]);
  const copies = await reading;
  expect(Object.keys(copies)).toEqual(["b", "a", "empty"]);
  expect(copies.b).toMatchObject({ dtype: "int32", shape: [1, 1] });
  expect([...new Float32Array(copies.a?.bytes.slice().buffer ?? [])]).toEqual([
    1, 2, 3,
  ]);
  expect(copies.empty?.bytes.length).toBe(0);
  expect(await readTensors({})).toEqual({});
});
