/** Checkpoints of other programs: which layout a file has, and its weights under our names. */

import { existsSync, statSync } from "node:fs";
import { AvjepaError } from "@avjepa/core";
import { isTransformersModel, readHfVjepa2 } from "./hf-vjepa2.ts";
import { openTorchFile, requireDictionary } from "./torch-file.ts";
import { TorchTensor } from "./torch-tensor.ts";
import type {
  ForeignCheckpoint,
  ForeignLayout,
  ForeignMeta,
  ForeignValue,
  ForeignWeights,
} from "./types.ts";

/** Keys of files of torch.save, and the parts they are. */
const parts = {
  encoder: "encoder",
  predictor: "predictor",
  target_encoder: "targetEncoder",
  ema_encoder: "targetEncoder",
  classifier: "probe",
} as const;

/** What is asked for when no key is given, in this order. */
const preferred = [
  "target_encoder",
  "ema_encoder",
  "encoder",
  "classifier",
  "classifiers.0",
];

/**
 * Whether a path is a checkpoint of another program, by its name: `.pth.tar`,
 * `.pth`, `.pt` or `.bin`, or a transformers folder or its model.safetensors.
 */
export function isForeignCheckpoint(path: string): boolean {
  if (isTransformersModel(path)) return true;
  return (
    /\.(pth\.tar|pth|pt|bin|tar)$/i.test(path) &&
    existsSync(path) &&
    statSync(path).isFile()
  );
}

/**
 * Opens a checkpoint of V-JEPA, AVJEPA or V-JEPA 2 (files of torch.save), a
 * probe of a frozen evaluation, or a transformers folder of V-JEPA 2. Tensors
 * are read from the file when they are loaded.
 *
 * @param options.key which weights are wanted: `target_encoder`, `encoder`,
 *   `predictor`, `classifier`, …; default the target encoder, else the encoder,
 *   else the classifier.
 * @throws AvjepaError AVJ_FOREIGN for files of another kind, damaged or hostile
 *   ones, and for a key that is not there (listing those that are).
 * @example
 * const { weights } = await readForeignCheckpoint("vitl16.pth.tar");
 * await loadForeignWeights(encoder, weights);
 */
export async function readForeignCheckpoint(
  path: string,
  options: { key?: string } = {},
): Promise<ForeignCheckpoint> {
  if (!existsSync(path))
    throw new AvjepaError("AVJ_FOREIGN", `there is no file ${path}`);
  if (isTransformersModel(path)) return readHfVjepa2(path, options.key);
  if (statSync(path).isDirectory())
    throw new AvjepaError(
      "AVJ_FOREIGN",
      `${path} is a folder, but no model of transformers`,
      { hint: "such a folder has a config.json and a model.safetensors" },
    );
  const root = requireDictionary(path, await openTorchFile(path));
  const { weights: byKey, meta } = split(path, root);
  const key = options.key ?? preferred.find((name) => byKey.has(name));
  const weights = key === undefined ? undefined : byKey.get(key);
  if (weights === undefined) throw noSuchKey(path, key, byKey, root);
  const found = Object.fromEntries(
    Object.entries(parts).flatMap(([name, part]) => {
      const values = byKey.get(name);
      return values === undefined ? [] : [[part, values]];
    }),
  );
  // One of several probes is the probe when it is asked for.
  const probe = weights.has("pooler.query_tokens") ? { probe: weights } : {};
  return { path, layout: layoutOf(byKey), ...found, ...probe, weights, meta };
}

/** The parts that are weights, under our names, and the rest. */
function split(
  path: string,
  root: ReadonlyMap<string, ForeignValue>,
): { weights: Map<string, ForeignWeights>; meta: ForeignMeta } {
  const weights = new Map<string, ForeignWeights>();
  const meta = new Map<string, ForeignValue>();
  if (isStateDict(root)) {
    // The weights alone, without a dictionary around them.
    const whole = unwrapped(path, root);
    const probe = whole.has("pooler.query_tokens");
    weights.set(probe ? "classifier" : "encoder", whole);
    return { weights, meta };
  }
  for (const [name, value] of root) {
    if (isStateDict(value)) weights.set(name, unwrapped(path, value));
    // V-JEPA 2 trains several probes at once, and keeps them in a list.
    else if (
      Array.isArray(value) &&
      value.length > 0 &&
      value.every(isStateDict)
    )
      for (const [i, one] of value.entries())
        weights.set(`${name}.${i}`, unwrapped(path, one));
    else meta.set(name, value);
  }
  const rotary = isRotary(weights);
  if (rotary)
    for (const [name, values] of weights)
      weights.set(name, withoutTables(values));
  return { weights, meta };
}

function isStateDict(
  value: ForeignValue | ReadonlyMap<string, ForeignValue>,
): value is Map<string, ForeignValue> {
  return (
    value instanceof Map &&
    value.size > 0 &&
    value
      .entries()
      .every(
        ([key, item]) => typeof key === "string" && item instanceof TorchTensor,
      )
  );
}

/** Names without what data-parallel and mask wrappers put in front. */
function unwrapped(
  path: string,
  state: ReadonlyMap<string, ForeignValue>,
): ForeignWeights {
  const weights = new Map<string, TorchTensor>();
  for (const [key, value] of state) {
    const name = key.replace(/^(module\.|backbone\.|_orig_mod\.)+/, "");
    if (weights.has(name))
      throw new AvjepaError(
        "AVJ_FOREIGN",
        `${path}: the key ${name} is there twice, under different wrappers`,
      );
    weights.set(name, value as TorchTensor);
  }
  return weights;
}

/** V-JEPA 2 rotates: its predictor has no table, and its encoder's, where there is one, is not used. */
function isRotary(weights: ReadonlyMap<string, ForeignWeights>): boolean {
  const tables = (of: ForeignWeights) => of.keys().some(isTable);
  const predictor = weights.get("predictor");
  if (predictor !== undefined) return !tables(predictor);
  const encoders = preferred
    .slice(0, 3)
    .flatMap((name) => weights.get(name) ?? []);
  return encoders.length > 0 && !encoders.some(tables);
}

function isTable(key: string): boolean {
  return /(^|_)pos_embed(_[va])?$/.test(key);
}

function withoutTables(weights: ForeignWeights): ForeignWeights {
  return new Map(weights.entries().filter(([key]) => !isTable(key)));
}

function layoutOf(weights: ReadonlyMap<string, ForeignWeights>): ForeignLayout {
  const encoders = preferred.slice(0, 3).some((name) => weights.has(name));
  if (!encoders) return "probe";
  return isRotary(weights) ? "vjepa2" : "pretrain";
}

function noSuchKey(
  path: string,
  key: string | undefined,
  weights: ReadonlyMap<string, ForeignWeights>,
  root: ReadonlyMap<string, ForeignValue>,
): AvjepaError {
  const list = (names: Iterable<string>) => [...names].slice(0, 12).join(", ");
  if (weights.size === 0)
    return new AvjepaError(
      "AVJ_FOREIGN",
      `${path} holds no weights: its keys are ${list(root.keys())}`,
      {
        hint: "expected are encoder, predictor, target_encoder, or classifier",
      },
    );
  return new AvjepaError(
    "AVJ_FOREIGN",
    `${path} has no weights under ${key === undefined ? "a known key" : `the key ${key}`}`,
    {
      hint: `it has ${list(weights.keys())}: ${key === undefined ? `an encoder is looked for under ${preferred.slice(0, 3).join(", ")}` : "set the key to one of them"}`,
    },
  );
}
