/** Weights of other programs into our modules: strictly, and one tensor at a time. */

import { AvjepaError, nn, scope, tensor } from "@avjepa/core";
import { Glob } from "bun";
import { type Grid, gridSize } from "../positions.ts";
import { resizePositions } from "../resize-positions.ts";
import type { ForeignTensor, ForeignWeights } from "./types.ts";

/** What may differ between a file and a model. */
export interface LoadForeignOptions {
  /** Patterns of keys that the file may lack, such as `patch_embed.audio_proj.*`: they keep their initial values. */
  allowMissing?: readonly string[];
  /** Patterns of keys of the file that the model has no use for. */
  allowExtra?: readonly string[];
  /**
   * What becomes of a position table for another size of input: `interpolate`
   * (default) resizes it to the model's grid; `analytic` takes the model's own
   * table of sines and cosines, as the published evaluations do.
   */
  positions?: "interpolate" | "analytic";
  /** Names the file in errors. */
  path?: string;
}

/** Names of a model of video, and of one of video and sound. */
const videoParts: readonly [RegExp, string][] = [
  [/^pos_embed$/, "video_pos_embed"],
  [/^predictor_pos_embed$/, "predictor_pos_embed_v"],
  [/^predictor_embed\./, "predictor_embed_v."],
  [/^mask_tokens\./, "mask_tokens_v."],
];

/**
 * The weights of a model of video under the names that a model of video and
 * sound has for them; others as they are.
 */
function underOwnNames(
  own: ReadonlyMap<string, nn.Parameter>,
  weights: ForeignWeights,
): ForeignWeights {
  const renamed = (name: string): string => {
    if (own.has(name)) return name;
    const [pattern, other] = videoParts.find(([part]) => part.test(name)) ?? [];
    const candidate = pattern ? name.replace(pattern, other!) : name;
    return own.has(candidate) && !weights.has(candidate) ? candidate : name;
  };
  return new Map(weights.entries().map(([name, t]) => [renamed(name), t]));
}

/**
 * Loads weights into a module. Every key must be there, no other, all of the
 * right shape, but for what the options allow. Position tables are formulas: a
 * file may lack them, and those of another input size are fitted. What a model
 * of video has goes to the same parts of one of video and sound.
 *
 * @returns what the user should know, a line each: tables that were fitted, keys that were left out.
 * @throws AvjepaError AVJ_STATE_DICT listing missing, extra and mis-shaped keys;
 *   AVJ_FOREIGN when the file cannot be read.
 */
export async function loadForeignWeights(
  module: nn.Module,
  given: ForeignWeights,
  options: LoadForeignOptions = {},
): Promise<string[]> {
  const own = new Map(module.namedParameters());
  const weights = underOwnNames(own, given);
  const { difference, skipped, kept } = compare(own, weights, options);
  const { missing, unexpected, misshaped } = difference;
  if (missing.length + unexpected.length + misshaped.length > 0)
    throw new AvjepaError(
      "AVJ_STATE_DICT",
      `${options.path === undefined ? "" : `${options.path}: `}${nn.describeDifference(difference)}`,
      {
        hint: "the weights are of another model: compare its size, patch, frames and modalities; keys that may keep their initial values are named by --allow-missing PATTERN",
      },
    );
  const notes = [
    ...some("not in the file, and initial", kept),
    ...some("in the file, and not used", skipped),
  ];
  for (const [name, parameter] of own) {
    const found = weights.get(name);
    if (found === undefined) {
      if (isTable(name))
        notes.push(
          `${name}: not in the file; the table of sines and cosines is used`,
        );
    } else if (sameShape(found.shape, parameter.shape)) {
      await copy(found, parameter);
    } else notes.push(await fitTable(module, name, found, parameter, options));
  }
  return notes;
}

function isTable(name: string): boolean {
  return /(^|_)pos_embed(_[va])?$/.test(name);
}

function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.join() === b.join();
}

