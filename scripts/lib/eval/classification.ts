/** Classification of videos, sounds, or both, by probes on frozen features. */

import {
  checkLabels,
  emptyPredictions,
  namedFolds,
  numberedFolds,
  type Predictions,
  scatterPredictions,
  stratifiedFolds,
  type TokenCache,
  type TokenSet,
} from "@avjepa/evals";
import { AvjepaError } from "@avjepa/core";
import type { ResolvedEvalConfig } from "@avjepa/train";

import { clipPlans } from "./clips.ts";
import { EpochLog } from "./epoch_log.ts";
import { alignClasses, type EvalIndex } from "./index_source.ts";
import { type PointResult, runProbes } from "./probe_task.ts";
import {
  type ClassificationResult,
  type Figures,
  reportClassification,
  scoreOf,
  skippedFiles,
} from "./report.ts";
import { runSimpleProbes } from "./simple_probes.ts";
import { configKey } from "./config_key.ts";
import type { EvalContext } from "./context.ts";
import { inputsOf, nameOf, taskOf, together } from "./inputs.ts";
import { labelsOf, openSplit, requireSamples } from "./samples.ts";
import { tokensOf } from "./tokens.ts";

/** The evaluation; null when it was stopped. */
export async function classify(
  context: EvalContext,
): Promise<Record<string, unknown> | null> {
  const { config, model, stages } = context;
  const { data } = config;
  const open = (split: "train" | "val") => openSplit(context, split);
  const train = await open("train");
  // In cross-validation the training set is tested, part by part.
  const val = data.folds > 1 ? train : alignClasses(train, await open("val"));
  for (const notice of new Set([...train.notices, ...val.notices]))
    stages.say(notice);
  checkLabels(train, val, data.num_classes!, data.multi_label);

  // --- Tokens ------------------------------------------------------------------------------------------------------
  const inputs = inputsOf(config, model, (text) => stages.say(text));
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
    const name = nameOf(context, input);
    const sets = await sameSamples(trainCaches, input);
    const valSet = await valCache.open(input);
    requireSamples(sets[0]!, train, name);
    requireSamples(valSet, val, name);
    const outcome = await probeInput(context, {
      name,
      modalities,
      train,
      sets,
      val,
      valSet,
    });
    if (outcome === null) return null;
    results[input] = reportClassification(context, {
      name,
      modalities,
      ...outcome,
      classNames: train.classes,
      trainSamples: sets[0]!.samples,
      skipped: {
        ...skippedFiles(train, trainCaches[0]!, sets[0]!),
        ...skippedFiles(val, valCache, valSet),
      },
    });
  }
  return together(results);
}

/** One input of the encoder: the tokens of training and test samples. */
interface ProbedInput {
  name: string;
  modalities: readonly string[];
  train: EvalIndex;
  sets: readonly TokenSet[];
  val: EvalIndex;
  valSet: TokenSet;
}

/** Probes of all folds, and what they say of the tested samples; null when stopped. */
async function probeInput(context: EvalContext, input: ProbedInput) {
  const { config, folder, model } = context;
  const { name, modalities, train, sets, val, valSet } = input;
  const [first] = sets as [TokenSet, ...TokenSet[]];
  const trainLabels = labelsOf(first, train);
  const valLabels = labelsOf(valSet, val);
  const { folds } = config.data;
  const foldOf = folds === 1 ? null : foldsOf(config, train);
  const { num_classes: classes, multi_label: multiLabel } = config.data;
  const none = () => emptyPredictions(valSet.samples, classes!, multiLabel);
  const predictions = none();
  const simple: Record<string, { predictions: Predictions; facts: Figures }> =
    {};
  const probes: { probe: Record<string, unknown>; grid: PointResult[] }[] = [];
  for (let fold = 0; fold < folds; fold++) {
    const tag = foldOf === null ? name : `${name}-fold${fold + 1}`;
    const trainSamples = samplesWhere(
      first,
      (line) => foldOf === null || foldOf[line] !== fold,
    );
    const valSamples = samplesWhere(
      valSet,
      (line) => foldOf === null || foldOf[line] === fold,
    );
    const result = await runProbes(
      {
        tag,
        task: taskOf(config, modalities),
        train: sets,
        trainLabels,
        trainSamples,
        val: valSet,
        valLabels,
        valSamples,
        numHeads: model.facts.dims.numHeads,
        key: configKey(config, model, [train, val]),
        encoder: model.hash,
      },
      { ...context, log: new EpochLog(folder, tag) },
      scoreOf,
    );
    if (result === null) return null;
    const found = await runSimpleProbes(context, {
      name: tag,
      train: first,
      trainLabels,
      split: result.split,
      val: valSet,
      valLabels,
      valSamples,
    });
    if (found === null) return null;
    scatterPredictions(result.predictions, valSamples, predictions);
    for (const [kind, { predictions: own, facts }] of Object.entries(found)) {
      const whole = (simple[kind] ??= {
        predictions: none(),
        facts: folds === 1 ? facts : {},
      });
      scatterPredictions(own, valSamples, whole.predictions);
    }
    const { projection, blocks, numHeads } = result.shape;
    const best = result.points[result.best]!;
    probes.push({
      probe: { ...best, projection, blocks, num_heads: numHeads },
      grid: result.points,
    });
  }
  return { predictions, simple, probes, valLabels };
}

/** The fold of each line of an index. */
function foldsOf({ data, meta }: ResolvedEvalConfig, index: EvalIndex) {
  if (index.folds !== null)
    return numberedFolds(index.folds, data.folds, index.name);
  if (data.fold_pattern !== null)
    return namedFolds(index.paths, data.fold_pattern, data.folds);
  const classes = index.labels.map((label) =>
    typeof label === "number" ? label : 0,
  );
  return stratifiedFolds(classes, data.folds, meta.seed);
}

function samplesWhere(
  set: TokenSet,
  wanted: (line: number) => boolean,
): Int32Array {
  return Int32Array.from(
    Array.from(set.indices.keys()).filter((i) => wanted(set.indices[i]!)),
  );
}

/** The passes' tokens. A file that can be read once can be read again. */
async function sameSamples(
  caches: readonly TokenCache[],
  input: string,
): Promise<TokenSet[]> {
  const sets: TokenSet[] = [];
  for (const cache of caches) sets.push(await cache.open(input));
  const lines = sets[0]!.indices.join();
  if (sets.some((set) => set.indices.join() !== lines))
    throw new AvjepaError(
      "AVJ_TOKENS",
      "the passes over the training set have different samples: files changed between them",
      { hint: `remove ${caches.map(({ folder }) => folder).join(" and ")}` },
    );
  return sets;
}
