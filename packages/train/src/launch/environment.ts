/** Where a process stands among those that a launcher started, by the variables it set. */

/** A process's place. */
export interface Place {
  /** From 0, over all machines. */
  rank: number;
  /** Processes in all. */
  world: number;
  /** From 0, on this machine. */
  localRank: number;
  /** Who started it; `torchrun` is whoever uses its names, as `--ranks` with NCCL does. */
  launcher: "mpirun" | "srun" | "torchrun";
}

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Names of rank, world and local rank, by who sets them. mpirun comes first: it
 * may run within a job of SLURM, whose own variables then tell of the one task
 * that runs it.
 */
const launchers: readonly [
  Place["launcher"],
  rank: string,
  world: string,
  local: string,
][] = [
  [
    "mpirun",
    "OMPI_COMM_WORLD_RANK",
    "OMPI_COMM_WORLD_SIZE",
    "OMPI_COMM_WORLD_LOCAL_RANK",
  ],
  ["srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"],
  ["mpirun", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID"],
  ["torchrun", "RANK", "WORLD_SIZE", "LOCAL_RANK"],
];

/**
 * The place that the environment gives this process; null where nobody started
 * several. A batch script and an interactive shell of SLURM are no launch: only
 * `srun` makes a step of more than one task.
 */
export function placeFromEnvironment(
  env: Environment = process.env,
): Place | null {
  // torchrun may itself run as a task of srun, one a machine.
  const byTorchrun = env.TORCHELASTIC_RUN_ID !== undefined;
  const known = byTorchrun ? launchers.slice(-1) : launchers;
  for (const [launcher, rankName, worldName, localName] of known) {
    const [rank, world] = [number(env[rankName]), number(env[worldName])];
    if (rank === undefined || world === undefined || rank >= world) continue;
    // Under Open MPI and srun a world of one is meant; a shell in a job has the step's variables too.
    if (world === 1) continue;
    const localRank = number(env[localName]) ?? 0;
    return { rank, world, localRank, launcher };
  }
  return null;
}

function number(text: string | undefined): number | undefined {
  return text !== undefined && /^\d+$/.test(text) ? Number(text) : undefined;
}

/**
 * The device of a process among those it sees: its number on the machine,
 * modulo what is visible. Where SLURM gives each task one GPU all see one; where
 * it gives the node's to all, each takes its own.
 */
export function localDevice(
  devices: readonly string[],
  localRank: number,
): string | undefined {
  return devices[localRank % devices.length];
}
