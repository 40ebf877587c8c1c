import { expect, test } from "bun:test";

import { Watchdog } from "./watchdog.ts";

/** A watched process whose call takes `seconds` so far. */
const watched = (seconds: number | null) => ({
  rank: 1,
  world: 4,
  waiting:
    seconds === null
      ? null
      : { call: "all-reduce of gradients", number: 812, seconds },
});

function stalled(seconds: number | null) {
  const reports: string[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  const watchdog = new Watchdog(watched(seconds), {
    limit: 0.02,
    report: (text) => {
      reports.push(text);
      resolve();
    },
    exit: () => {},
  });
  return { watchdog, reports, reported: promise };
}

test("who waits for others says for what, and in which phase", async () => {
  const { watchdog, reports, reported } = stalled(7);
  await watchdog.during("step 41", () =>
    watchdog.during("backward", () => reported),
  );
  watchdog[Symbol.dispose]();
  const [report = ""] = reports;
  expect(report).toContain("rank 1 of 4: no progress for 0 s");
  expect(report).toContain("in step 41 for 0 s");
  expect(report).toContain("in backward for 0 s");
  expect(report).toContain(
    "waiting for the other ranks in all-reduce of gradients (call 812) for 7 s",
  );
  if (process.platform === "linux") expect(report).toContain("threads: ");
});

test("a phase of its own that is too long is told as well", async () => {
  const { watchdog, reports, reported } = stalled(null);
  await watchdog.during("reading clips", () => reported);
  watchdog[Symbol.dispose]();
  expect(reports[0]).toContain("in reading clips");
  expect(reports[0]).not.toContain("waiting for the other ranks");
});

test("who is in no phase and no call is not stalled", () => {
  const watchdog = new Watchdog(watched(null), { limit: 0 });
  expect(watchdog.isStalled).toBe(false);
  watchdog[Symbol.dispose]();
});
