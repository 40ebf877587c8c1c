/** Times single kernels at the shapes of V-JEPA's models, and what a call across to the addon costs. */

import {
  adapterPeaks,
  attention,
  type DType,
  full,
  Generator,
  layerNorm,
  linear,
  nn,
  optim,
  requireGrad,
  scope,
  synchronize,
  type Tensor,
  tensor,
} from "@avjepa/core";
import type { TransportCost } from "./call_cost.ts";
import { familyKernels } from "./family_kernels.ts";
import { shapesFor } from "./kernel_shapes.ts";
import { join } from "node:path";

/** One measurement. */
export interface KernelRow {
  kernel: string;
  /** `m × n × k` of a product, `tokens × heads × head_dim` of attention. */
  shape: string;
  dtype: string;
  /** Seconds of one run, the best of three rounds. */
  seconds: number;
  /** Billions of operations a second, by the algorithm. */
  gflops?: number;
  /** Billions of bytes a second, read and written by the algorithm. */
  gbytes_s?: number;
  /** The fraction that this is of the adapter's own peak, measured in the same run. */
  of_peak?: number;
}

/** How one kernel is measured. */
export interface Kernel {
  kernel: string;
  shape: readonly number[];
  dtype: DType;
  flops?: number;
  bytes?: number;
  /** Makes what `run` needs, outside of the measured time. */
  prepare?: () => Tensor;
  /** Enqueues the kernel once. */
  run: (prepared: Tensor | undefined) => void;
}

/** Rounds, the best of which counts, and the seconds a round should last. */
const ROUNDS = 3;
const ROUND_SECONDS = 0.05;

/** Measures everything; `each` gets rows as they come. */
export async function benchKernels(
  device: string,
  tell: (row: KernelRow) => void,
): Promise<void> {
  const random = new Generator(0);
  const peaks = await peakRows(device);
  const each = (row: KernelRow) => tell({ ...row, ...fraction(row, peaks) });
  for (const row of Object.values(peaks)) tell(row);
  const { products, attentions } = shapesFor(device);
  for (const dtype of ["float32", "bfloat16"] as const) {
    const draw = (...shape: number[]) =>
      random.normal(shape, 0, 1, { device, dtype });
    for (const [m, n, k] of products) {
      for (const kernel of productKernels(draw, m, n, k, dtype))
        each(await time(device, kernel));
    }
    for (const [heads, headDim, lengths] of attentions) {
      for (const kernel of attentionKernels(
        draw,
        device,
        heads,
        headDim,
        lengths,
        dtype,
      ))
        each(await time(device, kernel));
    }
    for (const kernel of rowKernels(draw, dtype))
      each(await time(device, kernel));
  }
  for (const kernel of familyKernels(device)) each(await time(device, kernel));
  each(await time(device, optimizerKernel(device)));
  for (const row of await callRows()) each(row);
}

type Draw = (...shape: number[]) => Tensor;

function productKernels(
  draw: Draw,
  m: number,
  n: number,
  k: number,
  dtype: DType,
): Kernel[] {
  const [x, dy] = [draw(m, k), draw(m, n)];
  const [weight, learned] = [draw(n, k), requireGrad(draw(n, k))];
  const about = { shape: [m, n, k], dtype, flops: 2 * m * n * k };
  return [
    { ...about, kernel: "gemm NT", run: () => linear(x, weight, null) },
    { ...about, kernel: "gemm NN", run: () => dy.matmul(weight) },
    {
      ...about,
      kernel: "gemm TN",
      prepare: () => linear(x, learned, null),
      run: (y) => y?.backward(dy),
    },
  ];
}

function attentionKernels(
  draw: Draw,
  device: string,
  heads: number,
  headDim: number,
  lengths: readonly number[],
  dtype: DType,
): Kernel[] {
  const dim = heads * headDim;
  const ends = lengths.map((_, i) =>
    lengths.slice(0, i + 1).reduce((sum, n) => sum + n, 0),
  );
  const tokens = ends.at(-1) ?? 0;
  const offsets = tensor(Int32Array.of(0, ...ends), [ends.length + 1], {
    device,
  });
  const qkv = requireGrad(draw(tokens, 3 * dim));
  const constant = qkv.detach();
  const dy = draw(tokens, dim);
  const flops = lengths.reduce((sum, n) => sum + 4 * n * n * dim, 0);
  const about = { shape: [tokens, heads, headDim], dtype };
  return [
    {
      ...about,
      kernel: "attention",
      flops,
      run: () => attention(constant, offsets, heads),
    },
    {
      ...about,
      kernel: "attention backward",
      flops: 2 * flops,
      prepare: () => attention(qkv, offsets, heads),
      run: (y) => y?.backward(dy),
    },
  ];
}

