/** The clips that a decoder learns from, and those it is tested with. */

import { AvjepaError, native } from "@avjepa/core";
import { readIndex } from "@avjepa/data";
import type { ResolvedPretrainConfig } from "@avjepa/train";
import { mkdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";

/** One in so many files is held out where no index of held-out files is given. */
const every = 10;

/**
 * The configuration with a held-out index: its own, or every tenth line of its
 * datasets, which then are not trained on.
 */
export function withHeldOut(
  config: ResolvedPretrainConfig,
  folder: string,
  say: (text: string) => void,
): ResolvedPretrainConfig {
  const { data } = config;
  if (data.held_out.length > 0) return config;
  const { paths } = readIndex(...data.datasets);
  if (paths.length < 2)
    throw new AvjepaError(
      "AVJ_DATA",
      `${data.datasets.join(", ")}: ${paths.length} file is too few: one must be held out`,
      { hint: "give data.held_out an index of its own" },
    );
  const step = Math.min(every, paths.length);
  const line = (path: string) => native.mediaIndexLine(resolve(path), 0);
  const held = paths.filter((_, i) => i % step === step - 1);
  const train = paths.filter((_, i) => i % step !== step - 1);
  const work = join(folder, "indexes");
  mkdirSync(work, { recursive: true });
  const [trainFile, heldFile] = ["train.csv", "held_out.csv"].map((name) =>
    join(work, name),
  ) as [string, string];
  writeFileSync(trainFile, train.map(line).join(""));
  writeFileSync(heldFile, held.map(line).join(""));
  say(
    `data.held_out is empty: ${held.length} of ${paths.length} files, every ${step}th, are held out${data.datasets_weights ? "; the rest are drawn alike, not by data.datasets_weights" : ""}`,
  );
  return {
    ...config,
    data: {
      ...data,
      datasets: [trainFile],
      datasets_weights: null,
      held_out: [heldFile],
    },
  };
}
