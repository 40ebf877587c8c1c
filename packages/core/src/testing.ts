/** What several tests need. */

import { memory, synchronize } from "./device.ts";

/**
 * {@link memory}, once what earlier tests left to the collector is freed and the
 * queue is empty: a collection in the middle of a test must not change its counts.
 */
export async function settledMemory(): Promise<ReturnType<typeof memory>> {
  for (let last = -1; last !== memory().tensors;) {
    last = memory().tensors;
    Bun.gc(true);
    await Bun.sleep(1);
    await synchronize();
  }
  return memory();
}
