/**
 * A configuration before it is checked: the YAML file's values with those of
 * the command line over them, and where each came from.
 */

import { isUtf8 } from "node:buffer";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";

import { AvjepaError } from "@avjepa/core/error";
import { isMap, isScalar, isSeq, LineCounter, parseDocument } from "yaml";
import type { Document, Node, Pair, YAMLError } from "yaml";

import { nearestWord } from "./nearest.ts";
import { getAt, parsePath, pathText, setAt, startsWith } from "./path.ts";
import type { Path } from "./path.ts";

/** A value of the command line: `--set a.b=c`, or an option of its own. */
export interface Override {
  path: Path;
  value: unknown;
  /** What the user typed: `--set a.b=c`, `--folder runs/x`. */
  typed: string;
  /** The value's text, for a key that turns out to want a text. */
  text: string;
}

const parseOptions = {
  merge: true,
  prettyErrors: false,
  strict: true,
  uniqueKeys: true,
  logLevel: "error",
} as const;

/** The values of a configuration and where they stand. */
export class ConfigSource {
  /** The values, not yet checked. */
  readonly value: Record<string, unknown>;
  readonly #doc: Document;
  readonly #lines = new LineCounter();
  readonly #overrides: Override[] = [];

  /**
   * Parse `text`; `path` is the file's name in messages.
   *
   * @throws AvjepaError `AVJ_CONFIG` where it is no YAML mapping, or has a key
   *   twice.
   */
  constructor(
    readonly path: string,
    text: string,
  ) {
    const doc = parseDocument(text, {
      ...parseOptions,
      lineCounter: this.#lines,
    });
    this.#doc = doc;
    const error = doc.errors[0] ?? doc.warnings[0];
    if (error) throw this.#syntaxError(error, text);
    let value: unknown;
    try {
      value = doc.toJS();
    } catch (cause) {
      throw this.#aliasError(cause as Error, text);
    }
    if (typeof value !== "object" || value === null || Array.isArray(value))
      throw new AvjepaError(
        "AVJ_CONFIG",
        `${path} is not a configuration: expected sections of keys, found ${describe(value)}`,
        { hint: "the files in configs/ show what one looks like" },
      );
    this.value = value as Record<string, unknown>;
  }

  /** Read and parse a file. */
  static read(path: string): ConfigSource {
    let bytes: Buffer;
    try {
      bytes = readFileSync(path);
    } catch (cause) {
      const { code } = cause as { code?: string };
      const why =
        code === "ENOENT"
          ? "there is no such file"
          : code === "EISDIR"
            ? "it is a folder"
            : code === "EACCES"
              ? "permission denied"
              : (cause as Error).message;
      throw new AvjepaError("AVJ_CONFIG", `cannot read ${path}: ${why}`, {
        ...(code === "ENOENT" ? { hint: nearestFile(path) } : {}),
        cause,
      });
    }
    if (bytes.includes(0))
      throw new AvjepaError("AVJ_CONFIG", `${path} is not a text file`);
    if (!isUtf8(bytes)) throw encodingError(path, bytes);
    return new ConfigSource(path, bytes.toString("utf8"));
  }

  /** Put a value of the command line over the file's. */
  override(override: Override): void {
    const obstacle = setAt(this.value, override.path, override.value);
    if (obstacle) {
      const found = getAt(this.value, obstacle);
      const size = Array.isArray(found) ? `: it has ${found.length}` : "";
      throw new AvjepaError(
        "AVJ_CONFIG",
        `${override.typed}: ${pathText(obstacle) || "the configuration"} has no ${pathText(override.path.slice(obstacle.length))}${size}`,
        { hint: `${pathText(obstacle)} stands at ${this.where(obstacle)}` },
      );
    }
    this.#overrides.push(override);
  }

  /** The override that gave the value at `path` or one above or below it. */
  overrideOf(path: Path): Override | undefined {
    return (
      this.#overrides.findLast((o) => startsWith(path, o.path)) ??
      (this.#pair(path)
        ? undefined
        : this.#overrides.findLast((o) => startsWith(o.path, path)))
    );
  }

  /**
   * Where the key at `path` stands: `file:line:column`, or what was typed. A
   * key that is not there stands where the nearest one above it does.
   */
  where(path: Path): string {
    const override = this.overrideOf(path);
    if (override) return override.typed;
    for (let n = path.length; n > 0; n--) {
      const offset = this.#pair(path.slice(0, n));
      if (offset !== undefined) return this.#at(offset);
    }
    return this.path;
  }

  /** Offset of the key (of a list's item: of the item), or undefined. */
  #pair(path: Path): number | undefined {
    let node: unknown = this.#doc.contents;
    let offset: number | undefined;
    for (const step of path) {
      if (isMap(node)) {
        const pair: Pair<unknown, unknown> | undefined = node.items.find(
          ({ key }) =>
            (isScalar(key) ? String(key.value) : key) === String(step),
        );
        if (!pair) return undefined;
        offset = (pair.key as Node).range?.[0];
        node = pair.value;
      } else if (isSeq(node) && typeof step === "number") {
        node = node.items[step];
        offset = (node as Node | undefined)?.range?.[0];
      } else return undefined;
      if (offset === undefined) return undefined;
    }
    return offset;
  }

