/**
 * The run folder and its lock. One process writes a folder at a time; a lock
 * whose holder is gone (killed, or its machine restarted) is taken over.
 */

import {
  linkSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";

import { AvjepaError } from "@avjepa/core/error";

import { fileError, systemCode } from "./files/file_error.ts";

/** Who holds a lock. */
export interface LockHolder {
  host: string;
  pid: number;
  /** Clock ticks from boot to the process's start: a pid may be used again. */
  process_start: string;
  /** The machine's boot and process name space, within which a pid means one. */
  boot: string;
  /** SLURM's job and how often it was requeued, or null. */
  job: { id: string; restarts: number } | null;
  /** When the lock was taken. */
  since: string;
}

/** How often the holder touches the lock, and when it counts as gone. */
const beat = 60_000;
const silence = 10 * beat;

/** A run folder that this process may write. */
export class RunFolder {
  readonly #lock: string;
  readonly #timer: Timer;
  readonly #onExit = (): void => this.release();

  private constructor(
    readonly path: string,
    /** Who held the lock before and is gone; tell the user. */
    readonly takenOver: LockHolder | undefined,
  ) {
    this.#lock = join(path, ".lock");
    this.#timer = setInterval(() => touch(this.#lock), beat);
    this.#timer.unref();
    process.on("exit", this.#onExit);
  }

  /**
   * Make the folder where it is missing, and lock it.
   *
   * @throws AvjepaError `AVJ_FILE` where it cannot be made or written,
   *   `AVJ_RUN_IN_USE` where another process holds it.
   */
  static open(path: string): RunFolder {
    try {
      mkdirSync(path, { recursive: true });
      if (!statSync(path).isDirectory())
        throw Object.assign(new Error(), { code: "ENOTDIR" });
    } catch (error) {
      const below = ["EEXIST", "ENOTDIR"].includes(systemCode(error) ?? "");
      const cause = below
        ? Object.assign(new Error(), { code: "ENOTDIR" })
        : error;
      throw fileError(cause, "make the run folder", path);
    }
    return new RunFolder(path, takeLock(path));
  }

  /** Let go of the folder. Done at exit as well. */
  release(): void {
    clearInterval(this.#timer);
    process.off("exit", this.#onExit);
    const holder = readHolder(this.#lock);
    if (holder && isSelf(holder)) rmSync(this.#lock, { force: true });
  }
}

/** Take the lock; returns the holder it was taken over from. */
function takeLock(folder: string): LockHolder | undefined {
  const path = join(folder, ".lock");
  const mine = join(folder, `.lock.${hostname()}.${process.pid}`);
  try {
    writeFileSync(mine, `${JSON.stringify(self(), null, 2)}\n`);
  } catch (error) {
    removeQuietly(mine);
    throw fileError(error, "write in the run folder", folder);
  }
  let gone: LockHolder | undefined;
  try {
    // A link is made whole or not at all, and fails where the name is taken.
    for (let attempt = 0; attempt < 8; attempt++) {
      try {
        linkSync(mine, path);
        return gone;
      } catch (error) {
        if (systemCode(error) !== "EEXIST")
          throw fileError(error, "lock the run folder", folder);
      }
      const holder = readHolder(path);
      if (holder && isAlive(holder, path)) throw inUse(folder, holder);
      if (setAside(path, `${mine}.stale`, holder)) gone = holder ?? gone;
    }
    throw new AvjepaError(
      "AVJ_RUN_IN_USE",
      `cannot lock the run folder ${folder}: others take the lock at the same time`,
    );
  } finally {
    rmSync(mine, { force: true });
  }
}

/** A full disk leaves an empty file; a read-only one, none, and not even `force` passes over that. */
function removeQuietly(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch {
    // The reason is told with what could not be written.
  }
}

/**
 * Move a stale lock out of the way. Of two that find it stale one may already
 * have put its own there: then that is put back. Returns whether it was moved.
 */
function setAside(
  path: string,
  aside: string,
  stale: LockHolder | undefined,
): boolean {
  try {
    renameSync(path, aside);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return false;
    throw fileError(error, "take over the lock of", path);
  }
  const moved = readHolder(aside);
  const isStale = JSON.stringify(moved) === JSON.stringify(stale);
  if (!isStale) linkSync(aside, path);
  rmSync(aside, { force: true });
  return isStale;
}

function inUse(folder: string, holder: LockHolder): AvjepaError {
  const where = holder.host === hostname() ? "" : ` on ${holder.host}`;
  return new AvjepaError(
    "AVJ_RUN_IN_USE",
    `the run folder ${folder} is in use by process ${holder.pid}${where} since ${holder.since}`,
    {
      hint: "wait for it or stop it (kill -TERM saves first), or choose another --folder",
    },
  );
}

function readHolder(path: string): LockHolder | undefined {
  try {
    const holder = JSON.parse(readFileSync(path, "utf8")) as LockHolder;
    return typeof holder.pid === "number" ? holder : undefined;
  } catch {
    return undefined;
  }
}

function isAlive(holder: LockHolder, path: string): boolean {
  if (holder.boot === boot())
    return processStart(holder.pid) === holder.process_start;
  // The same SLURM job, started again: its former start is over.
  const { job } = self();
  if (job && holder.job?.id === job.id && holder.job.restarts !== job.restarts)
    return false;
  // The same machine, started again since.
  const [host, bootId] = [holder.host, holder.boot.split(" ")[0]];
  if (host === hostname() && bootId !== boot().split(" ")[0]) return false;
  // Another machine or container: go by the holder's beat.
  try {
    return Date.now() - statSync(path).mtimeMs < silence;
  } catch {
    return false;
  }
}

function self(): LockHolder {
  const { SLURM_JOB_ID, SLURM_RESTART_COUNT } = process.env;
  return {
    host: hostname(),
    pid: process.pid,
    process_start: processStart(process.pid) ?? "",
    boot: boot(),
    job: SLURM_JOB_ID
      ? { id: SLURM_JOB_ID, restarts: Number(SLURM_RESTART_COUNT ?? 0) }
      : null,
    since: new Date().toISOString(),
  };
}

const isSelf = (holder: LockHolder): boolean =>
  holder.pid === process.pid &&
  holder.boot === boot() &&
  holder.process_start === (processStart(process.pid) ?? "");

/** The boot's id and the process name space; the host alone off Linux. */
function boot(): string {
  try {
    const id = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
    return `${id} ${readlinkSync("/proc/self/ns/pid")}`;
  } catch {
    return hostname();
  }
}

/**
 * Start of a process in clock ticks since boot (field 22 of its stat), `""`
 * where the system does not tell, undefined where there is no such process.
 */
function processStart(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    // A zombie holds nothing any more.
    return fields[0] === "Z" || fields[0] === "X" ? undefined : fields[19];
  } catch {
    if (process.platform === "linux") return undefined;
  }
  try {
    process.kill(pid, 0);
    return "";
  } catch (error) {
    return systemCode(error) === "EPERM" ? "" : undefined;
  }
}

function touch(path: string): void {
  const now = new Date();
  try {
    utimesSync(path, now, now);
  } catch {
    // The folder is gone; the next write says so.
  }
}
