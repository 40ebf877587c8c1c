/** V-JEPA 2 as transformers keeps it: a folder with config.json and model.safetensors. */

import { existsSync, readFileSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { AvjepaError, type HostArray, openSafetensors } from "@avjepa/core";
import type {
  ForeignCheckpoint,
  ForeignTensor,
  ForeignWeights,
} from "./types.ts";

/** A folder of a transformers model, or the model.safetensors in one. */
export function isTransformersModel(path: string): boolean {
  return folderOf(path) !== null;
}

function folderOf(path: string): string | null {
  const info = statSync(path, { throwIfNoEntry: false });
  const folder = info?.isDirectory()
    ? path
    : info?.isFile() && basename(path) === "model.safetensors"
      ? dirname(path)
      : null;
  if (folder === null || !existsSync(join(folder, "config.json"))) return null;
  return filesOf(folder).length > 0 ? folder : null;
}

/** The weights' files: one, or the shards that an index lists. */
function filesOf(folder: string): string[] {
  const whole = join(folder, "model.safetensors");
  if (existsSync(whole)) return [whole];
  const index = join(folder, "model.safetensors.index.json");
  if (!existsSync(index)) return [];
  const { weight_map: map } = readJson(index);
  const names = new Set(Object.values((map ?? {}) as Record<string, unknown>));
  return [...names].map((name) => {
    if (typeof name !== "string" || basename(name) !== name)
      throw new AvjepaError(
        "AVJ_FOREIGN",
        `${index} lists a path outside of the folder`,
      );
    return join(folder, name);
  });
}

function readJson(path: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(readFileSync(path, "utf8"));
    if (typeof value === "object" && value !== null && !Array.isArray(value))
      return value as Record<string, unknown>;
    throw new Error("it is no object");
  } catch (cause) {
    throw new AvjepaError(
      "AVJ_FOREIGN",
      `cannot read ${path}: ${(cause as Error).message}`,
      { cause },
    );
  }
}

/**
 * Opens such a folder; the three matrices of queries, keys and values become
 * one, and stacked mask tokens single ones.
 *
 * @throws AvjepaError AVJ_FOREIGN for another model, AVJ_SAFETENSORS for a damaged file.
 */
export async function readHfVjepa2(
  path: string,
  key: string | undefined,
): Promise<ForeignCheckpoint> {
  const folder = folderOf(path) as string;
  const config = readJson(join(folder, "config.json"));
  if (config.model_type !== "vjepa2")
    throw new AvjepaError(
      "AVJ_FOREIGN",
      `${folder} holds a model of type ${JSON.stringify(config.model_type)}, not vjepa2`,
    );
  const stored = new Map<string, ForeignTensor>();
  for (const file of filesOf(folder))
    for (const [name, entry] of await openSafetensors(file))
      stored.set(name, { ...entry, fileDtype: entry.dtype });
  const found = sort(stored);
  const named = {
    encoder: found.encoder,
    target_encoder: found.encoder,
    predictor: found.predictor,
    classifier: found.probe,
  };
  const weights = named[(key ?? "encoder") as keyof typeof named];
  if (weights === undefined || weights.size === 0)
    throw new AvjepaError(
      "AVJ_FOREIGN",
      `${folder} has no weights under the key ${key ?? "encoder"}`,
      {
        hint: `it has ${Object.entries(named)
          .filter(([, values]) => values.size > 0)
          .map(([name]) => name)
          .join(", ")}`,
      },
    );
  const { encoder, predictor, probe } = found;
  return {
    path: folder,
    layout: "hf_vjepa2",
    encoder,
    ...(predictor.size > 0 ? { predictor } : {}),
    ...(probe.size > 0 ? { probe } : {}),
    weights,
    meta: new Map(),
    config,
  };
}

/** Beginnings of names, and the part they belong to. */
const prefixes = [
  ["encoder.", "encoder"],
  ["predictor.", "predictor"],
  ["pooler.", "probe"],
  ["classifier.", "probe"],
] as const;

