import { expect, test } from "bun:test";
import { join } from "node:path";

import { formatError } from "@avjepa/core/error";

import { loadPretrainConfig } from "./load.ts";
import { portableConfig } from "./portable.ts";
import { checkUnchanged, refuseUnbuilt } from "./resume_check.ts";

const configs = join(import.meta.dir, "../../../../configs/pretrain");
const load = (name: string, ...set: string[]) =>
  loadPretrainConfig(join(configs, name), { set, env: { AVJEPA_DATA: "/d" } })
    .config;

test("a changed configuration is refused, its keys listed, unless allowed", () => {
  const saved = portableConfig(load("demo.yaml"));
  const harmless = load("demo.yaml", "data.num_workers=1");
  expect(checkUnchanged(saved, harmless, "runs/demo", false)).toEqual([]);
  const changed = load("demo.yaml", "optimization.lr=2e-3", "model.depth=2");
  expect(checkUnchanged(saved, changed, "runs/demo", true)).toHaveLength(2);
  let text = "";
  try {
    checkUnchanged(saved, changed, "runs/demo", false);
  } catch (error) {
    text = formatError(error);
  }
  expect(text).toBe(
    [
      "error: the run in runs/demo was configured otherwise",
      "  model.depth: 4, now 2",
      "  optimization.lr: 0.001, now 0.002",
      "  give the run's configuration, or another --folder for a new run",
      "  --allow-change continues with the new values; --resume never starts anew",
    ].join("\n"),
  );
});

test("the prediction task is refused, by name", () => {
  for (const name of ["av-vitt16_prediction.yaml", "av-vitb16_prediction.yaml"])
    expect(() => refuseUnbuilt(load(name), name)).toThrow("prediction task");
  refuseUnbuilt(load("vitl16.yaml"), "vitl16.yaml");
});
