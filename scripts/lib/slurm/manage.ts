/** A submitted run: its state, its logs, its end and its return. Without SLURM's accounting. */

import { AvjepaError } from "@avjepa/core/error";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join, resolve } from "node:path";

import { lastMetrics, readEvents, recordEvent } from "./events.ts";
import { dropGuard } from "./guard.ts";
import { readJob } from "./job_file.ts";
import { mustSlurm, records, slurm } from "./run_slurm.ts";
import { submitAgain } from "./submit_again.ts";

/** What is known of a run. */
export interface RunStatus {
  run: string;
  job: string;
  /** SLURM's word, or `GONE` once it has forgotten the job. */
  state: string;
  /** Why it waits, or ended. */
  reason: string | null;
  nodes: string | null;
  /** How often it was queued again. */
  restarts: number;
  step: number | null;
  loss: number | null;
  /** The newest event, in words. */
  last: string | null;
}

/** States of a job that is still to run, or runs. */
const active = new Set([
  "PENDING",
  "RUNNING",
  "COMPLETING",
  "CONFIGURING",
  "REQUEUED",
  "REQUEUE_HOLD",
  "SUSPENDED",
  "PREEMPTED",
]);

/** The run's job as SLURM and its folder know it. */
export function statusOf(folder: string): RunStatus {
  const run = resolve(folder);
  const { job } = readJob(run);
  const shown = slurm("scontrol", "show", "job", "-o", job);
  const record = shown.ok ? records(shown.out)[0] : undefined;
  const event = readEvents(run).at(-1);
  const metrics = lastMetrics(run);
  const known = (text: string | undefined) =>
    text && text !== "None" && text !== "(null)" ? text : null;
  return {
    run,
    job,
    state: record?.JobState ?? "GONE",
    reason: known(record?.Reason),
    nodes: known(record?.NodeList),
    restarts: Number(record?.Restarts ?? event?.restart ?? 0),
    step: metrics?.step ?? null,
    loss: metrics?.loss ?? null,
    last: event
      ? `${event.event.replace("_", " ")} ${event.time}${event.text ? `: ${event.text}` : ""}`
      : null,
  };
}

/** The status for people. */
export function formatStatus(status: RunStatus): string {
  const { job, state, reason, nodes, restarts, step, loss, last } = status;
  const restarted = restarts === 1 ? "once" : `${restarts} times`;
  return [
    `job ${job}  ${state}${reason ? ` (${reason})` : ""}${nodes ? ` on ${nodes}` : ""}`,
    ...(step === null ? [] : [`step ${step}  loss ${loss?.toFixed(4)}`]),
    ...(restarts ? [`queued again ${restarted}`] : []),
    ...(last ? [`last: ${last}`] : []),
    status.run,
  ].join("\n  ");
}

/** The last lines of the run's logs: the job's own, and rank 0's or another's. */
export function logsOf(folder: string, rank: number, lines: number): string {
  const run = resolve(folder);
  readJob(run);
  const ranks = existsSync(join(run, "ranks"))
    ? readdirSync(join(run, "ranks"))
    : [];
  const name = `${rank}.log`;
  if (ranks.length > 0 && !ranks.includes(name))
    throw new AvjepaError(
      "AVJ_SLURM",
      `rank ${rank} has no log in ${run}/ranks`,
      {
        hint: `there are: ${ranks.sort().join(", ")}`,
      },
    );
  return [join(run, "slurm.log"), join(run, "ranks", name)]
    .filter((path) => existsSync(path))
    .map((path) => {
      const text = readFileSync(path, "utf8").trimEnd().split("\n");
      return [`==> ${path}`, ...text.slice(-lines)].join("\n");
    })
    .join("\n");
}

/**
 * Ends the run for good. A running one saves first, unless `now`.
 *
 * @returns what happens, in words.
 */
export function cancelRun(folder: string, now: boolean): string {
  const { run, job, state } = statusOf(folder);
  if (!active.has(state)) {
    // Nobody goes on with it any more.
    if (readJob(run).guard) recordEvent(run, { event: "cancelled", job });
    dropGuard(run);
    return `job ${job} is over already (${state})`;
  }
  // Before the signal: the job reads it when its processes have ended.
  recordEvent(run, { event: "cancelled", job });
  if (state === "RUNNING" && !now) {
    mustSlurm("scancel", "--signal=USR2", job);
    return `job ${job} finishes its step, saves and ends (--now ends it at once)`;
  }
  dropGuard(run);
  mustSlurm("scancel", job);
  return `job ${job} is cancelled`;
}

/** Submits the run again, to go on in its folder. Returns the new job. */
export function resumeRun(folder: string): string {
  const { run, job, state } = statusOf(folder);
  if (active.has(state))
    throw new AvjepaError("AVJ_SLURM", `job ${job} is still there (${state})`, {
      hint: `it goes on by itself; bun run slurm cancel ${folder} ends it`,
    });
  dropGuard(run);
  const next = submitAgain(run, [], true);
  if (!next.ok)
    throw new AvjepaError("AVJ_SLURM", `sbatch: ${next.err || "failed"}`);
  return next.out;
}
