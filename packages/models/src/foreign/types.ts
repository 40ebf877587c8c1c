/** Weights from other programs' files, before they are on a device. */

import type { DType, HostArray } from "@avjepa/core";

/**
 * A tensor in a file, read when asked for: a checkpoint of several gigabytes is
 * never held in memory.
 */
export interface ForeignTensor {
  readonly shape: readonly number[];
  /** What {@link read} gives: half precision as float32, small integers as int32, booleans as uint8. */
  readonly dtype: DType;
  /** The type in the file, such as `float16`. */
  readonly fileDtype: string;
  /** The values, C order. @throws AvjepaError AVJ_FOREIGN when the file has changed or cannot be read. */
  read(): Promise<HostArray>;
}

/** Tensors under the names of our own state dicts. */
export type ForeignWeights = ReadonlyMap<string, ForeignTensor>;

/** A value of a pickle: plain data only. Dictionaries (and namespaces) are maps; tuples and sets are arrays. */
export type ForeignValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | ForeignTensor
  | ForeignValue[]
  | Map<ForeignValue, ForeignValue>;

/** What is in the file besides the weights: `epoch`, `loss`, `lr`, `opt`, … */
export type ForeignMeta = ReadonlyMap<string, ForeignValue>;

/**
 * The layouts that are read:
 * - `pretrain`: V-JEPA and AVJEPA, positions from tables;
 * - `vjepa2`: the same keys with rotary positions;
 * - `hf_vjepa2`: a transformers folder (config.json, model.safetensors);
 * - `probe`: an attentive classifier of a frozen evaluation.
 */
export type ForeignLayout = "pretrain" | "vjepa2" | "hf_vjepa2" | "probe";

/** A checkpoint of another program. */
export interface ForeignCheckpoint {
  readonly path: string;
  readonly layout: ForeignLayout;
  readonly encoder?: ForeignWeights;
  readonly predictor?: ForeignWeights;
  readonly targetEncoder?: ForeignWeights;
  /** An attentive classifier. */
  readonly probe?: ForeignWeights;
  /** What was asked for by `key`; default the target encoder, else the encoder, else the probe. */
  readonly weights: ForeignWeights;
  readonly meta: ForeignMeta;
  /** `config.json` of the transformers layout. */
  readonly config?: Readonly<Record<string, unknown>>;
}
