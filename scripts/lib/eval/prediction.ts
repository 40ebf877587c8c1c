/**
 * The prediction task (`app: avprediction`): a decoder learns to draw pixels
 * and spectrograms from what a frozen predictor makes of hidden tokens. It is
 * tested on clips that were held out; errors of tokens that the encoder saw and
 * of those it did not are apart.
 */

import {
  AvjepaError,
  loadSafetensors,
  optim,
  saveSafetensors,
  scope,
} from "@avjepa/core";
import type { ClipBatch } from "@avjepa/data";
import {
  audioPatchSize,
  type DrawingError,
  DrawingErrors,
  drawPatches,
  type PatchSizes,
  PixelDecoder,
  type PredictingModels,
  videoPatchSize,
} from "@avjepa/evals";
import { imagenetStd } from "@avjepa/models";
import {
  CheckpointStore,
  checkpointPath,
  configHash,
  exitStopped,
  type FrozenModels,
  heldOutClips,
  loadFrozenModels,
  planSteps,
  replaceFile,
  requireModel,
  type ResolvedPretrainConfig,
  RunFolder,
  RunInfo,
  single,
  StopFlag,
  toYaml,
  trainingClips,
} from "@avjepa/train";
import { readIndex } from "@avjepa/data";
import { appendFileSync } from "node:fs";
import { join } from "node:path";

import type { Outcome } from "../cli.ts";
import { withHeldOut } from "./prediction_data.ts";
import { type DrawnValues, writeDrawing } from "./prediction_picture.ts";
import { Stages } from "./stage.ts";

/** Options of the command line. */
export interface PredictionOptions {
  device: string;
  about: string;
  steps?: number;
  anew: boolean;
}

/** Clips that are drawn as pictures. */
const pictures = 4;

export async function predictPixels(
  given: ResolvedPretrainConfig,
  options: PredictionOptions,
): Promise<Outcome> {
  const { device } = options;
  const { meta, logging } = given;

  // --- The models --------------------------------------------------------------------------------------------------
  const path =
    meta.init_from ?? checkpointPath(logging.folder, meta.read_checkpoint);
  const frozen = await loadFrozenModels(path, {
    device,
    crop: given.data.crop_size,
    frames: given.data.num_frames,
  });
  requireModel(
    frozen.facts,
    {
      model_name: given.model.model_name,
      patch_size: given.data.patch_size,
      tubelet_size: given.data.tubelet_size,
    },
    frozen.path,
    { model_name: "model", patch_size: "data", tubelet_size: "data" },
  );

  // --- The folder --------------------------------------------------------------------------------------------------
  const run = RunFolder.open(logging.folder);
  const stages = new Stages(join(run.path, "log.txt"));
  replaceFile(join(run.path, "config.yaml"), toYaml(given));
  const config = withSound(
    withHeldOut(given, run.path, (text) => stages.say(text)),
    frozen,
  );
  const plan = planSteps(
    config,
    readIndex(...config.data.datasets).paths.length,
    options.steps,
  );
  for (const note of frozen.notes) stages.say(note);
  using stop = new StopFlag((text) => stages.say(text));

  // --- The decoder -------------------------------------------------------------------------------------------------
  const sizes = patchSizes(config, frozen);
  using decoder = new PixelDecoder({
    dim: frozen.facts.dims.embedDim,
    videoPatch: config.data.modalities.includes("video")
      ? videoPatchSize(sizes)
      : 0,
    audioPatch: config.data.modalities.includes("audio")
      ? audioPatchSize(sizes)
      : 0,
    seed: meta.seed,
    device,
  });
  const adamw = new optim.AdamW([decoder]);
  const store = new CheckpointStore(
    run.path,
    logging.write_tag,
    meta.keep_checkpoints,
  );
  store.clean();
  const identity = {
    task: "prediction",
    encoder: frozen.hash,
    config_hash: configHash(config),
  };
  let { step, cursor } = options.anew
    ? { step: 0, cursor: { pass: 0, position: 0 } }
    : await restore(store, decoder, adamw, identity, device);
  if (step > 0) stages.say(`going on after step ${step}`);
  const info = new RunInfo(run.path, {
    device: options.about,
    dtype: meta.dtype,
    world: 1,
    config_hash: identity.config_hash,
    from_step: step,
  });

  // --- Training ----------------------------------------------------------------------------------------------------
  const models = frozen.models as unknown as PredictingModels;
  const bfloat16 = meta.dtype === "bfloat16";
  stages.begin(logging.write_tag, "steps", step);
  {
    await using loader = trainingClips(config, single, cursor);
    while (step < plan.lastStep && !stop.signal) {
      const batch = await loader.next();
      if (batch === null) throw new Error("the training clips have ended");
      cursor = loader.cursor;
      step += 1;
      const settings = plan.settings(step);
      const total = scope(() => {
        const parts = drawPatches(
          models,
          decoder,
          batch,
          batch.masks!,
          sizes,
          bfloat16,
        );
        const losses = parts.map(({ drawn, target }) =>
          drawn.sub(target).square().mean(),
        );
        const loss = losses.reduce((sum, one) => sum.add(one));
        loss.backward();
        adamw.step({ lr: settings.lr, wd: settings.wd, clip: settings.clip });
        return loss.detach();
      });
      const loss = await total.item();
      total.dispose();
      if (!Number.isFinite(loss))
        throw new AvjepaError(
          "AVJ_NOT_FINITE",
          `step ${step}: the loss is ${loss}`,
          {
            hint: "lower optimization.lr",
          },
        );
      if (step % logging.every_steps === 0 || step === plan.lastStep)
        appendFileSync(
          join(run.path, "metrics.jsonl"),
          `${JSON.stringify({ step, epoch: plan.epochOf(step), loss, lr: settings.lr, wd: settings.wd })}\n`,
        );
      stages.at(step, plan.lastStep, `loss ${loss.toFixed(4)}`);
      const last = step === plan.lastStep || stop.signal !== undefined;
      if (last || plan.checkpointDue(step, 0))
        await save(store, decoder, adamw, identity, step, cursor);
    }
  }
  if (step < plan.lastStep) {
    info.end(step, `stopped by ${stop.signal}`);
    stages.say(`stopped by ${stop.signal} after step ${step}`);
    return { exitCode: exitStopped, result: { outcome: "stopped", step } };
  }

  // --- The test ----------------------------------------------------------------------------------------------------
  const errors = new DrawingErrors();
  const skipped: string[] = [];
  let samples = 0;
  let drawings = 0;
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
          join(run.path, `prediction-${drawings + 1}-mask${k + 1}.png`),
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
  const figures = Object.fromEntries(
    config.data.modalities.map((modality) => [
      modality,
      {
        masked: errors.of(modality, "masked") ?? null,
        visible: errors.of(modality, "visible") ?? null,
      },
    ]),
  );
  for (const [modality, found] of Object.entries(figures))
    for (const [source, error] of Object.entries(found))
      if (error) stages.say(`${modality}, ${source}: ${inWords(error)}`);
  const result = {
    task: "prediction",
    ...figures,
    num_samples: samples,
    steps: step,
    skipped: [...new Set(skipped)],
    checkpoint: frozen.path,
    config_hash: identity.config_hash,
  };
  replaceFile(
    join(run.path, "result.json"),
    `${JSON.stringify(result, null, 2)}\n`,
  );
  info.end(step, "finished");
  stages.say(`result: ${join(run.path, "result.json")}`);
  run.release();
  return { result: { outcome: "finished", folder: run.path, ...result } };
}

