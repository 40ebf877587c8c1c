/**
 * Modules: objects whose properties are parameters and other modules.
 *
 * State-dict keys are PyTorch's: the property names in snake_case, joined by
 * dots, with the place of an element in an array (`patchEmbed.proj.weight` is
 * `patch_embed.proj.weight`, `blocks[0]` is `blocks.0`).
 */

import { AvjepaError } from "../error.ts";
import type { Tensor } from "../tensor.ts";
import { Parameter } from "./parameter.ts";

/** Tensors by PyTorch's names, in the order of registration. */
export type StateDict = Record<string, Tensor>;

export abstract class Module {
  /** Every parameter, frozen ones too, with its state-dict key, in the order of registration. */
  *namedParameters(
    prefix = "",
  ): Generator<[name: string, parameter: Parameter]> {
    for (const [property, value] of Object.entries(this)) {
      yield* walk(value, prefix + snakeCase(property));
    }
  }

  /** Every parameter, frozen ones too. */
  parameters(): Parameter[] {
    return Array.from(this.namedParameters(), ([, parameter]) => parameter);
  }

  /** Number of learned values (or of all, with `frozen`). */
  parameterCount(options: { frozen?: boolean } = {}): number {
    return this.parameters()
      .filter((p) => p.requiresGrad || options.frozen)
      .reduce((sum, p) => sum + p.size, 0);
  }

  /** The parameters themselves by name: not copies. */
  stateDict(): StateDict {
    return Object.fromEntries(this.namedParameters());
  }

  /**
   * Copies values into the parameters.
   *
   * @param options.strict default true: every key must be there, and no other.
   * @returns what did not fit, when not strict.
   * @throws AvjepaError AVJ_STATE_DICT listing missing, unexpected and mis-shaped keys.
   */
  loadStateDict(
    state: StateDict,
    options: { strict?: boolean } = {},
  ): StateDictDifference {
    const own = new Map(this.namedParameters());
    const difference = compareStateDicts(own, state);
    const { missing, unexpected, misshaped } = difference;
    const strict = options.strict ?? true;
    if (
      misshaped.length > 0 ||
      (strict && missing.length + unexpected.length > 0)
    ) {
      throw new AvjepaError("AVJ_STATE_DICT", describeDifference(difference), {
        hint: "the weights are of another model: compare their size, patch, frames and modalities",
      });
    }
    for (const [name, parameter] of own) {
      const values = state[name];
      if (values !== undefined) parameter.copyFrom(values);
    }
    return difference;
  }

  /** Frees every parameter. */
  dispose(): void {
    for (const parameter of this.parameters()) parameter[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** What {@link Module.loadStateDict} found to differ. */
export interface StateDictDifference {
  missing: string[];
  unexpected: string[];
  misshaped: {
    key: string;
    expected: readonly number[];
    found: readonly number[];
  }[];
}

function compareStateDicts(
  own: Map<string, Parameter>,
  state: StateDict,
): StateDictDifference {
  const misshaped: StateDictDifference["misshaped"] = [];
  for (const [key, parameter] of own) {
    const found = state[key]?.shape;
    if (found !== undefined && found.join() !== parameter.shape.join()) {
      misshaped.push({ key, expected: parameter.shape, found });
    }
  }
  return {
    missing: [...own.keys()].filter((key) => !(key in state)),
    unexpected: Object.keys(state).filter((key) => !own.has(key)),
    misshaped,
  };
}

/** {@link StateDictDifference} in words. */
export function describeDifference({
  missing,
  unexpected,
  misshaped,
}: StateDictDifference): string {
  const some = (title: string, keys: string[]) =>
    keys.length === 0
      ? []
      : [
          `${title} (${keys.length}): ${keys.slice(0, 8).join(", ")}${keys.length > 8 ? ", …" : ""}`,
        ];
  const shapes = misshaped.map(
    ({ key, expected, found }) =>
      `${key} is [${found.join(", ")}], not [${expected.join(", ")}]`,
  );
  return [
    "the weights do not fit the model",
    ...some("missing", missing),
    ...some("unexpected", unexpected),
    ...some("of another shape", shapes),
  ].join("\n");
}

function* walk(value: unknown, name: string): Generator<[string, Parameter]> {
  if (value instanceof Parameter) yield [name, value];
  else if (value instanceof Module) yield* value.namedParameters(`${name}.`);
  else if (Array.isArray(value))
    for (const [i, element] of value.entries())
      yield* walk(element, `${name}.${i}`);
}

function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
