/** Retrieval: which sound belongs to a picture, and back. */

import { AvjepaError } from "@avjepa/core";
import {
  centred,
  type CrossModalModels,
  crossModalRows,
  recallBetween,
  type SkippedFile,
} from "@avjepa/evals";
import { loadFrozenModels } from "@avjepa/train";
import { mkdirSync } from "node:fs";
import { join } from "node:path";

import { batchOf, loaderOptions, openClips } from "./clips.ts";
import type { EvalContext } from "./context.ts";
import { openIndex } from "./index_source.ts";

const kinds = ["video", "audio", "videoFromAudio", "audioFromVideo"] as const;

/** The evaluation; null when it was stopped (it is short, and keeps nothing). */
export async function retrieve(
  context: EvalContext,
): Promise<Record<string, unknown> | null> {
  const { config, folder, model, device, stages, stop } = context;
  if (model.facts.audio === null)
    throw new AvjepaError(
      "AVJ_CONFIG",
      `retrieval: the encoder of ${model.path} has no sound`,
      { hint: "take a checkpoint of an audio-visual run (app: avjepa)" },
    );
  const work = join(folder, "indexes");
  mkdirSync(work, { recursive: true });
  const index = await openIndex(config.data.dataset_val!, work, "val", false);
  const { models } = await loadFrozenModels(model.path, {
    device,
    crop: config.optimization.resolution,
    frames: config.data.frames_per_clip,
  });
  const plan = {
    segments: config.data.num_segments,
    views: 1,
    augment: false,
    seed: 0,
  };
  const options = loaderOptions(model, config, plan);
  const size = batchOf(model, config, plan);
  const total = index.paths.length;
  const sums: Record<(typeof kinds)[number], number[]> = {
    video: [],
    audio: [],
    videoFromAudio: [],
    audioFromVideo: [],
  };
  const used: number[] = [];
  const reasons: SkippedFile[] = [];
  let dim = 0;
  stages.begin("encoding val", "samples");
  await using loader = openClips(index, options, 0, device);
  for await (const batch of loader) {
    const position = batch.next.position - size;
    const { rows, vectors, ...found } = await crossModalRows(
      models as CrossModalModels,
      batch,
      config.optimization.use_bfloat16,
    );
    reasons.push(...batch.events.filter(({ replaced }) => replaced));
    if (found.dim > 0) dim = found.dim;
    for (let s = 0; s < batch.samples; s++) {
      if (batch.indices[s] !== position + s) continue;
      const own = rows.flatMap((row, i) =>
        row % batch.samples === s ? [i] : [],
      );
      if (own.length === 0) continue;
      used.push(position + s);
      for (const kind of kinds)
        for (let d = 0; d < dim; d++)
          sums[kind].push(
            own.reduce((sum, i) => sum + vectors[kind][i * dim + d]!, 0) /
              own.length,
          );
    }
    stages.at(Math.min(total, position + size), total);
    if (stop.signal) return null;
  }
  if (used.length < 2)
    throw new AvjepaError(
      "AVJ_DATA",
      `${index.name}: ${used.length} of ${total} samples have both picture and sound; retrieval needs at least 2`,
      { hint: `bun run doctor ${index.file} lists what they lack` },
    );

  const vector = (kind: (typeof kinds)[number]) =>
    Float64Array.from(sums[kind]);
  const pooled = (kind: "video" | "audio") => centred(vector(kind), dim);
  const between = (from: Float64Array, to: Float64Array, by: "cosine" | "l1") =>
    recallBetween(from, to, dim, by);
  const there = new Set(used);
  const why = new Map(reasons.map(({ index: line, reason }) => [line, reason]));
  const skipped = index.paths.flatMap((path, line) =>
    there.has(line)
      ? []
      : [[path, why.get(line) ?? "it lacks picture or sound"] as const],
  );
  const figures = {
    pooled: {
      audio_to_video: between(pooled("audio"), pooled("video"), "cosine"),
      video_to_audio: between(pooled("video"), pooled("audio"), "cosine"),
    },
    predictor: {
      audio_to_video: between(vector("videoFromAudio"), vector("video"), "l1"),
      video_to_audio: between(vector("audioFromVideo"), vector("audio"), "l1"),
    },
  };
  for (const [by, directions] of Object.entries(figures))
    for (const [way, recall] of Object.entries(directions))
      stages.say(
        `${way.replaceAll("_", " ")} by ${by}: R@1 ${recall.R1.toFixed(2)}  R@5 ${recall.R5.toFixed(2)}  R@10 ${recall.R10.toFixed(2)}  median rank ${recall.median_rank}`,
      );
  return {
    ...figures,
    num_samples: used.length,
    skipped: skipped.map(([path]) => path),
    skipped_reasons: Object.fromEntries(skipped),
  };
}
