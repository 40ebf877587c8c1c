/** Whether a configuration may continue a run, or train at all. */

import { AvjepaError } from "@avjepa/core/error";

import { diffConfigs } from "./portable.ts";
import type { PortableConfig } from "./portable.ts";
import type { ResolvedPretrainConfig } from "./pretrain.ts";

/**
 * Compare with what the run was configured as, so far as it decides the
 * numbers.
 *
 * @param saved The checkpoint's portable part.
 * @param run The run folder, for the message.
 * @returns What changed, in words, where that is allowed; else empty.
 * @throws AvjepaError `AVJ_CONFIG_CHANGED` listing the keys.
 */
export function checkUnchanged(
  saved: PortableConfig,
  config: ResolvedPretrainConfig,
  run: string,
  allowChange: boolean,
): string[] {
  const lines = diffConfigs(saved, config)
    .filter(({ harmless }) => !harmless)
    .map(
      ({ key, before, after }) => `${key}: ${show(before)}, now ${show(after)}`,
    );
  if (lines.length === 0 || allowChange) return lines;
  throw new AvjepaError(
    "AVJ_CONFIG_CHANGED",
    [`the run in ${run} was configured otherwise`, ...lines].join("\n"),
    {
      hint: [
        "give the run's configuration, or another --folder for a new run",
        "--allow-change continues with the new values; --resume never starts anew",
      ].join("\n"),
    },
  );
}

const show = (value: unknown): string =>
  value === undefined ? "absent" : JSON.stringify(value);

/**
 * Refuse an application that is no pretraining.
 *
 * @throws AvjepaError `AVJ_APP` for `app: avprediction`.
 */
export function refuseUnbuilt(
  config: ResolvedPretrainConfig,
  path: string,
): void {
  if (config.app !== "avprediction") return;
  throw new AvjepaError(
    "AVJ_APP",
    `${path} is for the prediction task (app: avprediction), which trains a decoder on a pretrained model`,
    { hint: `run it: bun run eval ${path}` },
  );
}
