/**
 * `docs/config.md`, made from the schema so that it stays true:
 *
 *     bun packages/train/src/config/docs.ts
 */

import { join } from "node:path";

import type { z } from "zod";

import { evalIgnored, evalSchema } from "./evaluation.ts";
import { pretrainIgnored, pretrainSchema } from "./pretrain.ts";
import { knownKeys } from "./walk.ts";
import type { KnownKey } from "./walk.ts";

/** Where the page stands. */
export const docsPath = join(import.meta.dir, "../../../../docs/config.md");

const introduction = `# Configuration

<!-- Made from the schema by \`bun packages/train/src/config/docs.ts\`; a test keeps it true. -->

A configuration is one YAML file; \`configs/pretrain\` and \`configs/evals\` hold the ones that come with AV-JEPA. Keys that are
not listed here are errors, as are wrong types and combinations that cannot work: each is told with its file, line and
column, what was expected, and the nearest known key.

- \`--set path.to.key=value\` puts a value over the file's, as often as needed; the value is YAML:
  \`--set data.datasets=[clips.csv] --set mask[0].num_blocks=4\`. \`--folder\` and \`--seed\` are short for \`logging.folder\` and
  \`meta.seed\`.
- \`\${NAME}\` and \`\${NAME:-default}\` in a text stand for a variable of the environment, an empty one counting as unset;
  \`$\${\` is a literal \`\${\`.
- Relative paths are relative to the current folder; paths inside an index file are relative to that file.
- \`True\`, \`0.\` and \`1e-6\` are what they look like. \`yes\`, \`on\` and \`1_000\` are texts, and an error where a number or
  true or false is wanted.
- The run folder's \`config.yaml\` is the resolved configuration: every key, with the value that was used. It is a
  configuration like any other.
- \`meta.compat: reference\` sets every key of [differences.md](differences.md) that is not given to the published code's
  value.
`;

/** The page. */
export function configDocs(): string {
  return [
    introduction,
    "## Pretraining",
    ...sectionsOf(pretrainSchema, pretrainIgnored),
    "## Evaluation",
    ...sectionsOf(evalSchema, evalIgnored),
  ]
    .join("\n\n")
    .replaceAll(/\n{3,}/g, "\n\n")
    .concat("\n");
}

function sectionsOf(
  schema: z.ZodType,
  ignored: Record<string, string>,
): string[] {
  const keys = knownKeys(schema);
  const groups = Map.groupBy(
    keys.filter(({ isSection }) => !isSection),
    ({ key }) => (/^mask\b/.test(key) ? "mask" : key.replace(/\.?[^.]+$/, "")),
  );
  return [
    ...[...groups].map(([name, group]) =>
      [...(name === "" ? [] : [`### ${name}`, ""]), ...group.map(keyLine)].join(
        "\n",
      ),
    ),
    [
      "### Accepted and without effect",
      "",
      "The published code reads these and never uses them. They are taken out, with one warning.",
      "",
      ...Object.entries(ignored).map(([key, why]) => `- \`${key}\`: ${why}.`),
    ].join("\n"),
  ];
}

function keyLine(key: KnownKey): string {
  const { expected = "a value", doc = "", required, defaultText } = key;
  const given = key.default;
  const value =
    defaultText ?? (given === undefined ? undefined : inline(given));
  const need = required
    ? "**required**"
    : value === undefined
      ? "may be left out"
      : `default: ${value}`;
  return `- \`${key.key}\`: ${doc} _Expects ${expected}; ${need}._`;
}

/** A value as YAML on one line. */
const inline = (value: unknown): string =>
  Array.isArray(value)
    ? `[${value.map((v) => (typeof v === "number" ? short(v) : String(v))).join(", ")}]`
    : typeof value === "number"
      ? short(value)
      : String(value);

const short = (value: number): string =>
  value === 4 / 3 ? "4/3" : String(value);

if (import.meta.main) await Bun.write(docsPath, configDocs());
