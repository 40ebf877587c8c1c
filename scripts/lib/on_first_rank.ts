/** Work that one process does for all, while the others wait as long as it takes. */

import type { Collective } from "@avjepa/train";

/** Milliseconds after which the processes tell each other that they are alive. */
const interval = 10_000;

/**
 * Runs `work` on rank 0. The others meet it again and again until it is done,
 * so that nobody waits for longer than a watchdog suffers.
 *
 * @param during is told of each wait.
 * @returns what `work` gave, on rank 0; nothing elsewhere.
 */
export async function onFirstRank<T>(
  ranks: Pick<Collective, "rank" | "world" | "max">,
  work: () => Promise<T>,
  during: <R>(wait: () => Promise<R>) => Promise<R> = (wait) => wait(),
): Promise<T | undefined> {
  if (ranks.world === 1) return during(work);
  const running = ranks.rank === 0 ? work() : undefined;
  for (;;) {
    const [busy] = await during(async () => {
      const done = running === undefined || (await isSettled(running));
      return ranks.max([done ? 0 : 1]);
    });
    if (busy === 0) return running;
  }
}

/** Whether a promise settles within {@link interval}; its error is the caller's to meet. */
async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let timer: Timer | undefined;
  const waited = new Promise<boolean>((resolve) => {
    timer = setTimeout(resolve, interval, false);
  });
  const settled = promise.then(
    () => true,
    () => true,
  );
  const found = await Promise.race([settled, waited]);
  clearTimeout(timer);
  return found;
}
