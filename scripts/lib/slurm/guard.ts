/**
 * A job that waits beside a run's, for the one end that the run's own script
 * cannot see to: its own. It starts when SLURM says that the other has failed,
 * and is taken away wherever the script comes to its end.
 */

import { lastMetrics, readEvents, recordEvent } from "./events.ts";
import { readJob, writeJobFile } from "./job_file.ts";
import { records, sbatch, slurm } from "./run_slurm.ts";
import { quote } from "./script.ts";
import { submitAgain } from "./submit_again.ts";
import { judge } from "./verdict.ts";

/** Exit code of what was killed by SIGKILL, as a shell gives it. */
const killedCode = 137;

/** Sets a guard beside this job, unless one is waiting. A cluster that refuses it does without. */
export function setGuard(run: string): void {
  const { SLURM_JOB_ID: job = "", SLURM_JOB_PARTITION } = process.env;
  const { SLURM_JOB_ACCOUNT, SLURM_JOB_QOS } = process.env;
  const file = readJob(run);
  const { guard } = file;
  if (guard?.of === job && stateOf(guard.job) === "PENDING") return;
  dropGuard(run);
  const words = [process.execPath, `${run}/code/scripts/slurm.ts`];
  const command = [...words, "killed", run, job].map(quote).join(" ");
  const set = sbatch(
    ...["--parsable", `--job-name=${file.name}-guard`],
    // Gone by itself once the job has ended well.
    ...[`--dependency=afternotok:${job}`, "--kill-on-invalid-dep=yes"],
    ...["--nodes=1", "--ntasks=1", "--cpus-per-task=1", "--mem=1G", "--time=5"],
    ...(SLURM_JOB_PARTITION ? [`--partition=${SLURM_JOB_PARTITION}`] : []),
    ...(SLURM_JOB_ACCOUNT ? [`--account=${SLURM_JOB_ACCOUNT}`] : []),
    ...(SLURM_JOB_QOS ? [`--qos=${SLURM_JOB_QOS}`] : []),
    ...["--open-mode=append", `--output=${run}/slurm.log`],
    ...["--wrap", command],
  );
  const [number = ""] = set.out.split(";");
  if (set.ok) writeJobFile(run, { ...file, guard: { job: number, of: job } });
  else
    console.log(
      `no job waits for the case that this one is killed: ${set.err}`,
    );
}

/** Takes it away: what comes next is decided. */
export function dropGuard(run: string): void {
  const { guard, ...file } = readJob(run);
  if (!guard) return;
  slurm("scancel", guard.job);
  writeJobFile(run, file);
}

/** What the guard does: it goes on with a run whose script was killed, by the rules for a crash. */
export function afterKilled(run: string, job: string): void {
  const events = readEvents(run);
  const state = stateOf(job);
  // Not the last word on this run, or somebody's wish.
  const last = events.at(-1);
  const isRunning = last?.event === "started" && last.job === job;
  const over = !isRunning || state === "CANCELLED";
  if (over || ["PENDING", "RUNNING", "COMPLETING"].includes(state)) return;
  const step = lastMetrics(run)?.step ?? 0;
  const verdict = judge(events, killedCode, step);
  const text = `the job's own script was killed (${state || "gone"}): ${verdict.text}`;
  const about = { job, step, code: killedCode, text };
  recordEvent(run, { event: "ended", ...about });
  console.log(`job ${job}: ${text}`);
  if (!verdict.requeue) {
    recordEvent(run, { event: "gave_up", ...about });
    return;
  }
  const next = submitAgain(run);
  if (!next.ok)
    recordEvent(run, { event: "gave_up", ...about, text: next.err });
}

/** SLURM's word for a job; empty where it has forgotten it. */
function stateOf(job: string): string {
  const shown = slurm("scontrol", "show", "job", "-o", job);
  return (shown.ok && records(shown.out)[0]?.JobState) || "";
}
