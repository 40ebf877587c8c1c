/** The batch script of a job. */

import type { Request } from "./request.ts";

/** A job to be written down. */
export interface Job {
  request: Request;
  /** `pretrain` or `eval` */
  command: string;
  /** Name in the queue. */
  name: string;
  /** Folder of the run folders, absolute. */
  root: string;
  /** The run's folder; null: named after the job's number. */
  run: string | null;
  /** Jobs of an array and how many at a time; null: one job. */
  array: { size: number; limit: number | null } | null;
  /** The bun that runs it. */
  bun: string;
  /** Where it runs: relative paths of data are relative to it. */
  directory: string;
  /** `--mpi` of srun; null for a single process. */
  mpi: string | null;
  /** Options of the command, after the configuration and the folder. */
  options: readonly string[];
}

/** Seconds before the time limit at which the job is told to save. */
const warning = (minutes: number): number =>
  Math.min(120, Math.floor((60 * minutes) / 4));

/** A word as the shell reads it back. */
export const quote = (word: string): string =>
  /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;

/** A path as sbatch reads it back from a directive. */
const quoted = (path: string): string =>
  /[\s'#]/.test(path) ? `"${path}"` : path;

/** The script: `bun run slurm --dry-run` prints it. */
export function batchScript(job: Job): string {
  const { request: r, array } = job;
  const number = array ? "%A_%a" : "%j";
  const run = job.run ?? `${job.root}/job_${number}`;
  const directives = [
    `--job-name=${job.name}`,
    ...(r.partition ? [`--partition=${r.partition}`] : []),
    `--nodes=${r.nodes}`,
    `--ntasks-per-node=${r.tasksPerNode}`,
    `--cpus-per-task=${r.cpusPerTask}`,
    ...(r.gpusPerNode > 0 ? [`--gpus-per-node=${r.gpusPerNode}`] : []),
    ...(r.memPerGpu ? [`--mem-per-gpu=${r.memPerGpu}`] : []),
    `--time=${r.time}`,
    ...(r.exclude ? [`--exclude=${r.exclude}`] : []),
    ...(r.account ? [`--account=${r.account}`] : []),
    ...(r.qos ? [`--qos=${r.qos}`] : []),
    ...(array
      ? [`--array=0-${array.size - 1}${array.limit ? `%${array.limit}` : ""}`]
      : []),
    // To every process of the step, so long before the end.
    `--signal=USR2@${warning(r.time)}`,
    "--requeue",
    "--open-mode=append",
    `--chdir=${quoted(job.directory)}`,
    `--output=${quoted(`${run}/slurm.log`)}`,
  ];
  const id = array
    ? "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"
    : "${SLURM_JOB_ID}";
  const folder = job.run ? quote(job.run) : `${quote(job.root)}/job_${id}`;
  const options = job.options.map((word) => ` ${quote(word)}`).join("");
  return `#!/bin/bash
${directives.map((line) => `#SBATCH ${line}\n`).join("")}
# Written by: bun run slurm. A job that is preempted, or out of time, saves and queues itself again.
run=\${AVJEPA_RUN:-${folder}}
bun=${quote(job.bun)}
export AVJEPA_THREADS=\${SLURM_CPUS_PER_TASK:-1}
# The signals are for the processes: this shell waits for them to end.
trap : USR2 TERM

"$bun" "$run/code/scripts/slurm.ts" started "$run"
srun --kill-on-bad-exit=1 --unbuffered --cpus-per-task="\${SLURM_CPUS_PER_TASK:-1}"${job.mpi ? ` --mpi=${job.mpi}` : ""} \\
  --open-mode=append --output="$run/ranks/%t.log" \\
  "$bun" "$run/code/scripts/${job.command}.ts" "$run/submitted.yaml" --folder "$run"${options}
code=$?
"$bun" "$run/code/scripts/slurm.ts" ended "$run" "$code"
`;
}
