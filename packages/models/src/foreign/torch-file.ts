/**
 * Files of torch.save: zip, the older pickles in a row, and the tar archives
 * before those. They are pickles, a language that can call any function: here
 * they can only build tensors and plain containers, and anything else is an
 * error.
 */

import { AvjepaError, awaitNative, native } from "@avjepa/core";
import { type TensorPlace, TorchTensor } from "./torch-tensor.ts";
import type { ForeignValue } from "./types.ts";

/**
 * The object in a file. Its tensors are read when asked for.
 *
 * @throws AvjepaError AVJ_FOREIGN for a file of another kind, a damaged one, or
 *   one that asks for more than tensors and plain containers.
 * @example
 * const object = await openTorchFile("jepa-latest.pth.tar"); // a Map
 */
export async function openTorchFile(path: string): Promise<ForeignValue> {
  const text = await awaitNative(() => native.torchOpen(path));
  const { tensors, root } = JSON.parse(text) as {
    tensors: TensorPlace[];
    root: Encoded;
  };
  const made = tensors.map((place) => new TorchTensor(path, place));
  return decode(root, made);
}

/** As the addon writes values down: what JSON has no form for is an object of one key. */
type Encoded =
  | null
  | boolean
  | number
  | string
  | Encoded[]
  | { d: Encoded[] }
  | { t: number }
  | { i: string }
  | { f: string }
  | { b: string };

function decode(value: Encoded, tensors: readonly TorchTensor[]): ForeignValue {
  if (value === null || typeof value !== "object") return value;
  if (Array.isArray(value)) return value.map((item) => decode(item, tensors));
  if ("t" in value) return tensors[value.t] as TorchTensor;
  if ("i" in value) return BigInt(value.i);
  if ("f" in value)
    return value.f === "inf"
      ? Infinity
      : value.f === "-inf"
        ? -Infinity
        : Number.NaN;
  if ("b" in value) return Uint8Array.fromHex(value.b);
  const map = new Map<ForeignValue, ForeignValue>();
  for (let i = 0; i < value.d.length; i += 2)
    map.set(
      decode(value.d[i] as Encoded, tensors),
      decode(value.d[i + 1] as Encoded, tensors),
    );
  return map;
}

/** @throws AvjepaError AVJ_FOREIGN when the object is no dictionary of texts. */
export function requireDictionary(
  path: string,
  value: ForeignValue,
): Map<string, ForeignValue> {
  if (
    value instanceof Map &&
    [...value.keys()].every((k) => typeof k === "string")
  )
    return value as Map<string, ForeignValue>;
  throw new AvjepaError(
    "AVJ_FOREIGN",
    `${path} holds no dictionary, so it is no checkpoint`,
    { hint: "a checkpoint is what torch.save wrote of a dict" },
  );
}
