/** The published masks: exact lists, step by step. */

import { native } from "@avjepa/core";
import type { ParityCase } from "../case.ts";

/** In the order of the addon's lists. */
const lists = ["enc_v", "pred_v", "enc_a", "pred_a"];

export function runMasks(given: ParityCase): void {
  const { hyper } = given;
  const side = hyper.crop_size / hyper.patch_size;
  const tube = hyper.form === "random_tube";
  const withAudio = hyper.form === "avmultiblock3d";
  const generators = tube ? [{ ratio: hyper.ratio }] : hyper.generators;
  const masks = native.mediaReferenceMasks(
    JSON.stringify({
      kind: tube ? "random_tube" : "multiblock3d",
      video: [hyper.num_frames / hyper.tubelet_size, side, side],
      audio: withAudio ? [...hyper.audio_grid, ...hyper.audio_block] : null,
      generators,
      seed: tube ? hyper.numpy_seed : hyper.torch_seed,
      counter: tube ? 0 : hyper.first_counter,
      batch: hyper.batch,
      steps: hyper.steps,
    }),
  );
  masks.forEach((mask, i) => {
    const place = `${Math.floor(i / generators.length)}.${i % generators.length}`;
    for (const [k, list] of mask.lists.entries()) {
      if (k >= 2 && !withAudio) continue;
      const name = withAudio ? lists[k]! : lists[k]!.replace("_v", "");
      given.compare(`${name}.${place}`, list);
    }
  });
}
