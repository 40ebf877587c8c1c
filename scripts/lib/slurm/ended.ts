/** What a job does when its processes have ended: it is done, queues itself again, or gives up. */

import { lastMetrics, readEvents, recordEvent } from "./events.ts";
import { dropGuard } from "./guard.ts";
import { records, slurm } from "./run_slurm.ts";
import { submitAgain } from "./submit_again.ts";
import { judge } from "./verdict.ts";

/** Whether SLURM itself is ending the job, by what it says of it: cancelled, but for its time limit. */
export function isTaken(record: Record<string, string> | undefined): boolean {
  if (record?.Reason === "TimeLimit") return false;
  return !["RUNNING", "TIMEOUT"].includes(record?.JobState ?? "");
}

/**
 * Records the end of a job's processes and queues it again where that helps:
 * the same job, or, where SLURM refuses that, another that waits for this one.
 *
 * @returns the job's exit code.
 */
export function endJob(run: string, code: number): number {
  const { SLURM_JOB_ID = "", SLURM_RESTART_COUNT } = process.env;
  const step = lastMetrics(run)?.step ?? 0;
  const restart = Number(SLURM_RESTART_COUNT ?? 0);
  const { requeue, text } = judge(readEvents(run), code, step);
  const about = { job: SLURM_JOB_ID, restart, step, code };
  recordEvent(run, { event: "ended", ...about, text });
  console.log(`job ${SLURM_JOB_ID}: ${text}`);
  if (!requeue) {
    dropGuard(run);
    if (code !== 0) recordEvent(run, { event: "gave_up", ...about, text });
    return code;
  }
  const shown = slurm("scontrol", "show", "job", "-o", SLURM_JOB_ID);
  if (isTaken(records(shown.out)[0])) {
    const taken =
      "SLURM has ended the job: if it was not preempted, it is over";
    console.log(taken);
    dropGuard(run);
    recordEvent(run, { event: "taken", ...about, text: taken });
    return code;
  }
  // First, since the requeue ends this very process.
  recordEvent(run, { event: "requeued", ...about });
  const queued = slurm("scontrol", "requeue", SLURM_JOB_ID);
  if (queued.ok) return code;
  dropGuard(run);
  const next = submitAgain(run, [`--dependency=afterany:${SLURM_JOB_ID}`]);
  console.log(
    next.ok
      ? `SLURM does not requeue it (${queued.err}): job ${next.out} goes on with it`
      : `it cannot be queued again: ${queued.err}; ${next.err}`,
  );
  if (!next.ok)
    recordEvent(run, { event: "gave_up", ...about, text: next.err });
  return code;
}
