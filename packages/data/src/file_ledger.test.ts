import { expect, test } from "bun:test";

import type { FileEvent } from "./clip_batch.ts";
import { FileLedger } from "./file_ledger.ts";

const event = (index: number, kind = "bad"): FileEvent => ({
  kind,
  index,
  path: `${index}.mp4`,
  reason: "cut",
  replaced: true,
});

test("a file counts once, whoever met it", () => {
  const ledger = new FileLedger({ samples: 100, maxBadFraction: 0.05 });
  expect(ledger.enter([event(1), event(1), event(2, "silent")], 8)).toEqual([
    event(1),
    event(2, "silent"),
  ]);
  expect(ledger.enter([event(1), event(2)], 300)).toEqual([event(2)]);
  expect(ledger.counts).toEqual({
    ...{ tried: 100, bad: 2, silent: 1 },
    ...{ missingAudio: 0, missingVideo: 0, short: 0 },
  });
});

test("the limit is one of all files", () => {
  const ledger = new FileLedger({ samples: 100, maxBadFraction: 0.05 });
  for (let i = 0; i < 5; i++) {
    ledger.enter([event(i)], 4 * i + 1);
    ledger.judge();
  }
  ledger.enter([event(5)], 30);
  expect(() => ledger.judge()).toThrow("6 of 30 files tried so far are bad");
});
