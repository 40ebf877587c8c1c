import { afterEach, beforeEach, expect, test } from "bun:test";
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { RunInfo } from "./run_info.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "avjepa-info-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

const facts = (from_step: number) => ({
  device: "cpu (portable, 2 threads)",
  dtype: "float32",
  world: 1,
  config_hash: "0".repeat(64),
  from_step,
  versions: { ffmpeg: "61.1" },
});
const read = () =>
  JSON.parse(readFileSync(join(folder, "run.json"), "utf8")) as {
    outcome: string | null;
    legs: object[];
  };

test("each start adds a leg; the last stands at the top", () => {
  const first = new RunInfo(folder, facts(0));
  expect(read()).toMatchObject({ device: facts(0).device, outcome: null });
  first.end(5, "stopped by SIGTERM");
  new RunInfo(folder, facts(5)).end(12, "finished");
  expect(read()).toMatchObject({
    from_step: 5,
    to_step: 12,
    outcome: "finished",
    versions: {
      avjepa: expect.stringMatching(/^\d+\.\d+/),
      bun: Bun.version,
      ffmpeg: "61.1",
    },
    legs: [{ to_step: 5, outcome: "stopped by SIGTERM" }, { to_step: 12 }],
  });
});

test("a failure is noted, and does not hide behind a record that cannot be written", () => {
  const info = new RunInfo(folder, facts(0));
  info.fail(4, new Error("the loss is NaN\nlower lr"));
  expect(read()).toMatchObject({ outcome: "failed: the loss is NaN" });
  rmSync(folder, { recursive: true });
  info.fail(5, new Error("the disk is full"));
  mkdirSync(folder);
});

test("a damaged record is begun anew", () => {
  writeFileSync(join(folder, "run.json"), "{");
  new RunInfo(folder, facts(0));
  expect(read().legs).toHaveLength(1);
});
