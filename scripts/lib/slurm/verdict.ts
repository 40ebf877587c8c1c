/** Whether a job whose processes have ended is to go on. */

import type { JobEvent } from "./events.ts";
import { isAsked } from "./submit_again.ts";

/** What comes of a job. */
export interface Verdict {
  requeue: boolean;
  text: string;
}

/** Exit codes of the processes: wrong usage, and a stop after saving. */
const [usage, stopped] = [2, 75];

/** Stops in a row without a step between them, after which a job gets nowhere. */
const idleStops = 3;

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
  const since = events.findLastIndex(isAsked);
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
