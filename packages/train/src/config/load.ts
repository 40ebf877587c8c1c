/** From a file and a command line to a configuration that can be run. */

import { AvjepaError } from "@avjepa/core/error";
import type { z } from "zod";
import { parseDocument } from "yaml";

import { resolveBatch } from "./batch.ts";
import { pretrainProblems, pretrainWarnings } from "./checks.ts";
import { fillDefaults } from "./compat.ts";
import { expandEnv } from "./env.ts";
import type { Expansion } from "./env.ts";
import { evalProblems, resolveEval, unreadKeys } from "./eval_checks.ts";
import { evalIgnored, evalSchema } from "./evaluation.ts";
import type { ResolvedEvalConfig } from "./evaluation.ts";
import { getAt, parsePath, pathText, setAt, startsWith } from "./path.ts";
import type { Path } from "./path.ts";
import { pretrainIgnored, pretrainSchema } from "./pretrain.ts";
import type { ResolvedPretrainConfig } from "./pretrain.ts";
import { problemsError, schemaProblems } from "./problem.ts";
import { ConfigSource, parseSet } from "./source.ts";
import { schemaAt, unwrap } from "./walk.ts";

type Command = "pretrain" | "eval";

/** What the command line adds to the file. */
export interface LoadOptions {
  /** `--set` arguments, `path.to.key=value`, in order. */
  set?: readonly string[];
  /** `--folder`: `logging.folder`. */
  folder?: string | undefined;
  /** `--seed`: `meta.seed`. */
  seed?: number | undefined;
  /** Number of processes; 1 by default. */
  world?: number;
  /** Warn of a variable that is not set, and go on: for a plan, which needs no data. */
  allowUnset?: boolean;
  /** The environment that `${NAME}` expands from; the process's by default. */
  env?: Record<string, string | undefined>;
}

/** A configuration, what to warn of, and where its keys stand. */
export interface Loaded<T> {
  config: T;
  /** One text each; print them once, on rank 0. */
  warnings: string[];
  /** `file:line:column` of a key, or the option that gave it. */
  where(key: string): string;
}

/**
 * Read a pretraining configuration.
 *
 * @example
 * const { config, warnings } = loadPretrainConfig("configs/pretrain/vitl16.yaml", {
 *   set: ["data.datasets=[clips.csv]", "optimization.lr=1e-4"],
 * });
 * @throws AvjepaError `AVJ_CONFIG`, naming file:line:column (or the `--set`), the
 *   key, what was expected and the nearest known key; `AVJ_USAGE` for a `--set`
 *   that is none.
 */
export function loadPretrainConfig(
  path: string,
  options: LoadOptions = {},
): Loaded<ResolvedPretrainConfig> {
  const source = open(path, options, {
    folder: "logging.folder",
    seed: "meta.seed",
  });
  const { env, warnings } = prepare(source, options, pretrainIgnored);
  fillDefaults(source.value);
  const config = parse(source, pretrainSchema, env, "pretrain");
  const problems = pretrainProblems(config);
  const batch = resolveBatch(config, options.world ?? 1);
  if ("message" in batch) problems.push(batch);
  if (problems.length > 0) throw problemsError(source, problems);
  if (env.unset.length > 0) {
    const error = unsetError(source, env, "pretrain");
    if (!options.allowUnset) throw error;
    warnings.push(error.message);
  }
  warnings.push(...pretrainWarnings(config));
  const { batch_size, grad_accum, batch_size_total } = batch as Exclude<
    typeof batch,
    { message: string }
  >;
  return {
    config: {
      ...config,
      data: { ...config.data, batch_size },
      optimization: { ...config.optimization, grad_accum, batch_size_total },
    },
    warnings,
    where: (key) => source.where(parsePath(key) ?? []),
  };
}

/**
 * Read an evaluation's configuration.
 *
 * @throws AvjepaError as {@link loadPretrainConfig}.
 */
export function loadEvalConfig(
  path: string,
  options: Omit<LoadOptions, "world"> = {},
): Loaded<ResolvedEvalConfig> {
  const source = open(path, options, {
    folder: "logging.folder",
    seed: "meta.seed",
  });
  const { env, warnings } = prepare(source, options, evalIgnored);
  const kind = getAt(source.value, ["data", "dataset_type"]);
  if (typeof kind === "string")
    setAt(source.value, ["data", "dataset_type"], kind.toLowerCase());
  const config = parse(source, evalSchema, env, "eval");
  const problems = evalProblems(config);
  if (problems.length > 0) throw problemsError(source, problems);
  const unread = unreadKeys(config);
  env.unset = env.unset.filter(({ path }) => !unread.includes(pathText(path)));
  if (env.unset.length > 0) {
    const error = unsetError(source, env, "eval");
    if (!options.allowUnset) throw error;
    warnings.push(error.message);
  }
  return {
    config: resolveEval(config),
    warnings,
    where: (key) => source.where(parsePath(key) ?? []),
  };
}

