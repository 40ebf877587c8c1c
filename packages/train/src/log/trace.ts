/**
 * A trace of some steps, in the Trace Event Format that Perfetto
 * (https://ui.perfetto.dev) and chrome://tracing read: what the program did in
 * one row, what the device computed in another.
 */

import { startTrace, takeTrace } from "@avjepa/core";

import { replaceFile } from "../files/atomic.ts";

interface Span {
  name: string;
  /** Row. */
  tid: number;
  /** Beginning and length, microseconds. */
  ts: number;
  dur: number;
}

/** Records from its making until it is written. */
export class Trace {
  readonly #spans: Span[] = [];
  readonly #device: string;
  readonly #origin = performance.now();

  constructor(device: string) {
    this.#device = device;
    startTrace(device);
  }

  /** Notes what `work` took. */
  async span<T>(name: string, work: () => T | Promise<T>): Promise<T> {
    const from = performance.now();
    try {
      return await work();
    } finally {
      this.#spans.push({
        name,
        tid: 0,
        ts: 1000 * (from - this.#origin),
        dur: 1000 * (performance.now() - from),
      });
    }
  }

  /** Writes the file. Call after the last step has come back. */
  write(path: string): void {
    const kernels = takeTrace(this.#device).map(({ name, start, end }) => ({
      name,
      tid: 1,
      ts: start,
      dur: end - start,
    }));
    const names = [["program"], [this.#device]].map(([name], tid) => ({
      name: "thread_name",
      ph: "M",
      pid: 0,
      tid,
      args: { name },
    }));
    const spans = [...this.#spans, ...kernels].map((span) => ({
      ...span,
      ph: "X",
      pid: 0,
    }));
    replaceFile(path, JSON.stringify({ traceEvents: [...names, ...spans] }));
  }
}
