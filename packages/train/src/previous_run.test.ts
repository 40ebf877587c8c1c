import { afterEach, beforeEach, expect, test } from "bun:test";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { CheckpointStore } from "./checkpoint/store.ts";
import type { ResolvedPretrainConfig } from "./config/index.ts";
import { setRunAside, whereToStart } from "./previous_run.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "avjepa-previous-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const config = {
  meta: { load_checkpoint: false, read_checkpoint: null, init_from: null },
} as unknown as ResolvedPretrainConfig;

test("a run of another tag is not mixed with a new one", async () => {
  await new CheckpointStore(folder, "old").save(3, {}, async () => {});
  const store = new CheckpointStore(folder, "new");
  await expect(whereToStart(store, config, "auto")).rejects.toThrow(
    'logging.write_tag: "old", now "new"',
  );
  expect(await whereToStart(store, config, "never")).toEqual({});
});

test("a run whose checkpoints are gone does not begin anew in silence", async () => {
  const store = new CheckpointStore(folder, "t");
  await store.save(3, {}, async () => {});
  rmSync(store.pathOf(3), { recursive: true });
  const refused = expect(whereToStart(store, config, "auto")).rejects;
  await refused.toMatchObject({
    message: expect.stringContaining("t-latest leads to t-s3, which is gone"),
    hint: expect.stringContaining("--resume never"),
  });
  expect(await whereToStart(store, config, "never")).toEqual({});
});

test("a run that is set aside is whole, and nothing else goes with it", () => {
  const run = ["config.yaml", "log.txt", "metrics.jsonl", "run.json"];
  const others = ["notes.md", "data", "before-7", "clips.csv"];
  for (const name of [...run, "t_r0.csv", "u_r12.csv", "notes.md", "clips.csv"])
    writeFileSync(join(folder, name), "");
  for (const name of ["t-s4", "data", "before-7"])
    mkdirSync(join(folder, name));
  for (const name of ["t-latest", "t-e1"])
    symlinkSync("t-s4", join(folder, name));
  writeFileSync(join(folder, "events.out.tfevents.1.host"), "");
  expect(setRunAside(folder)).toBe(join(folder, "before-1"));
  expect(readdirSync(folder).sort()).toEqual([...others, "before-1"].sort());
  expect(readdirSync(join(folder, "before-1"))).toHaveLength(10);
  expect(setRunAside(folder)).toBeUndefined();
});
