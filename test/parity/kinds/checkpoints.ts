/** Files of torch.save: their weights in our models, and those that must be refused. */

import { dirname, join } from "node:path";
import {
  AvjepaError,
  concat,
  type DType,
  openSafetensors,
  type Tensor,
} from "@avjepa/core";
import {
  AttentiveClassifier,
  type AudioVideoEncoder,
  type AudioVideoPredictor,
  describeForeignEncoder,
  describeForeignProbe,
  type ForeignCheckpoint,
  type ForeignTensor,
  type ForeignValue,
  loadForeignWeights,
  openTorchFile,
  type PackedIndices,
  readForeignCheckpoint,
  Tokens,
  VideoEncoder,
  VideoPredictor,
} from "@avjepa/models";
import type { ParityCase } from "../case.ts";
import { makeEncoder, makePredictor } from "./models.ts";
import { compareOutputs, readMasks } from "./outputs.ts";

export async function runCheckpoints(
  given: ParityCase,
  dtype: DType,
): Promise<void> {
  const run = forms[given.hyper.form as string];
  if (run === undefined)
    throw new Error(`${given.path}: there is no form ${given.hyper.form}`);
  await run(given, dtype);
}

const forms: Record<
  string,
  (given: ParityCase, dtype: DType) => Promise<void>
> = {
  pretrain_video: pretrain,
  pretrain_av: pretrain,
  vjepa2,
  probe,
  tensors,
  bad,
};

const beside = (given: ParityCase, name: string) =>
  join(dirname(given.path), name);

const open = (given: ParityCase) =>
  readForeignCheckpoint(beside(given, given.hyper.checkpoint as string));

async function pretrain(given: ParityCase, dtype: DType): Promise<void> {
  const { hyper } = given;
  const audible = hyper.form === "pretrain_av";
  const found = await open(given);
  await compareDescription(given, found);
  for (const part of ["encoder", "targetEncoder"] as const) {
    using encoder = makeEncoder(given, hyper.encoder, audible, dtype);
    await load(given, encoder, found[part]);
    const video = given.tensor("x", { dtype });
    const audio = audible ? given.tensor("audio", { dtype }) : undefined;
    const name = part === "encoder" ? "encoder" : "target_encoder";
    const { data } = (encoder as AudioVideoEncoder).forward({ video, audio });
    await given.compareTensor(`out.${name}`, data);
  }
  await comparePredictor(given, found, audible, dtype);
  await compareMeta(given, found);
}

/** What the weights say of their model. */
async function compareDescription(
  given: ParityCase,
  found: ForeignCheckpoint,
): Promise<void> {
  const { encoder } = given.hyper;
  const told = await describeForeignEncoder(found, {
    numHeads: encoder.num_heads,
    frames: encoder.num_frames,
  });
  const seen: unknown[] = [
    told.dims.embedDim,
    told.dims.depth,
    told.dims.mlpRatio,
    told.patch,
    told.tubelet,
    told.positions,
  ];
  const said: unknown[] = [
    encoder.embed_dim,
    encoder.depth,
    encoder.mlp_ratio,
    encoder.patch_size,
    encoder.tubelet_size,
    encoder.rope ? "rotary" : "sincos",
  ];
  if (!encoder.rope) {
    seen.push(told.crop, told.uniformPower);
    said.push(encoder.img_size, encoder.uniform_power);
  }
  given.require(
    String(seen) === String(said),
    `the model is told to be ${seen}, expected ${said}`,
  );
}

async function comparePredictor(
  given: ParityCase,
  found: ForeignCheckpoint,
  audible: boolean,
  dtype: DType,
): Promise<void> {
  const { hyper } = given;
  using encoder = makeEncoder(given, hyper.encoder, audible, dtype);
  using predictor = makePredictor(
    given,
    hyper.predictor,
    audible,
    dtype,
    encoder,
  );
  await load(given, predictor, found.predictor);
  const names = audible ? ["z_v", "z_a"] : ["z"];
  const inputs = names.map((name) => given.tensor(name, { dtype }));
  const context = masksOf(given, audible ? ["enc_v", "enc_a"] : ["enc"]);
  const targets = masksOf(given, audible ? ["pred_v", "pred_a"] : ["pred"]);
  const data = joinRows(inputs, context);
  const maskIndices = [hyper.mask_index as number];
  const y = (predictor as AudioVideoPredictor).forward(
    new Tokens(data, context),
    targets,
    { maskIndices },
  );
  await given.compareTensor("out.predictor", y.data);
}

