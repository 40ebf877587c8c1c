/** Walking a schema: what a path is, and which keys there are. */

import type { z } from "zod";

import { metaOf } from "./key.ts";
import type { KeyMeta } from "./key.ts";
import type { Path } from "./path.ts";

type Schema = z.core.$ZodType;

interface Definition {
  type: string;
  innerType?: Schema;
  shape?: Record<string, Schema>;
  element?: Schema;
  items?: Schema[];
  defaultValue?: unknown;
}

const definition = (schema: Schema): Definition =>
  schema._zod.def as unknown as Definition;

/** The schema without its default, null and optional. */
export function unwrap(schema: Schema): Schema {
  let inner = schema;
  for (;;) {
    const next = definition(inner).innerType;
    if (!next) return inner;
    inner = next;
  }
}

/** Whether the key must be given. */
export function isRequired(schema: Schema): boolean {
  return !["default", "prefault", "optional"].includes(definition(schema).type);
}

/** The schema of the value at `path`, or undefined where there is no such key. */
export function schemaAt(root: Schema, path: Path): Schema | undefined {
  let schema: Schema | undefined = root;
  for (const step of path) {
    const { shape, element, items } = definition(unwrap(schema));
    const next: Schema | undefined =
      typeof step === "number"
        ? (items?.[step] ?? element)
        : shape && Object.hasOwn(shape, step)
          ? shape[step]
          : undefined;
    if (!next) return undefined;
    schema = next;
  }
  return schema;
}

/** A key as the documentation and the suggestions see it. */
export interface KnownKey extends KeyMeta {
  /** `mask[].num_blocks` */
  key: string;
  required: boolean;
  default?: unknown;
  /** It holds keys, not a value. */
  isSection: boolean;
}

/** Every key below `root`, sections before their keys. */
export function knownKeys(root: Schema, prefix = ""): KnownKey[] {
  const { shape } = definition(unwrap(root));
  return Object.entries(shape ?? {}).flatMap(([name, schema]) => {
    const key = prefix ? `${prefix}.${name}` : name;
    const { element } = definition(unwrap(schema));
    const below = element
      ? knownKeys(element, `${key}[]`)
      : knownKeys(schema, key);
    const { type, defaultValue } = definition(schema);
    const known: KnownKey = {
      ...metaOf(schema),
      key,
      required: isRequired(schema),
      isSection: !element && below.length > 0 && type === "prefault",
      ...(type === "default" ? { default: defaultValue } : {}),
    };
    return [known, ...below];
  });
}
