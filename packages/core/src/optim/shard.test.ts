import { expect, test } from "bun:test";

import { type Shards, partOf } from "./shard.ts";

const shards = (rank: number, world: number): Shards => ({
  rank,
  world,
  allGather: () => {},
});

test("parts lie one after another and are the whole, also of fewer elements than parts", () => {
  for (const length of [64, 192, 1000, 64 * 1024])
    for (const world of [1, 2, 3, 7, 40]) {
      let end = 0;
      for (let rank = 0; rank < world; rank++) {
        const part = partOf({ length }, shards(rank, world));
        expect(part.start).toBe(Math.min(length, rank * part.size));
        expect(part.start).toBe(end);
        expect(part.start % 64 === 0 || part.length === 0).toBe(true);
        end += part.length;
      }
      expect(end).toBe(length);
    }
  expect(partOf({ length: 100 })).toEqual({ size: 100, start: 0, length: 100 });
});
