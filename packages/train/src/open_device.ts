/** The device a run is on, from `--devices`. */

import { adapters, AvjepaError, setDefaultDevice } from "@avjepa/core";

/**
 * Opens it. Without a name it is a GPU through wgpu where there is one, else
 * the CPU. A process has one device.
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
