/**
 * Names and shapes of all weights. Models are made one block deep and their
 * block's names repeated: the largest would not fit into memory.
 */

import type { nn } from "@avjepa/core";
import {
  AttentiveClassifier,
  AudioVideoEncoder,
  AudioVideoPredictor,
  Blank,
  VideoEncoder,
  VideoPredictor,
  vitDims,
} from "@avjepa/models";
import type { ParityCase } from "../case.ts";

interface Settings {
  img_size: number;
  num_frames: number;
  tubelet_size: number;
  patch_size: number;
  uniform_power: boolean;
}

export function runStateDictNames(given: ParityCase): void {
  const models = given.hyper.models as Record<string, Record<string, number[]>>;
  for (const [model, expected] of Object.entries(models)) {
    const found = namesOf(model, given.hyper as Settings, expected);
    for (const key of new Set([
      ...Object.keys(expected),
      ...Object.keys(found),
    ])) {
      const [want, got] = [expected[key]?.join(), found[key]?.join()];
      given.require(
        want === got,
        `${model}: ${key} is [${got ?? "missing"}], expected [${want ?? "nothing"}]`,
      );
    }
  }
}

/** Blocks, as the encoder's and predictor's own depths are. */
function depthOf(shapes: Record<string, number[]>): number {
  const numbers = Object.keys(shapes).map((key) =>
    Number(/(?:^|[_.])blocks\.(\d+)\./.exec(key)?.[1] ?? -1),
  );
  return Math.max(...numbers) + 1;
}

function namesOf(
  model: string,
  settings: Settings,
  expected: Record<string, number[]>,
): Record<string, readonly number[]> {
  const [kind = "", rest = ""] = model.split("/");
  const size = /^vit_(?:tiny|small|base|large|huge|gigantic|giant)/.exec(
    rest,
  )?.[0] as "vit_tiny";
  const options = {
    size,
    crop: settings.img_size,
    frames: kind === "encoder_image" ? 1 : settings.num_frames,
    tubelet: settings.tubelet_size,
    patch: settings.patch_size,
    uniformPower: settings.uniform_power,
    depth: 1,
    generator: new Blank(),
  };
  if (kind.includes("classifier"))
    return classifierNames(kind, model, size, expected);
  const audible = kind.endsWith("_av");
  const rotary = kind.startsWith("vjepa2")
    ? { positions: "rotary" as const }
    : {};
  using encoder = audible
    ? new AudioVideoEncoder(options)
    : new VideoEncoder({ ...options, ...rotary });
  if (kind.includes("encoder")) return repeated(encoder, vitDims(size).depth);
  const maskTokens = Object.keys(expected).filter((key) =>
    /^mask_tokens(_v)?\./.test(key),
  ).length;
  const Predictor = audible ? AudioVideoPredictor : VideoPredictor;
  using predictor = new Predictor(encoder, {
    dim: 384,
    depth: 1,
    maskTokens,
    generator: options.generator,
  });
  return repeated(predictor, 12);
}

function classifierNames(
  kind: string,
  model: string,
  size: string,
  expected: Record<string, number[]>,
) {
  const { embedDim: dim, numHeads } = vitDims(size);
  const classes = Number(
    /(\d+)$/.exec(kind.startsWith("vjepa2") ? model : kind)?.[1],
  );
  const depth = 1 + depthOf(expected);
  const projection = kind.startsWith("vjepa2")
    ? "absent"
    : kind.includes("_M_")
      ? "unused"
      : "applied";
  using classifier = new AttentiveClassifier({
    dim,
    numHeads,
    classes,
    depth,
    projection,
    generator: new Blank(),
  });
  return repeated(classifier, 0);
}

/** Names and shapes, those of block 0 for `depth` blocks. */
function repeated(
  module: nn.Module,
  depth: number,
): Record<string, readonly number[]> {
  const shapes: Record<string, readonly number[]> = {};
  for (const [key, parameter] of module.namedParameters()) {
    const block = /^((?:predictor_)?blocks)\.0\.(.*)$/.exec(key);
    if (block === null || depth === 0) shapes[key] = parameter.shape;
    else
      for (let i = 0; i < depth; i++)
        shapes[`${block[1]}.${i}.${block[2]}`] = parameter.shape;
  }
  return shapes;
}
