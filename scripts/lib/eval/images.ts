/** The pictures of an evaluation, each held for the encoder's frames. */

import {
  type ImageBatch,
  ImageLoader,
  type ImageLoaderOptions,
  imageSplit,
} from "@avjepa/data";
import type { SampleBatch, SampleLoader } from "@avjepa/evals";
import { allTokens } from "@avjepa/models";
import type { ResolvedEvalConfig } from "@avjepa/train";

import type { ClipPlan } from "./clips.ts";
import type { EvalIndex } from "./index_source.ts";
import type { SampleSource, SourceContext } from "./source.ts";

/** Tokens that a forward pass has, about. */
const tokensOfPass = 16_384;

/** The folder or index of a part: named itself, or in a published set's layout. */
export function imageFolder(
  { data }: ResolvedEvalConfig,
  split: "train" | "val",
): string {
  const own = split === "train" ? data.dataset_train : data.dataset_val;
  return own ?? imageSplit(data.root_path!, data.image_folder!, split);
}

/** The pictures of an index. */
export function pictureSource(
  { model, config, device, inputs }: SourceContext,
  index: EvalIndex,
  plan: ClipPlan,
): SampleSource {
  const { cache, data, meta, optimization, pretrain } = config;
  const { facts } = model;
  const side = Math.floor(data.resolution / facts.patch);
  const frames = facts.frames === 1 ? 1 : pretrain.frames_per_clip;
  const time = frames === 1 ? 1 : Math.floor(frames / facts.tubelet);
  const tokens = time * side * side;
  const batch = Math.max(1, Math.min(64, Math.floor(tokensOfPass / tokens)));
  const options: ImageLoaderOptions = {
    batch,
    train: plan.augment,
    crop: data.resolution,
    patch: facts.patch,
    frames,
    seed: plan.seed,
    order: "sequential",
    passes: 1,
    compat: meta.compat,
    workers: data.num_workers,
    maxBadFraction: data.max_bad_fraction,
    device,
  };
  const { workers: _, maxBadFraction: __, batch: ___, ...kept } = options;
  return {
    batch,
    settings: { ...kept, device: undefined },
    tokens,
    encoder: model.encoder,
    sequences: {
      inputs,
      segments: 1,
      views: 1,
      attend: true,
      dtype: cache.dtype,
      bfloat16: optimization.use_bfloat16,
      // Of evaluations, broken pictures are left out.
      replaces: plan.augment,
    },
    open: (position) => {
      const cursor = { pass: 0, position };
      return new Pictures(
        new ImageLoader(index.file, { ...options, cursor }),
        tokens,
      );
    },
  };
}

/** Batches of pictures as samples of one clip each. */
class Pictures implements SampleLoader {
  readonly #loader: ImageLoader;
  readonly #tokens: number;

  constructor(loader: ImageLoader, tokens: number) {
    this.#loader = loader;
    this.#tokens = tokens;
  }

  async next(): Promise<SampleBatch | null> {
    const batch = await this.#loader.next();
    return batch === null ? null : asSamples(batch, this.#tokens);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#loader.close();
  }
}

function asSamples(batch: ImageBatch, tokens: number): SampleBatch {
  const { samples, indices, events, next, video } = batch;
  const present = allTokens(Math.max(1, samples), {
    video: samples === 0 ? 0 : tokens,
  });
  return { samples, indices, events, next, video, present };
}
