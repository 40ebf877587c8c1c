/**
 * Starts the processes of a run that meets through NCCL, each with torchrun's
 * names, and stays with them: rank 0 speaks for the run, the last words of the
 * others are kept, and when one dies all end.
 */

import { AvjepaError } from "@avjepa/core/error";

import { describeDeath } from "./death.ts";
import type { Death } from "./death.ts";
import { requireNccl } from "./join.ts";
import { rankEnvironment } from "./rank_environment.ts";
import { RankOutput } from "./rank_output.ts";

/** Milliseconds that the others have, once one has died, to notice and to log it. */
const grace = 5000;

/** Exit codes that are no failure: done, and stopped after saving. */
const good = [0, 75];

/** See `runRanks`. @throws AvjepaError AVJ_NCCL */
export async function runProcesses(
  ranks: number,
  command: readonly string[],
): Promise<number> {
  const { devices } = requireNccl();
  if (devices < ranks)
    throw new AvjepaError(
      "AVJ_NCCL",
      `${ranks} processes that meet through NCCL need a GPU each; there ${devices === 1 ? "is 1" : `are ${devices}`}`,
      { hint: `--ranks ${devices}, or --collective mpi` },
    );
  const output = new RankOutput();
  const children: ReturnType<typeof startRank>[] = [];
  const kill = (signal: NodeJS.Signals): void =>
    children.forEach((child) => child.kill(signal));
  let interrupts = 0;
  const stop = (signal: NodeJS.Signals): void => {
    const again = signal === "SIGINT" && ++interrupts > 1;
    kill(again ? "SIGKILL" : "SIGUSR2");
  };
  const signals = ["SIGINT", "SIGTERM", "SIGUSR2"] as const;
  for (const signal of signals) process.on(signal, stop);
  let death: Death | undefined;
  let timer: Timer | undefined;
  const watch = async (child: (typeof children)[number], rank: number) => {
    const code = await child.exited;
    if (good.includes(code) && !child.signalCode) return;
    const how = child.signalCode
      ? `was killed by ${child.signalCode}`
      : `ended with exit code ${code}`;
    death ??= { rank, how };
    timer ??= setTimeout(kill, grace, "SIGKILL");
  };
  try {
    const port = freePort();
    for (let rank = 0; rank < ranks; rank++)
      children.push(startRank(rank, ranks, port, command));
    await Promise.all(
      children.flatMap((child, rank) => [
        output.pass(child.stdout, (t) => Bun.write(Bun.stdout, t), rank),
        output.pass(child.stderr, (t) => Bun.write(Bun.stderr, t), rank),
        watch(child, rank),
      ]),
    );
    if (interrupts > 1) return 130;
    if (!death) return children[0]?.exitCode ?? 0;
    await Bun.write(Bun.stderr, `${describeDeath(death, output)}\n`);
    return 1;
  } finally {
    clearTimeout(timer);
    // Those that are left where one could not be started.
    kill("SIGKILL");
    for (const signal of signals) process.off(signal, stop);
  }
}

function startRank(
  rank: number,
  ranks: number,
  port: number,
  command: readonly string[],
) {
  return Bun.spawn([...command], {
    env: {
      ...rankEnvironment(ranks),
      RANK: String(rank),
      LOCAL_RANK: String(rank),
      WORLD_SIZE: String(ranks),
      LOCAL_WORLD_SIZE: String(ranks),
      MASTER_ADDR: "127.0.0.1",
      MASTER_PORT: String(port),
    },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    // A session of its own: Ctrl-C is for us, who pass it on in a form that saves.
    detached: true,
  });
}

/** A port that is free now; if somebody takes it, rank 0 takes the next. */
function freePort(): number {
  const server = Bun.listen({
    hostname: "127.0.0.1",
    port: 0,
    socket: { data() {} },
  });
  const { port } = server;
  server.stop(true);
  // The next ones are tried, too.
  return Math.min(port, 65_000);
}
