import { tensor } from "@avjepa/core";
import { allTokens, Tokens } from "@avjepa/models";
import { expect, test } from "bun:test";

import { featureHealth } from "./collapse.ts";
import { single } from "./collective.ts";
import { measureHealth, sampleRows } from "./health.ts";

const width = 6;
const values = (rows: number, seed: number) =>
  Float32Array.from({ length: rows * width }, (_, i) =>
    Math.sin((i + 1) * (seed + 1.3)),
  );
const features = (rows: number, seed: number) =>
  tensor(values(rows, seed), [rows, width]);

/** Two processes at once, each with its features. */
async function two(...own: Parameters<typeof measureHealth>[0][]) {
  let tell = (_: Uint8Array[]): void => {};
  const all = new Promise<Uint8Array[]>((resolve) => (tell = resolve));
  const sent: Uint8Array[] = [];
  const gatherBytes = (rank: number) => (bytes: Uint8Array) => {
    sent[rank] = bytes;
    if (Object.keys(sent).length === own.length) tell(sent);
    return all;
  };
  return Promise.all(
    own.map((f, rank) => measureHealth(f, { gatherBytes: gatherBytes(rank) })),
  );
}

test("of several processes it is that of all their tokens", async () => {
  const [a, b] = await two(
    { video: features(5, 1), audio: features(3, 2) },
    { video: features(4, 3) },
  );
  expect(a).toEqual(b!);
  const video = [...values(5, 1), ...values(4, 3)];
  expect(a?.feature_std_video).toBe(featureHealth(video, width)?.std as number);
  expect(a?.effective_rank).toBe(
    featureHealth([...video, ...values(3, 2)], width)?.effectiveRank as number,
  );
});

test("a process without tokens learns of the others'", async () => {
  const [a, b] = await two({}, { audio: features(4, 3) });
  expect(a).toEqual(b!);
  expect(a).toEqual(await measureHealth({ audio: features(4, 3) }, single));
  expect(await measureHealth({}, single)).toEqual({});
});

test("processes share 256 tokens out", () => {
  const rows = 300;
  const h = new Tokens(features(rows, 1), allTokens(1, { video: rows }));
  for (const world of [1, 3, 1000]) {
    let total = 0;
    for (let rank = 0; rank < world; rank++) {
      const own = sampleRows(h, "video", { rank, world });
      total += own?.shape[0] ?? 0;
      own?.dispose();
    }
    expect(total).toBe(256);
  }
});
