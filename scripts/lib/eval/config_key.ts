/** What decides an evaluation's figures, as one hash. */

import type { FrozenModel, ResolvedEvalConfig } from "@avjepa/train";

import type { EvalIndex } from "./index_source.ts";

/** SHA-256 of a configuration without what only says where things are. */
export function evalConfigHash(config: ResolvedEvalConfig): string {
  const {
    nodes: _,
    tasks_per_node: __,
    resume_checkpoint: ___,
    logging: ____,
    tag: _____,
    ...rest
  } = config;
  const {
    num_workers: a,
    dataset_train: b,
    dataset_val: c,
    ...data
  } = rest.data;
  const { folder: d, max_bytes: e, ...cache } = rest.cache;
  const { folder: f, checkpoint: g, write_tag: h, ...pretrain } = rest.pretrain;
  const { checkpoint: i, ...probe } = rest.probe;
  void [_, __, ___, ____, _____, a, b, c, d, e, f, g, h, i];
  return sha256({ ...rest, data, cache, pretrain, probe });
}

/** The same with the encoder's weights and the indexes. */
export function configKey(
  config: ResolvedEvalConfig,
  model: FrozenModel,
  indexes: readonly EvalIndex[],
): string {
  return sha256([
    evalConfigHash(config),
    model.hash,
    indexes.map(({ fingerprint, labels }) => [fingerprint, labels]),
  ]);
}

function sha256(value: unknown): string {
  const sorted = (_: string, v: unknown): unknown =>
    typeof v === "object" && v !== null && !Array.isArray(v)
      ? Object.fromEntries(
          Object.entries(v).sort(([a], [b]) => (a < b ? -1 : 1)),
        )
      : v;
  return new Bun.CryptoHasher("sha256")
    .update(JSON.stringify(value, sorted))
    .digest("hex");
}
