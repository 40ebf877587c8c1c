/** Classification of videos, sounds, or both, by probes on frozen features. */

import {
  checkLabels,
  type Inputs,
  type Labels,
  type TokenCache,
  type TokenSet,
} from "@avjepa/evals";
import { AvjepaError } from "@avjepa/core";
import type { FrozenModel, ResolvedEvalConfig } from "@avjepa/train";
import { mkdirSync } from "node:fs";
import { join } from "node:path";

import { clipPlans } from "./clips.ts";
import { EpochLog } from "./epoch_log.ts";
import {
  alignClasses,
  type EvalIndex,
  openIndex,
} from "./index_source.ts";
import { runProbes } from "./probe_task.ts";
import {
  type ClassificationResult,
  reportClassification,
  scoreOf,
  skippedFiles,
} from "./report.ts";
import { runSimpleProbes } from "./simple_probes.ts";
import { configKey } from "./config_key.ts";
import type { EvalContext } from "./context.ts";
import { tokensOf } from "./tokens.ts";

/** What the encoder is given, by name. */
export function inputsOf(
  config: ResolvedEvalConfig,
  model: FrozenModel,
): Inputs {
  const { modalities } = config.data;
  if (model.facts.audio === null && modalities.includes("audio")) {
    if (config.eval_name !== "video_classification_frozen")
      throw new AvjepaError(
        "AVJ_CONFIG",
        `${config.eval_name}: the encoder of ${model.path} has no sound`,
        { hint: "take a checkpoint of an audio-visual run (app: avjepa)" },
      );
    return { clips: ["video"] };
  }
  return config.eval_name === "audiovisual_classification"
    ? { joint: ["video", "audio"], video: ["video"], audio: ["audio"] }
    : { clips: modalities };
}

/** The evaluation; null when it was stopped. */
export async function classify(
  context: EvalContext,
): Promise<Record<string, unknown> | null> {
  const { config, folder, model, stages } = context;
  const { data } = config;
  const work = join(folder, "indexes");
  mkdirSync(work, { recursive: true });
  const open = (name: string, as: string) =>
    openIndex(name, work, as, data.multi_label);
  const train = await open(data.dataset_train!, "train");
  const val = alignClasses(train, await open(data.dataset_val!, "val"));
  for (const notice of [...train.notices, ...val.notices]) stages.say(notice);
  checkLabels(train, val, data.num_classes!, data.multi_label);

  // --- Tokens ------------------------------------------------------------------------------------------------------
  const inputs = inputsOf(config, model);
  const maker = { ...context, inputs };
  const plans = clipPlans(config);
  const trainCaches: TokenCache[] = [];
  for (const [pass, plan] of plans.train.entries()) {
    const name = plans.train.length > 1 ? `train, pass ${pass + 1}` : "train";
    const cache = await tokensOf(maker, name, train, plan);
    if (cache === null) return null;
    trainCaches.push(cache);
  }
  const valCache = await tokensOf(maker, "val", val, plans.val);
  if (valCache === null) return null;

  // --- Probes ------------------------------------------------------------------------------------------------------
  const results: Record<string, ClassificationResult> = {};
  for (const [input, modalities] of Object.entries(inputs)) {
    const name = input === "clips" ? context.tag : `${context.tag}-${input}`;
    const sets: TokenSet[] = [];
    for (const cache of trainCaches) sets.push(await cache.open(input));
    const valSet = await valCache.open(input);
    requireSamples(sets[0]!, train, name);
    requireSamples(valSet, val, name);
    const trainLabels = labelsOf(sets[0]!, train);
    const valLabels = labelsOf(valSet, val);
    const result = await runProbes(
      {
        tag: name,
        task: `${config.eval_name} of ${modalities.join(" and ")}`,
        train: sets,
        trainLabels,
        val: valSet,
        valLabels,
        numHeads: model.facts.dims.numHeads,
        key: configKey(config, model, [train, val]),
      },
      { ...context, log: new EpochLog(folder, name) },
      scoreOf,
    );
    if (result === null) return null;
    const simple = await runSimpleProbes(context, {
      name,
      train: sets[0]!,
      trainLabels,
      split: result.split,
      val: valSet,
      valLabels,
    });
    if (simple === null) return null;
    results[input] = reportClassification(context, {
      name,
      modalities,
      result,
      simple,
      valLabels,
      classNames: train.classes,
      trainSamples: sets[0]!.samples,
      skipped: {
        ...skippedFiles(train, trainCaches[0]!, sets[0]!),
        ...skippedFiles(val, valCache, valSet),
      },
    });
  }
  const [first] = Object.values(results);
  const only = Object.keys(results).length === 1;
  return only ? { ...first } : { ...results.joint, inputs: results };
}

/** Labels of a set's samples. */
export function labelsOf(set: TokenSet, index: EvalIndex): Labels {
  return Array.from(set.indices, (line) => index.labels[line]!);
}

function requireSamples(set: TokenSet, index: EvalIndex, name: string): void {
  if (set.samples > 0) return;
  throw new AvjepaError(
    "AVJ_DATA",
    `${name}: none of the ${index.paths.length} samples of ${index.name} gave any tokens`,
    { hint: `bun run doctor ${index.file} says why` },
  );
}
