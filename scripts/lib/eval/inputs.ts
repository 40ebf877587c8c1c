/** What the encoder is given: one input, or several of which each has a probe and figures of its own. */

import { AvjepaError } from "@avjepa/core";
import type { Inputs } from "@avjepa/evals";
import type { FrozenModel, ResolvedEvalConfig } from "@avjepa/train";

import type { EvalContext } from "./context.ts";
import type { ClassificationResult } from "./report.ts";

/** What the encoder is given, by name. */
export function inputsOf(
  config: ResolvedEvalConfig,
  model: FrozenModel,
  say: (text: string) => void,
): Inputs {
  if (config.eval_name === "image_classification_frozen")
    return { clips: ["video"] };
  const { modalities } = config.data;
  if (model.facts.audio === null && modalities.includes("audio")) {
    if (config.eval_name !== "video_classification_frozen")
      throw new AvjepaError(
        "AVJ_CONFIG",
        `${config.eval_name}: the encoder of ${model.path} has no sound`,
        { hint: "take a checkpoint of an audio-visual run (app: avjepa)" },
      );
    say("the encoder has no sound: it is given the picture alone");
    return { clips: ["video"] };
  }
  return config.eval_name === "audiovisual_classification"
    ? { joint: ["video", "audio"], video: ["video"], audio: ["audio"] }
    : { clips: modalities };
}

/** What an input's probe is of, as its checkpoint says it. */
export const taskOf = (
  { eval_name }: ResolvedEvalConfig,
  modalities: readonly string[],
): string => `${eval_name} of ${modalities.join(" and ")}`;

/** Of an input's files: `probe`, or of one of several inputs `probe-joint`. */
export const nameOf = (
  { tag }: Pick<EvalContext, "tag">,
  input: string,
): string => (input === "clips" ? tag : `${tag}-${input}`);

/** The figures of all inputs; those of the only one, or of both modalities together, stand first. */
export function together(
  results: Record<string, ClassificationResult>,
): Record<string, unknown> {
  const [first] = Object.values(results);
  const only = Object.keys(results).length === 1;
  return only ? { ...first } : { ...results.joint, inputs: results };
}
