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
import type { Collective } from "./collective.ts";

/** Tokens of a modality that are looked at, over all processes. */
const sampleSize = 256;

/**
 * Features of a process's share of 256 tokens of a modality, evenly spread over
 * its batch; null where there are none.
 */
export function sampleRows(
  h: Tokens,
  modality: Modality,
  { rank, world }: Pick<Collective, "rank" | "world">,
): Tensor | null {
  const kind = modality === "video" ? VIDEO : AUDIO;
  const rows: number[] = [];
  h.indices.modality.forEach((m, row) => {
    if (m === kind) rows.push(row);
  });
  const share =
    Math.floor(((rank + 1) * sampleSize) / world) -
    Math.floor((rank * sampleSize) / world);
  const size = Math.min(share, rows.length);
  if (size === 0) return null;
  const chosen = Int32Array.from(
    { length: size },
    (_, i) => rows[Math.floor((i * rows.length) / size)] ?? 0,
  );
  return h.data.indexSelect(uploadIndices(chosen, h.data.device));
}

/**
 * `metrics.jsonl`'s measures of a step's sampled features, those of all
 * processes together. Every process calls it, also one without tokens; the
 * tensors are freed.
 */
export async function measureHealth(
  features: { video?: Tensor; audio?: Tensor },
  ranks: Pick<Collective, "gatherBytes">,
): Promise<{
  feature_std_video?: number;
  feature_std_audio?: number;
  effective_rank?: number;
}> {
  const own: ArrayLike<number>[] = [];
  let width = 1;
  for (const sampled of [features.video, features.audio]) {
    own.push(sampled ? await sampled.toNumbers() : []);
    width = sampled?.shape[1] ?? width;
    sampled?.dispose();
  }
  const [video = [], audio = []] = own;
  const message = joined([[width, video.length], video, audio]);
  const all = (await ranks.gatherBytes(new Uint8Array(message.buffer))).map(
    (bytes) => new Float32Array(bytes.slice().buffer),
  );
  const head = 2;
  const rows = {
    video: joined(all.map((m) => m.subarray(head, head + (m[1] ?? 0)))),
    audio: joined(all.map((m) => m.subarray(head + (m[1] ?? 0)))),
  };
  // A process without tokens does not know how wide they are.
  width = Math.max(...all.map((m) => m[0] ?? 1));
  const measures: Awaited<ReturnType<typeof measureHealth>> = {};
  for (const modality of ["video", "audio"] as const) {
    const health = featureHealth(rows[modality], width);
    if (health) measures[`feature_std_${modality}`] = health.std;
  }
  const both = featureHealth(joined([rows.video, rows.audio]), width);
  if (both) measures.effective_rank = both.effectiveRank;
  return measures;
}

function joined(parts: readonly ArrayLike<number>[]): Float32Array {
  const all = new Float32Array(parts.reduce((n, part) => n + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
