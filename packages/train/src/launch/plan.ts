/** How many processes a command runs as, and what this one's part is. */

import { AvjepaError } from "@avjepa/core/error";

import { localDevice, placeFromEnvironment } from "./environment.ts";
import type { Place } from "./environment.ts";

/** What was asked for. */
export interface LaunchRequest {
  /** `--devices`; empty: the best there is. */
  devices: readonly string[];
  /** `--ranks` */
  ranks?: number | undefined;
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
}

/**
 * Decides between a process alone, one that a launcher started among others,
 * and one that is to start others.
 *
 * @throws AvjepaError AVJ_USAGE where counts contradict each other, AVJ_LAUNCH
 *   where the launcher cannot serve the device.
 */
export function planLaunch(
  { devices, ranks }: LaunchRequest,
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
  const asked = several ? devices.length : ranks;
  const place = placeFromEnvironment(env);
  if (!place) {
    const world = asked ?? 1;
    return { world, place, start: world > 1, devices: [...devices] };
  }
  // Devices are named once for every machine; processes are counted over all of them.
  if (!several && ranks !== undefined && ranks !== place.world)
    throw new AvjepaError(
      "AVJ_USAGE",
      `--ranks ${ranks}, but ${place.launcher} started ${place.world} processes`,
      { hint: "leave --ranks out: the launcher says how many there are" },
    );
  const device = localDevice(devices, place.localRank);
  if (place.launcher === "torchrun" && (device ?? "cpu") === "cpu")
    throw new AvjepaError(
      "AVJ_LAUNCH",
      `torchrun started ${place.world} processes, but processes on the CPU meet through MPI`,
      {
        hint: `start them with --ranks ${place.world}, or: mpirun -n ${place.world} bun scripts/pretrain.ts …`,
      },
    );
  const own = device === undefined ? [] : [device];
  return { world: place.world, place, start: false, devices: own };
}
