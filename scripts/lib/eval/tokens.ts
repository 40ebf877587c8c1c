/** The tokens of an evaluation's splits: found in the cache, or made. */

import { AvjepaError } from "@avjepa/core";
import {
  type CacheSettings,
  encodeBatch,
  encodeIndex,
  TokenCache,
} from "@avjepa/evals";
import {
  formatBytes,
  type ResolvedEvalConfig,
  RunFolder,
  type StopFlag,
} from "@avjepa/train";
import { existsSync, mkdirSync, statfsSync } from "node:fs";
import { dirname, join } from "node:path";

import { type ClipPlan, clipSource } from "./clips.ts";
import { pictureSource } from "./images.ts";
import type { EvalIndex } from "./index_source.ts";
import type { SampleSource, SourceContext } from "./source.ts";
import type { Stages } from "./stage.ts";

/** What encodes, and who is told. */
export interface TokenMaker extends SourceContext {
  stages: Stages;
  stop: StopFlag;
}

/** The folder below which tokens are kept. */
function cacheRoot({ cache, logging }: ResolvedEvalConfig): string {
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
  const { model, config, inputs, stages } = maker;
  const source =
    config.eval_name === "image_classification_frozen"
      ? pictureSource(maker, index, plan)
      : clipSource(maker, index, plan);
  const { sequences } = source;
  const root = cacheRoot(config);
  const settings: CacheSettings = {
    format: 1,
    weights: model.hash,
    encoder: { key: config.pretrain.checkpoint_key, ...model.facts },
    index: index.fingerprint,
    samples: source.settings,
    ...sequences,
    modalities: inputs,
    inputs: Object.keys(inputs),
  };
  const total = index.paths.length;
  const found = new TokenCache(root, settings);
  if (found.complete) {
    stages.say(`tokens of ${name}: ${total} samples are in ${found.folder}`);
    return found;
  }
  // Evaluations of the same clips may share a cache, but one encodes them.
  const lock = RunFolder.open(found.folder);
  try {
    return await encoded(maker, name, source, total, root, settings);
  } finally {
    lock.release();
  }
}

/** Encodes what the folder does not have, holding its lock. */
async function encoded(
  maker: TokenMaker,
  name: string,
  { batch, encoder, open, sequences, tokens }: SampleSource,
  total: number,
  root: string,
  settings: CacheSettings,
): Promise<TokenCache | null> {
  const { stages, stop } = maker;
  const cache = new TokenCache(root, settings);
  if (cache.done > 0)
    stages.say(`tokens of ${name}: going on after ${cache.done} samples`);
  else requireRoom(maker, name, total * tokens, root);
  stages.begin(`encoding ${name}`, "samples", cache.done);
  const whole = await encodeIndex(cache, {
    encode: (samples, position) =>
      encodeBatch(encoder, samples, position, sequences),
    total,
    batch,
    open,
    onBatch: (done) => stages.at(done, total),
    stopped: () => stop.signal !== undefined,
  });
  return whole ? cache : null;
}

/** Refuses what would not fit, before hours of work. */
function requireRoom(
  { model, config }: TokenMaker,
  name: string,
  tokens: number,
  root: string,
): void {
  const { cache } = config;
  const width = model.facts.dims.embedDim * (cache.dtype === "float32" ? 4 : 2);
  const bytes = tokens * width;
  const most = cache.max_bytes ?? freeBytes(root);
  if (most === null || bytes <= most) return;
  throw new AvjepaError(
    "AVJ_TOKENS",
    `the tokens of ${name} would take ${formatBytes(bytes)} in ${root}, where ${cache.max_bytes === null ? "there are" : "cache.max_bytes allows"} ${formatBytes(most)}`,
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
