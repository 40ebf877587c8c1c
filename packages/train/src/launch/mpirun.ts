/**
 * Starts the processes of a run on this machine under MPI's own launcher, and
 * stays with them: rank 0 speaks for the run, the last words of the others are
 * kept, and when one dies all end.
 */

import { AvjepaError } from "@avjepa/core/error";
import { readFileSync, readdirSync } from "node:fs";
import { userInfo } from "node:os";

import { deathOf, describeDeath } from "./death.ts";
import { mpiRemedy, requireMpiLibrary } from "./join.ts";
import { launcherVariable, rankEnvironment } from "./rank_environment.ts";
import { RankOutput } from "./rank_output.ts";

/** Which mpirun it is: they take different options. */
type Flavour = "Open MPI" | "MPICH";

/** See `runRanks`. @throws AvjepaError AVJ_MPI where there is no MPI. */
export async function runUnderMpirun(
  ranks: number,
  command: readonly string[],
): Promise<number> {
  const { mpirun, flavour } = findMpirun();
  requireMpiLibrary();
  const output = new RankOutput(flavour === "MPICH");
  const child = Bun.spawn(
    [mpirun, ...options(flavour), "-n", String(ranks), ...command],
    {
      env: {
        // Reading another process's memory is forbidden in most containers, and tried without end.
        OMPI_MCA_btl_vader_single_copy_mechanism: "none",
        ...rankEnvironment(ranks),
      },
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
      // A session of its own: Ctrl-C is for us, who pass it on in a form that saves.
      detached: true,
    },
  );
  let interrupts = 0;
  const stop = (signal: NodeJS.Signals): void => {
    if (signal === "SIGINT" && ++interrupts > 1) child.kill("SIGTERM");
    // MPICH's mpirun dies of what Open MPI's passes on: its ranks are told themselves.
    else if (flavour === "MPICH" && process.platform === "linux")
      signalOwnRanks("SIGUSR2");
    else child.kill("SIGUSR2");
  };
  const signals = ["SIGINT", "SIGTERM", "SIGUSR2"] as const;
  for (const signal of signals) process.on(signal, stop);
  try {
    await Promise.all([
      output.pass(child.stdout, (text) => Bun.write(Bun.stdout, text)),
      output.pass(child.stderr, (text) => Bun.write(Bun.stderr, text)),
    ]);
    const code = await child.exited;
    if (code === 0 || code === 75) return code;
    if (interrupts > 1) return 130;
    const text = explain(output, child.signalCode ?? code);
    await Bun.write(Bun.stderr, `${text}\n`);
    return 1;
  } finally {
    for (const signal of signals) process.off(signal, stop);
  }
}

/** Signals the processes that this one started as ranks of MPICH; Linux only. */
function signalOwnRanks(signal: NodeJS.Signals): void {
  const mark = `${launcherVariable}=${process.pid}\0`;
  for (const pid of readdirSync("/proc").filter((n) => /^\d+$/.test(n)))
    try {
      const environment = `${readFileSync(`/proc/${pid}/environ`, "latin1")}\0`;
      if (environment.includes(mark) && environment.includes("\0PMI_RANK="))
        process.kill(Number(pid), signal);
    } catch {
      // Another user's, or gone.
    }
}

/** Who died of what, with its last words. */
function explain(output: RankOutput, outcome: string | number): string {
  const death = deathOf(output.untagged);
  if (!death) {
    const said = output.untagged.slice(-20);
    return [`error: mpirun ended with ${outcome}`, ...said].join("\n  ");
  }
  return describeDeath(death, output);
}

function findMpirun(): { mpirun: string; flavour: Flavour } {
  const mpirun = Bun.which("mpirun");
  if (!mpirun)
    throw new AvjepaError(
      "AVJ_MPI",
      "several processes on the CPU need MPI, but there is no mpirun on the PATH",
      { hint: `install it and build again: ${mpiRemedy}` },
    );
  const { stdout } = Bun.spawnSync([mpirun, "--version"]);
  const flavour = /open ?mpi|open-?rte/i.test(String(stdout))
    ? "Open MPI"
    : "MPICH";
  return { mpirun, flavour };
}

function options(flavour: Flavour): string[] {
  // Threads are shared out by AVJEPA_THREADS; binding would put all of a rank's on one core.
  if (flavour === "MPICH") return ["-prepend-rank", "-bind-to", "none"];
  return [
    "--tag-output",
    "--oversubscribe",
    ...["--bind-to", "none"],
    ...(userInfo().uid === 0 ? ["--allow-run-as-root"] : []),
  ];
}
