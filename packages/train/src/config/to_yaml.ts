/** A resolved configuration as a file that loads to the same one. */

import { stringify } from "yaml";

import { escapeEnv } from "./env.ts";
import type { ResolvedEvalConfig } from "./evaluation.ts";
import type { ResolvedPretrainConfig } from "./pretrain.ts";

/** YAML of a resolved configuration; short lists on one line. */
export function toYaml(
  config: ResolvedPretrainConfig | ResolvedEvalConfig,
): string {
  const escaped = (value: unknown): unknown => {
    if (typeof value === "string") return escapeEnv(value);
    if (Array.isArray(value)) return value.map(escaped);
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(
      Object.entries(value)
        .filter(([, v]) => v !== undefined)
        .map(([k, v]) => [k, escaped(v)]),
    );
  };
  return stringify(escaped(config), { lineWidth: 0 });
}
