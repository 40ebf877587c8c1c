/** What the machine has: processor, memory, FFmpeg, devices. */

import { AvjepaError, describeDevice, setDefaultDevice } from "@avjepa/core";
import { probe } from "@avjepa/data";
import { formatBytes } from "@avjepa/train";
import { readFileSync } from "node:fs";
import { availableParallelism, cpus, freemem, totalmem } from "node:os";

/** Facts of `doctor --devices`. */
export interface Machine {
  cpu: string;
  cores: number;
  /** Instruction set and threads of the compute kernels. */
  compute: string;
  memory_bytes: number;
  free_bytes: number;
  /** Whether media files can be read, and what to do if not. */
  ffmpeg: { found: boolean; message: string };
  devices: { name: string; usable: boolean; note: string }[];
  bun: string;
  platform: string;
}

/** Looks at everything. Never throws: what is missing is a fact too. */
export async function lookAtMachine(): Promise<Machine> {
  return {
    cpu: cpus()[0]?.model.trim() || process.arch,
    cores: availableParallelism(),
    compute: describeDevice("cpu"),
    memory_bytes: Math.min(totalmem(), groupLimit()),
    free_bytes: freeBytes(),
    ffmpeg: await lookForFFmpeg(),
    devices: ["cpu", "wgpu", "cuda"].map(tryDevice),
    bun: Bun.version,
    platform: `${process.platform} ${process.arch}`,
  };
}

/** Lines for people. */
export function formatMachine(machine: Machine): string[] {
  const { cpu, cores, compute, memory_bytes, free_bytes, ffmpeg } = machine;
  const [usable, absent] = [true, false].map((is) =>
    machine.devices.filter((device) => device.usable === is),
  );
  const names = (of: Machine["devices"] = []) =>
    of.map(({ name }) => name).join(" and ");
  const rows: [name: string, text: string][] = [
    ["processor", `${cpu}, ${cores} cores (${machine.platform})`],
    ["kernels", compute],
    [
      "memory",
      `${formatBytes(memory_bytes)}, ${formatBytes(free_bytes)} of it free`,
    ],
    ["ffmpeg", ffmpeg.message],
    [
      "devices",
      `${names(usable)}; the backends ${names(absent)} are not in this build`,
    ],
    ["bun", machine.bun],
  ];
  return rows.map(([name, text]) => `${name.padEnd(10)} ${text}`);
}

/** Bytes a process could still take. */
export function freeBytes(): number {
  const available = /MemAvailable:\s+(\d+) kB/.exec(read("/proc/meminfo"))?.[1];
  const free = available === undefined ? freemem() : 1024 * Number(available);
  const used = Number(read("/sys/fs/cgroup/memory.current") || 0);
  return Math.max(0, Math.min(free, groupLimit() - used));
}

/** What a container may take at most. */
function groupLimit(): number {
  const text = read("/sys/fs/cgroup/memory.max").trim();
  return /^\d+$/.test(text) ? Number(text) : Number.POSITIVE_INFINITY;
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

function tryDevice(name: string): Machine["devices"][number] {
  try {
    setDefaultDevice(name);
    return { name, usable: true, note: describeDevice(name) };
  } catch (error) {
    return { name, usable: false, note: (error as Error).message };
  } finally {
    setDefaultDevice("cpu");
  }
}

/** A file that is not there is refused by FFmpeg if it is found, else for want of it. */
async function lookForFFmpeg(): Promise<Machine["ffmpeg"]> {
  try {
    await probe("no such file.mp4");
  } catch (error) {
    if (!AvjepaError.is(error)) throw error;
    if (error.code === "AVJ_MEDIA_LIBRARY")
      return {
        found: false,
        message: [error.message, error.hint ?? ""].join("\n           "),
      };
  }
  return { found: true, message: "found; reads mp4, webm, mkv, avi, mov, …" };
}
