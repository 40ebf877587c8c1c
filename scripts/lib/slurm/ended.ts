/** What a job does when its processes have ended: it is done, queues itself again, or gives up. */

import {
  type JobEvent,
  lastMetrics,
  readEvents,
  recordEvent,
} from "./events.ts";
import { readJob } from "./manage.ts";
import { records, slurm } from "./run_slurm.ts";
import { writeJobFile } from "./submit.ts";

/** What comes of a job. */
export interface Verdict {
  requeue: boolean;
  text: string;
}

/** Exit codes of the processes: wrong usage, and a stop after saving. */
const [usage, stopped] = [2, 75];

/** Stops in a row without a step between them, after which a job gets nowhere. */
const idleStops = 3;

/** Whether SLURM itself is ending the job, by what it says of it: cancelled, but for its time limit. */
export function isTaken(record: Record<string, string> | undefined): boolean {
  if (record?.Reason === "TimeLimit") return false;
  return !["RUNNING", "TIMEOUT"].includes(record?.JobState ?? "");
}

/**
 * Decides. A stop after saving goes on later. A crash is tried again, but not
 * where the one before it was at the same step; nor is a job that gets nowhere.
 *
 * @param events of the run, before this end.
 * @param step the last that was logged.
 */
export function judge(
  events: readonly JobEvent[],
  code: number,
  step: number,
): Verdict {
  if (code === 0) return { requeue: false, text: "finished" };
  if (code === usage)
    return { requeue: false, text: "wrong usage: see ranks/0.log" };
  const since = events.findLastIndex(({ event }) => event === "submitted");
  const legs = events.slice(since + 1);
  if (legs.some(({ event }) => event === "cancelled"))
    return { requeue: false, text: `cancelled after step ${step}` };
  const ends = legs.filter(({ event }) => event === "ended").toReversed();
  const isStop = code === stopped;
  const what = isStop ? "stopped" : `crashed (exit code ${code})`;
  const other = ends.findIndex(
    (end) => end.step !== step || (end.code === stopped) !== isStop,
  );
  const alike = other < 0 ? ends.length : other;
  if (alike >= (isStop ? idleStops - 1 : 1))
    return {
      requeue: false,
      text: `${what} after step ${step}, as the time before: not queued again`,
    };
  return { requeue: true, text: `${what} after step ${step}` };
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
    if (code !== 0) recordEvent(run, { event: "gave_up", ...about, text });
    return code;
  }
  const shown = slurm("scontrol", "show", "job", "-o", SLURM_JOB_ID);
  if (isTaken(records(shown.out)[0])) {
    const taken =
      "SLURM has ended the job: if it was not preempted, it is over";
    console.log(taken);
    recordEvent(run, { event: "taken", ...about, text: taken });
    return code;
  }
  // First, since the requeue ends this very process.
  recordEvent(run, { event: "requeued", ...about });
  const queued = slurm("scontrol", "requeue", SLURM_JOB_ID);
  if (queued.ok) return code;
  const next = slurm(
    "sbatch",
    "--parsable",
    `--dependency=afterany:${SLURM_JOB_ID}`,
    `--export=ALL,AVJEPA_RUN=${run}`,
    `${run}/job.sh`,
  );
  console.log(
    next.ok
      ? `SLURM does not requeue it (${queued.err}): job ${next.out} goes on with it`
      : `it cannot be queued again: ${queued.err}; ${next.err}`,
  );
  if (next.ok) {
    writeJobFile(run, { ...readJob(run), job: next.out });
    recordEvent(run, { event: "submitted", job: next.out, text: "continues" });
  } else recordEvent(run, { event: "gave_up", ...about, text: next.err });
  return code;
}
