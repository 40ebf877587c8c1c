/**
 * Runs of several processes: small values by promises, tensors by way of their
 * device's queue. One connection a process, through MPI or NCCL.
 */

import { dirname, join } from "node:path";

import { addonPath, awaitNative, callNative, native } from "./addon.ts";
import { AvjepaError } from "./error.ts";
import type { GradientGroup } from "./optim/adamw.ts";
import type { NcclFound, NcclMeeting } from "./native.d.ts";
import type { Tensor } from "./tensor.ts";
import { invoke } from "./transport.ts";

/** The library that links MPI; the addon itself does without. */
export const mpiLibrary: string = join(
  dirname(addonPath),
  process.platform === "darwin" ? "libavjepa_mpi.dylib" : "libavjepa_mpi.so",
);

export type { NcclFound, NcclMeeting };

/**
 * What of NCCL is on this machine.
 *
 * @throws AvjepaError AVJ_COMM where a library is missing or too old, or NVIDIA's
 *   driver does not start, with what puts it there.
 */
export const findNccl = (): NcclFound =>
  callNative(() => native.commFindNccl());

/** The call that a process is in with the others. */
export interface Waiting {
  /** `all-reduce of gradients` */
  call: string;
  /** Calls before it: ranks that differ in it are not at the same place. */
  number: number;
  seconds: number;
}

/**
 * A process's connection to the others of its run. Every process makes the
 * same calls in the same order; a process that does not is an error on all.
 */
export class Communicator {
  private constructor(
    readonly rank: number,
    readonly world: number,
    /** Name and version of what carries the messages. */
    readonly engine: string,
  ) {}

  /**
   * Joins the processes that MPI's launcher (`mpirun`, `srun`) started.
   *
   * @throws AvjepaError AVJ_COMM where MPI, or the library made for it, is missing.
   */
  static async openMpi(): Promise<Communicator> {
    const { rank, world, engine } = await awaitNative(() =>
      native.commOpenMpi(mpiLibrary),
    );
    return new Communicator(rank, world, engine);
  }

  /**
   * Joins the others through NCCL, by way of a GPU that no other process has.
   * Values of the host go through its memory.
   *
   * @throws AvjepaError AVJ_COMM where a library or a GPU is missing, another
   *   process does not come, or NCCL fails.
   */
  static async openNccl(meeting: NcclMeeting): Promise<Communicator> {
    const { rank, world, engine } = await awaitNative(() =>
      native.commOpenNccl(meeting),
    );
    return new Communicator(rank, world, engine);
  }

  /** The sum over all processes, element by element; over MPI in the order of the ranks. */
  async sum(values: readonly number[]): Promise<number[]> {
    return this.#reduce(values, false);
  }

  /** The largest over all processes, element by element. */
  async max(values: readonly number[]): Promise<number[]> {
    return this.#reduce(values, true);
  }

  async #reduce(values: readonly number[], largest: boolean) {
    const all = Float64Array.from(values);
    return Array.from(
      await awaitNative(() => native.commAllReduce(all, largest)),
    );
  }

  /** Every process's text, in the order of the ranks. */
  async gather(text: string): Promise<string[]> {
    const all = await this.gatherBytes(new TextEncoder().encode(text));
    return all.map((bytes) => new TextDecoder().decode(bytes));
  }

  /** Every process's bytes, in the order of the ranks; copies, of any lengths. */
  async gatherBytes(bytes: Uint8Array): Promise<Uint8Array[]> {
    const [longest = 0] = await this.max([bytes.length]);
    // Parts are equally long: each begins with its own length.
    const part = new Uint8Array(4 + longest);
    new DataView(part.buffer).setUint32(0, bytes.length);
    part.set(bytes, 4);
    const all = await awaitNative(() => native.commAllGather(part));
    return Array.from({ length: this.world }, (_, rank) => {
      const own = all.subarray(rank * part.length, (rank + 1) * part.length);
      const length = new DataView(own.buffer, own.byteOffset).getUint32(0);
      return own.slice(4, 4 + length);
    });
  }

  /** Resolves when every process has called it. */
  async barrier(): Promise<void> {
    await awaitNative(() => native.commBarrier());
  }

  /** Enqueues that the tensors get the values that rank `root` has. */
  broadcast(tensors: Iterable<Tensor>, root = 0): void {
    invoke("broadcast_", [Array.from(tensors, (t) => t.handle), root]);
  }

  /**
   * Enqueues that each tensor is put together from the processes' parts of it:
   * rank r gives the elements from `r · parts[i]` on, as far as there are any.
   */
  allGather(tensors: readonly Tensor[], parts: readonly number[]): void {
    invoke("allGather_", [tensors.map((t) => t.handle), [...parts]]);
  }

  /**
   * Enqueues the gradients of everything `loss` depends on, summed over all
   * processes: each group's sum is under way as soon as backward has finished
   * with the group. What is enqueued after this call finds the sums.
   *
   * @param groups every process's, in the same order; see `AdamW.gradientGroups`.
   */
  backward(loss: Tensor, groups: readonly GradientGroup[]): void {
    if (loss.size !== 1)
      throw new AvjepaError(
        "AVJ_SHAPE",
        `backward: the tensor is [${loss.shape.join(", ")}], not one number`,
      );
    let end = 0;
    invoke("backwardSummed", [
      loss.handle,
      groups.map(({ gradients }) => gradients.handle),
      groups.map(({ parameters }) => (end += parameters.length)),
      groups.flatMap(({ parameters }) => parameters.map((p) => p.handle)),
    ]);
  }

  /** What this process waits for; null where it is in no call. */
  get waiting(): Waiting | null {
    return callNative(() => native.commWaiting());
  }

  /**
   * Has a call that waits for the others give up, where that is possible: before
   * the process is ended, so that nothing goes on running on a GPU.
   */
  interrupt(): void {
    callNative(() => native.commInterrupt());
  }

  /** Leaves the others, who must do so too. Without it they count this process as lost. */
  async close(): Promise<void> {
    await awaitNative(() => native.commClose());
  }
}
