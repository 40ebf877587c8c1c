/** Labels of the samples of an index, and what can be wrong with them. */

import { AvjepaError } from "@avjepa/core";

/** An index, read. */
export interface LabelledIndex {
  /** What the user named it. */
  name: string;
  paths: readonly string[];
  /** Of each line. */
  labels: readonly number[] | readonly (readonly number[])[];
}

/**
 * Refuses labels that nothing can be learned from or tested with.
 *
 * @throws AvjepaError AVJ_LABEL naming the first such line, and the remedy.
 */
export function checkLabels(
  train: LabelledIndex,
  val: LabelledIndex | null,
  classes: number,
  multiLabel: boolean,
): void {
  for (const index of val === null ? [train] : [train, val])
    requireRange(index, classes);
  if (train.paths.length < classes && !multiLabel)
    fail(
      `${train.name} has ${train.paths.length} samples for ${classes} classes`,
      `every class needs at least one: set data.num_classes to the classes there are (the greatest label is ${greatest(train)}: --set data.num_classes=${greatest(train) + 1})`,
    );
  if (val === null || multiLabel) return;
  const known = new Set((train.labels as readonly number[]).flat());
  const line = (val.labels as readonly number[]).findIndex(
    (label) => !known.has(label),
  );
  if (line < 0) return;
  const unknown = [
    ...new Set((val.labels as readonly number[]).filter((l) => !known.has(l))),
  ];
  const lines = val.labels.filter((label) => !known.has(label as number));
  fail(
    `${val.name}: class ${unknown.slice(0, 5).join(", ")}${unknown.length > 5 ? ", …" : ""} of ${lines.length} of its ${val.paths.length} samples is not in ${train.name}; the first is ${val.paths[line]}`,
    "no probe can know a class that it was never shown: take these out of the test index, or put some into the training index",
  );
}

function requireRange({ name, paths, labels }: LabelledIndex, classes: number) {
  labels.forEach((label, i) => {
    for (const one of [label].flat())
      if (!(one >= 0 && one < classes))
        fail(
          `${name}: sample ${i + 1}, ${paths[i]}, has label ${one}, but labels go from 0 to ${classes - 1}`,
          `data.num_classes is ${classes}; correct the index, or set data.num_classes`,
        );
  });
}

const greatest = ({ labels }: LabelledIndex): number =>
  (labels as readonly number[])
    .flat()
    .reduce((most, label) => Math.max(most, label), 0);

function fail(message: string, hint: string): never {
  throw new AvjepaError("AVJ_LABEL", message, { hint });
}

/** Samples of each class. */
export function countClasses(
  labels: ArrayLike<number>,
  classes: number,
): Int32Array {
  const counts = new Int32Array(classes);
  for (let i = 0; i < labels.length; i++) counts[labels[i]!]! += 1;
  return counts;
}
