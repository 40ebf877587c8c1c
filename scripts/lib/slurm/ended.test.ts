import { expect, test } from "bun:test";

import { isTaken } from "./ended.ts";
import type { JobEvent } from "./events.ts";
import { judge } from "./verdict.ts";

const event = (event: JobEvent["event"], more: Partial<JobEvent> = {}) => ({
  time: "",
  event,
  ...more,
});
const submitted = event("submitted");
const ended = (step: number, code: number) => event("ended", { step, code });

test("done, stopped, crashed", () => {
  expect(judge([submitted], 0, 90).requeue).toBe(false);
  expect(judge([submitted], 75, 40)).toEqual({
    requeue: true,
    text: "stopped after step 40",
  });
  expect(judge([submitted], 137, 40)).toEqual({
    requeue: true,
    text: "crashed (exit code 137) after step 40",
  });
  expect(judge([submitted], 2, 0).requeue).toBe(false);
});

test("a crash twice at the same step is not tried a third time", () => {
  expect(judge([submitted, ended(40, 1)], 1, 40).requeue).toBe(false);
  expect(judge([submitted, ended(40, 1)], 1, 41).requeue).toBe(true);
  expect(judge([submitted, ended(40, 75)], 1, 40).requeue).toBe(true);
  expect(judge([submitted, ended(40, 1), ended(41, 1)], 1, 40).requeue).toBe(
    true,
  );
});

test("another job that goes on by itself does not begin the count anew", () => {
  const events = [submitted, ended(40, 137)];
  const again = event("submitted", { text: "goes on by itself" });
  expect(judge([...events, again], 137, 40).requeue).toBe(false);
  expect(judge([...events, submitted], 137, 40).requeue).toBe(true);
});

test("stops without a step between them are no progress", () => {
  const events = [submitted, ended(40, 75)];
  expect(judge(events, 75, 40).requeue).toBe(true);
  expect(judge([...events, ended(40, 75)], 75, 40).requeue).toBe(false);
});

test("what was cancelled stays so until it is submitted again", () => {
  const cancelled = [submitted, event("cancelled")];
  expect(judge(cancelled, 75, 40).requeue).toBe(false);
  expect(judge([...cancelled, submitted], 75, 40).requeue).toBe(true);
});

test("a job that SLURM ends is not queued again, but for its time limit", () => {
  expect(isTaken({ JobState: "RUNNING", Reason: "None" })).toBe(false);
  expect(isTaken({ JobState: "COMPLETING", Reason: "TimeLimit" })).toBe(false);
  expect(isTaken({ JobState: "COMPLETING", Reason: "None" })).toBe(true);
  expect(isTaken({ JobState: "CANCELLED", Reason: "None" })).toBe(true);
  expect(isTaken(undefined)).toBe(true);
});
