/** Starting the processes of a run on this machine, by what they meet through. */

import { runUnderMpirun } from "./mpirun.ts";
import type { LaunchPlan } from "./plan.ts";
import { runProcesses } from "./processes.ts";

/**
 * Runs `command` as the plan's processes, to their end. SIGINT, SIGTERM and
 * SIGUSR2 ask all of them to finish the step and save; a second SIGINT ends
 * them at once. When one dies all end.
 *
 * @returns the exit code: 0, 75 after a stop, 1 when any process failed.
 * @throws AvjepaError AVJ_MPI or AVJ_NCCL where what they meet through is missing.
 */
export async function runRanks(
  { world, collective }: Pick<LaunchPlan, "world" | "collective">,
  command: readonly string[],
): Promise<number> {
  return collective === "nccl"
    ? runProcesses(world, command)
    : runUnderMpirun(world, command);
}
