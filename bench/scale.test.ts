import { expect, test } from "bun:test";

import { type Machines, reduceSeconds, simulate } from "./scale.ts";

const links: Machines = {
  name: "",
  flops: 1e12,
  local: 8,
  inside: 100e9,
  between: 10e9,
  latency: 0,
  jitter: 0,
};

test("a ring moves each byte twice, but for a rank's own part", () => {
  expect(reduceSeconds(links, 1, 1e9)).toBe(0);
  expect(reduceSeconds(links, 8, 1e9)).toBeCloseTo((2 * 7) / 8 / 100, 12);
  expect(reduceSeconds(links, 16, 1e9)).toBeCloseTo(
    (2 * 7) / 8 / 100 + 1 / 10,
    12,
  );
});

test("what backward hides is free; what it cannot hide is waited for", () => {
  const work = { model: "", flopsPerClip: 1e12, backward: 0.5, bytes: 1.6e9 };
  const one = simulate(links, work, 1, 10);
  expect(one).toMatchObject({ compute_s: 10, exposed_s: 0, efficiency: 1 });
  // The last group is still to be sent when backward ends.
  const eight = simulate(links, work, 8, 10);
  const groups = Math.ceil(1.6e9 / 2 ** 24);
  expect(eight.exposed_s).toBeCloseTo(
    reduceSeconds(links, 8, 1.6e9 / groups),
    9,
  );
  // A link that is busy from the first group on: all but the first wait for it.
  const slow = simulate({ ...links, inside: 0.1e9 }, work, 8, 10);
  const whole = reduceSeconds({ ...links, inside: 0.1e9 }, 8, 1.6e9);
  expect(slow.exposed_s).toBeCloseTo(5 + 5 / groups + whole - 10, 6);
});

test("ranks that are uneven wait for the slowest", () => {
  const work = { model: "", flopsPerClip: 1e12, backward: 0.5, bytes: 0 };
  const row = simulate({ ...links, jitter: 0.02 }, work, 64, 1);
  expect(row.jitter_s).toBeCloseTo(0.02 * Math.sqrt(2 * Math.log(64)), 12);
});
