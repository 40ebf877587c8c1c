/** Meeting the other processes of a run. */

import { AvjepaError, Communicator, mpiLibrary } from "@avjepa/core";
import { existsSync } from "node:fs";

import { single } from "../collective.ts";
import type { Collective } from "../collective.ts";
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

/**
 * The collective of a process: the processes that the launcher started, or
 * itself alone.
 *
 * @throws AvjepaError AVJ_MPI where MPI is missing, or sees another number of
 *   processes than the launcher said: it never goes on alone.
 */
export async function joinProcesses({
  place,
}: LaunchPlan): Promise<Collective> {
  if (!place) return single;
  requireMpiLibrary();
  const found = await open();
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

async function open(): Promise<Communicator> {
  try {
    return await Communicator.open();
  } catch (error) {
    if (!AvjepaError.is(error)) throw error;
    throw new AvjepaError("AVJ_MPI", `MPI does not open: ${error.message}`, {
      hint: `is it the MPI that ${mpiLibrary} was built for? Install and build again: ${mpiRemedy}`,
      cause: error,
    });
  }
}
