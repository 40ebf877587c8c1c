/**
 * Defaults that depend on other keys, filled in before the schema's own:
 * those of the application, and with `meta.compat: reference` the published
 * code's value of every difference that a key selects (docs/differences.md).
 */

import { getAt, parsePath, setAt } from "./path.ts";

/** Key and value of every difference that has a key. */
export const referenceValues: Record<string, unknown> = {
  "data.mask_mode": "reference",
  "data.frame_sampling": "reference",
  "data.audio.preset": "reference",
  "data.missing_audio": "skip",
  "data.missing_video": "skip",
  "optimization.clip_grad_after_warmup": true,
};

/** Fill `value` in, where a key is not given. Never touches a given one. */
export function fillDefaults(value: Record<string, unknown>): void {
  // A section whose keys are all commented out is null in YAML.
  for (const name of ["data", "data_aug", "model", "loss", "optimization"])
    if (value[name] === null) delete value[name];
  for (const name of ["meta", "logging"])
    if (value[name] === null) delete value[name];
  if (getAt(value, ["data", "audio"]) === null)
    delete (value.data as Record<string, unknown>).audio;

  const reference = getAt(value, ["meta", "compat"]) === "reference";
  const fill = (key: string, fallback: unknown): void => {
    const path = parsePath(key)!;
    if (getAt(value, path) === undefined) setAt(value, path, fallback);
  };
  if (reference) {
    for (const [key, setting] of Object.entries(referenceValues))
      fill(key, setting);
    if (getAt(value, ["model", "model_name"]) === "vit_gigantic")
      fill("model.mlp_ratio", 4);
  }
  fill(
    "data.modalities",
    value.app === "vjepa" ? ["video"] : ["video", "audio"],
  );
  const modalities = getAt(value, ["data", "modalities"]);
  const audio = Array.isArray(modalities) && modalities.includes("audio");
  fill("data.dataset_type", audio ? "audiovideodataset" : "videodataset");
  const kind = getAt(value, ["data", "dataset_type"]);
  if (typeof kind === "string")
    setAt(value, ["data", "dataset_type"], kind.toLowerCase());
  if (getAt(value, ["data", "audio", "preset"]) === "reference") {
    // (x − 0) / (2 · ½) leaves the decibels as they are.
    fill("data.audio.mean", 0);
    fill("data.audio.std", 0.5);
  }
}
