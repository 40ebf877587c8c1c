/** Runs of several processes. */

import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

import { root } from "../pretrain/support.ts";

/** Why these tests cannot run here; null where they can. */
export const withoutMpi: string | null = Bun.which("mpirun")
  ? null
  : "MPI is not installed (apt-get install libopenmpi-dev openmpi-bin)";

/** Options with which Open MPI's mpirun starts more processes than there are cores, as root too. */
export const mpirun = (ranks: number): string[] => [
  ...["mpirun", "--oversubscribe", "--bind-to", "none"],
  ...(process.getuid?.() === 0 ? ["--allow-run-as-root"] : []),
  ...["-n", String(ranks)],
];

/** One thread a rank: more would only wait for each other here. */
export const environment = {
  ...process.env,
  AVJEPA_THREADS: "1",
  OMPI_MCA_btl_vader_single_copy_mechanism: "none",
};

/**
 * The environment of processes that meet through the double of NCCL, which is
 * no NCCL and needs no GPU; it keeps its files in `folder`.
 */
export function ncclDouble(
  folder: string,
  settings: Record<string, string> = {},
): Record<string, string> {
  const target = process.env.CARGO_TARGET_DIR ?? join(root, "target");
  const suffix = process.platform === "darwin" ? "dylib" : "so";
  const file = join(target, "release", `libavjepa_nccl_double.${suffix}`);
  return {
    AVJEPA_NCCL_LIBRARY: file,
    AVJEPA_CUDA_LIBRARY: file,
    AVJEPA_NCCL_DOUBLE_DIR: folder,
    ...Object.fromEntries(
      Object.entries(settings).map(([name, value]) => [
        `AVJEPA_NCCL_DOUBLE_${name}`,
        value,
      ]),
    ),
  };
}

/** A line of `children/steps.ts`. */
export interface StepLine {
  rank: number;
  /** What carried the messages. */
  engine: string;
  step: number;
  loss: number;
  weights: string;
  /** Bytes on the device after the step, and those of all moments. */
  memory: number;
  moments: number;
  samples: [pass: number, index: number][];
  masks: string[];
  heldOut?: number;
}

const child = join(root, "test/launch/children/steps.ts");

/** Trains some steps on so many processes; their lines. With `nccl`'s environment they meet through that. */
export async function trainSteps(
  ranks: number,
  config: string,
  steps: number,
  nccl?: Record<string, string>,
): Promise<StepLine[]> {
  const launcher = ranks > 1 ? mpirun(ranks) : [];
  const words = [config, String(steps), nccl ? "nccl" : "mpi"];
  const command = [...launcher, process.execPath, child, ...words];
  const process_ = Bun.spawn(command, {
    cwd: root,
    env: { ...environment, ...nccl },
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, err] = await Promise.all([
    new Response(process_.stdout).text(),
    new Response(process_.stderr).text(),
  ]);
  if ((await process_.exited) !== 0) throw new Error(err);
  return out
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as StepLine);
}

/** Pids of the live processes whose command line has `text` in it. */
export function processesWith(text: string): number[] {
  return readdirSync("/proc")
    .map(Number)
    .filter((pid) => pid > 0)
    .filter((pid) => {
      try {
        const command = readFileSync(`/proc/${pid}/cmdline`, "utf8");
        return command.includes(text) && pid !== process.pid;
      } catch {
        return false;
      }
    });
}
