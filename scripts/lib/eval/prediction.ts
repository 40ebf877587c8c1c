/**
 * The prediction task (`app: avprediction`): a decoder learns to draw pixels
 * and spectrograms from what a frozen predictor makes of hidden tokens. It is
 * tested on clips that were held out; errors of tokens that the encoder saw and
 * of those it did not are apart.
 */

import { AvjepaError, optim, scope } from "@avjepa/core";
import {
  audioPatchSize,
  type DrawingError,
  drawPatches,
  type PatchSizes,
  PixelDecoder,
  type PredictingModels,
  videoPatchSize,
} from "@avjepa/evals";
import {
  CheckpointStore,
  checkpointPath,
  configHash,
  exitStopped,
  type FrozenModels,
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
import { restore, save } from "./prediction_checkpoint.ts";
import { withHeldOut } from "./prediction_data.ts";
import { testDrawing } from "./test_drawing.ts";
import { Stages } from "./stage.ts";

/** Options of the command line. */
export interface PredictionOptions {
  device: string;
  about: string;
  steps?: number;
  anew: boolean;
}

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
        await save(store, decoder, adamw, identity, { step, cursor });
    }
  }
  if (step < plan.lastStep) {
    info.end(step, `stopped by ${stop.signal}`);
    stages.say(`stopped by ${stop.signal} after step ${step}`);
    return { exitCode: exitStopped, result: { outcome: "stopped", step } };
  }

  // --- The test ----------------------------------------------------------------------------------------------------
  const tested = await testDrawing(config, models, decoder, sizes, {
    folder: run.path,
    stages,
  });
  for (const [modality, found] of Object.entries(tested.errors))
    for (const [source, error] of Object.entries(found))
      if (error) stages.say(`${modality}, ${source}: ${inWords(error)}`);
  const result = {
    task: "prediction",
    ...tested.errors,
    num_samples: tested.samples,
    steps: step,
    skipped: tested.skipped,
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
