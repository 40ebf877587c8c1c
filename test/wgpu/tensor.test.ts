/** Tensors on a graphics adapter, from TypeScript, beside the CPU's. */

import {
  adapters,
  describeDevice,
  deviceCounters,
  linear,
  tensor,
  type Tensor,
} from "@avjepa/core";
import { describe, expect, test } from "bun:test";

import { device, wanted } from "./support.ts";

const values = (count: number) =>
  Float32Array.from({ length: count }, (_, i) => Math.sin(i * 1.7));

/** `f` on both devices. */
async function both(
  f: (on: string) => Tensor,
): Promise<[cpu: Float64Array, wgpu: Float64Array]> {
  const read = async (on: string) => Float64Array.from(await f(on).toNumbers());
  return [await read("cpu"), await read(device)];
}

describe.skipIf(!wanted)("on wgpu", () => {
  test("the adapter is described", () => {
    const found = adapters().find((adapter) => adapter.device === device);
    expect(found?.bindingBytes).toBeGreaterThanOrEqual(2 ** 27);
    expect(describeDevice(device)).toContain(found?.name as string);
  });

  test("arithmetic", async () => {
    const [cpu, wgpu] = await both((on) => {
      const x = tensor(values(35), [5, 7], { device: on });
      return x.mul(2).add(x.exp()).mean(0);
    });
    expect(wgpu.length).toBe(7);
    for (const [i, value] of cpu.entries())
      expect(wgpu[i]).toBeCloseTo(value, 5);
  });

  test("gradients, in bfloat16 too", async () => {
    for (const dtype of ["float32", "bfloat16"] as const) {
      const [cpu, wgpu] = await both((on) => {
        const options = { device: on, requiresGrad: true };
        const x = tensor(values(15), [5, 3], { ...options, dtype });
        const w = tensor(values(12), [4, 3], options);
        linear(x, w, null).square().sum().backward();
        return w.grad as Tensor;
      });
      for (const [i, value] of cpu.entries())
        expect(Math.abs((wgpu[i] as number) - value)).toBeLessThan(
          dtype === "float32" ? 1e-5 : 0.1,
        );
    }
  });

  test("float64 is refused, and host numbers of it are narrowed", async () => {
    const wide = Float64Array.of(1, 2, 3);
    const narrowed = tensor(wide, [3], { device, dtype: "float32" });
    expect([...(await narrowed.toNumbers())]).toEqual([1, 2, 3]);
    await expect(tensor(wide, [3], { device }).toNumbers()).rejects.toThrow(
      "float64",
    );
  });

  test("work is counted", async () => {
    const before = deviceCounters(device);
    await tensor(values(4), [4], { device }).exp().toNumbers();
    const after = deviceCounters(device);
    expect(after.dispatches - before.dispatches).toBe(1);
    expect(after.uploaded - before.uploaded).toBe(16);
    expect(after.downloaded - before.downloaded).toBe(16);
    expect(deviceCounters("cpu").dispatches).toBe(0);
  });
});
