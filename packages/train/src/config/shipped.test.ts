import { describe, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { formatError } from "@avjepa/core/error";

import { audioGrid, videoGrid } from "./derived.ts";
import { loadEvalConfig, loadPretrainConfig } from "./load.ts";
import { configHash } from "./portable.ts";
import { toYaml } from "./to_yaml.ts";

const configs = join(import.meta.dir, "../../../../configs");
const env = { AVJEPA_DATA: "/data" };
const pretrain = readdirSync(join(configs, "pretrain"));
const evals = readdirSync(join(configs, "evals"));

/** Load what a resolved configuration is written as. */
function reload<T>(
  config: Parameters<typeof toYaml>[0],
  load: (p: string) => T,
) {
  const folder = mkdtempSync(join(tmpdir(), "avjepa-config-"));
  try {
    const path = join(folder, "config.yaml");
    writeFileSync(path, toYaml(config));
    return load(path);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Runs that were not published: the demo, and a few steps for continuous integration. */
const own = ["demo.yaml", "smoke.yaml"];

test("the reference's ten and eighteen are there, by its names", () => {
  expect(pretrain.filter((f) => !own.includes(f)).sort()).toEqual(
    [
      "av-vitb16.yaml",
      "av-vitb16_prediction.yaml",
      "av-vits16.yaml",
      "av-vits16_prediction.yaml",
      "av-vitt16.yaml",
      "av-vitt16_prediction.yaml",
      "v-vitb16.yaml",
      "vith16.yaml",
      "vith16_384.yaml",
      "vitl16.yaml",
    ].sort(),
  );
  expect(evals).toHaveLength(18);
});

describe("each resolves, and what it is written as resolves to the same", () => {
  test.each(pretrain)("pretrain/%s", (file) => {
    const { config, warnings } = loadPretrainConfig(
      join(configs, "pretrain", file),
      { env },
    );
    expect(warnings.length).toBe(own.includes(file) ? 0 : 1);
    const again = reload(config, (p) => loadPretrainConfig(p, { env: {} }));
    expect(again.config).toEqual(config);
    expect(again.warnings).toEqual([]);
    expect(configHash(again.config)).toBe(configHash(config));
  });
  test.each(evals)("evals/%s", (file) => {
    const { config, warnings } = loadEvalConfig(join(configs, "evals", file), {
      env,
    });
    expect(warnings).toHaveLength(1);
    const again = reload(config, (p) => loadEvalConfig(p, { env: {} }));
    expect(again.config).toEqual(config);
    expect(again.warnings).toEqual([]);
  });
});

test("on a bare machine one error names the ways out", () => {
  const path = join(configs, "pretrain/vitl16.yaml");
  let text = "";
  try {
    loadPretrainConfig(path, { env: {} });
  } catch (error) {
    text = formatError(error);
  }
  expect(text).toStartWith("error: AVJEPA_DATA is not set");
  expect(text).toContain("--set data.datasets=[");
  expect(text).toContain("bun run demo");
  expect(text.match(/^error/gm)).toHaveLength(1);

  const { config } = loadPretrainConfig(path, {
    env: {},
    set: ["data.datasets=[clips.csv]"],
  });
  expect(config.data.datasets).toEqual(["clips.csv"]);
  expect(config.logging.folder).toBe("runs/vitl16");
});

test("the original's video configurations have its masks and sampling", () => {
  const load = (name: string) =>
    loadPretrainConfig(join(configs, "pretrain", name), { env }).config;
  for (const name of ["vitl16.yaml", "vith16.yaml", "vith16_384.yaml"])
    expect(load(name).data).toMatchObject({
      mask_mode: "reference",
      frame_sampling: "reference",
      modalities: ["video"],
    });
  expect(videoGrid(load("vith16_384.yaml"))).toEqual([8, 24, 24]);
  const av = load("av-vitt16.yaml");
  expect(av.data).toMatchObject({
    mask_mode: "unbiased",
    frame_sampling: "exact",
    modalities: ["video", "audio"],
  });
  expect(audioGrid(av)).toMatchObject({ rows: 8, cols: 13, frames: 208 });
});

test("meta.compat: reference sets every difference that has a key", () => {
  const path = join(configs, "pretrain/av-vitt16.yaml");
  const set = ["meta.compat=reference"];
  const { config } = loadPretrainConfig(path, { env, set });
  expect(config.data).toMatchObject({
    mask_mode: "reference",
    frame_sampling: "reference",
    missing_audio: "skip",
    audio: { preset: "reference", mean: 0, std: 0.5 },
  });
  expect(config.optimization.clip_grad_after_warmup).toBe(true);
  expect(audioGrid(config)).toMatchObject({ rows: 8, cols: 12 });

  set.push("data.mask_mode=unbiased", "model.model_name=vit_gigantic");
  const mixed = loadPretrainConfig(path, { env, set }).config;
  expect(mixed.data.mask_mode).toBe("unbiased");
  expect(mixed.model.mlp_ratio).toBe(4);
});
