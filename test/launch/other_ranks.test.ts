/** A run that goes on with another number of processes sees every sample of the pass once. */

import {
  type ResolvedPretrainConfig,
  loadPretrainConfig,
  trainingClips,
} from "@avjepa/train";
import { afterAll, beforeAll, expect, test } from "bun:test";

import { Clips, small } from "../pretrain/support.ts";

let clips: Clips;
let config: ResolvedPretrainConfig;
beforeAll(() => {
  clips = new Clips(12);
  const set = small(clips.path("clips.csv")).filter((word) => word !== "--set");
  const path = "configs/pretrain/av-vitt16.yaml";
  ({ config } = loadPretrainConfig(path, {
    set: [...set, "data.batch_size=1"],
  }));
});
afterAll(() => clips[Symbol.dispose]());

/** What all ranks of a world draw in some steps, and where they have come to. */
async function draw(
  world: number,
  steps: number,
  cursor: { pass: number; position: number },
) {
  const drawn: string[] = [];
  let next = cursor;
  for (let rank = 0; rank < world; rank++) {
    await using loader = trainingClips(config, { rank, world }, cursor);
    for (let step = 0; step < steps; step++) {
      const batch = await loader.next();
      batch?.indices.forEach((index, i) =>
        drawn.push(`${batch.passes[i]}:${index}`),
      );
    }
    next = loader.cursor;
  }
  return { drawn, next };
}

test("two processes, then four, then one", async () => {
  const first = await draw(2, 2, { pass: 0, position: 0 });
  const second = await draw(4, 1, first.next);
  const third = await draw(1, 4, second.next);
  const all = [first, second, third].flatMap(({ drawn }) => drawn);
  const expected = Array.from({ length: 12 }, (_, index) => `0:${index}`);
  expect(all.toSorted()).toEqual(expected.toSorted());
}, 60_000);
