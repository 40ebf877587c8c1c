/** Calls every operation of the addon with arguments of no sense: each must answer or throw, and the device must live. */

import {
  AvjepaError,
  native,
  synchronize,
  type Tensor,
  tensor,
} from "@avjepa/core";
import { invoke } from "../../../packages/core/src/transport.ts";

let state = 1;
const below = (n: number) => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * n);
};

// Nothing large enough to fill the memory of a small machine.
const numbers = [
  -1,
  0,
  1,
  2,
  3,
  7,
  0.5,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  -1e300,
  2 ** 53,
];
// Held for good: calls below free handles behind the tensors' backs.
const held: Tensor[] = [];
const handles = () => {
  const made = [
    tensor([1, 2, 3, 4], [2, 2]),
    tensor([1, 2, 3, 4], [2, 2], { requiresGrad: true }),
    tensor(Int32Array.of(0, 1, 2)),
    tensor(Uint8Array.of(1, 2, 3), [1, 1, 1, 1, 3]),
    tensor([], [0, 4]),
    tensor([5], []),
  ];
  held.push(...made);
  return made.map((x) => x.handle);
};

const codes = new Map<string, number>();
let answered = 0;
for (let round = 0; round < 300; round++) {
  const live = handles();
  // Some rounds mostly of tensors, some mostly of numbers.
  const share = round % 4;
  const value = () =>
    (below(4) <= share
      ? live[below(live.length)]
      : numbers[below(numbers.length)]) as number;
  for (const name of native.operations()) {
    const args = Array.from({ length: below(12) }, () =>
      below(6) === 0 ? Array.from({ length: below(4) }, value) : value(),
    );
    try {
      invoke(name, args);
      answered += 1;
    } catch (error) {
      if (!(error instanceof AvjepaError)) throw error;
      codes.set(error.code, (codes.get(error.code) ?? 0) + 1);
    }
  }
  // Regions that the calls above may have opened.
  for (let i = 0; i < 20; i++) {
    for (const name of ["endNoGrad", "abortCheckpoint"]) {
      try {
        invoke(name, []);
      } catch {
        // None was open.
      }
    }
  }
  await synchronize().catch((error: unknown) => {
    if (!(error instanceof AvjepaError)) throw error;
    codes.set(
      `later ${error.code}`,
      (codes.get(`later ${error.code}`) ?? 0) + 1,
    );
  });
}
const sum = await tensor([1, 2])
  .add(tensor([3, 4]))
  .sum()
  .item();
console.log(
  JSON.stringify({ answered, codes: Object.fromEntries(codes), sum }),
);