/** The file with the command line's values over it. */
function open(
  path: string,
  options: LoadOptions,
  flags: { folder: string; seed?: string },
): ConfigSource {
  const source = ConfigSource.read(path);
  for (const argument of options.set ?? []) source.override(parseSet(argument));
  for (const flag of ["folder", "seed"] as const) {
    const value = options[flag];
    const key = flags[flag];
    if (value === undefined || key === undefined) continue;
    source.override({
      path: parsePath(key)!,
      value,
      typed: `--${flag} ${value}`,
      text: String(value),
    });
  }
  return source;
}

/** Expand variables and take out the keys that mean nothing. */
function prepare(
  source: ConfigSource,
  options: LoadOptions,
  ignored: Record<string, string>,
): { env: Expansion; warnings: string[] } {
  const env = expandEnv(source.value, options.env ?? process.env);
  const malformed = env.malformed[0];
  if (malformed)
    throw problemsError(source, [
      {
        path: malformed,
        message: `${pathText(malformed)}: "\${" without a variable's name and "}"`,
        hint: "write ${NAME} or ${NAME:-default}; $${ is a literal ${",
      },
    ]);
  const present = Object.keys(ignored).filter((key) => {
    const path = parsePath(key)!;
    const section = getAt(source.value, path.slice(0, -1));
    if (typeof section !== "object" || section === null) return false;
    const name = path.at(-1)!;
    if (!Object.hasOwn(section, name)) return false;
    return delete (section as Record<string | number, unknown>)[name];
  });
  const warnings =
    present.length === 0
      ? []
      : [
          `${source.path}: these keys have no effect: ${present
            .map((key) => `${key} (${ignored[key]})`)
            .join(", ")}`,
        ];
  return { env, warnings };
}

/** Check against the schema, mending texts whose type only it knows. */
function parse<T extends z.ZodType>(
  source: ConfigSource,
  schema: T,
  env: Expansion,
  command: Command,
): z.output<T> {
  let result = schema.safeParse(source.value);
  if (!result.success) {
    for (const issue of result.error.issues)
      if (issue.code === "invalid_type")
        retype(source, schema, issue.path as Path, env);
    result = schema.safeParse(source.value);
  }
  if (result.success) return result.data;
  const { issues } = result.error;
  // What a variable would have given cannot be wrong yet.
  const known = issues.filter(
    ({ path }) => !env.unset.some((u) => startsWith(path as Path, u.path)),
  );
  if (known.length > 0)
    throw problemsError(source, schemaProblems(source, schema, known));
  throw unsetError(source, env, command);
}

/**
 * `${SLURM_CPUS_PER_TASK}` is a text until a number is wanted, and
 * `--set logging.write_tag=007` a number until a text is.
 */
function retype(
  source: ConfigSource,
  schema: z.ZodType,
  path: Path,
  env: Expansion,
): void {
  const node = schemaAt(schema, path);
  const value = getAt(source.value, path);
  if (!node) return;
  const wantsText = unwrap(node)._zod.def.type === "string";
  const isExpanded = env.expanded.some((p) => pathText(p) === pathText(path));
  if (!wantsText && typeof value === "string" && isExpanded) {
    const scalar: unknown = parseDocument(value).toJS();
    if (typeof scalar !== "object") setAt(source.value, path, scalar);
  }
  const override = source.overrideOf(path);
  if (
    wantsText &&
    typeof value !== "object" &&
    value !== undefined &&
    override?.path.length === path.length
  )
    setAt(source.value, path, override.text);
}

function unsetError(
  source: ConfigSource,
  { unset }: Expansion,
  command: Command,
): AvjepaError {
  const names = [...new Set(unset.map(({ name }) => name))];
  const name = names[0]!;
  const keys = [...new Set(unset.map(({ path }) => keyOf(path)))];
  const others = names
    .slice(1)
    .map((other) => `${other} is not set either`)
    .join("\n");
  const hint = [
    `set it: ${name}=/path/to/data bun run ${command} ${source.path}`,
    ...keys.map((key) =>
      key === "data.datasets"
        ? "or name the index files: --set data.datasets=[clips.csv] (`bun run index DIR -o clips.csv` makes one)"
        : `or name what it stands for: --set ${key}=…`,
    ),
    ...(command === "pretrain"
      ? ["or train without any data of your own: bun run demo"]
      : []),
  ];
  return new AvjepaError(
    "AVJ_CONFIG",
    [
      `${name} is not set; ${keys.join(", ")} ${keys.length === 1 ? "needs" : "need"} it`,
      source.where(unset[0]!.path),
      ...(others ? [others] : []),
    ].join("\n"),
    { hint: hint.join("\n") },
  );
}

/** The key a list's item belongs to. */
const keyOf = (path: Path): string => pathText(path).replace(/(\[\d+\])+$/, "");
