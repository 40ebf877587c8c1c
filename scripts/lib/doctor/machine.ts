/** What the machine has: processor, memory, FFmpeg, devices. */

import {
  type Adapter,
  adapters,
  AvjepaError,
  describeDevice,
} from "@avjepa/core";
import { loadMedia } from "@avjepa/data";
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
  /** Graphics adapters with their limits and features. */
  adapters: Adapter[];
  bun: string;
  platform: string;
}

/** Looks at everything. Never throws: what is missing is a fact too. */
export function lookAtMachine(): Machine {
  const found = adapters();
  return {
    cpu: cpus()[0]?.model.trim() || process.arch,
    cores: availableParallelism(),
    compute: describeDevice("cpu"),
    memory_bytes: Math.min(totalmem(), groupLimit()),
    free_bytes: freeBytes(),
    ffmpeg: lookForFFmpeg(),
    devices: [
      { name: "cpu", usable: true, note: describeDevice("cpu") },
      ...found.map(asDevice),
      { name: "cuda", usable: false, note: "not in this build" },
    ],
    adapters: found,
    bun: Bun.version,
    platform: `${process.platform} ${process.arch}`,
  };
}

/** Lines for people. */
export function formatMachine(machine: Machine): string[] {
  const { cpu, cores, compute, memory_bytes, free_bytes, ffmpeg } = machine;
  const rows: [name: string, text: string][] = [
    ["processor", `${cpu}, ${cores} cores (${machine.platform})`],
    ["kernels", compute],
    [
      "memory",
      `${formatBytes(memory_bytes)}, ${formatBytes(free_bytes)} of it free`,
    ],
    ["ffmpeg", ffmpeg.message],
    ["bun", machine.bun],
    ...machine.devices.map(({ name, usable, note }): [string, string] => [
      name,
      usable || name === "cuda" ? note : `cannot be used: ${note}`,
    ]),
  ];
  if (machine.adapters.length === 0)
    rows.push([
      "wgpu",
      "no graphics adapter (a GPU needs its Vulkan driver: Debian's mesa-vulkan-drivers or the vendor's, and libvulkan1)",
    ]);
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

/** What an adapter is and can do, as the note of its device. */
function asDevice(adapter: Adapter): Machine["devices"][number] {
  const { device, name, interface: speaks, driver, kind, lacks } = adapter;
  const [least = 0, most = 0] = adapter.subgroup;
  const limits = [
    `bindings of ${formatBytes(adapter.bindingBytes)}`,
    `buffers of ${formatBytes(adapter.bufferBytes)}`,
    `${adapter.invocations} threads and ${formatBytes(adapter.sharedMemory)} a workgroup`,
    `subgroups of ${least === most ? least : `${least} to ${most}`}`,
  ];
  const note = [
    `${name} (${kind}, ${speaks}, ${driver})`,
    `${" ".repeat(11)}${limits.join(", ")}`,
    `${" ".repeat(11)}features: ${adapter.features.join(", ") || "none"}`,
  ].join("\n");
  return {
    name: device,
    usable: lacks === undefined,
    note: lacks === undefined ? note : `${lacks} that kernels need; ${note}`,
  };
}

/** Found by loading it: what it is linked with may be missing though it is there itself. */
function lookForFFmpeg(): Machine["ffmpeg"] {
  try {
    const message = `found (${loadMedia()}); reads mp4, webm, mkv, avi, mov, …`;
    return { found: true, message };
  } catch (error) {
    if (!AvjepaError.is(error)) throw error;
    const message = [error.message, error.hint ?? ""].join("\n           ");
    return { found: false, message: `cannot be used: ${message}` };
  }
}
