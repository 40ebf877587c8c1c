/** What processes get from the one that starts them on this machine. */

import { availableParallelism } from "node:os";

/** Names the process that started the ranks, so that they end with it. */
export const launcherVariable = "AVJEPA_LAUNCHER";

/** The environment of so many ranks: each has its share of the threads. */
export function rankEnvironment(
  ranks: number,
): Record<string, string | undefined> {
  const { AVJEPA_THREADS } = process.env;
  const all = Number(AVJEPA_THREADS) || availableParallelism();
  return {
    ...process.env,
    AVJEPA_THREADS: String(Math.max(1, Math.floor(all / ranks))),
    [launcherVariable]: String(process.pid),
  };
}
