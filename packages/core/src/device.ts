/** Devices by name: `cpu`, `wgpu`, `wgpu:1`. Each runs what it is given in order, on a thread of its own. */

import { awaitNative, callNative, native } from "./addon.ts";
import { invoke } from "./transport.ts";

/** What live tensors hold on a device. */
export interface MemoryUse {
  /** Bytes of live tensors, graphs and work under way. */
  bytes: number;
  /** The most there has been since {@link resetPeakMemory}. */
  peakBytes: number;
  /** Buffers behind them. */
  buffers: number;
  /** Tensors this process's JavaScript holds, on all devices. */
  tensors: number;
}

const numbers = new Map<string, number>();
let current = "cpu";

/**
 * The addon's number of a device, which is opened on first use.
 *
 * @throws AvjepaError AVJ_DEVICE when there is no such device.
 */
export function deviceNumber(name: string): number {
  let number = numbers.get(name);
  if (number === undefined) {
    number = callNative(() => native.deviceOpen(name));
    numbers.set(name, number);
  }
  return number;
}

/** Where tensors are made when nothing else is said. */
export function defaultDevice(): string {
  return current;
}

/** Sets {@link defaultDevice}. @throws AvjepaError AVJ_DEVICE when there is no such device. */
export function setDefaultDevice(name: string): void {
  deviceNumber(name);
  current = name;
}

/** For people: instruction set and threads, or adapter and driver. */
export function describeDevice(name: string = current): string {
  return callNative(() => native.deviceDescribe(deviceNumber(name)));
}

/** A graphics adapter, which the name `device` opens. */
export interface Adapter {
  /** `wgpu:0`, … */
  device: string;
  name: string;
  /** `vulkan`, `metal` or `dx12`. */
  interface: string;
  driver: string;
  /** `discrete`, `integrated`, `virtual`, `software` (computes on the processor) or `other`. */
  kind: string;
  /** Why it cannot be used, if so. */
  lacks?: string;
  /** Bytes of the largest binding: no part of a tensor that one kernel sees is larger. */
  bindingBytes: number;
  /** Bytes of the largest buffer. */
  bufferBytes: number;
  /** Bytes that a workgroup shares. */
  sharedMemory: number;
  /** Threads a workgroup. */
  invocations: number;
  /** Threads a subgroup, at least and at most. */
  subgroup: number[];
  /** Of `f16`, `subgroups`, `timestamps`, `cooperative matrix`. */
  features: string[];
}

/** The machine's graphics adapters, hardware before software. Empty where there is no driver. */
export function adapters(): Adapter[] {
  return callNative(() => native.adapters());
}

/** What an adapter does at the most, measured by kernels that do nothing else. */
export interface AdapterPeaks {
  /** Operations a second: multiply-adds in registers, each of them two. */
  flops: number;
  /** Bytes a second, read and written by a copy. */
  bytes: number;
}

/**
 * Measures an adapter's {@link AdapterPeaks}, in about a second.
 *
 * @param name `wgpu`, or `wgpu:1` for another than the first piece of hardware.
 */
export async function adapterPeaks(name: string): Promise<AdapterPeaks> {
  return (await awaitNative(() => native.adapterPeaks(name))) as AdapterPeaks;
}

/** What a device has done since it was opened; zeros for the CPU. */
export interface DeviceCounters {
  /** Kernels run, and the submissions that brought them to the device. */
  dispatches: number;
  submissions: number;
  /** Bytes from host to device, and back. */
  uploaded: number;
  downloaded: number;
}

/** Reads a device's {@link DeviceCounters}. Exact once the queue is empty ({@link synchronize}). */
export function deviceCounters(name: string = current): DeviceCounters {
  return callNative(() => native.deviceCounters(deviceNumber(name)));
}

/** Resolves when everything enqueued has run; rejects with the first fault since the last report. */
export async function synchronize(name: string = current): Promise<void> {
  await awaitNative(() => native.sync(deviceNumber(name)));
}

/** Bytes that tensors hold on a device. Exact once the queue is empty ({@link synchronize}). */
export function memory(name: string = current): MemoryUse {
  const [bytes = 0, peakBytes = 0, buffers = 0] = invoke("memory", [
    deviceNumber(name),
  ]);
  const [tensors = 0] = invoke("handles", []);
  return { bytes, peakBytes, buffers, tensors };
}

/** Starts {@link MemoryUse.peakBytes} again from what is held now. */
export function resetPeakMemory(name: string = current): void {
  invoke("resetPeak", [deviceNumber(name)]);
}

/** An operation's time on a device, in microseconds since {@link startTrace}. */
export interface TraceSpan {
  name: string;
  start: number;
  end: number;
}

/** Records what a device runs from now on. */
export function startTrace(name: string = current): void {
  callNative(() => native.deviceTraceStart(deviceNumber(name)));
}

/** Ends the record and returns it. Complete once the queue is empty ({@link synchronize}). */
export function takeTrace(name: string = current): TraceSpan[] {
  return callNative(() => native.deviceTraceTake(deviceNumber(name)));
}
