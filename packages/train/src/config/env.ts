/**
 * `${NAME}` and `${NAME:-default}` in the texts of a configuration. A variable
 * that is empty counts as unset; `$${` is a literal `${`.
 */

import type { Path } from "./path.ts";

/** What was found while expanding. */
export interface Expansion {
  /** Paths of the texts that a variable changed. */
  expanded: Path[];
  /** Variables that are not set and have no default, in the order of use. */
  unset: { name: string; path: Path }[];
  /** Texts with a `${` that is none. */
  malformed: Path[];
}

const reference = /\$\$\{|\$\{([A-Za-z_]\w*)(?::-([^}]*))?\}|\$\{/g;

/** Expand every text under `root`, in place. */
export function expandEnv(
  root: Record<string, unknown>,
  env: Record<string, string | undefined>,
): Expansion {
  const found: Expansion = { expanded: [], unset: [], malformed: [] };
  const visit = (value: unknown, path: Path): unknown => {
    if (Array.isArray(value))
      return value.map((v, i) => visit(v, [...path, i]));
    if (typeof value === "object" && value !== null)
      return Object.fromEntries(
        Object.entries(value).map(([k, v]) => [k, visit(v, [...path, k])]),
      );
    if (typeof value !== "string" || !value.includes("${")) return value;
    found.expanded.push(path);
    return value.replace(
      reference,
      (whole, name: string | undefined, fallback: string | undefined) => {
        if (whole === "$${") return "${";
        if (name === undefined) {
          found.malformed.push(path);
          return whole;
        }
        const set = env[name] || fallback;
        if (set !== undefined) return set;
        found.unset.push({ name, path });
        return whole;
      },
    );
  };
  Object.assign(root, visit(root, []));
  return found;
}

/** A text that {@link expandEnv} leaves as it is. */
export const escapeEnv = (text: string): string => text.replaceAll("${", "$${");
