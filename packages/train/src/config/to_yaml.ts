/** A resolved configuration as a file that loads to the same one. */

import { Document, isScalar, visit } from "yaml";

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
  const doc = new Document(escaped(config));
  visit(doc, {
    Seq(_, seq) {
      if (
        seq.items.every(
          (item) => isScalar(item) && typeof item.value !== "string",
        )
      )
        seq.flow = true;
    },
  });
  return doc.toString({ lineWidth: 0, flowCollectionPadding: false });
}
