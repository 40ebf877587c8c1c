/** What is wrong with a configuration, in the user's words. */

import { AvjepaError } from "@avjepa/core/error";
import { z } from "zod";

import { metaOf } from "./key.ts";
import { nearestKey, nearestWord } from "./nearest.ts";
import { getAt, pathText } from "./path.ts";
import type { Path } from "./path.ts";
import { describe } from "./source.ts";
import type { ConfigSource } from "./source.ts";
import { isRequired, knownKeys, schemaAt, unwrap } from "./walk.ts";

/** One thing that is wrong, at one key. */
export interface Problem {
  path: Path;
  message: string;
  hint?: string;
}

/** The problems of values that a schema refused. */
export function schemaProblems(
  source: ConfigSource,
  schema: z.core.$ZodType,
  issues: readonly z.core.$ZodIssue[],
): Problem[] {
  const keys = knownKeys(schema).map(({ key }) => key);
  const missing = issues
    .filter(({ path }) => getAt(source.value, path as Path) === undefined)
    .map(({ path }) => general(path as Path));
  const unknown = issues.flatMap((issue) =>
    issue.code === "unrecognized_keys"
      ? issue.keys.map((key) =>
          unknownKey(source, [...(issue.path as Path), key], keys, missing),
        )
      : [],
  );
  // A required key that is there, but misspelt, is one problem and not two; so are all of a misspelt section.
  const meant = unknown.flatMap(({ meant }) => meant ?? []);
  const isMeant = (key: string) =>
    meant.some((m) => key === m || key.startsWith(`${m}.`));
  const others = issues.flatMap((issue): Problem[] => {
    if (issue.code === "unrecognized_keys") return [];
    const path = issue.path as Path;
    const value = getAt(source.value, path);
    if (value === undefined)
      return isMeant(general(path)) ? [] : [missingKey(schema, path)];
    return [wrongValue(schema, path, value)];
  });
  return [...unknown, ...others];
}

/** `mask[0].ratio` as the schema names it: `mask[].ratio`. */
const general = (path: Path): string =>
  pathText(path).replace(/\[\d+\]/g, "[]");

function unknownKey(
  source: ConfigSource,
  at: Path,
  known: readonly string[],
  missing: readonly string[],
): Problem & { meant?: string } {
  // `--set optimisation.lr=1` makes a section; what was typed is the key.
  const override = source.overrideOf(at);
  const path =
    override && override.path.length > at.length ? override.path : at;
  const index = path.find((step) => typeof step === "number");
  const nearest = nearestKey(general(path), known, missing);
  const word = nearest?.word.replace("[]", `[${index ?? 0}]`);
  return {
    path,
    message: `unknown key "${pathText(path)}"`,
    ...(nearest
      ? {
          hint: nearest.close
            ? `did you mean "${word}"?`
            : `the nearest known key is "${word}"; docs/config.md lists them all`,
        }
      : {}),
    ...(nearest?.close ? { meant: nearest.word } : {}),
  };
}

function missingKey(schema: z.core.$ZodType, path: Path): Problem {
  const node = schemaAt(schema, path);
  const { expected, doc } = node ? metaOf(node) : {};
  return {
    path,
    message: `missing key "${pathText(path)}": expected ${expected ?? "a value"}`,
    ...(doc ? { hint: doc } : {}),
  };
}

function wrongValue(
  schema: z.core.$ZodType,
  path: Path,
  value: unknown,
): Problem {
  const node = schemaAt(schema, path);
  const expected = (node && metaOf(node).expected) ?? "another type";
  const hint = node && valueHint(unwrap(node), value, !isRequired(node));
  return {
    path,
    message: `${pathText(path)}: expected ${expected}, found ${describe(value)}`,
    ...(hint ? { hint } : {}),
  };
}

/** What a wrong value was probably meant to be. */
function valueHint(
  schema: z.core.$ZodType,
  value: unknown,
  hasDefault: boolean,
): string | undefined {
  const { type } = schema._zod.def;
  if (type === "enum" && typeof value === "string") {
    const { entries } = schema._zod.def as unknown as {
      entries: Record<string, string>;
    };
    const nearest = nearestWord(value, Object.values(entries));
    return nearest?.close ? `did you mean ${nearest.word}?` : undefined;
  }
  if ((type === "array" || type === "tuple") && !Array.isArray(value))
    return typeof value === "string"
      ? `in brackets: [${value}]`
      : "a list is written in brackets: [a, b]";
  if (type === "number" && typeof value === "string") {
    const plain = value.replaceAll("_", "").trim();
    if (plain !== "" && Number.isFinite(Number(plain)))
      return value.includes("_")
        ? `without the underscores: ${plain}`
        : `without the quotes: ${plain}`;
  }
  if (type === "number" && Number.isInteger(value))
    if (!Number.isSafeInteger(value)) return "at most 2^53 − 1";
  if (type === "boolean" && typeof value === "string") {
    if (/^(y|yes|on|true|t)$/i.test(value)) return "write true";
    if (/^(n|no|off|false|f)$/i.test(value)) return "write false";
  }
  if (type === "string" && ["number", "boolean"].includes(typeof value))
    return `in quotes: "${String(value)}"`;
  if (value === null)
    return hasDefault
      ? "give a value, or leave the key out for the default"
      : "give a value";
  return undefined;
}

/** The one error that a configuration's problems make. */
export function problemsError(
  source: ConfigSource,
  problems: readonly Problem[],
): AvjepaError {
  const [first, ...rest] = problems as [Problem, ...Problem[]];
  if (rest.length === 0)
    return new AvjepaError(
      "AVJ_CONFIG",
      `${first.message}\n${source.where(first.path)}`,
      first.hint === undefined ? {} : { hint: first.hint },
    );
  const shown = problems
    .slice(0, 10)
    .flatMap(({ path, message, hint }) => [
      `${source.where(path)}: ${message}`,
      ...(hint === undefined ? [] : hint.split("\n").map((l) => `  ${l}`)),
    ]);
  if (problems.length > 10) shown.push(`and ${problems.length - 10} more`);
  return new AvjepaError(
    "AVJ_CONFIG",
    [`${problems.length} errors in ${source.path}`, ...shown].join("\n"),
  );
}
