/** Retrieval: which sound belongs to a picture, and back. */

import { AvjepaError } from "@avjepa/core";
import type { ClipBatch } from "@avjepa/data";
import {
  centred,
  type CrossModalModels,
  crossModalRows,
  type CrossModalVectors,
  type EncodedBatch,
  encodeIndex,
  type Recall,
  recallBetween,
  type SampleTokens,
  TokenCache,
  type TokenSet,
} from "@avjepa/evals";
import { loadFrozenModels, type ResolvedEvalConfig } from "@avjepa/train";
import { mkdirSync } from "node:fs";
import { join } from "node:path";

import { loaderOptions, openClips } from "./clips.ts";
import type { EvalContext } from "./context.ts";
import { type EvalIndex, openIndex } from "./index_source.ts";

const kinds = [
  "video",
  "audio",
  "videoFromAudio",
  "audioFromVideo",
] as const satisfies (keyof CrossModalVectors)[];

/** The evaluation; null when it was stopped. */
export async function retrieve(
  context: EvalContext,
): Promise<Record<string, unknown> | null> {
  const { config, folder, model, stages, stop } = context;
  if (model.facts.audio === null)
    throw new AvjepaError(
      "AVJ_CONFIG",
      `retrieval: the encoder of ${model.path} has no sound`,
      { hint: "take a checkpoint of an audio-visual run (app: avjepa)" },
    );
  const work = join(folder, "indexes");
  mkdirSync(work, { recursive: true });
  const index = await openIndex(config.data.dataset_val!, work, "val");
  for (const notice of index.notices) stages.say(notice);
  const total = index.paths.length;
  const cache = await vectorsOf(context, index);
  if (cache === null) return null;
  const sets = {} as Record<(typeof kinds)[number], TokenSet>;
  for (const kind of kinds) sets[kind] = await cache.open(kind);
  const { dim } = sets.video;
  const used = Array.from(sets.video.indices);
  if (used.length < 2)
    throw new AvjepaError(
      "AVJ_DATA",
      `${index.name}: ${used.length} of ${total} samples have both picture and sound; retrieval needs at least 2`,
      { hint: `bun run doctor ${index.file} lists what they lack` },
    );

  const vector = (kind: (typeof kinds)[number]) =>
    Float64Array.from(sets[kind].pooled());
  const pooled = (kind: "video" | "audio") => centred(vector(kind), dim);
  const there = new Set(used);
  const why = new Map(
    cache.skipped.map(({ index: line, reason }) => [line, reason]),
  );
  const skipped = index.paths.flatMap((path, line) =>
    there.has(line)
      ? []
      : [[path, why.get(line) ?? "it lacks picture or sound"] as const],
  );
  const [video, audio] = [pooled("video"), pooled("audio")];
  const asked = [
    ["pooled", "audio_to_video", audio, video, "cosine"],
    ["pooled", "video_to_audio", video, audio, "cosine"],
    [
      "predictor",
      "audio_to_video",
      vector("videoFromAudio"),
      vector("video"),
      "l1",
    ],
    [
      "predictor",
      "video_to_audio",
      vector("audioFromVideo"),
      vector("audio"),
      "l1",
    ],
  ] as const;
  const figures: Record<string, Record<string, Recall>> = {};
  for (const [by, way, from, to, similarity] of asked) {
    const what = `${way.replaceAll("_", " ")} by ${by}`;
    stages.begin(what, "queries");
    const recall = await recallBetween(from, to, dim, similarity, (done) => {
      stages.at(done, used.length);
      return stop.signal !== undefined;
    });
    if (recall === null) return null;
    (figures[by] ??= {})[way] = recall;
    stages.say(
      `${what}: R@1 ${recall.R1.toFixed(2)}  R@5 ${recall.R5.toFixed(2)}  R@10 ${recall.R10.toFixed(2)}  median rank ${recall.median_rank}`,
    );
  }
  return {
    ...figures,
    num_samples: used.length,
    skipped: skipped.map(([path]) => path),
    skipped_reasons: Object.fromEntries(skipped),
  };
}

/**
 * The vectors of all samples, each a sequence of one token: what a stopped
 * evaluation has made is found again. null when it was stopped.
 */
async function vectorsOf(
  context: EvalContext,
  index: EvalIndex,
): Promise<TokenCache | null> {
  const { config, folder, model, device, stages, stop } = context;
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
  const { num_workers: _, max_bad_fraction: __, ...data } = options.data ?? {};
  const cache = new TokenCache(join(folder, "vectors"), {
    weights: model.hash,
    index: index.fingerprint,
    samples: { ...options, batch: undefined, data },
    bfloat16: config.optimization.use_bfloat16,
    inputs: kinds,
    dtype: "float32",
  });
  const total = index.paths.length;
  stages.begin("encoding val", "samples", cache.done);
  if (cache.done > 0 && !cache.complete)
    stages.say(`vectors of val: going on after ${cache.done} samples`);
  const whole = await encodeIndex(cache, {
    total,
    batch: options.batch,
    open: (position) => openClips(index, options, position, device),
    encode: (batch: ClipBatch, position) =>
      vectorsOfBatch(models as CrossModalModels, batch, position, config),
    onBatch: (done) => stages.at(done, total),
    stopped: () => stop.signal !== undefined,
  });
  return whole ? cache : null;
}

/** Of each sample that has both picture and sound, the mean of its clips' vectors. */
async function vectorsOfBatch(
  models: CrossModalModels,
  batch: ClipBatch,
  position: number,
  { optimization }: ResolvedEvalConfig,
): Promise<EncodedBatch> {
  const { rows, vectors, dim } = await crossModalRows(
    models,
    batch,
    optimization.use_bfloat16,
  );
  const samples: SampleTokens[] = [];
  for (let s = 0; s < batch.samples; s++) {
    // Another file in the place of a broken one.
    if (batch.indices[s] !== position + s) continue;
    const own = [...rows.keys()].filter((i) => rows[i]! % batch.samples === s);
    const mean = (of: Float64Array): Float32Array =>
      Float32Array.from({ length: dim }, (_, d) =>
        own.reduce((sum, i) => sum + of[i * dim + d]! / own.length, 0),
      );
    const sequences = Object.fromEntries(
      kinds.map((kind) => [kind, own.length > 0 ? [mean(vectors[kind])] : []]),
    );
    samples.push({ index: position + s, sequences });
  }
  const skipped = batch.events.filter(({ replaced }) => replaced);
  return { samples, skipped, dim };
}
