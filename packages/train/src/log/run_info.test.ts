import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
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
  versions: { avjepa: "0.1.0" },
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
    versions: { avjepa: "0.1.0", bun: Bun.version },
    legs: [{ to_step: 5, outcome: "stopped by SIGTERM" }, { to_step: 12 }],
  });
});

test("a damaged record is begun anew", () => {
  writeFileSync(join(folder, "run.json"), "{");
  new RunInfo(folder, facts(0));
  expect(read().legs).toHaveLength(1);
});
