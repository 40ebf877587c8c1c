import { expect, test } from "bun:test";
import { tensor } from "@avjepa/core";
import { positionTable, sincos1d } from "./positions.ts";
import { resizePositions } from "./resize-positions.ts";

const sum = (values: ArrayLike<number>) =>
  Array.from(values).reduce((total, value) => total + value, 0);

test("the tables sum to the published code's", () => {
  expect(
    sum(positionTable(384, [8, 14, 14], { uniformPower: true })),
  ).toBeCloseTo(282557.421669731, 1);
  expect(sum(positionTable(384, [8, 14, 14]))).toBeCloseTo(
    285268.9705256239,
    1,
  );
  expect(sum(positionTable(384, [8, 12]))).toBeCloseTo(17654.12364371178, 2);
});

test("columns that do not fit are cut off at the end", () => {
  const row = positionTable(1024, [8, 14, 14], { uniformPower: true }).subarray(
    15 * 1024,
    16 * 1024,
  );
  const columns = [0, 341, 342, 512, 513, 684, 685, 1023].map(
    (column) => row[column] as number,
  );
  const wanted = [
    0, 1, 0.841470985, 1.05533857e-4, 0.540302306, 0.841470985, 0.811995647,
    0.999999993,
  ];
  for (const [i, value] of wanted.entries())
    expect(columns[i]).toBeCloseTo(value, 7);
});

test("time, row and column stand side by side, tokens in row-major order", () => {
  const [T, H, W, dim] = [2, 3, 5, 16];
  const table = positionTable(dim, [T, H, W]);
  const at = (width: number, place: number) =>
    Float32Array.from(sincos1d(width, [place]));
  for (const [t, h, w] of [
    [0, 2, 4],
    [1, 0, 3],
    [1, 2, 0],
  ] as const) {
    const token = (t * H + h) * W + w;
    expect([...table.subarray(token * dim, (token + 1) * dim)]).toEqual([
      ...at(8, t),
      ...at(4, h),
      ...at(4, w),
    ]);
  }
});

test("an odd axis is refused", () => {
  expect(() => positionTable(42, [2, 2])).toThrow("an axis has 21 columns");
});

test("resizing keeps constants and, by time, straight lines between the ends", async () => {
  const flat = tensor(new Float64Array(3 * 4).fill(2.5), [12, 1]);
  for (const value of await resizePositions(flat, [3, 4], [5, 7]).toNumbers())
    expect(value).toBeCloseTo(2.5, 12);
  const line = tensor(Float64Array.from([0, 1, 2, 3]), [4, 1]);
  const up = await resizePositions(line, [4, 1, 1], [8, 1, 1]).toNumbers();
  expect([...up]).toEqual([0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]);
});

test("a target size is met exactly where a rounded scale would miss it", () => {
  const table = tensor(new Float32Array(13 * 2), [13, 2]);
  expect(resizePositions(table, [13, 1, 1], [15, 1, 1]).shape).toEqual([15, 2]);
});
