/** The test of the prediction task: errors of what a decoder draws of held-out clips, and pictures of the first of them. */

import { scope } from "@avjepa/core";
import { type ClipBatch, readIndex } from "@avjepa/data";
import {
  type DrawingError,
  DrawingErrors,
  drawPatches,
  type PatchSizes,
  type PixelDecoder,
  type PredictingModels,
} from "@avjepa/evals";
import { imagenetStd } from "@avjepa/models";
import {
  heldOutClips,
  type ResolvedPretrainConfig,
  single,
} from "@avjepa/train";
import { join } from "node:path";

import { type DrawnValues, writeDrawing } from "./prediction_picture.ts";
import type { Stages } from "./stage.ts";

/** Clips that are drawn as pictures. */
const pictures = 4;

/** What came out. */
export interface DrawingTest {
  /** By modality, of tokens that the encoder saw and of those that it did not. */
  errors: Record<
    string,
    { masked: DrawingError | null; visible: DrawingError | null }
  >;
  samples: number;
  /** Files that could not be read. */
  skipped: string[];
}

/** Draws every held-out clip, and writes `prediction-N-maskK.png` of the first into `folder`. */
export async function testDrawing(
  config: ResolvedPretrainConfig,
  models: PredictingModels,
  decoder: PixelDecoder,
  sizes: PatchSizes,
  { folder, stages }: { folder: string; stages: Stages },
): Promise<DrawingTest> {
  const errors = new DrawingErrors();
  const skipped: string[] = [];
  let samples = 0;
  let drawings = 0;
  const bfloat16 = config.meta.dtype === "bfloat16";
  await using held = heldOutClips(config, single);
  const total = readIndex(...config.data.held_out).paths.length;
  stages.begin("testing", "samples");
  for await (const batch of held) {
    const values = await drawnValues(models, decoder, batch, sizes, bfloat16);
    for (const { modality, source, rows, drawn, target } of values)
      errors.add(
        modality,
        source,
        drawn,
        target,
        target.length / rows.packed.length,
        scaleOf(modality, sizes),
      );
    const masks = batch.masks!.context.masks;
    for (
      let row = 0;
      row < batch.rows && drawings < pictures;
      row++, drawings++
    )
      for (let k = 0; k < masks; k++)
        writeDrawing(
          join(folder, `prediction-${drawings + 1}-mask${k + 1}.png`),
          batch,
          values,
          (one) => tokensOfSequence(batch, one, k * batch.rows + row),
          sizes,
        );
    skipped.push(
      ...batch.events.filter((e) => e.replaced).map(({ path: file }) => file),
    );
    samples += batch.samples;
    stages.at(samples, total);
  }
  const byModality = Object.fromEntries(
    config.data.modalities.map((modality) => [
      modality,
      {
        masked: errors.of(modality, "masked") ?? null,
        visible: errors.of(modality, "visible") ?? null,
      },
    ]),
  );
  return { errors: byModality, samples, skipped: [...new Set(skipped)] };
}

/** Brings normalised pixels to 0 … 1. */
function scaleOf(modality: "video" | "audio", { tubelet, patch }: PatchSizes) {
  const channel = tubelet * patch * patch;
  return modality === "video"
    ? (column: number) => imagenetStd[Math.floor(column / channel)]!
    : () => 1;
}

async function drawnValues(
  models: PredictingModels,
  decoder: PixelDecoder,
  batch: ClipBatch,
  sizes: PatchSizes,
  bfloat16: boolean,
): Promise<DrawnValues[]> {
  const parts = scope(() =>
    drawPatches(models, decoder, batch, batch.masks!, sizes, bfloat16),
  );
  const values: DrawnValues[] = [];
  for (const { modality, source, rows, drawn, target } of parts) {
    values.push({
      modality,
      source,
      rows,
      drawn: (await drawn.toArray()) as Float32Array,
      target: (await target.toArray()) as Float32Array,
    });
    drawn.dispose();
    target.dispose();
  }
  return values;
}

/** Where the tokens of a sequence are among the drawn ones, and their positions. */
function tokensOfSequence(
  batch: ClipBatch,
  { source, rows }: DrawnValues,
  sequence: number,
): { at: number; position: number }[] {
  const { context, target } = batch.masks!;
  const indices = source === "visible" ? context : target;
  const [from, to] = [
    indices.offsets[sequence]!,
    indices.offsets[sequence + 1]!,
  ];
  return Array.from(rows.packed.entries()).flatMap(([at, m]) =>
    m >= from && m < to ? [{ at, position: indices.position[m]! }] : [],
  );
}
