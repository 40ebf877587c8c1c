/** The tokens of an evaluation's splits: found in the cache, or made. */

import { AvjepaError } from "@avjepa/core";
import { encodeIndex, type Inputs, TokenCache } from "@avjepa/evals";
import {
  formatBytes,
  type FrozenModel,
  type ResolvedEvalConfig,
  type StopFlag,
} from "@avjepa/train";
import { existsSync, mkdirSync, statfsSync } from "node:fs";
import { dirname, join } from "node:path";

import {
  cacheSettings,
  type ClipPlan,
  loaderOptions,
  openClips,
  sequenceOptions,
} from "./clips.ts";
import type { EvalIndex } from "./index_source.ts";
import type { Stages } from "./stage.ts";

/** What encodes, and who is told. */
export interface TokenMaker {
  model: FrozenModel;
  config: ResolvedEvalConfig;
  device: string;
  inputs: Inputs;
  stages: Stages;
  stop: StopFlag;
}

/** The folder below which tokens are kept. */
export function cacheRoot({ cache, logging }: ResolvedEvalConfig): string {
  if (cache.folder !== null) return cache.folder;
  const { AVJEPA_CACHE } = process.env;
  return AVJEPA_CACHE
    ? join(AVJEPA_CACHE, "tokens")
    : join(logging.folder, "tokens");
}

/**
 * The tokens of an index's samples, encoded where they are not there yet.
 *
 * @returns null when it was stopped; what was encoded is kept.
 * @throws AvjepaError AVJ_TOKENS when they would not fit on the disk.
 */
export async function tokensOf(
  maker: TokenMaker,
  name: string,
  index: EvalIndex,
  plan: ClipPlan,
): Promise<TokenCache | null> {
  const { model, config, device, inputs, stages, stop } = maker;
  const options = loaderOptions(model, config, plan);
  const sequences = sequenceOptions(config, plan, inputs);
  const root = cacheRoot(config);
  const cache = new TokenCache(
    root,
    cacheSettings(
      model,
      config.pretrain.checkpoint_key,
      index,
      options,
      sequences,
    ),
  );
  const total = index.paths.length;
  if (cache.complete) {
    stages.say(`tokens of ${name}: ${total} samples are in ${cache.folder}`);
    return cache;
  }
  if (cache.done > 0)
    stages.say(`tokens of ${name}: going on after ${cache.done} samples`);
  else requireRoom(maker, name, total, plan, root);
  stages.begin(`encoding ${name}`, "samples", cache.done);
  const whole = await encodeIndex(model.encoder, cache, {
    ...sequences,
    total,
    batch: options.batch,
    open: (position) => openClips(index, options, position, device),
    onBatch: (done) => stages.at(done, total),
    stopped: () => stop.signal !== undefined,
  });
  return whole ? cache : null;
}

/** Refuses what would not fit, before hours of work. */
function requireRoom(
  { model, config, inputs }: TokenMaker,
  name: string,
  samples: number,
  plan: ClipPlan,
  root: string,
): void {
  const { facts } = model;
  const side = Math.floor(config.optimization.resolution / facts.patch);
  const time = Math.ceil(config.data.frames_per_clip / facts.tubelet);
  const tokens = {
    video: time * side * side,
    audio: facts.audio ? facts.audio.rows * facts.audio.cols : 0,
  };
  const clip = Object.values(inputs)
    .flat()
    .reduce((sum, modality) => sum + tokens[modality], 0);
  const width = facts.dims.embedDim * (config.cache.dtype === "float32" ? 4 : 2);
  const bytes = samples * plan.segments * plan.views * clip * width;
  const most = config.cache.max_bytes ?? freeBytes(root);
  if (most === null || bytes <= most) return;
  throw new AvjepaError(
    "AVJ_TOKENS",
    `the tokens of ${name} would take ${formatBytes(bytes)} in ${root}, where ${config.cache.max_bytes === null ? "there are" : "cache.max_bytes allows"} ${formatBytes(most)}`,
    {
      hint: "set cache.folder to a larger disk, or data.num_segments, data.num_views_per_segment or the index to something smaller",
    },
  );
}

/** Of the file system that a folder is on, or will be. */
function freeBytes(folder: string): number | null {
  let there = folder;
  while (!existsSync(there) && dirname(there) !== there) there = dirname(there);
  try {
    mkdirSync(folder, { recursive: true });
    const { bavail, bsize } = statfsSync(there);
    return bavail * bsize;
  } catch {
    return null;
  }
}