async function compareMeta(
  given: ParityCase,
  found: ForeignCheckpoint,
): Promise<void> {
  const root = (await openTorchFile(found.path)) as Map<string, ForeignValue>;
  const wanted = given.meta;
  const optimizer = root.get("opt") as Map<string, ForeignValue>;
  const groups = optimizer.get("param_groups") as Map<string, ForeignValue>[];
  const state = optimizer.get("state") as Map<
    number,
    Map<string, ForeignValue>
  >;
  const steps = state.values().next().value?.get("step");
  const seen: Record<string, unknown> = {
    ...Object.fromEntries(
      [...found.meta].map(([key, value]) => [key, plain(value)]),
    ),
    top_level_keys: [...root.keys()],
    opt_groups: groups.map(
      (group) => (group.get("params") as ForeignValue[]).length,
    ),
    opt_state_entries: state.size,
    opt_step:
      typeof steps === "number"
        ? steps
        : Number((await (steps as ForeignTensor).read())[0]),
  };
  for (const [key, value] of Object.entries(wanted))
    given.require(
      JSON.stringify(seen[key]) === JSON.stringify(value),
      `${key} is ${JSON.stringify(seen[key])}, expected ${JSON.stringify(value)}`,
    );
  if (given.has("opt.first.exp_avg")) {
    const first = state.values().next().value?.get("exp_avg") as ForeignTensor;
    given.compare(
      "opt.first.exp_avg",
      Float64Array.from(await first.read(), Number),
    );
  }
}

function plain(value: ForeignValue): unknown {
  if (!(value instanceof Map)) return value;
  return Object.fromEntries(
    [...value].map(([key, item]) => [String(key), plain(item)]),
  );
}

async function vjepa2(given: ParityCase, dtype: DType): Promise<void> {
  const found = await open(given);
  await compareDescription(given, found);
  using encoder = await rotaryEncoder(given, found, dtype);
  const video = given.tensor("x", { dtype });
  const context = masksOf(given, ["context_mask"]);
  const targets = masksOf(given, ["target_mask"]);
  await given.compareTensor("out.encoder", encoder.forward({ video }).data);
  const masked = encoder.forward({ video }, context);
  await given.compareTensor("out.encoder_masked", masked.data);
  const { predictor: size } = given.hyper;
  using predictor = new VideoPredictor(encoder, {
    dim: size.predictor_embed_dim,
    depth: size.depth,
    numHeads: size.num_heads,
    mlpRatio: size.mlp_ratio,
    maskTokens: size.num_mask_tokens,
    dtype,
  });
  await load(given, predictor, found.predictor);
  const predicted = predictor.forward(masked, targets, {
    maskIndices: [size.mask_index],
  });
  await given.compareTensor("out.predictor_on_masked_encoder", predicted.data);
}

/** The encoder that a file describes, with its weights. */
export async function rotaryEncoder(
  given: ParityCase,
  found: ForeignCheckpoint,
  dtype: DType,
): Promise<VideoEncoder> {
  const { hyper } = given;
  const told = await describeForeignEncoder(found, {
    numHeads: hyper.encoder?.num_heads ?? hyper.num_attention_heads,
    frames: hyper.encoder?.num_frames ?? hyper.frames_per_clip,
  });
  const encoder = new VideoEncoder({
    ...told.dims,
    crop: hyper.encoder?.img_size ?? hyper.crop_size,
    frames: told.frames,
    tubelet: told.tubelet,
    patch: told.patch,
    positions: told.positions,
    dtype,
  });
  await load(given, encoder, found.targetEncoder ?? found.encoder);
  return encoder;
}

