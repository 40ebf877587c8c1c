/** Outputs of several masks, packed behind each other, as the cases list them. */

import { concat, type DType, type Tensor } from "@avjepa/core";
import { packMasks, type PackedIndices } from "@avjepa/models";
import type { ParityCase } from "../case.ts";

/** Packed masks of the tensors `video.<k>` (and `audio.<k>`), k counted from 0. */
export function readMasks(
  given: ParityCase,
  video: string,
  audio: string | null,
): PackedIndices | undefined {
  const count = (prefix: string) => {
    let k = 0;
    while (given.has(`${prefix}.${k}`)) k++;
    return k;
  };
  const lists = (prefix: string) =>
    Array.from({ length: count(prefix) }, (_, k) =>
      given.rows(`${prefix}.${k}`),
    );
  if (count(video) === 0) return undefined;
  return packMasks({
    video: lists(video),
    ...(audio === null ? {} : { audio: lists(audio) }),
  });
}

/** Compares `out.<i>`, parts of the rows of `y` one after another. */
export async function compareOutputs(
  given: ParityCase,
  y: Tensor,
): Promise<void> {
  const values = await y.toNumbers();
  let at = 0;
  for (const name of outputs(given)) {
    const size = given
      .shape(name)
      .reduce((product, length) => product * length, 1);
    given.compare(name, values.subarray(at, at + size));
    at += size;
  }
  given.require(
    at === values.length,
    `there are ${values.length} outputs, expected ${at}`,
  );
}

function outputs(given: ParityCase): string[] {
  return given.names("expect").filter((name) => name.startsWith("out."));
}

/** `Σ_i Σ out.i · w.i`, backward and compared, where the case has it. @returns whether it has. */
export async function backwardLoss(
  given: ParityCase,
  y: Tensor,
  dtype: DType,
): Promise<boolean> {
  if (!given.hasLoss) return false;
  const weights = given
    .names("loss_weight")
    .map((name) =>
      given.tensor(name, { dtype }).reshape(-1, y.shape.at(-1) as number),
    );
  const loss = y.mul(concat(weights)).sum();
  loss.backward();
  given.compareLoss(await loss.item());
  return true;
}

/** Compares `grad.<name>` of an input, if it is there. */
export async function compareInputGradient(
  given: ParityCase,
  name: string,
  input: Tensor | undefined,
): Promise<void> {
  if (!given.has(`grad.${name}`)) return;
  const gradient = input?.grad;
  if (gradient) await given.compareTensor(`grad.${name}`, gradient);
}
