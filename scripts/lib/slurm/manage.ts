/** A submitted run: its state, its logs, its end and its return. Without SLURM's accounting. */

import { AvjepaError } from "@avjepa/core/error";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join, resolve } from "node:path";

import { lastMetrics, readEvents, recordEvent } from "./events.ts";
import { mustSlurm, records, slurm } from "./run_slurm.ts";
import { type JobFile, writeJobFile } from "./submit.ts";

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

/** The run's `job.json`. @throws AvjepaError AVJ_SLURM where the folder is no submitted run's. */
export function readJob(run: string): JobFile {
  const path = join(run, "job.json");
  if (existsSync(path))
    return JSON.parse(readFileSync(path, "utf8")) as JobFile;
  throw new AvjepaError(
    "AVJ_SLURM",
    `${run} is no submitted run: it has no job.json`,
    {
      hint: "name the folder that `bun run slurm` printed: …/job_NUMBER",
    },
  );
}

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
  if (!active.has(state)) return `job ${job} is over already (${state})`;
  // Before the signal: the job reads it when its processes have ended.
  recordEvent(run, { event: "cancelled", job });
  if (state === "RUNNING" && !now) {
    mustSlurm("scancel", "--signal=USR2", job);
    return `job ${job} finishes its step, saves and ends (--now ends it at once)`;
  }
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
  const next = mustSlurm(
    "sbatch",
    "--parsable",
    `--export=ALL,AVJEPA_RUN=${run}`,
    join(run, "job.sh"),
  ).split(";")[0] as string;
  writeJobFile(run, { ...readJob(run), job: next });
  recordEvent(run, { event: "submitted", job: next, text: "continues" });
  return next;
}
