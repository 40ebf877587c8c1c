/** How many processes a command runs as, and what this one's part is. */

import { AvjepaError } from "@avjepa/core/error";

import type { CollectiveName } from "./collectives.ts";
import { localDevice, placeFromEnvironment } from "./environment.ts";
import type { Place } from "./environment.ts";

/** What was asked for. */
export interface LaunchRequest {
  /** `--devices`; empty: the best there is. */
  devices: readonly string[];
  /** `--ranks` */
  ranks?: number | undefined;
  /** `--collective`; by default NCCL for CUDA devices, MPI for all others. */
  collective?: CollectiveName | undefined;
}

/** A command's processes. */
export interface LaunchPlan {
  /** In all. */
  world: number;
  /** This process's place; null where it is alone, or is to start the others. */
  place: Place | null;
  /** Whether the processes are yet to be started. */
  start: boolean;
  /** This process's device; empty: the best there is. */
  devices: string[];
  /** What the processes meet through. */
  collective: "mpi" | "nccl";
}

/**
 * Decides between a process alone, one that a launcher started among others,
 * and one that is to start others.
 *
 * @throws AvjepaError AVJ_USAGE where counts contradict each other, AVJ_LAUNCH
 *   where the launcher cannot serve the device.
 */
export function planLaunch(
  { devices, ranks, collective: wanted = "auto" }: LaunchRequest,
  env: Readonly<Record<string, string | undefined>> = process.env,
): LaunchPlan {
  const several = devices.length > 1;
  if (several && ranks !== undefined && ranks !== devices.length)
    throw new AvjepaError(
      "AVJ_USAGE",
      `--ranks ${ranks}, but --devices names ${devices.length}`,
      { hint: "one process runs on a device: leave --ranks out" },
    );
  const [first] = devices;
  if (!several && ranks !== undefined && ranks > 1 && first && first !== "cpu")
    throw new AvjepaError("AVJ_USAGE", `--ranks ${ranks} on ${first}`, {
      hint: "--ranks is for cpu; name one device a process: --devices cuda:0,cuda:1",
    });
  const byDevice = first?.startsWith("cuda") ? "nccl" : "mpi";
  const collective = wanted === "auto" ? byDevice : wanted;
  const asked = several ? devices.length : ranks;
  const place = placeFromEnvironment(env);
  if (!place) {
    const world = asked ?? 1;
    const start = world > 1;
    return { world, place, start, devices: [...devices], collective };
  }
  // Devices are named once for every machine; processes are counted over all of them.
  if (!several && ranks !== undefined && ranks !== place.world)
    throw new AvjepaError(
      "AVJ_USAGE",
      `--ranks ${ranks}, but ${place.launcher} started ${place.world} processes`,
      { hint: "leave --ranks out: the launcher says how many there are" },
    );
  const device = localDevice(devices, place.localRank);
  if (place.launcher === "torchrun" && collective === "mpi")
    throw new AvjepaError(
      "AVJ_LAUNCH",
      `torchrun started ${place.world} processes, which cannot meet through MPI`,
      {
        hint: `start them with --ranks ${place.world}, or: mpirun -n ${place.world} bun scripts/pretrain.ts …; with a GPU of NVIDIA's for each, --collective nccl`,
      },
    );
  const own = device === undefined ? [] : [device];
  const { world } = place;
  return { world, place, start: false, devices: own, collective };
}
