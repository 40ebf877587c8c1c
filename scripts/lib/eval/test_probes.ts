/** Classification by probes that were trained before: `probe.checkpoint`. */

import { AvjepaError } from "@avjepa/core";
import { checkLabels, predictAll } from "@avjepa/evals";

import { clipPlans } from "./clips.ts";
import type { EvalContext } from "./context.ts";
import { alignClasses, type EvalIndex } from "./index_source.ts";
import { inputsOf, nameOf, taskOf, together } from "./inputs.ts";
import { testBatch } from "./probe_task.ts";
import {
  type ClassificationResult,
  reportClassification,
  skippedFiles,
} from "./report.ts";
import { labelsOf, openSplit, requireSamples } from "./samples.ts";
import { tokensOf } from "./tokens.ts";
import { loadTrainedProbe, type TrainedProbe } from "./trained_probe.ts";

/** Tests probes, and trains none; null when it was stopped. */
export async function testProbes(
  context: EvalContext,
): Promise<Record<string, unknown> | null> {
  const { config, model, stages } = context;
  const { val, names } = await numberedClasses(context);
  for (const notice of val.notices) stages.say(notice);
  const { num_classes, multi_label } = config.data;
  checkLabels(val, null, num_classes!, multi_label);
  const inputs = inputsOf(config, model, (text) => stages.say(text));
  // All are read before hours of encoding.
  const probes = new Map<string, TrainedProbe>();
  for (const [input, modalities] of Object.entries(inputs)) {
    const wanted = {
      name: nameOf(context, input),
      task: taskOf(config, modalities),
    };
    probes.set(input, await loadTrainedProbe(context, wanted));
  }
  const plan = clipPlans(config).val;
  const cache = await tokensOf({ ...context, inputs }, "val", val, plan);
  if (cache === null) return null;
  const results: Record<string, ClassificationResult> = {};
  for (const [input, modalities] of Object.entries(inputs)) {
    using probe = probes.get(input)!;
    const name = nameOf(context, input);
    const set = await cache.open(input);
    requireSamples(set, val, name);
    const valLabels = labelsOf(set, val);
    const samples = [...valLabels.keys()];
    stages.begin(`${name}: testing`, "samples");
    const [predictions] = await predictAll(
      probe.grid,
      set,
      samples,
      valLabels,
      {
        batch: testBatch,
        onBatch: (done) => stages.at(done, samples.length),
      },
    );
    results[input] = reportClassification(context, {
      name,
      modalities,
      predictions: predictions!,
      simple: {},
      probes: [{ probe: probe.facts, grid: [] }],
      valLabels,
      classNames: names,
      trainSamples: 0,
      skipped: skippedFiles(val, cache, set),
    });
  }
  return together(results);
}

/** The test samples, whose class folders are numbered as the training set's. */
async function numberedClasses(context: EvalContext): Promise<{
  val: EvalIndex;
  names: readonly string[] | null;
}> {
  const { data } = context.config;
  const val = await openSplit(context, "val");
  if (val.classes === null) return { val, names: null };
  const aligned =
    data.dataset_train !== undefined || data.root_path !== undefined;
  const train = aligned ? await openSplit(context, "train") : val;
  const names = train.classes;
  if (names?.length !== data.num_classes)
    throw new AvjepaError(
      "AVJ_LABEL",
      `${train.name} has ${names?.length ?? "no"} class folders, but data.num_classes is ${data.num_classes}: which number a folder of ${val.name} has is not known`,
      {
        hint: "give the folder that the probe was trained on as data.dataset_train, or an index as data.dataset_val",
      },
    );
  return { val: alignClasses(train, val), names };
}
