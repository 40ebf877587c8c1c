/** The device a run is on, from `--devices`. */

import { adapters, AvjepaError, setDefaultDevice } from "@avjepa/core";

/**
 * Opens it; a process has one. Without a name it is a GPU through wgpu where
 * there is one, else the CPU.
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
  const [device = bestDevice()] = devices;
  setDefaultDevice(device);
  return device;
}

/** A driver that computes on the processor is slower than the CPU's own kernels. */
function bestDevice(): string {
  const usable = adapters().some(
    ({ kind, lacks }) => kind !== "software" && lacks === undefined,
  );
  return usable ? "wgpu" : "cpu";
}