async function probe(given: ParityCase, dtype: DType): Promise<void> {
  const { hyper } = given;
  const found = await open(given);
  const options = describeForeignProbe(found, {
    numHeads: hyper.num_heads,
    projection: hyper.apply_xattn_proj ? "applied" : "unused",
  });
  const seen = [options.dim, options.depth, options.classes];
  const said = [hyper.embed_dim, hyper.depth, hyper.num_classes];
  given.require(
    String(seen) === String(said),
    `the probe is told to be ${seen}, expected ${said}`,
  );
  using classifier = new AttentiveClassifier({ ...options, dtype });
  await load(given, classifier, found.probe);
  const y = classifier.forward(given.tensor("x", { dtype }));
  await compareOutputs(given, y);
  for (const [key, value] of Object.entries(given.meta)) {
    const held = JSON.stringify(plain(found.meta.get(key) ?? null));
    given.require(
      held === JSON.stringify(value),
      `${key} is ${held}, expected ${JSON.stringify(value)}`,
    );
  }
}

/** Loads a part that must be there, and in which everything must fit. */
export async function load(
  given: ParityCase,
  module: Parameters<typeof loadForeignWeights>[0],
  weights: ForeignCheckpoint["encoder"],
): Promise<void> {
  if (weights === undefined)
    throw new Error(`${given.path}: the checkpoint lacks a part`);
  await loadForeignWeights(module, weights, { path: given.path });
}

/** One mask, of the tensors of these names. */
export function masksOf(
  given: ParityCase,
  names: readonly string[],
): PackedIndices {
  const [video = "", audio] = names;
  const single = {
    has: (name: string) =>
      given.has(name.replace(/\.0$/, "")) && name.endsWith(".0"),
    rows: (name: string) => given.rows(name.replace(/\.0$/, "")),
  } as ParityCase;
  const whole = given.has(video) ? single : given;
  return readMasks(whole, video, audio ?? null) as PackedIndices;
}

/** Context features of both modalities, sample by sample behind each other. */
function joinRows(inputs: Tensor[], context: PackedIndices): Tensor {
  return concat(inputs, 1).reshape(context.position.length, -1);
}

async function tensors(given: ParityCase): Promise<void> {
  const { checkpoint, checkpoint_legacy: legacy } = given.hyper;
  for (const file of [checkpoint, legacy]) {
    if (file === undefined) continue;
    const root = await openTorchFile(beside(given, file as string));
    for (const name of given.names("expect")) {
      const value = follow(root, name.split(".").slice(1));
      given.require(
        String(value.shape) === String(given.shape(name)) ||
          (value.shape.length === 0 && String(given.shape(name)) === "1"),
        `${file}: ${name} is [${value.shape}]`,
      );
      given.compare(name, Float64Array.from(await value.read(), Number));
    }
  }
}

/** A value of a dictionary of dictionaries and lists, by its keys. Keys may have dots in them. */
function follow(root: ForeignValue, keys: readonly string[]): ForeignTensor {
  if (keys.length === 0) return root as ForeignTensor;
  if (Array.isArray(root))
    return follow(root[Number(keys[0])] as ForeignValue, keys.slice(1));
  for (let n = keys.length; n > 0; n--) {
    const found = (root as Map<ForeignValue, ForeignValue>).get(
      keys.slice(0, n).join("."),
    );
    if (found !== undefined) return follow(found, keys.slice(n));
  }
  throw new Error(`there is no value ${keys.join(".")}`);
}

async function bad(given: ParityCase): Promise<void> {
  for (const { file, why } of given.hyper.entries as {
    file: string;
    why: string;
  }[]) {
    const path = beside(given, file);
    const read = file.endsWith(".safetensors")
      ? openSafetensors(path)
      : readForeignCheckpoint(path);
    const error: unknown = await read.then(
      () => null,
      (cause: unknown) => cause,
    );
    given.require(
      AvjepaError.is(error) && error.message.includes(path),
      `${file} (${why}) gave ${error instanceof Error ? `${error.name}: ${error.message}` : "no error"}`,
    );
  }
}
