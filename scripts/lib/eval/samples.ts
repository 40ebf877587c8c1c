/** The samples of a classification's splits. */

import { AvjepaError } from "@avjepa/core";
import { imageExtensions, mediaExtensions } from "@avjepa/data";
import type { Labels, TokenSet } from "@avjepa/evals";
import { mkdirSync } from "node:fs";
import { join } from "node:path";

import type { EvalContext } from "./context.ts";
import { imageFolder } from "./images.ts";
import { type EvalIndex, openIndex } from "./index_source.ts";

/** The index of a split. */
export function openSplit(
  { config, folder }: EvalContext,
  split: "train" | "val",
): Promise<EvalIndex> {
  const { data } = config;
  const work = join(folder, "indexes");
  mkdirSync(work, { recursive: true });
  const image = config.eval_name === "image_classification_frozen";
  const own = split === "train" ? data.dataset_train : data.dataset_val;
  const name = image ? imageFolder(config, split) : own!;
  const kinds = image ? imageExtensions : mediaExtensions;
  return openIndex(name, work, split, {
    multiLabel: data.multi_label,
    foldColumn: data.fold_column,
    extensions: kinds,
  });
}

/** Labels of a set's samples. */
export function labelsOf(set: TokenSet, index: EvalIndex): Labels {
  return Array.from(set.indices, (line) => index.labels[line]!);
}

/** @throws AvjepaError AVJ_DATA when there are none. */
export function requireSamples(
  set: TokenSet,
  index: EvalIndex,
  name: string,
): void {
  if (set.samples > 0) return;
  throw new AvjepaError(
    "AVJ_DATA",
    `${name}: none of the ${index.paths.length} samples of ${index.name} gave any tokens`,
    { hint: `bun run doctor ${index.file} says why` },
  );
}
