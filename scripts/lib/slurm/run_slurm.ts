/** SLURM's own commands. */

import { AvjepaError } from "@avjepa/core/error";

/** What a command of SLURM came to. */
export interface SlurmOutput {
  ok: boolean;
  out: string;
  err: string;
}

/** Whether SLURM is on this machine. */
export const hasSlurm = (): boolean => Bun.which("sbatch") !== null;

/** @throws AvjepaError AVJ_SLURM where it is not. */
export function requireSlurm(): void {
  if (hasSlurm()) return;
  throw new AvjepaError(
    "AVJ_SLURM",
    "SLURM is not on this machine: there is no sbatch on the PATH",
    {
      hint: "run this where jobs are submitted, mostly the cluster's login node; --dry-run prints the script anywhere",
    },
  );
}

/** Runs one and returns what it printed. */
export function slurm(...command: string[]): SlurmOutput {
  const { exitCode, stdout, stderr } = Bun.spawnSync(command, {
    stdin: "ignore",
  });
  const [out, err] = [String(stdout).trim(), String(stderr).trim()];
  return { ok: exitCode === 0, out, err };
}

/**
 * Submits a job as from outside of one: what the job that we may be in was
 * given (memory, tasks) would be handed on, and asked for beside the script's own.
 */
export function sbatch(...options: string[]): SlurmOutput {
  const isOurs = (name: string) => /^SLURM_(?!CONF$|CLUSTERS$|JWT$)/.test(name);
  const { exitCode, stdout, stderr } = Bun.spawnSync(["sbatch", ...options], {
    stdin: "ignore",
    env: Object.fromEntries(
      Object.entries(process.env).filter(([name]) => !isOurs(name)),
    ),
  });
  const [out, err] = [String(stdout).trim(), String(stderr).trim()];
  return { ok: exitCode === 0, out, err };
}

/** Runs one that must succeed. @throws AvjepaError AVJ_SLURM with what it said. */
export function mustSlurm(...command: string[]): string {
  const { ok, out, err } = slurm(...command);
  if (ok) return out;
  throw new AvjepaError(
    "AVJ_SLURM",
    `${command.slice(0, 3).join(" ")}: ${err || out || "failed"}`,
  );
}

/** `scontrol show X -o`: one record a line, `Key=value` each. */
export function records(text: string): Record<string, string>[] {
  return text
    .split("\n")
    .filter((line) => line.includes("="))
    .map((line) =>
      Object.fromEntries(
        [...line.matchAll(/(?:^|\s)([A-Za-z][\w:/]*)=(\S*)/g)].map(
          ([, key = "", value = ""]) => [key, value],
        ),
      ),
    );
}
