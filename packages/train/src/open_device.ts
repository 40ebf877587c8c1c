/** The device a run is on, from `--devices`. */

import { AvjepaError, setDefaultDevice } from "@avjepa/core";

/**
 * Opens it. This build has one backend, the CPU; a process has one device.
 *
 * @throws AvjepaError AVJ_DEVICE naming what is not there.
 */
export function openDevice(devices: readonly string[], ranks = 1): string {
  const processes = Math.max(ranks, devices.length);
  if (processes > 1)
    throw new AvjepaError(
      "AVJ_DEVICE",
      `${processes} processes were asked for, but this command runs as one`,
      { hint: "leave --ranks out, and name one device: --devices cpu" },
    );
  const [device = "cpu"] = devices;
  setDefaultDevice(device);
  return device;
}
