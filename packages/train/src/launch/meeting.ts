/** Where processes meet before NCCL connects them: rank 0's machine, and ports there. */

import { AvjepaError } from "@avjepa/core/error";
import type { NcclMeeting } from "@avjepa/core";
import { lookup } from "node:dns/promises";

import type { Place } from "./environment.ts";

type Environment = Readonly<Record<string, string | undefined>>;

/** Seconds that ranks wait for each other: machines start one after another. */
const patience = 300;

/**
 * A rank's meeting, from the variables of whoever started it; `MASTER_ADDR` and
 * `MASTER_PORT` say it under every launcher.
 *
 * @throws AvjepaError AVJ_LAUNCH where they do not tell rank 0's machine or a port.
 */
export async function meetingOf(
  place: Place,
  env: Environment = process.env,
): Promise<NcclMeeting> {
  const { rank, world, localRank } = place;
  const { address, port, run } = await whereOf(place, env);
  const asked = Number(env.AVJEPA_MEET_SECONDS);
  const seconds = asked > 0 ? asked : patience;
  return { rank, world, localRank, address, port, run, seconds };
}

interface Where {
  address: string;
  port: number;
  /** The same on all ranks of a run, and on no others. */
  run: string;
}

async function whereOf(place: Place, env: Environment): Promise<Where> {
  switch (place.launcher) {
    case "torchrun":
      return ofTorchrun(env);
    case "srun": {
      const { SLURM_JOB_ID = "", SLURM_STEP_ID = "" } = env;
      const run = `slurm ${SLURM_JOB_ID}.${SLURM_STEP_ID} ${env.SLURM_RESTART_COUNT ?? 0}`;
      const address = env.MASTER_ADDR ?? (await firstNode(env));
      return { address, port: portOf(env, run), run };
    }
    case "mpirun": {
      const local = env.OMPI_COMM_WORLD_LOCAL_SIZE ?? env.MPI_LOCALNRANKS;
      const isOneMachine = Number(local) === place.world;
      // MPICH does not name the job, and has a parent of the ranks on each machine.
      const own = isOneMachine ? process.ppid : env.MASTER_PORT;
      const job = env.PMIX_NAMESPACE ?? env.OMPI_MCA_ess_base_jobid ?? own;
      if (job === undefined)
        throw unknown("this mpirun does not tell its ranks the job's name");
      const run = `mpirun ${job}`;
      const address =
        env.MASTER_ADDR ?? (isOneMachine ? "127.0.0.1" : undefined);
      if (address === undefined)
        throw unknown(
          "mpirun does not tell its ranks which machine is rank 0's",
        );
      return { address, port: portOf(env, run), run };
    }
  }
}

function ofTorchrun(env: Environment): Where {
  const { MASTER_ADDR: address } = env;
  const given = Number(env.MASTER_PORT);
  if (!address || !isPort(given))
    throw unknown(
      "RANK and WORLD_SIZE are set, but MASTER_ADDR and MASTER_PORT are not",
    );
  // With this, torchrun itself listens at that port.
  const taken = env.TORCHELASTIC_USE_AGENT_STORE === "True";
  const { TORCHELASTIC_RUN_ID = "", TORCHELASTIC_RESTART_COUNT = "" } = env;
  const { AVJEPA_LAUNCHER = "" } = env;
  const names = [TORCHELASTIC_RUN_ID, TORCHELASTIC_RESTART_COUNT];
  const run = ["torchrun", given, ...names, AVJEPA_LAUNCHER].join(" ").trim();
  return { address, port: taken ? given + 1 : given, run };
}

/** The machine of a step's first task. */
async function firstNode(env: Environment): Promise<string> {
  if (env.SLURM_STEP_NUM_NODES === "1") return "127.0.0.1";
  const node = firstOf(env.SLURM_STEP_NODELIST ?? "");
  if (!node) throw unknown("srun does not tell the step's machines");
  try {
    await lookup(node);
    return node;
  } catch {
    // A node's name need not be its machine's; where srun was called is the first node in a batch job.
    return env.SLURM_LAUNCH_NODE_IPADDR ?? node;
  }
}

/** The first of a list as SLURM writes it: `n[03-05,9]-ib,login` begins with `n03-ib`. */
export function firstOf(list: string): string {
  const [, before = "", range, after = ""] =
    /^([^,[]*)(?:\[([^\]]*)\]([^,[]*))?/.exec(list) ?? [];
  return `${before}${range?.split(/[-,]/)[0] ?? ""}${after}`;
}

/** `MASTER_PORT`, or one below those that systems give out by themselves. */
function portOf(env: Environment, run: string): number {
  const given = Number(env.MASTER_PORT);
  if (isPort(given)) return given;
  if (env.MASTER_PORT !== undefined)
    throw unknown(`MASTER_PORT is ${env.MASTER_PORT}`);
  return 20_000 + Number(BigInt(Bun.hash(run)) % 10_000n);
}

const isPort = (port: number): boolean =>
  Number.isInteger(port) && port > 0 && port < 65_520;

const unknown = (what: string): AvjepaError =>
  new AvjepaError("AVJ_LAUNCH", `where do the processes meet? ${what}`, {
    hint: "MASTER_ADDR=HOST MASTER_PORT=PORT name rank 0's machine and a free port below 65520 there, on every rank (mpirun -x MASTER_ADDR=HOST …; MPICH's: -genv MASTER_ADDR HOST)",
  });
