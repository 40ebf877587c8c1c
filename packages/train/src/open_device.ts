/** The device a run is on, from `--devices`. */

import { AvjepaError, setDefaultDevice } from "@avjepa/core";

/**
 * Opens it. This build has one backend, the CPU; a process has one device.
 *
 * @throws AvjepaError AVJ_DEVICE naming what is not there.
 */
export function openDevice(devices: readonly string[]): string {
  if (devices.length > 1)
    throw new AvjepaError(
      "AVJ_DEVICE",
      `${devices.length} devices were named, but this command runs as one process`,
      { hint: "name one: --devices cpu" },
    );
  const [device = "cpu"] = devices;
  setDefaultDevice(device);
  return device;
}