function compare(
  own: ReadonlyMap<string, nn.Parameter>,
  weights: ForeignWeights,
  options: LoadForeignOptions,
) {
  const matcher = (patterns: readonly string[] = []) => {
    const globs = patterns.map((pattern) => new Glob(pattern));
    return (key: string) => globs.some((glob) => glob.match(key));
  };
  const [mayMiss, mayBeExtra] = [
    matcher(options.allowMissing),
    matcher(options.allowExtra),
  ];
  const absent = [...own.keys()].filter(
    (key) => !weights.has(key) && !isTable(key),
  );
  const extra = [...weights.keys()].filter((key) => !own.has(key));
  const misshaped = [...own].flatMap(([key, { shape: expected }]) => {
    const found = weights.get(key)?.shape;
    const fits =
      found === undefined ||
      sameShape(found, expected) ||
      (isTable(key) && found.length === 3 && found[2] === expected[2]);
    return fits ? [] : [{ key, expected, found }];
  });
  return {
    difference: {
      missing: absent.filter((key) => !mayMiss(key)),
      unexpected: extra.filter((key) => !mayBeExtra(key)),
      misshaped,
    },
    kept: absent.filter(mayMiss),
    skipped: extra.filter(mayBeExtra),
  };
}

function some(what: string, keys: readonly string[]): string[] {
  if (keys.length === 0) return [];
  const shown = keys.slice(0, 4).join(", ");
  return [
    `${what}: ${shown}${keys.length > 4 ? `, … (${keys.length} keys)` : ""}`,
  ];
}

async function copy(
  given: ForeignTensor,
  parameter: nn.Parameter,
): Promise<void> {
  const values = await given.read();
  const { device, dtype, shape } = parameter;
  using uploaded = tensor(values, [...shape], { device, dtype });
  parameter.copyFrom(uploaded);
}

/** A position table of another input size. @returns what was done. */
async function fitTable(
  module: nn.Module,
  name: string,
  given: ForeignTensor,
  parameter: nn.Parameter,
  options: LoadForeignOptions,
): Promise<string> {
  const found = given.shape[1] as number;
  const differs = `${name}: the file's table has ${found} places, the model's ${parameter.shape[1]}`;
  const to = gridOf(module, name);
  const from = to === null ? null : gridBefore(found, to);
  if (options.positions === "analytic" || to === null || from === null)
    return `${differs}; the model's own table of sines and cosines is used`;
  const values = await given.read();
  const { device, dtype, shape } = parameter;
  scope(() => {
    const table = tensor(values, [found, shape[2] as number], {
      device,
      dtype,
    });
    parameter.copyFrom(resizePositions(table, from, to).reshape(...shape));
  });
  return `${differs}; it is interpolated from ${from.join("×")} to ${to.join("×")}`;
}

/** The grid of a table of an encoder; predictors keep theirs to themselves. */
function gridOf(module: nn.Module, name: string): Grid | null {
  const { videoGrid, audioGrid } = module as {
    videoGrid?: Grid;
    audioGrid?: Grid | null;
  };
  const grid = name.startsWith("audio") ? audioGrid : videoGrid;
  return grid ?? null;
}

/**
 * The grid that a table of so many places had, where the model's own grid tells
 * it: as many time steps (or mel rows) and a square, or a square at another
 * length of time.
 */
export function gridBefore(places: number, to: Grid): Grid | null {
  if (to.length === 2) {
    const side = Math.sqrt(places);
    const [rows = 1, columns = 1] = to;
    if (rows === columns) return Number.isInteger(side) ? [side, side] : null;
    return places % rows === 0 ? [rows, places / rows] : null;
  }
  const [time = 1, rows = 1, columns = 1] = to;
  const side = Math.sqrt(places / time);
  if (Number.isInteger(side)) return [time, side, side];
  const steps = places / (rows * columns);
  return Number.isInteger(steps) && gridSize(to) !== places
    ? [steps, rows, columns]
    : null;
}
