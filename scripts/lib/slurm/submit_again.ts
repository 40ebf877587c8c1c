/** Another job that goes on with a run. */

import { type JobEvent, recordEvent } from "./events.ts";
import { readJob, writeJobFile } from "./job_file.ts";
import { type SlurmOutput, sbatch } from "./run_slurm.ts";

/** What an event of a submission says that nobody asked for. */
const byItself = "goes on by itself";

/** Whether a user submitted the run there: what was before counts no more. */
export const isAsked = ({ event, text }: JobEvent): boolean =>
  event === "submitted" && text !== byItself;

/**
 * Submits the run's script again, in its folder.
 *
 * @param options of sbatch; `asked` where a user wants it.
 * @returns SLURM's answer: the job's number, or why not.
 */
export function submitAgain(
  run: string,
  options: readonly string[] = [],
  asked = false,
): SlurmOutput {
  const answer = sbatch(
    ...["--parsable", ...options],
    ...[`--export=ALL,AVJEPA_RUN=${run}`, `${run}/job.sh`],
  );
  if (!answer.ok) return answer;
  const job = answer.out.split(";")[0] as string;
  writeJobFile(run, { ...readJob(run), job });
  const text = asked ? "continues" : byItself;
  recordEvent(run, { event: "submitted", job, text });
  return { ...answer, out: job };
}
