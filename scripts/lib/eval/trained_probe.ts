/** A probe that was trained before: of an evaluation of ours, or a published one. */

import { AvjepaError, loadSafetensors } from "@avjepa/core";
import { ProbeGrid, type ProbeShape } from "@avjepa/evals";
import {
  describeForeignProbe,
  isForeignCheckpoint,
  loadForeignWeights,
  readForeignCheckpoint,
} from "@avjepa/models";
import { openCheckpoint } from "@avjepa/train";
import { existsSync } from "node:fs";
import { join } from "node:path";

import type { EvalContext } from "./context.ts";
import type { ProbeIdentity } from "./probe_store.ts";

/** A probe, and what result.json says of it. */
export interface TrainedProbe extends Disposable {
  grid: ProbeGrid;
  facts: Record<string, unknown>;
}

/** What a probe is wanted for. */
export interface WantedProbe {
  /** `probe-joint`: of files and of checkpoints in a folder. */
  name: string;
  /** As its checkpoint says it. */
  task: string;
}

/**
 * Reads the probe that `probe.checkpoint` names.
 *
 * @throws AvjepaError AVJ_CHECKPOINT, AVJ_FOREIGN; AVJ_CONFIG for a probe of
 *   another task, width or number of classes.
 */
export async function loadTrainedProbe(
  context: EvalContext,
  wanted: WantedProbe,
): Promise<TrainedProbe> {
  const named = context.config.probe.checkpoint!;
  return isForeignCheckpoint(named)
    ? loadPublished(context, named)
    : loadOwn(context, named, wanted);
}

async function loadOwn(
  context: EvalContext,
  named: string,
  { name, task }: WantedProbe,
): Promise<TrainedProbe> {
  const { device, model, stages } = context;
  const inFolder = join(named, `${name}-latest`);
  const path = existsSync(inFolder) ? inFolder : named;
  if (!existsSync(path))
    throw new AvjepaError("AVJ_CHECKPOINT", `there is no probe ${path}`, {
      hint: "probe.checkpoint is an evaluation's folder, a checkpoint in it, or a published .pth.tar",
    });
  const checkpoint = await openCheckpoint(path);
  const found = checkpoint.state as unknown as Partial<ProbeIdentity>;
  const { shape, grid: points, best = points?.length === 1 ? 0 : null } = found;
  if (shape === undefined || points === undefined || found.task !== task)
    throw new AvjepaError(
      "AVJ_CONFIG",
      `${checkpoint.path} holds ${found.task ? `probes of ${found.task}` : "no probes"}, not of ${task}`,
      { hint: "name the folder of an evaluation of the same task" },
    );
  if (best === null)
    throw new AvjepaError(
      "AVJ_CHECKPOINT",
      `${checkpoint.path} holds ${points.length} probes of a training that has not come to choose one`,
      { hint: "let that evaluation finish first" },
    );
  const grid = gridOf(context, checkpoint.path, shape, points[best]!.depth);
  const prefix = `probe.${best}.`;
  const { tensors } = await loadSafetensors(
    join(checkpoint.path, "weights.safetensors"),
    { device, keys: (key) => key.startsWith(prefix) },
  );
  try {
    grid.probes[0]!.loadStateDict(
      Object.fromEntries(
        Object.entries(tensors).map(([key, values]) => [
          key.slice(prefix.length),
          values,
        ]),
      ),
    );
  } finally {
    for (const values of Object.values(tensors)) values.dispose();
  }
  if (found.encoder !== undefined && found.encoder !== model.hash)
    stages.say(
      `${checkpoint.path} was trained on the features of other weights than ${model.path}'s`,
    );
  const { projection, blocks, numHeads } = shape;
  const facts = { ...points[best], projection, blocks, num_heads: numHeads };
  return made(grid, { checkpoint: checkpoint.path, ...facts });
}

async function loadPublished(
  context: EvalContext,
  path: string,
): Promise<TrainedProbe> {
  const { config, model } = context;
  const { projection, num_heads } = config.probe;
  const checkpoint = await readForeignCheckpoint(path);
  const { depth = 1, ...options } = describeForeignProbe(checkpoint, {
    numHeads: num_heads ?? model.facts.dims.numHeads,
    ...(projection === "absent" ? {} : { projection }),
  });
  const shape: ProbeShape = {
    dim: options.dim,
    numHeads: options.numHeads,
    classes: options.classes,
    projection: options.projection!,
    blocks: options.blocks!,
    multiLabel: config.data.multi_label,
  };
  const grid = gridOf(context, path, shape, depth);
  await loadForeignWeights(grid.probes[0]!, checkpoint.probe!, { path });
  const { blocks, numHeads } = shape;
  return made(grid, {
    checkpoint: path,
    depth,
    projection: shape.projection,
    blocks,
    num_heads: numHeads,
  });
}

/** One probe, without its values. */
function gridOf(
  { config, device, model }: EvalContext,
  path: string,
  shape: ProbeShape,
  depth: number,
): ProbeGrid {
  const { embedDim } = model.facts.dims;
  const { num_classes: classes, multi_label: multiLabel } = config.data;
  const fail = (what: string, hint: string): never => {
    throw new AvjepaError("AVJ_CONFIG", `${path} ${what}`, { hint });
  };
  if (shape.dim !== embedDim)
    fail(
      `is a probe of features of width ${shape.dim}, but the encoder's are of width ${embedDim}`,
      "name the encoder that the probe was trained on",
    );
  if (shape.classes !== classes)
    fail(
      `is a probe of ${shape.classes} classes, but data.num_classes is ${classes}`,
      `the index must be of the same classes: --set data.num_classes=${shape.classes}`,
    );
  if (shape.multiLabel !== multiLabel)
    fail(
      `is a probe of ${shape.multiLabel ? "several labels" : "one label"} a sample, but data.multi_label is ${multiLabel}`,
      `--set data.multi_label=${shape.multiLabel}`,
    );
  return new ProbeGrid([{ lr: 0, weight_decay: 0, depth }], {
    ...shape,
    seed: 0,
    device,
    bfloat16: config.optimization.use_bfloat16,
    clip: null,
  });
}

const made = (
  grid: ProbeGrid,
  facts: Record<string, unknown>,
): TrainedProbe => ({
  grid,
  facts,
  [Symbol.dispose]: () => grid[Symbol.dispose](),
});
