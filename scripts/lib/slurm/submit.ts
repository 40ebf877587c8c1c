/** Submitting a job: held until its run folder is complete. */

import { mkdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";

import { recordEvent } from "./events.ts";
import { writeJobFile } from "./job_file.ts";
import { mustSlurm, slurm } from "./run_slurm.ts";
import { type Job, batchScript } from "./script.ts";
import { linkTree, snapshotCode } from "./snapshot.ts";

/** What a run folder gets besides the script and the code. */
export interface Submission {
  /** The resolved configuration, as YAML. */
  config: string;
  /** The checkout's revision. */
  git: string | null;
}

/** A run that was submitted. */
export interface Submitted {
  /** SLURM's number: `123`, or `123_0` in an array. */
  job: string;
  run: string;
}

const checkout = resolve(import.meta.dir, "../../..");

/** Submits a job, or an array of them, one for each submission. */
export function submitJob(
  job: Job,
  submissions: readonly Submission[],
): Submitted[] {
  mkdirSync(job.root, { recursive: true });
  const script = join(job.root, `.submit.${process.pid}.sh`);
  writeFileSync(script, batchScript(job));
  let id: string;
  try {
    // Held: its output goes to a folder that is named after the number it is given only now.
    id =
      mustSlurm("sbatch", "--parsable", "--hold", script).split(";")[0] ?? "";
  } finally {
    Bun.spawnSync(["rm", "-f", script]);
  }
  try {
    const submitted = submissions.map((submission, i) => {
      const number = job.array ? `${id}_${i}` : id;
      const run = join(job.root, `job_${number}`);
      fill(
        run,
        job,
        number,
        submission,
        i === 0 ? null : join(job.root, `job_${id}_0`),
      );
      return { job: number, run };
    });
    mustSlurm("scontrol", "release", id);
    return submitted;
  } catch (error) {
    slurm("scancel", id);
    throw error;
  }
}

/** Makes a run folder: code, configuration, script, the place of the logs. */
function fill(
  run: string,
  job: Job,
  number: string,
  { config, git }: Submission,
  sibling: string | null,
): void {
  mkdirSync(join(run, "ranks"), { recursive: true });
  // The jobs of an array share one copy of the code.
  if (sibling) linkTree(join(sibling, "code"), join(run, "code"));
  else snapshotCode(checkout, join(run, "code"));
  writeFileSync(join(run, "submitted.yaml"), config);
  const script = batchScript({ ...job, run, array: null });
  writeFileSync(join(run, "job.sh"), script, { mode: 0o755 });
  const ranks = job.request.nodes * job.request.tasksPerNode;
  const { command, name } = job;
  writeJobFile(run, { job: number, command, name, ranks, git });
  recordEvent(run, { event: "submitted", job: number });
}
