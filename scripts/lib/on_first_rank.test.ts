import { expect, test } from "bun:test";

import { onFirstRank } from "./on_first_rank.ts";

/** Two processes that meet in `max`. */
function pair() {
  let waiting: { value: number; resolve(found: number[]): void } | undefined;
  let meetings = 0;
  const max = ([value]: readonly number[]) =>
    new Promise<number[]>((resolve) => {
      if (waiting === undefined) {
        waiting = { value: value!, resolve };
        return;
      }
      const found = [Math.max(waiting.value, value!)];
      waiting.resolve(found);
      resolve(found);
      waiting = undefined;
      meetings += 1;
    });
  const of = (rank: number) => ({ rank, world: 2, max });
  return { first: of(0), second: of(1), meetings: () => meetings };
}

test("one works, and the other waits for it", async () => {
  const { first, second, meetings } = pair();
  const work = Promise.withResolvers<string>();
  let worked = 0;
  const both = Promise.all([
    onFirstRank(first, () => (worked++, work.promise)),
    onFirstRank(second, () => (worked++, work.promise)),
  ]);
  work.resolve("figures");
  expect(await both).toEqual(["figures", undefined]);
  expect([worked, meetings()]).toEqual([1, 1]);
});

test("an error is the first rank's, and keeps nobody waiting", async () => {
  const { first, second } = pair();
  const failing = onFirstRank(first, () => Promise.reject(new Error("no")));
  const other = onFirstRank(second, async () => 1);
  await expect(failing).rejects.toThrow("no");
  expect(await other).toBeUndefined();
});