const inWords = ({ mse, psnr, mse_of_mean }: DrawingError): string =>
  `mse ${mse.toPrecision(4)} (of the mean: ${mse_of_mean.toPrecision(4)}), PSNR ${psnr.toFixed(2)} dB`;

/** The sound as the encoder knows it, whatever the configuration's clips are. */
function withSound(
  config: ResolvedPretrainConfig,
  { config: of, facts }: FrozenModels,
): ResolvedPretrainConfig {
  const modalities = config.data.modalities.filter(
    (modality) => modality === "video" || facts.audio !== null,
  );
  const { audio } = of.data;
  return { ...config, data: { ...config.data, modalities, audio } };
}

function patchSizes(
  config: ResolvedPretrainConfig,
  { facts }: FrozenModels,
): PatchSizes {
  const side = config.data.crop_size / facts.patch;
  const { rows = 0, cols = 0, patch = facts.patch } = facts.audio ?? {};
  return {
    videoGrid: [config.data.num_frames / facts.tubelet, side, side],
    audioGrid: [rows, cols],
    tubelet: facts.tubelet,
    patch: facts.patch,
    audioPatch: [patch, patch],
  };
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

interface Identity {
  task: string;
  encoder: string;
  config_hash: string;
}

async function save(
  store: CheckpointStore,
  decoder: PixelDecoder,
  adamw: optim.AdamW,
  identity: Identity,
  step: number,
  cursor: { pass: number; position: number },
): Promise<void> {
  await store.save(step, { ...identity, cursor }, async (folder) => {
    const weights = Object.fromEntries(decoder.namedParameters("probe."));
    await saveSafetensors(join(folder, "weights.safetensors"), weights);
    const moments = adamw.stateDict();
    try {
      await saveSafetensors(join(folder, "optim-r0of1.safetensors"), moments);
    } finally {
      for (const view of Object.values(moments)) view.dispose();
    }
  });
}

async function restore(
  store: CheckpointStore,
  decoder: PixelDecoder,
  adamw: optim.AdamW,
  identity: Identity,
  device: string,
): Promise<{ step: number; cursor: { pass: number; position: number } }> {
  const checkpoint = await store.latest();
  if (checkpoint === undefined)
    return { step: 0, cursor: { pass: 0, position: 0 } };
  const found = checkpoint.state as unknown as Identity & {
    cursor: { pass: number; position: number };
  };
  for (const key of ["task", "encoder", "config_hash"] as const)
    if (found[key] !== identity[key])
      throw new AvjepaError(
        "AVJ_CONFIG_CHANGED",
        `${checkpoint.path} is of another ${{ task: "task", encoder: "encoder", config_hash: "configuration" }[key]}`,
        { hint: "name another --folder, or start anew with --resume never" },
      );
  const load = async (name: string) =>
    (await loadSafetensors(join(checkpoint.path, name), { device })).tensors;
  const weights = await load("weights.safetensors");
  const moments = await load("optim-r0of1.safetensors");
  try {
    decoder.loadStateDict(
      Object.fromEntries(
        Object.entries(weights).map(([name, values]) => [
          name.replace(/^probe\./, ""),
          values,
        ]),
      ),
    );
    adamw.loadStateDict(moments, checkpoint.step);
  } finally {
    for (const values of [...Object.values(weights), ...Object.values(moments)])
      values.dispose();
  }
  return { step: checkpoint.step, cursor: found.cursor };
}
