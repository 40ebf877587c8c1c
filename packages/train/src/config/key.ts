/**
 * The vocabulary of the configuration's schema: a few typed leaves that know
 * how to say in words what they expect, so that an error message, the
 * documentation and the check come from one line.
 */

import { z } from "zod";

/** What a schema node carries besides its type. */
export interface KeyMeta {
  /** What is expected, in words: `an integer of at least 1`. */
  expected?: string;
  /** What the key means. */
  doc?: string;
  /** The default in words, where it is not a constant. */
  defaultText?: string;
}

interface Range {
  min?: number;
  max?: number;
  /** Exclusive lower bound. */
  above?: number;
}

function inWords(noun: string, { min, max, above }: Range): string {
  if (above !== undefined && max !== undefined)
    return `${noun} above ${above}, at most ${max}`;
  if (above !== undefined) return `${noun} above ${above}`;
  if (min !== undefined && max !== undefined)
    return `${noun} from ${min} to ${max}`;
  if (min !== undefined) return `${noun} of at least ${min}`;
  return noun;
}

function bounded(type: z.ZodNumber, range: Range, noun: string): z.ZodNumber {
  let bounded = type;
  if (range.min !== undefined) bounded = bounded.min(range.min);
  if (range.max !== undefined) bounded = bounded.max(range.max);
  if (range.above !== undefined) bounded = bounded.gt(range.above);
  return bounded.meta({ expected: inWords(noun, range) });
}

/** An integer. */
export const int = (range: Range = {}) => bounded(z.int(), range, "an integer");

/** A finite number. */
export const num = (range: Range = {}) =>
  bounded(z.number(), range, "a number");

/** `true` or `false`. */
export const bool = () => z.boolean().meta({ expected: "true or false" });

/** A text that is not empty. */
export const text = () => z.string().min(1).meta({ expected: "a text" });

/** One of a few words. */
export const choice = <const T extends readonly [string, ...string[]]>(
  words: T,
) => z.enum(words).meta({ expected: `one of ${words.join(", ")}` });

/** Two numbers. */
export const pair = (range: Range = {}) =>
  z
    .tuple([num(range), num(range)])
    .meta({ expected: `a pair, each ${inWords("a number", range)}` });

/** A list. */
export const list = <T extends z.ZodType>(item: T) =>
  z.array(item).meta({ expected: `a list, each ${metaOf(item).expected}` });

/** The type or null. */
export const orNull = <T extends z.ZodType>(type: T) =>
  type.nullable().meta({ expected: `${metaOf(type).expected} or null` });

/** A key that must be given. */
export const required = <T extends z.ZodType>(type: T, doc: string): T =>
  type.meta({ ...metaOf(type), doc });

/** A key with a default; `defaultText` says it where it depends on others. */
export const optional = <T extends z.ZodType>(
  type: T,
  value: z.util.NoUndefined<z.output<T>>,
  doc: string,
  defaultText?: string,
): z.ZodDefault<T> =>
  type.default(value).meta({
    ...metaOf(type),
    doc,
    ...(defaultText === undefined ? {} : { defaultText }),
  }) as z.ZodDefault<T>;

/** A key that may be left out and then has no value. */
export const maybe = <T extends z.ZodType>(
  type: T,
  doc: string,
): z.ZodOptional<T> =>
  type.optional().meta({ ...metaOf(type), doc }) as z.ZodOptional<T>;

/** A group of keys that may be left out where none of them is required. */
export const section = <T extends z.core.$ZodLooseShape>(shape: T) =>
  z
    .strictObject(shape)
    .prefault({} as never)
    .meta({ expected: "a section of keys" }) as z.ZodPrefault<
    z.ZodObject<T, z.core.$strict>
  >;

/** The words a schema node carries. */
export function metaOf(type: z.core.$ZodType): KeyMeta {
  return (z.globalRegistry.get(type) ?? {}) as KeyMeta;
}
