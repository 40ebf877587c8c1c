/** The health of the target's features, from a sample of tokens. */

import type { Tensor } from "@avjepa/core";
import {
  AUDIO,
  type Modality,
  type Tokens,
  VIDEO,
  uploadIndices,
} from "@avjepa/models";

import { featureHealth } from "./collapse.ts";

/** Tokens that are looked at. */
const sampleSize = 256;

/** Features of up to 256 tokens of a modality, evenly spread over the batch; null where there are none. */
export function sampleRows(h: Tokens, modality: Modality): Tensor | null {
  const kind = modality === "video" ? VIDEO : AUDIO;
  const rows: number[] = [];
  h.indices.modality.forEach((m, row) => {
    if (m === kind) rows.push(row);
  });
  if (rows.length === 0) return null;
  const size = Math.min(sampleSize, rows.length);
  const chosen = Int32Array.from(
    { length: size },
    (_, i) => rows[Math.floor((i * rows.length) / size)] ?? 0,
  );
  return h.data.indexSelect(uploadIndices(chosen, h.data.device));
}

/** `metrics.jsonl`'s measures of a step's sampled features, which are freed. */
export async function measureHealth(features: {
  video?: Tensor;
  audio?: Tensor;
}): Promise<{
  feature_std_video?: number;
  feature_std_audio?: number;
  effective_rank?: number;
}> {
  const measures: Awaited<ReturnType<typeof measureHealth>> = {};
  const rows: number[] = [];
  let dim = 1;
  for (const modality of ["video", "audio"] as const) {
    const sampled = features[modality];
    if (!sampled) continue;
    const values = await sampled.toNumbers();
    sampled.dispose();
    dim = sampled.shape[1] ?? 1;
    const health = featureHealth(values, dim);
    if (health) measures[`feature_std_${modality}`] = health.std;
    rows.push(...values);
  }
  const all = featureHealth(rows, dim);
  if (all) measures.effective_rank = all.effectiveRank;
  return measures;
}
