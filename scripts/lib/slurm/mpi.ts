/** How srun and the MPI of this machine find each other. */

import { AvjepaError } from "@avjepa/core/error";

import { slurm } from "./run_slurm.ts";

/**
 * The `--mpi` of srun for the MPI found: Open MPI speaks PMIx, MPICH and its
 * kin PMI-2. With the wrong one every process believes that it is alone.
 *
 * @throws AvjepaError AVJ_SLURM where SLURM does not have it.
 */
export function mpiPlugin(): string {
  const { out } = slurm("mpirun", "--version");
  const wanted = /open ?mpi|open-?rte/i.test(out) ? "pmix" : "pmi2";
  const { out: stdout, err: stderr } = slurm("srun", "--mpi=list");
  if (`${stdout}\n${stderr}`.split(/\s+/).includes(wanted)) return wanted;
  throw new AvjepaError(
    "AVJ_SLURM",
    `the MPI on this machine needs srun --mpi=${wanted}, which this SLURM does not have`,
    {
      hint:
        wanted === "pmix"
          ? "install libpmix2 on the nodes (Debian's name), or use an MPI that speaks PMI-2"
          : "use Open MPI with PMIx, or a SLURM built with PMI-2",
    },
  );
}
