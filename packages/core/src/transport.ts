/**
 * The way tensor operations cross to the addon: an operation's number and its
 * arguments as doubles, the answer as doubles. By napi, or with
 * `AVJEPA_FFI=1` by bun:ffi on the same symbol of the same file.
 */

import { dlopen, ptr } from "bun:ffi";
import { inspect } from "node:util";
import { addonPath, native } from "./addon.ts";
import { AvjepaError } from "./error.ts";

/** What an argument may be: a handle or number, a flag, nothing, or a list. */
export type Argument = number | boolean | null | readonly number[];

/** Which way calls cross. */
export const transport: "napi" | "ffi" =
  process.env.AVJEPA_FFI === "1" ? "ffi" : "napi";

const numbers = new Map(
  native.operations().map((name, number) => [name, number]),
);
let args = new Float64Array(1024);
/** The answer of the last call. */
const answer = new Float64Array(4096);

type Cross = (operation: number, length: number) => number;

function crossing(): Cross {
  if (transport === "napi") {
    return (operation, length) => native.call(operation, args, length, answer);
  }
  const library = dlopen(addonPath, {
    avj_call: { args: ["u32", "ptr", "u32", "ptr", "u32"], returns: "i32" },
  });
  // Arrays of this size are never moved, so their addresses are asked for once.
  const out = ptr(answer);
  let [known, address] = [args, ptr(args)];
  return (operation, length) => {
    if (known !== args) [known, address] = [args, ptr(args)];
    const { avj_call } = library.symbols;
    return avj_call(operation, address, length, out, answer.length);
  };
}

const cross = crossing();

/**
 * Runs one operation of the addon's table.
 *
 * @returns the answer's numbers, valid until the next call.
 * @throws AvjepaError with the engine's code and message.
 */
export function invoke(
  name: string,
  values: readonly Argument[],
): Float64Array {
  const operation = numbers.get(name);
  if (operation === undefined) {
    throw new AvjepaError(
      "AVJ_ADDON",
      `the native addon has no operation "${name}"`,
      {
        hint: "it is older than this code: build it again with bash scripts/setup.sh",
      },
    );
  }
  let length = 0;
  for (const value of values) {
    const room = Array.isArray(value) ? value.length + 1 : 1;
    if (length + room > args.length) {
      const larger = new Float64Array(2 * (length + room));
      larger.set(args);
      args = larger;
    }
    if (typeof value === "number") args[length++] = value;
    else if (value === null) args[length++] = 0;
    else if (typeof value === "boolean") args[length++] = value ? 1 : 0;
    else if (Array.isArray(value)) {
      args[length++] = value.length;
      for (const element of value) args[length++] = element;
    } else {
      throw new AvjepaError(
        "AVJ_ARGUMENT",
        `${name}: an argument is ${inspect(value)}, but must be a tensor, a number, a flag or a list of numbers`,
      );
    }
  }
  const written = cross(operation, length);
  if (written < 0) {
    const fault = native.lastError();
    throw new AvjepaError(
      fault?.code ?? "AVJ_PANIC",
      fault?.message ?? `${name} failed`,
      fault?.hint ? { hint: fault.hint } : {},
    );
  }
  return answer.subarray(0, written);
}
