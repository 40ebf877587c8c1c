/** `run.json`: what a run ran on. */

import { existsSync, readFileSync } from "node:fs";
import { arch, cpus, hostname, release, totalmem } from "node:os";
import { join } from "node:path";

import { version } from "../../package.json" with { type: "json" };
import { replaceFile } from "../files/atomic.ts";

/** What only the run knows. */
export interface RunFacts {
  /** `cpu (avx512bf16, 2 threads)` */
  device: string;
  dtype: string;
  /** Processes. */
  world: number;
  /** SHA-256 of the configuration's portable part. */
  config_hash: string;
  /** Step this process started from. */
  from_step: number;
  /** Further versions: of FFmpeg, CUDA. */
  versions?: Record<string, string>;
}

/** One process's part of a run. */
interface Leg extends RunFacts {
  started: string;
  ended: string | null;
  /** Step it came to. */
  to_step: number | null;
  /** `finished`, `stopped by SIGTERM`, `failed: …`; null while it runs. */
  outcome: string | null;
  command: string[];
  git: string | null;
  machine: {
    host: string;
    system: string;
    processor: string;
    cores: number;
    memory_bytes: number;
  };
  versions: Record<string, string>;
}

/** The record; each start adds a leg. */
export class RunInfo {
  readonly #path: string;
  readonly #legs: Leg[];

  /** Add a leg for this process and write it. */
  constructor(folder: string, facts: RunFacts) {
    this.#path = join(folder, "run.json");
    this.#legs = readLegs(this.#path);
    this.#legs.push({
      ...facts,
      started: new Date().toISOString(),
      ended: null,
      to_step: null,
      outcome: null,
      command: process.argv,
      git: gitRevision(),
      machine: {
        host: hostname(),
        system: `${process.platform} ${release()} ${arch()}`,
        processor: cpus()[0]?.model ?? "unknown",
        cores: cpus().length,
        memory_bytes: totalmem(),
      },
      versions: { avjepa: version, bun: Bun.version, ...facts.versions },
    });
    this.#write();
  }

  /** Note how this process ended. */
  end(toStep: number, outcome: string): void {
    const leg = this.#legs.at(-1)!;
    leg.ended = new Date().toISOString();
    leg.to_step = toStep;
    leg.outcome = outcome;
    this.#write();
  }

  /** Note that it ended with an error, which stays the one to be told where even this cannot be written. */
  fail(toStep: number, error: unknown): void {
    const [reason] = String((error as Error)?.message ?? error).split("\n");
    try {
      this.end(toStep, `failed: ${reason}`);
    } catch {
      // The disk is full: what was to be told says it, or matters more.
    }
  }

  #write(): void {
    replaceFile(
      this.#path,
      `${JSON.stringify({ ...this.#legs.at(-1), legs: this.#legs }, null, 2)}\n`,
    );
  }
}

function readLegs(path: string): Leg[] {
  if (!existsSync(path)) return [];
  try {
    const { legs } = JSON.parse(readFileSync(path, "utf8")) as {
      legs?: unknown;
    };
    return Array.isArray(legs) ? (legs as Leg[]) : [];
  } catch {
    // A record, not a state: a damaged one is begun anew.
    return [];
  }
}

/** The checkout's revision, `-dirty` where it has changes; null outside one. */
export function gitRevision(cwd: string = import.meta.dir): string | null {
  const git = (...args: string[]): string | null => {
    try {
      const { exitCode, stdout } = Bun.spawnSync(["git", ...args], {
        cwd,
        stderr: "ignore",
      });
      return exitCode === 0 ? stdout.toString().trim() : null;
    } catch {
      return null;
    }
  };
  const revision = git("rev-parse", "HEAD");
  if (!revision) return null;
  const changes = git("status", "--porcelain", "--untracked-files=no");
  return changes ? `${revision}-dirty` : revision;
}
