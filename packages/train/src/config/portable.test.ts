import { expect, test } from "bun:test";
import { join } from "node:path";

import { loadPretrainConfig } from "./load.ts";
import { configHash, diffConfigs, portableConfig } from "./portable.ts";

const demo = join(import.meta.dir, "../../../../configs/pretrain/demo.yaml");
const load = (...set: string[]) =>
  loadPretrainConfig(demo, { set, env: {} }).config;

test("changes are listed, harmless ones as such", () => {
  const before = load();
  const after = load(
    "optimization.epochs=20",
    "meta.keep_checkpoints=5",
    "mask[1].num_blocks=3",
    "data.datasets=[/elsewhere/train.csv]",
  );
  expect(diffConfigs(before, after)).toEqual([
    { key: "mask[1].num_blocks", before: 2, after: 3, harmless: false },
    { key: "optimization.epochs", before: 8, after: 20, harmless: false },
    { key: "meta.keep_checkpoints", before: 2, after: 5, harmless: true },
  ]);
  expect(diffConfigs(before, before)).toEqual([]);
});

test("a checkpoint's part knows no folders and no harmless keys", () => {
  const a = load("logging.folder=a", "data.num_workers=1");
  const b = load(
    "logging.folder=b",
    "data.num_workers=4",
    "meta.checkpoint_every_steps=1",
  );
  expect(JSON.stringify(portableConfig(a))).toBe(
    JSON.stringify(portableConfig(b)),
  );
  expect(JSON.stringify(portableConfig(a))).not.toContain("runs/");
  expect(configHash(a)).toBe(configHash(b));
  expect(configHash(a)).not.toBe(configHash(load("meta.seed=1")));
  expect(diffConfigs(portableConfig(a), load("meta.seed=1"))).toEqual([
    { key: "meta.seed", before: 0, after: 1, harmless: false },
  ]);
});