/** Their names, and ours; in order, all that fit. */
const renames: readonly [RegExp, string][] = [
  [/^encoder\.embeddings\.patch_embeddings\./, "patch_embed."],
  [/^encoder\.layer\./, "blocks."],
  [/^encoder\.layernorm\./, "norm."],
  [/^predictor\.embeddings\.predictor_embeddings\./, "predictor_embed."],
  [/^predictor\.embeddings\.mask_tokens$/, "mask_tokens"],
  [/^predictor\.layer\./, "predictor_blocks."],
  [/^predictor\.layernorm\./, "predictor_norm."],
  [/^predictor\.proj\./, "predictor_proj."],
  [/^classifier\./, "linear."],
  [/^pooler\.cross_attention_layer\./, "pooler.cross_attention_block."],
  [/^pooler\.self_attention_layers\./, "pooler.blocks."],
  // Attention: early files have one more `attention` in the name.
  [/\.attention\.attention\./, ".attention."],
  [/\.attention\.(query|key|value|proj)\./, ".attn.$1."],
  [/\.self_attn\.(q|k|v)_proj\./, ".attn.$1."],
  [/\.self_attn\.out_proj\./, ".attn.proj."],
  [/\.cross_attn\.(q|k|v|out)_proj\./, ".xattn.$1."],
  [/\.xattn\.out\./, ".xattn.proj."],
  [/\.layer_norm(\d)\./, ".norm$1."],
];

function sort(
  stored: ReadonlyMap<string, ForeignTensor>,
): Record<"encoder" | "predictor" | "probe", ForeignWeights> {
  const found = {
    encoder: new Map<string, ForeignTensor>(),
    predictor: new Map<string, ForeignTensor>(),
    probe: new Map<string, ForeignTensor>(),
  };
  for (const [key, value] of stored) {
    const bare = key.replace(/^vjepa2\./, "");
    const part = prefixes.find(([prefix]) => bare.startsWith(prefix))?.[1];
    const name = renames.reduce(
      (text, [from, to]) => text.replace(from, to),
      bare,
    );
    // What is not known keeps its name, so that loading it says so.
    found[part ?? "encoder"].set(name, value);
  }
  return {
    encoder: joined(found.encoder, "attn", ["query", "key", "value"], "qkv"),
    predictor: separateTokens(
      joined(found.predictor, "attn", ["query", "key", "value"], "qkv"),
    ),
    probe: joined(
      joined(found.probe, "attn", ["q", "k", "v"], "qkv"),
      "xattn",
      ["k", "v"],
      "kv",
    ),
  };
}

/** Several matrices (or biases) of a layer below each other. */
function joined(
  weights: ForeignWeights,
  layer: string,
  from: readonly string[],
  to: string,
): ForeignWeights {
  const result = new Map<string, ForeignTensor>();
  const [first = "", ...rest] = from;
  for (const [key, value] of weights) {
    const [, before, part, after] =
      new RegExp(
        `^(.*\\.${layer})\\.(${from.join("|")})\\.(weight|bias)$`,
      ).exec(key) ?? [];
    const others = rest.map((name) =>
      weights.get(`${before}.${name}.${after}`),
    );
    const whole =
      before !== undefined && others.every((other) => other !== undefined);
    if (!whole) result.set(key, value);
    else if (part === first)
      result.set(
        `${before}.${to}.${after}`,
        stacked([value, ...(others as ForeignTensor[])]),
      );
  }
  return result;
}

function stacked(rows: readonly ForeignTensor[]): ForeignTensor {
  const [first] = rows as [ForeignTensor];
  const total = rows.reduce((sum, { shape }) => sum + (shape[0] as number), 0);
  return {
    shape: [total, ...first.shape.slice(1)],
    dtype: first.dtype,
    fileDtype: first.fileDtype,
    read: async () => {
      const values: HostArray[] = [];
      for (const row of rows) values.push(await row.read());
      const size = values.reduce((sum, { length }) => sum + length, 0);
      const whole = new (
        values[0]!.constructor as new (n: number) => HostArray
      )(size);
      let at = 0;
      for (const value of values) {
        whole.set(value as never, at);
        at += value.length;
      }
      return whole;
    },
  };
}

/** `mask_tokens` `[n, 1, 1, P]` as `mask_tokens.0` …, `[1, 1, P]` each. */
function separateTokens(weights: ForeignWeights): ForeignWeights {
  const tokens = weights.get("mask_tokens");
  if (tokens === undefined) return weights;
  const result = new Map(weights);
  result.delete("mask_tokens");
  const [count = 0, ...shape] = tokens.shape;
  for (let i = 0; i < count; i++)
    result.set(`mask_tokens.${i}`, {
      shape,
      dtype: tokens.dtype,
      fileDtype: tokens.fileDtype,
      read: async () => {
        const all = await tokens.read();
        const size = all.length / count;
        return all.slice(i * size, (i + 1) * size) as HostArray;
      },
    });
  return result;
}
