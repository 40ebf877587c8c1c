/** Measures what frozen features are worth: bun run eval CONFIG */

import "./lib/told.ts";

import { AvjepaError, describeDevice } from "@avjepa/core";
import {
  checkpointPath,
  formatPlan,
  loadEvalConfig,
  loadFrozenModel,
  loadPretrainConfig,
  openDevice,
  placeFromEnvironment,
  planRun,
  replaceFile,
  requireModel,
  RunFolder,
  RunInfo,
  StopFlag,
  exitStopped,
  toYaml,
} from "@avjepa/train";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

import {
  type CommonOptions,
  makeCommand,
  type Outcome,
  printer,
  runCommand,
  warn,
} from "./lib/cli.ts";
import { classify } from "./lib/eval/classification.ts";
import { evalConfigHash } from "./lib/eval/config_key.ts";
import { formatEvalPlan, planEvaluation } from "./lib/eval/plan.ts";
import { predictPixels } from "./lib/eval/prediction.ts";
import { retrieve } from "./lib/eval/retrieval.ts";
import { Stages } from "./lib/eval/stage.ts";
import { testProbes } from "./lib/eval/test_probes.ts";

const command = makeCommand({
  name: "eval",
  summary:
    "Train probes on the frozen features of a pretrained encoder and test them. Tokens are encoded once and kept; an evaluation that was stopped goes on.",
  config: "required",
  common: [
    "folder",
    "devices",
    "set",
    "resume",
    "steps",
    "seed",
    "dryRun",
    "json",
  ],
  examples: [
    "bun run eval configs/evals/vitt16_k400_16x8x3.yaml",
    "bun run eval configs/evals/vitt16_k400_16x8x3.yaml --set pretrain.folder=runs/first --set pretrain.checkpoint=null --set data.dataset_train=train.csv --set data.dataset_val=test.csv --set data.num_classes=10",
  ],
});

command.option(
  "--allow-missing <pattern...>",
  "weights that a published checkpoint may lack, such as 'patch_embed.audio_proj.*'",
);

await runCommand<{ allowMissing?: string[] }>(command, async (options) => {
  // An evaluation is one process, of however many a launcher has started.
  if ((placeFromEnvironment()?.rank ?? 0) > 0) return { silent: true };
  if (isPretraining(options.config as string)) return predict(options);
  // --- What is asked for -------------------------------------------------------------------------------------------
  const { folder, seed, set } = options;
  const { config, warnings } = loadEvalConfig(options.config as string, {
    set,
    folder,
    seed,
    allowUnset: options.dryRun,
  });
  warnings.forEach(warn);
  const device = openDevice(options.devices);
  if (options.dryRun) {
    const plan = await planEvaluation(config, warn);
    formatEvalPlan(plan).forEach(printer(options.json));
    return { result: plan };
  }
  const { pretrain } = config;

  // --- The encoder -------------------------------------------------------------------------------------------------
  const path = checkpointPath(pretrain.folder, pretrain.checkpoint);
  const model = await loadFrozenModel(path, {
    key: pretrain.checkpoint_key,
    device,
    ...(config.eval_name === "image_classification_frozen"
      ? { crop: config.data.resolution, frames: pretrain.frames_per_clip }
      : {
          crop: config.optimization.resolution,
          frames: config.data.frames_per_clip,
        }),
    hints: {
      ...(pretrain.frames_per_clip > 1
        ? { frames: pretrain.frames_per_clip }
        : {}),
      ...(pretrain.num_heads === null ? {} : { numHeads: pretrain.num_heads }),
    },
    allowMissing: [...pretrain.allow_missing, ...(options.allowMissing ?? [])],
    positions: config.meta.compat === "reference" ? "analytic" : "interpolate",
  });
  requireModel(model.facts, pretrain, model.path);

  // --- The folder --------------------------------------------------------------------------------------------------
  const run = RunFolder.open(config.logging.folder);
  const stages = new Stages(join(run.path, "log.txt"));
  const hash = evalConfigHash(config);
  replaceFile(join(run.path, "config.yaml"), toYaml(config));
  const info = new RunInfo(run.path, {
    device: `${device} (${describeDevice(device)})`,
    dtype: config.optimization.use_bfloat16 ? "bfloat16" : "float32",
    world: 1,
    config_hash: hash,
    from_step: 0,
  });
  for (const note of model.notes) stages.say(note);
  using stop = new StopFlag((text) => stages.say(text));

  // --- The evaluation ----------------------------------------------------------------------------------------------
  const tag = pretrain.write_tag ?? "probe";
  const train = config.probe.checkpoint === null ? classify : testProbes;
  const evaluate = config.eval_name === "retrieval" ? retrieve : train;
  const figures = await evaluate({
    config,
    folder: run.path,
    tag,
    device,
    model,
    stages,
    stop,
    anew: options.resume === "never",
    steps: options.steps,
  });
  if (figures === null) {
    info.end(0, `stopped by ${stop.signal}`);
    stages.say(`stopped by ${stop.signal}: the same command goes on`);
    return { exitCode: exitStopped, result: { outcome: "stopped" } };
  }
  const result = {
    task: config.eval_name,
    ...figures,
    checkpoint: model.path,
    config_hash: hash,
  };
  const file = join(run.path, "result.json");
  replaceFile(file, `${JSON.stringify(result, null, 2)}\n`);
  info.end(0, "finished");
  stages.say(`result: ${file}`);
  run.release();
  return { result: { outcome: "finished", folder: run.path, ...result } };
});

/** The prediction task's configurations are pretraining's: they name an application. */
function isPretraining(path: string): boolean {
  return existsSync(path) && /^app\s*:/m.test(readFileSync(path, "utf8"));
}

/** `app: avprediction`: a decoder on a frozen predictor. */
async function predict(options: CommonOptions): Promise<Outcome> {
  const { folder, seed, set, steps, dryRun } = options;
  const path = options.config as string;
  const { config, warnings } = loadPretrainConfig(path, {
    set,
    folder,
    seed,
    allowUnset: dryRun,
  });
  warnings.forEach(warn);
  if (config.app !== "avprediction")
    throw new AvjepaError("AVJ_APP", `${path} is for app: ${config.app}`, {
      hint: `bun run pretrain ${path} trains it; evaluations are in configs/evals`,
    });
  const device = openDevice(options.devices);
  const about = `${device} (${describeDevice(device)})`;
  if (dryRun) {
    const plan = planRun(config, 1, { device: about });
    formatPlan(plan).forEach(printer(options.json));
    return { result: plan };
  }
  return predictPixels(config, {
    device,
    about,
    ...(steps === undefined ? {} : { steps }),
    anew: options.resume === "never",
  });
}
