/** How a rank died: in mpirun's words, and in ours. */

import type { RankOutput } from "./rank_output.ts";

/** The rank that died first, and how. */
export interface Death {
  rank: number;
  /** `was killed by SIGKILL`, `ended with exit code 1` */
  how: string;
}

/** Who died of what, with its last words: rank 0's are on the terminal already. */
export function describeDeath(
  { rank, how }: Death,
  output: RankOutput,
): string {
  const words = rank === 0 ? [] : output.lastLines(rank);
  const heading =
    words.length > 0
      ? `rank ${rank} ${how}; its last lines:`
      : `rank ${rank} ${how}`;
  return [`error: ${heading}`, ...words, "all ranks have ended"].join("\n  ");
}

/** Finds it among mpirun's own lines; null where they do not tell. */
export function deathOf(lines: readonly string[]): Death | null {
  const text = lines.join("\n");
  const signal =
    /process rank (\d+) with PID \d+ on node \S+ exited\s+on signal (\d+)/.exec(
      text,
    );
  if (signal)
    return {
      rank: Number(signal[1]),
      how: `was killed by ${signalName(Number(signal[2]))}`,
    };
  const exit =
    /Process name: \[\[\d+,\d+\],(\d+)\]\s+Exit code:\s+(\d+)/.exec(text) ??
    /process rank (\d+) with PID \d+ on node \S+ exited.*?status (\d+)/s.exec(
      text,
    );
  if (exit)
    return { rank: Number(exit[1]), how: `ended with exit code ${exit[2]}` };
  return null;
}

const names: Record<number, string> = {
  4: "SIGILL",
  6: "SIGABRT",
  7: "SIGBUS",
  8: "SIGFPE",
  9: "SIGKILL",
  11: "SIGSEGV",
  12: "SIGUSR2",
  15: "SIGTERM",
};

const signalName = (number: number): string =>
  names[number] ?? `signal ${number}`;
