/** Checks that constructors share. All throw AvjepaError AVJ_ARGUMENT. */

import { AvjepaError } from "@avjepa/core";

/** An error about an argument of a model. */
export function refuse(model: string, what: string, hint?: string): never {
  throw new AvjepaError(
    "AVJ_ARGUMENT",
    `${model}: ${what}`,
    hint === undefined ? {} : { hint },
  );
}

/** Every one a whole number of at least 1. */
export function requireSizes(
  model: string,
  sizes: Record<string, number>,
): void {
  for (const [name, size] of Object.entries(sizes)) {
    if (!Number.isSafeInteger(size) || size < 1)
      refuse(
        model,
        `${name} is ${size}, but must be a whole number of at least 1`,
      );
  }
}

/** `whole` is a multiple of `part`. */
export function requireMultiple(
  model: string,
  whole: [name: string, size: number],
  part: [name: string, size: number],
): void {
  if (whole[1] % part[1] === 0) return;
  const low = Math.floor(whole[1] / part[1]) * part[1];
  const near =
    low > 0 ? `${low} and ${low + part[1]} are` : `${low + part[1]} is`;
  refuse(
    model,
    `${whole[0]} ${whole[1]} is not divisible by ${part[0]} ${part[1]}`,
    near,
  );
}

/**
 * Width and heads fit each other and the attention kernels, and position
 * tables can be made of the width.
 *
 * @param multiple what the width must be a multiple of, see widthMultiple.
 */
export function requireWidth(
  model: string,
  dim: number,
  heads: number,
  multiple: number,
): void {
  if (dim % heads !== 0) {
    refuse(
      model,
      `${heads} heads do not divide the width ${dim}`,
      "choose a width that is a multiple of the heads",
    );
  }
  if (dim / heads > 128) {
    refuse(
      model,
      `${dim} / ${heads} heads is ${dim / heads} columns a head; at most 128 are supported`,
      `use at least ${Math.ceil(dim / 128)} heads`,
    );
  }
  if (dim % multiple !== 0)
    refuse(
      model,
      `the width ${dim} is not divisible by ${multiple}, which its position table needs`,
    );
}
