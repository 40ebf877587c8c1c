/** What processes may meet through: `--collective`. `auto` is NCCL for CUDA devices, MPI for all others. */
export const collectives = ["auto", "mpi", "nccl"] as const;
export type CollectiveName = (typeof collectives)[number];