/** What is bound by memory. */
function rowKernels(draw: Draw, dtype: DType): Kernel[] {
  const [rows, dim] = [2331, 384];
  const element = dtype === "bfloat16" ? 2 : 4;
  const [x, dy] = [draw(rows, dim), draw(rows, dim)];
  const learned = requireGrad(draw(rows, dim));
  const norm = new nn.LayerNorm(dim, { device: x.device });
  const hidden = draw(rows, 4 * dim);
  const pass = rows * dim * element;
  const about = { shape: [rows, dim], dtype };
  return [
    {
      ...about,
      kernel: "layer norm",
      bytes: 2 * pass,
      run: () => layerNorm(x, norm.weight, norm.bias, 1e-6, { dtype }),
    },
    {
      ...about,
      kernel: "layer norm backward",
      bytes: 3 * pass,
      prepare: () =>
        layerNorm(learned, norm.weight, norm.bias, 1e-6, { dtype }),
      run: (y) => y?.backward(dy),
    },
    {
      ...about,
      kernel: "gelu",
      shape: [rows, 4 * dim],
      bytes: 8 * pass,
      run: () => hidden.gelu(),
    },
    {
      ...about,
      kernel: "add",
      bytes: 3 * pass,
      run: () => x.add(dy),
    },
  ];
}

/** Reads and writes value, gradient and both moments. */
function optimizerKernel(device: string): Kernel {
  const parameters = 4_000_000;
  class Weights extends nn.Module {
    readonly weight = new nn.Parameter(
      full([2000, parameters / 2000], 0.5, { device }),
    );
  }
  const adamw = new optim.AdamW([new Weights()]);
  return {
    kernel: "adamw",
    shape: [parameters],
    dtype: "float32",
    bytes: 8 * 4 * parameters,
    run: () => adamw.step({ lr: 1e-3, wd: 0.1 }),
  };
}

/** What a graphics adapter does at the most; the CPU's peak is not measured. */
async function peakRows(
  device: string,
): Promise<{ gflops?: KernelRow; gbytes_s?: KernelRow }> {
  if (!device.startsWith("wgpu")) return {};
  const { flops, bytes } = await adapterPeaks(device);
  const about = { dtype: "float32" };
  return {
    gflops: {
      ...about,
      kernel: "peak multiply-add",
      shape: "10⁹ operations",
      seconds: 1e9 / flops,
      gflops: flops / 1e9,
    },
    gbytes_s: {
      ...about,
      kernel: "peak copy",
      shape: "10⁹ bytes",
      seconds: 1e9 / bytes,
      gbytes_s: bytes / 1e9,
    },
  };
}

function fraction(
  row: KernelRow,
  peaks: { gflops?: KernelRow; gbytes_s?: KernelRow },
): { of_peak?: number } {
  for (const unit of ["gflops", "gbytes_s"] as const) {
    const [got, peak] = [row[unit], peaks[unit]?.[unit]];
    if (got !== undefined && peak !== undefined) return { of_peak: got / peak };
  }
  return {};
}

async function time(
  device: string,
  { run, prepare, ...about }: Kernel,
): Promise<KernelRow> {
  const round = async (times: number) => {
    const prepared = Array.from({ length: times }, () => prepare?.());
    await synchronize(device);
    const start = performance.now();
    for (const input of prepared) scope(() => run(input));
    await synchronize(device);
    const seconds = (performance.now() - start) / 1000 / times;
    for (const input of prepared) input?.dispose();
    return seconds;
  };
  await round(1);
  const times = Math.max(
    1,
    Math.min(50, Math.round(ROUND_SECONDS / (await round(1)))),
  );
  let seconds = Number.POSITIVE_INFINITY;
  for (let i = 0; i < ROUNDS; i++)
    seconds = Math.min(seconds, await round(times));
  const { kernel, shape, dtype, flops, bytes } = about;
  return {
    kernel,
    shape: shape.join(" × "),
    dtype,
    seconds,
    ...(flops === undefined ? {} : { gflops: flops / seconds / 1e9 }),
    ...(bytes === undefined ? {} : { gbytes_s: bytes / seconds / 1e9 }),
  };
}

/** Each way across in a process of its own: it is chosen when the addon is loaded. */
async function callRows(): Promise<KernelRow[]> {
  const rows: KernelRow[] = [];
  for (const transport of ["napi", "ffi"] as const) {
    const child = Bun.spawn(
      [process.execPath, join(import.meta.dir, "call_cost.ts")],
      {
        env: { ...process.env, AVJEPA_FFI: transport === "ffi" ? "1" : "0" },
        stdio: ["ignore", "pipe", "inherit"],
      },
    );
    const cost = JSON.parse(
      await new Response(child.stdout).text(),
    ) as TransportCost;
    for (const [call, seconds] of Object.entries(cost))
      rows.push({
        kernel: `${transport} ${call}`,
        shape: "",
        dtype: "",
        seconds,
      });
  }
  return rows;
}
