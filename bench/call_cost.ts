/** Prints what a call to the addon costs, as JSON, over the transport that AVJEPA_FFI names. */

import { full, memory, synchronize } from "@avjepa/core";

/** Seconds a call, the best of five rounds. */
export interface TransportCost {
  /** A question that the addon answers at once. */
  question: number;
  /** An operation on a small tensor, enqueued, and its result freed. */
  "enqueue and free": number;
}

if (import.meta.main) {
  const x = full([8], 1);
  const cost: TransportCost = {
    // Two questions: of the device and of the handles.
    question: (await best(20_000, () => void memory())) / 2,
    "enqueue and free": await best(5_000, () => x.neg().dispose()),
  };
  console.log(JSON.stringify(cost));
}

async function best(times: number, call: () => void): Promise<number> {
  let seconds = Number.POSITIVE_INFINITY;
  for (let round = 0; round < 5; round++) {
    const start = performance.now();
    for (let i = 0; i < times; i++) call();
    seconds = Math.min(seconds, (performance.now() - start) / 1000 / times);
    await synchronize();
  }
  return seconds;
}
