/** Resident memory of this process. */

import { readFileSync, writeFileSync } from "node:fs";

/** Bytes resident now. */
export function residentBytes(): number {
  return status("VmRSS") ?? process.memoryUsage().rss;
}

/**
 * Starts {@link peakResidentBytes} again from what is resident now; where the
 * system cannot, the peak stays that of the whole process.
 */
export function resetPeak(): void {
  try {
    writeFileSync("/proc/self/clear_refs", "5");
  } catch {
    // Only Linux has it, and some containers do not let it be written.
  }
}

/** The most there has been since {@link resetPeak}. */
export function peakResidentBytes(): number {
  // ru_maxrss is in bytes on macOS, in kilobytes elsewhere.
  const unit = process.platform === "darwin" ? 1 : 1024;
  return status("VmHWM") ?? process.resourceUsage().maxRSS * unit;
}

/** A line of /proc/self/status, in bytes; null off Linux. */
function status(name: string): number | null {
  try {
    const text = readFileSync("/proc/self/status", "utf8");
    const [, kilobytes] =
      text.match(new RegExp(`^${name}:\\s+(\\d+) kB`, "m")) ?? [];
    return kilobytes === undefined ? null : Number(kilobytes) * 1024;
  } catch {
    return null;
  }
}