  #at(offset: number): string {
    const { line, col } = this.#lines.linePos(offset);
    return `${this.path}:${line}:${col}`;
  }

  /** An alias before its anchor, or without one: found only when it is looked up. */
  #aliasError(cause: Error, text: string): AvjepaError {
    const name = /: (\S+)$/.exec(cause.message)?.[1];
    const offset = name === undefined ? -1 : text.indexOf(`*${name}`);
    return new AvjepaError(
      "AVJ_CONFIG",
      `not YAML: ${cause.message}\n${offset < 0 ? this.path : this.#at(offset)}`,
      { cause },
    );
  }

  #syntaxError(error: YAMLError, text: string): AvjepaError {
    const [from, to] = error.pos;
    const where = this.#at(from);
    if (error.code === "DUPLICATE_KEY") {
      const key = /^[^\s:]+/.exec(text.slice(from, Math.max(to, from + 80)));
      return new AvjepaError(
        "AVJ_CONFIG",
        `duplicate key "${key?.[0] ?? "?"}"\n${where}`,
        { hint: "the same section has it above; remove one of them" },
      );
    }
    if (error.code === "MULTIPLE_DOCS")
      return new AvjepaError(
        "AVJ_CONFIG",
        `a second document begins\n${where}`,
        {
          hint: "a configuration is one YAML document: remove the `---`",
        },
      );
    return new AvjepaError(
      "AVJ_CONFIG",
      `not YAML: ${error.message}\n${where}`,
    );
  }
}

function encodingError(path: string, bytes: Buffer): AvjepaError {
  // The lines before the first that is not UTF-8 are.
  let line = 1;
  for (let from = 0; from < bytes.length; line++) {
    const end = bytes.indexOf(0x0a, from);
    const next = end < 0 ? bytes.length : end + 1;
    if (!isUtf8(bytes.subarray(from, next))) break;
    from = next;
  }
  return new AvjepaError("AVJ_CONFIG", `not UTF-8\n${path}:${line}`, {
    hint: "save the file as UTF-8: iconv -f latin1 -t utf8 makes it of Latin-1",
  });
}

/** The file that a misspelt path was probably meant to be. */
function nearestFile(path: string): string {
  const candidates = [dirname(path), "configs/pretrain", "configs/evals"]
    .filter((folder) => existsSync(folder) && statSync(folder).isDirectory())
    .flatMap((folder) =>
      readdirSync(folder)
        .filter((file) => /\.ya?ml$/.test(file))
        .map((file) => join(folder, file))
        .filter((file) => statSync(file, { throwIfNoEntry: false })?.isFile()),
    );
  const names = candidates.map((file) => basename(file));
  const nearest = nearestWord(basename(path), names);
  return nearest?.close
    ? `did you mean ${candidates[names.indexOf(nearest.word)]}?`
    : "the configurations that come with AV-JEPA are in configs/pretrain and configs/evals";
}

/**
 * Read `path.to.key=value`, the value as YAML.
 *
 * @throws AvjepaError `AVJ_USAGE` where it is none.
 */
export function parseSet(argument: string): Override {
  const typed = `--set ${argument}`;
  const equals = argument.indexOf("=");
  const path = equals > 0 ? parsePath(argument.slice(0, equals)) : undefined;
  if (!path)
    throw new AvjepaError("AVJ_USAGE", `${typed}: expected path.to.key=value`, {
      hint: "for example --set optimization.lr=1e-4, --set data.datasets=[clips.csv]",
    });
  const text = argument.slice(equals + 1);
  const doc = parseDocument(text, parseOptions);
  const error = doc.errors[0] ?? doc.warnings[0];
  if (error)
    throw new AvjepaError("AVJ_USAGE", `${typed}: ${error.message}`, {
      hint: "the value is YAML: quote it for the shell, and for YAML where it has : # [ or {",
    });
  return { path, value: doc.toJS(), typed, text };
}

/** A value in words, for `expected …, found …`. */
export function describe(value: unknown): string {
  if (value === null || value === undefined) return "nothing (null)";
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (typeof value === "object") return "a section of keys";
  if (value === "") return "an empty text";
  if (typeof value === "string")
    return `the text ${JSON.stringify(value.length > 60 ? `${value.slice(0, 57)}…` : value)}`;
  return String(value);
}
