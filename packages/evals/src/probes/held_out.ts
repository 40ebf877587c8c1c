/** A part of the training samples that chooses among probes. */

import { RandomStream } from "@avjepa/data";

/** Numbers of samples. */
export interface Split {
  train: Int32Array;
  heldOut: Int32Array;
}

/**
 * Holds a fraction of each class out, by lot: at least one sample in all, and
 * never the last one of a class.
 *
 * @param labels of all samples; of those with several, one class stands for all.
 * @returns places in `labels`.
 */
export function splitHeldOut(
  labels: ArrayLike<number>,
  fraction: number,
  seed: number,
): Split {
  const count = labels.length;
  const wanted = fraction > 0 ? Math.max(1, Math.round(fraction * count)) : 0;
  const order = new RandomStream("numpy", seed).draw("permutation", [count]);
  const byClass = new Map<number, number[]>();
  for (const sample of order) {
    const label = labels[sample]!;
    const members = byClass.get(label);
    if (members) members.push(sample);
    else byClass.set(label, [sample]);
  }
  // Each class gives its share; what rounding leaves over comes from the
  // classes whose share was cut most.
  const classes = [...byClass.entries()].sort(([a], [b]) => a - b);
  const shares = classes.map(([, members]) => {
    const exact = fraction * members.length;
    const whole = Math.min(Math.floor(exact), members.length - 1);
    return { members, whole, cut: exact - whole };
  });
  let missing = wanted - shares.reduce((sum, { whole }) => sum + whole, 0);
  for (const share of shares.toSorted((a, b) => b.cut - a.cut)) {
    if (missing <= 0) break;
    if (share.whole + 1 >= share.members.length) continue;
    share.whole += 1;
    missing -= 1;
  }
  const heldOut = shares.flatMap(({ members, whole }) =>
    members.slice(0, whole),
  );
  const out = new Set(heldOut);
  return {
    train: Int32Array.from({ length: count }, (_, i) => i).filter(
      (i) => !out.has(i),
    ),
    heldOut: Int32Array.from(heldOut).sort(),
  };
}
