/** Meeting the other processes of a run. */

import { AvjepaError, Communicator, findNccl, mpiLibrary } from "@avjepa/core";
import type { NcclFound } from "@avjepa/core";
import { existsSync } from "node:fs";

import { single } from "../collective.ts";
import type { Collective } from "../collective.ts";
import { meetingOf } from "./meeting.ts";
import type { LaunchPlan } from "./plan.ts";

/** The line that puts MPI on a machine. */
export const mpiRemedy =
  "apt-get install -y --no-install-recommends libopenmpi-dev openmpi-bin && bash scripts/setup.sh";

/** @throws AvjepaError AVJ_MPI where the library that links MPI was not built. */
export function requireMpiLibrary(): void {
  if (existsSync(mpiLibrary)) return;
  throw new AvjepaError(
    "AVJ_MPI",
    `several processes need MPI, but ${mpiLibrary} was not built`,
    { hint: `install MPI and build again: ${mpiRemedy}` },
  );
}

/** @throws AvjepaError AVJ_NCCL where NCCL, or NVIDIA's driver, is missing. */
export function requireNccl(): NcclFound {
  try {
    return findNccl();
  } catch (error) {
    throw named("AVJ_NCCL", "NCCL does not open", error);
  }
}

/**
 * The collective of a process: the processes that the launcher started, or
 * itself alone.
 *
 * @throws AvjepaError AVJ_MPI or AVJ_NCCL where what they meet through is missing,
 *   or sees another number of processes than the launcher said: it never goes on
 *   alone.
 */
export async function joinProcesses({
  place,
  collective,
}: Pick<LaunchPlan, "place" | "collective">): Promise<Collective> {
  if (!place) return single;
  if (collective === "nccl") {
    const meeting = await meetingOf(place);
    return Communicator.openNccl(meeting).catch((error: unknown) => {
      throw named("AVJ_NCCL", "NCCL does not open", error);
    });
  }
  requireMpiLibrary();
  const found = await Communicator.openMpi().catch((error: unknown) => {
    const hint = `is it the MPI that ${mpiLibrary} was built for? Install and build again: ${mpiRemedy}`;
    throw named("AVJ_MPI", "MPI does not open", error, hint);
  });
  if (found.world === place.world && found.rank === place.rank) return found;
  throw new AvjepaError(
    "AVJ_MPI",
    `${place.launcher} started ${place.world} processes, but to MPI (${found.engine}) this is ${found.rank} of ${found.world}`,
    {
      hint:
        place.launcher === "srun"
          ? "give srun the --mpi that this MPI speaks: pmix for Open MPI, pmi2 for MPICH (srun --mpi=list shows what there is)"
          : "start them with the mpirun of the same MPI",
    },
  );
}

/** The engine's error under a name that says what it was about. */
function named(
  code: string,
  what: string,
  error: unknown,
  remedy?: string,
): unknown {
  if (!AvjepaError.is(error)) return error;
  const hint = remedy ?? error.hint;
  return new AvjepaError(code, `${what}: ${error.message}`, {
    ...(hint ? { hint } : {}),
    cause: error,
  });
}
