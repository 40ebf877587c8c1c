/** `job.json`: what is known of a submitted run. */

import { AvjepaError } from "@avjepa/core/error";
import { replaceFile } from "@avjepa/train";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** What it holds. */
export interface JobFile {
  job: string;
  command: string;
  name: string;
  /** Processes. */
  ranks: number;
  git: string | null;
  /** The job that waits for the case that another, the run's, is killed. */
  guard?: { job: string; of: string } | undefined;
}

/** @throws AvjepaError AVJ_SLURM where the folder is no submitted run's. */
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

export function writeJobFile(run: string, file: JobFile): void {
  replaceFile(join(run, "job.json"), `${JSON.stringify(file, null, 2)}\n`);
}
