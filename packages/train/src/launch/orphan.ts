/** Ranks end with the process that started them. */

import { readFileSync } from "node:fs";

import { launcherVariable } from "./rank_environment.ts";

/**
 * Calls `gone` once when the process that started this one is there no more;
 * without such a process, never. A launcher that was killed cannot tell its
 * ranks to stop.
 */
export function onLauncherGone(gone: () => void): Disposable {
  const launcher = Number(process.env[launcherVariable]);
  if (!launcher) return { [Symbol.dispose]: () => {} };
  const timer = setInterval(() => {
    if (isAlive(launcher)) return;
    clearInterval(timer);
    gone();
  }, 1000);
  timer.unref();
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // A zombie is there only for its parent to see.
    return !/^ [ZX]/.test(stat.slice(stat.lastIndexOf(")") + 1));
  } catch {
    return true;
  }
}
