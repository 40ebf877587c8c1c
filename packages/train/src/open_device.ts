/** The device a run is on, from `--devices`. */

import { AvjepaError, setDefaultDevice } from "@avjepa/core";

/**
 * Opens it; a process has one. Without a name it is the CPU: the kernels for
 * GPUs are not tuned yet, and so are taken only when asked for.
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
