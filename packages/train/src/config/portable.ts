/**
 * What of a configuration decides a run's numbers, and how two differ.
 *
 * A checkpoint holds the portable part: no paths, no counts of threads, none
 * of the keys that may change from one leg of a run to the next, so that equal
 * runs have equal checkpoints wherever they ran.
 */

import { createHash } from "node:crypto";
import { basename } from "node:path";

import { getAt, parsePath } from "./path.ts";
import type { ResolvedPretrainConfig } from "./pretrain.ts";

/** Keys that change how a run is looked after, not what it computes. */
export const harmlessKeys: readonly string[] = [
  "nodes",
  "tasks_per_node",
  "logging.folder",
  "logging.every_steps",
  "logging.collapse_every_steps",
  "logging.held_out_every_steps",
  "logging.online_probe_train",
  "logging.online_probe_val",
  "logging.online_probe_every_steps",
  "logging.tensorboard",
  "data.held_out",
  // How batch_size_total is shared out; another number of processes shares it out otherwise.
  "data.batch_size",
  "optimization.grad_accum",
  "data.num_workers",
  "data.max_bad_fraction",
  "optimization.zero1",
  "optimization.activation_checkpointing",
  "meta.load_checkpoint",
  "meta.read_checkpoint",
  "meta.init_from",
  "meta.allow_missing",
  "meta.checkpoint_every_steps",
  "meta.checkpoint_every_minutes",
  "meta.keep_checkpoints",
  "meta.save_every_freq",
];

/** A configuration's portable part: plain JSON, keys in order. */
export type PortableConfig = Record<string, unknown>;

/** Leave out the harmless keys and the folders of the index files. */
export function portableConfig(config: ResolvedPretrainConfig): PortableConfig {
  const copy = structuredClone(config) as unknown as Record<string, unknown>;
  for (const key of harmlessKeys) {
    const path = parsePath(key)!;
    const section = getAt(copy, path.slice(0, -1)) as Record<string, unknown>;
    delete section[path.at(-1)!];
  }
  (copy.data as { datasets: string[] }).datasets = config.data.datasets.map(
    (path) => basename(path),
  );
  return sorted(copy) as PortableConfig;
}

/** SHA-256 of the portable part, in hexadecimal. */
export function configHash(config: ResolvedPretrainConfig): string {
  const text = JSON.stringify(portableConfig(config));
  return createHash("sha256").update(text).digest("hex");
}

/** A key whose value differs. */
export interface ConfigChange {
  key: string;
  before: unknown;
  after: unknown;
  /** A run may go on with it. */
  harmless: boolean;
}

/**
 * The keys in which a run's configuration and another differ. `before` may be
 * a checkpoint's portable part: what it leaves out is not compared.
 */
export function diffConfigs(
  before: PortableConfig | ResolvedPretrainConfig,
  after: PortableConfig | ResolvedPretrainConfig,
): ConfigChange[] {
  const changes: ConfigChange[] = [];
  const visit = (a: unknown, b: unknown, key: string): void => {
    const harmless = harmlessKeys.includes(key);
    if (harmless && (a === undefined || b === undefined)) return;
    if (isObject(a) && isObject(b)) {
      for (const name of new Set([
        ...Object.keys(a),
        ...Object.keys(b),
      ]).values())
        visit(a[name], b[name], key ? `${key}.${name}` : name);
      return;
    }
    if (
      key === "mask" &&
      Array.isArray(a) &&
      Array.isArray(b) &&
      a.length === b.length
    ) {
      a.forEach((entry, i) => visit(entry, b[i], `mask[${i}]`));
      return;
    }
    if (
      JSON.stringify(comparable(key, a)) === JSON.stringify(comparable(key, b))
    )
      return;
    changes.push({ key, before: a, after: b, harmless });
  };
  visit(before, after, "");
  return changes;
}

/** An index may have moved with its data. */
function comparable(key: string, value: unknown): unknown {
  if (key === "data.datasets" && Array.isArray(value))
    return value.map((path) => basename(String(path)));
  return sorted(value) ?? null;
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (!isObject(value)) return value;
  return Object.fromEntries(
    Object.keys(value)
      .sort()
      .map((key) => [key, sorted(value[key])]),
  );
}
