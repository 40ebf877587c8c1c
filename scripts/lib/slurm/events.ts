/** `events.jsonl`: what happened to a job, which SLURM itself soon forgets. */

import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** One line. */
export interface JobEvent {
  time: string;
  event:
    | "submitted"
    | "started"
    | "ended"
    | "requeued"
    | "gave_up"
    | "cancelled"
    | "taken";
  job?: string;
  /** How often it was queued again before. */
  restart?: number;
  /** Steps in the newest log. */
  step?: number;
  /** Exit code of the processes. */
  code?: number;
  text?: string;
}

/** Adds a line. */
export function recordEvent(run: string, event: Omit<JobEvent, "time">): void {
  const line = JSON.stringify({ time: new Date().toISOString(), ...event });
  appendFileSync(join(run, "events.jsonl"), `${line}\n`);
}

/** All lines, oldest first. */
export function readEvents(run: string): JobEvent[] {
  return jsonLines<JobEvent>(join(run, "events.jsonl"));
}

/** The run's last logged step; undefined before the first. */
export function lastMetrics(run: string): Record<string, number> | undefined {
  return jsonLines<Record<string, number>>(join(run, "metrics.jsonl")).at(-1);
}

function jsonLines<T>(path: string): T[] {
  if (!existsSync(path)) return [];
  return readFileSync(path, "utf8")
    .split("\n")
    .flatMap((line) => {
      try {
        return [JSON.parse(line) as T];
      } catch {
        // The last line may be half written.
        return [];
      }
    });
}
