import { describe, expect, test } from "bun:test";
import { Generator, tensor } from "@avjepa/core";
import {
  countModality,
  countTargets,
  jepaLoss,
  jepaLossTerms,
  type ModalityWeight,
} from "./loss.ts";
import { allTokens, locate, packMasks, Tokens } from "./tokens.ts";

const dim = 6;
// Unequal lengths; the second sample has no target under the first mask.
const targets = packMasks({
  video: [
    [[0, 2, 3], []],
    [[1], [0, 1, 2]],
  ],
  audio: [
    [[1, 0], []],
    [[], [2, 1]],
  ],
});
const all = allTokens(2, { video: 4, audio: 3 });
const generator = new Generator(4);
const dtype = "float64" as const;
const predicted = generator.normal([11, dim], 0, 1, { dtype });
const h = new Tokens(generator.normal([14, dim], 0.5, 2, { dtype }), all);
const z = new Tokens(predicted, targets);

/** Losses of single tokens, in plain arithmetic. */
async function tokenLosses(p: number): Promise<number[]> {
  const [x, y] = [await predicted.toNumbers(), await h.data.toNumbers()];
  return Array.from(locate(all, targets), (row, m) => {
    const t = y.subarray(row * dim, (row + 1) * dim);
    const mean = t.reduce((sum, v) => sum + v, 0) / dim;
    const variance = t.reduce((sum, v) => sum + (v - mean) ** 2, 0) / dim;
    return t.reduce(
      (sum, v, d) =>
        sum +
        Math.abs(
          (x[m * dim + d] as number) - (v - mean) / Math.sqrt(variance + 1e-5),
        ) **
          p /
          (p * dim),
      0,
    );
  });
}

const mean = (values: number[]) =>
  values.reduce((sum, v) => sum + v, 0) / values.length;

describe("mean over a sequence's targets, then samples, then masks", () => {
  test.each([1, 1.5, 2])("p = %p", async (p) => {
    const l = await tokenLosses(p);
    const sequences = [l.slice(0, 5), l.slice(5, 6), l.slice(6, 11)].map(
      mean,
    ) as [number, number, number];
    const wanted = (sequences[0] + (sequences[1] + sequences[2]) / 2) / 2;
    expect(await jepaLoss(z, h, { p }).item()).toBeCloseTo(wanted, 12);
  });
});

test("each modality by itself", async () => {
  const l = await tokenLosses(1);
  const { video, audio } = jepaLossTerms(z, h);
  expect(await video?.item()).toBeCloseTo(
    (mean(l.slice(0, 3)) + (l[5]! + mean(l.slice(6, 9))) / 2) / 2,
    12,
  );
  expect(await audio?.item()).toBeCloseTo(
    (mean(l.slice(3, 5)) + mean(l.slice(9, 11))) / 2,
    12,
  );
  const only = packMasks({ video: [[[1], [0]]] });
  const seen = new Tokens(predicted.slice(0, 0, 2), only);
  expect(jepaLossTerms(seen, h).audio).toBeNull();
});

test("weights of the modalities", async () => {
  const l = await tokenLosses(1);
  const [v, a] = [0.5, 2];
  const both = (video: number[], audio: number[]) =>
    (v * mean(video) + a * mean(audio)) / (v + a);
  const wanted =
    (both(l.slice(0, 3), l.slice(3, 5)) +
      (l[5]! + both(l.slice(6, 9), l.slice(9, 11))) / 2) /
    2;
  expect(
    await jepaLoss(z, h, { modalityWeight: { video: v, audio: a } }).item(),
  ).toBeCloseTo(wanted, 12);
  const deaf: ModalityWeight = { video: 1, audio: 0 };
  const { video, loss } = jepaLossTerms(z, h, { modalityWeight: deaf });
  expect(await loss.item()).toBeCloseTo((await video?.item()) as number, 12);
});

test("counts of other ranks: their losses add up to the loss of the whole batch", async () => {
  const counts = countTargets(targets);
  expect(counts).toEqual([1, 2]);
  const modalityCounts = {
    video: countModality(targets, "video"),
    audio: countModality(targets, "audio"),
  };
  const rank = (sample: number) => {
    const lists = (kind: "video" | "audio") =>
      ({
        video: [
          [[0, 2, 3], []],
          [[1], [0, 1, 2]],
        ],
        audio: [
          [[1, 0], []],
          [[], [2, 1]],
        ],
      })[kind].map((mask) => [mask[sample] as number[]]);
    const own = packMasks({ video: lists("video"), audio: lists("audio") });
    const rows = sample === 0 ? [0, 1, 2, 3, 4, 5] : [6, 7, 8, 9, 10];
    const part = new Tokens(
      predicted.indexSelect(tensor(Int32Array.from(rows))),
      own,
    );
    const features = new Tokens(
      h.data.slice(0, 7 * sample, 7 * sample + 7),
      allTokens(1, { video: 4, audio: 3 }),
    );
    return jepaLossTerms(part, features, { counts, modalityCounts });
  };
  const whole = jepaLossTerms(z, h);
  const ranks = [rank(0), rank(1)];
  for (const term of ["loss", "video", "audio"] as const) {
    const parts = ranks.map(async (terms) => (await terms[term]?.item()) ?? 0);
    const [first = 0, second = 0] = await Promise.all(parts);
    expect(first + second).toBeCloseTo((await whole[term]?.item()) ?? 0, 12);
  }
});

test("the regulariser leaves out sequences without a variance", async () => {
  const x = await predicted.toNumbers();
  const deviation = (from: number, to: number, d: number) => {
    const column = Array.from(
      { length: to - from },
      (_, i) => x[(from + i) * dim + d] as number,
    );
    const center = mean(column);
    return Math.sqrt(
      column.reduce((sum, value) => sum + (value - center) ** 2, 0) /
        (column.length - 1) +
        1e-4,
    );
  };
  // The first sample's only sequence of several targets is 0 … 5, the second's is 6 … 11.
  const hinge = (from: number, to: number) =>
    mean(
      Array.from({ length: dim }, (_, d) =>
        Math.max(0, 1 - deviation(from, to, d)),
      ),
    );
  const { reg, loss, jepa } = jepaLossTerms(z, h, { regCoeff: 0.25 });
  expect(await reg.item()).toBeCloseTo((hinge(0, 5) + hinge(6, 11)) / 2, 12);
  expect(await loss.item()).toBeCloseTo(
    (await jepa.item()) + 0.25 * (await reg.item()),
    12,
  );
});

test("gradients flow to the predictions only, weighted as the loss is", async () => {
  const leaf = tensor(await predicted.toArray(), [11, dim], {
    requiresGrad: true,
  });
  jepaLoss(new Tokens(leaf, targets), h).backward();
  const gradient = await leaf.grad!.toNumbers();
  const sizes = [0, 5, 6].map(
    (m) => Math.abs(gradient[m * dim] as number) * dim,
  );
  expect(sizes[0]).toBeCloseTo(1 / 5 / 2, 12);
  expect(sizes[1]).toBeCloseTo(1 / 2 / 2, 12);
  expect(sizes[2]).toBeCloseTo(1 / 5 / 2 / 2, 12);
});

test("counts that do not fit are refused", () => {
  expect(() => jepaLoss(z, h, { counts: [1] })).toThrow("1 counts for 2 masks");
});
