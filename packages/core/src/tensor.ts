/**
 * Tensors on a device.
 *
 * Every operation checks shapes at once and enqueues its kernels; nothing is
 * computed on JavaScript's thread. Values come back by `await`: {@link
 * Tensor.item}, {@link Tensor.toArray}.
 */

import { inspect } from "node:util";
import { awaitNative, callNative, native } from "./addon.ts";
import { defaultDevice, deviceNumber } from "./device.ts";
import {
  type DType,
  type HostArray,
  dtypeBytes,
  dtypeName,
  dtypeNumber,
  dtypeOf,
  hostArray,
} from "./dtype.ts";
import { AvjepaError } from "./error.ts";
import { adopt } from "./scope.ts";
import { type Argument, invoke } from "./transport.ts";

/** Where and as what a new tensor is made. */
export interface TensorOptions {
  /** Default: {@link defaultDevice}. */
  device?: string;
  /** Default: the host array's type, else float32. */
  dtype?: DType;
  /** Whether gradients are to be collected for it. */
  requiresGrad?: boolean;
}

/** What operations take: tensors, and numbers that are broadcast. */
export type TensorLike = Tensor | number;

// A tensor that is collected without having been disposed is freed then: a
// backstop, since garbage collection cannot see device memory.
const collected = new FinalizationRegistry<{ handle: number }>((held) => {
  if (held.handle !== 0) invoke("free", [held.handle]);
});

/** A dense row-major array on a device. */
export class Tensor implements Disposable {
  readonly #held: { handle: number };
  readonly #name: string;
  /** Sizes of the axes; `[]` is a single number. */
  readonly shape: readonly number[];
  readonly dtype: DType;
  readonly device: string;
  #requiresGrad: boolean;

  /** @internal Use {@link tensor}, {@link zeros}, … or an operation. */
  constructor(
    handle: number,
    shape: readonly number[],
    dtype: DType,
    device: string,
    requiresGrad: boolean,
    name: string,
  ) {
    this.#held = { handle };
    this.#name = name;
    this.shape = shape;
    this.dtype = dtype;
    this.device = device;
    this.#requiresGrad = requiresGrad;
    collected.register(this, this.#held, this.#held);
  }

  /** @internal The addon's handle. @throws AvjepaError AVJ_HANDLE after {@link dispose}. */
  get handle(): number {
    if (this.#held.handle === 0) {
      throw new AvjepaError(
        "AVJ_HANDLE",
        `the ${this.#name} tensor [${this.shape.join(", ")}] has been freed`,
        {
          hint: "a tensor made inside scope(() => …) lives on only if the function returns it",
        },
      );
    }
    return this.#held.handle;
  }

  /** Number of elements. */
  get size(): number {
    return this.shape.reduce((product, size) => product * size, 1);
  }

  get ndim(): number {
    return this.shape.length;
  }

  /** Whether a backward pass reaches it. */
  get requiresGrad(): boolean {
    return this.#requiresGrad;
  }

  get isDisposed(): boolean {
    return this.#held.handle === 0;
  }

  /** Frees it. Twice is an error, as any use after it. */
  dispose(): void {
    invoke("free", [this.release()]);
  }

  [Symbol.dispose](): void {
    if (!this.isDisposed) this.dispose();
  }

  /** @internal Gives its handle away: this object counts as freed from now on. */
  release(): number {
    const handle = this.handle;
    this.#held.handle = 0;
    collected.unregister(this.#held);
    return handle;
  }

  /** @internal Puts another tensor of the same shape and type, taken over, behind this object. */
  rebind(other: Tensor): void {
    const before = this.handle;
    this.#requiresGrad = other.#requiresGrad;
    this.#held.handle = other.release();
    invoke("free", [before]);
  }

  /** The value of a tensor of one element. @throws AvjepaError AVJ_SHAPE if it has several. */
  async item(): Promise<number> {
    if (this.size !== 1) {
      throw new AvjepaError(
        "AVJ_SHAPE",
        `item: the tensor is [${this.shape.join(", ")}], not one number`,
        {
          hint: "use toArray() for several values",
        },
      );
    }
    const [value] = await this.toNumbers();
    return value as number;
  }

  /** The elements in row-major order; bfloat16 comes as its bits in a `Uint16Array`. */
  async toArray(): Promise<HostArray> {
    const handle = this.handle;
    return hostArray(this.dtype, await awaitNative(() => native.read(handle)));
  }

  /** The elements as numbers, whatever the type. */
  async toNumbers(): Promise<Float64Array> {
    const array = await this.toArray();
    if (array instanceof BigInt64Array) return Float64Array.from(array, Number);
    if (!(array instanceof Uint16Array)) return Float64Array.from(array);
    const bits = Uint32Array.from(array, (half) => (half << 16) >>> 0);
    return Float64Array.from(new Float32Array(bits.buffer));
  }

  /** The gradient collected by a tensor made with `requiresGrad`, or null. */
  get grad(): Tensor | null {
    const reply = invoke("grad", [this.handle]);
    return reply.length === 0
      ? null
      : fromReply(reply, 0, this.device, "grad").tensor;
  }

  /** Forgets the collected gradient. */
  zeroGrad(): void {
    invoke("setGrad", [this.handle, null]);
  }

  /**
   * Enqueues the gradients of everything this depends on, added to what is
   * there.
   *
   * @param gradient of this tensor; may be left out for a single number.
   */
  backward(gradient?: Tensor): void {
    invoke("backward", [this.handle, gradient?.handle ?? null]);
  }

  /** The same values, without their history. */
  detach(): Tensor {
    return operation("detach", this.device, [this.handle]);
  }

  /** Another type, or another device (through the host: then a promise is needed, see {@link Tensor.to}). */
  cast(dtype: DType): Tensor {
    return operation("cast", this.device, [this.handle, dtypeNumber(dtype)]);
  }

  /** A copy on another device. */
  async to(device: string): Promise<Tensor> {
    return tensor(await this.toArray(), this.shape, {
      device,
      dtype: this.dtype,
    });
  }

  add(other: TensorLike): Tensor {
    return typeof other === "number"
      ? this.affine(1, other)
      : this.#binary("add", other);
  }

  sub(other: TensorLike): Tensor {
    return typeof other === "number"
      ? this.affine(1, -other)
      : this.#binary("sub", other);
  }

  mul(other: TensorLike): Tensor {
    return typeof other === "number"
      ? this.affine(other, 0)
      : this.#binary("mul", other);
  }

  div(other: TensorLike): Tensor {
    return typeof other === "number"
      ? this.affine(1 / other, 0)
      : this.#binary("div", other);
  }

  maximum(other: Tensor): Tensor {
    return this.#binary("maximum", other);
  }

  minimum(other: Tensor): Tensor {
    return this.#binary("minimum", other);
  }

  /** 1 where equal, else 0. */
  equal(other: Tensor): Tensor {
    return this.#binary("equal", other);
  }

  /** 1 where this is less, else 0. */
  less(other: Tensor): Tensor {
    return this.#binary("less", other);
  }

  pow(exponent: TensorLike): Tensor {
    return typeof exponent === "number"
      ? operation("powScalar", this.device, [this.handle, exponent])
      : this.#binary("pow", exponent);
  }

  /** `x·scale + shift`. */
  affine(scale: number, shift: number): Tensor {
    return operation("affine", this.device, [this.handle, scale, shift]);
  }

  clamp(min: number, max: number): Tensor {
    return operation("clamp", this.device, [this.handle, min, max]);
  }

  neg(): Tensor {
    return this.#unary("neg");
  }

  abs(): Tensor {
    return this.#unary("abs");
  }

  exp(): Tensor {
    return this.#unary("exp");
  }

  log(): Tensor {
    return this.#unary("log");
  }

  sqrt(): Tensor {
    return this.#unary("sqrt");
  }

  rsqrt(): Tensor {
    return this.#unary("rsqrt");
  }

  square(): Tensor {
    return this.#unary("square");
  }

  reciprocal(): Tensor {
    return this.#unary("reciprocal");
  }

  sin(): Tensor {
    return this.#unary("sin");
  }

  cos(): Tensor {
    return this.#unary("cos");
  }

  tanh(): Tensor {
    return this.#unary("tanh");
  }

  sigmoid(): Tensor {
    return this.#unary("sigmoid");
  }

  relu(): Tensor {
    return this.#unary("relu");
  }

  /** Exact, by the error function. */
  gelu(): Tensor {
    return this.#unary("gelu");
  }

  erf(): Tensor {
    return this.#unary("erf");
  }

  sign(): Tensor {
    return this.#unary("sign");
  }

  /** 1 where the value is neither infinite nor NaN, else 0. */
  isFinite(): Tensor {
    return this.#unary("isFinite");
  }

  /** Over the given axes, or all of them. */
  sum(
    axes: number | readonly number[] = [],
    options: { keepdim?: boolean } = {},
  ): Tensor {
    return this.#reduce("sum", axes, options);
  }

  mean(
    axes: number | readonly number[] = [],
    options: { keepdim?: boolean } = {},
  ): Tensor {
    return this.#reduce("mean", axes, options);
  }

  max(
    axes: number | readonly number[] = [],
    options: { keepdim?: boolean } = {},
  ): Tensor {
    return this.#reduce("max", axes, options);
  }

  min(
    axes: number | readonly number[] = [],
    options: { keepdim?: boolean } = {},
  ): Tensor {
    return this.#reduce("min", axes, options);
  }

  /** Over the last axis. */
  softmax(): Tensor {
    return this.#unary("softmax");
  }

  /** The same elements under another shape; one size may be −1. */
  reshape(...shape: number[]): Tensor {
    return operation("reshape", this.device, [this.handle, shape]);
  }

  /** The axes in another order. */
  permute(...axes: number[]): Tensor {
    return operation("permute", this.device, [this.handle, axes]);
  }

  /** Elements `start` (inclusive) to `end` (exclusive) of one axis. */
  slice(axis: number, start: number, end: number): Tensor {
    return operation("slice", this.device, [this.handle, axis, start, end]);
  }

  /** Rows of the first axis, by an int32 tensor of their numbers. */
  indexSelect(rows: Tensor): Tensor {
    return operation("indexSelect", this.device, [this.handle, rows.handle]);
  }

  /** `[…, m, k] × […, k, n]`, or `[…, n, k]` with `transpose`. Computed in this tensor's type. */
  matmul(other: Tensor, options: { transpose?: boolean } = {}): Tensor {
    const compute = dtypeNumber(this.dtype);
    return operation("matmul", this.device, [
      this.handle,
      other.handle,
      options.transpose ?? false,
      compute,
    ]);
  }

  #unary(name: string): Tensor {
    return operation(name, this.device, [this.handle]);
  }

  #binary(name: string, other: Tensor): Tensor {
    if (!(other instanceof Tensor)) {
      throw new AvjepaError(
        "AVJ_ARGUMENT",
        `${name}: the other operand is ${inspect(other)}, not a tensor`,
      );
    }
    return operation(name, this.device, [this.handle, other.handle]);
  }

  #reduce(
    name: string,
    axes: number | readonly number[],
    options: { keepdim?: boolean },
  ): Tensor {
    const list = typeof axes === "number" ? [axes] : axes;
    return operation(name, this.device, [
      this.handle,
      list,
      options.keepdim ?? false,
    ]);
  }

  [inspect.custom](): string {
    const state = this.isDisposed ? ", freed" : "";
    return `Tensor([${this.shape.join(", ")}], ${this.dtype}, ${this.device}${state})`;
  }
}

/**
 * A tensor of host values.
 *
 * @param values a typed array, or numbers (then of type `dtype`, float32 by default).
 * @param shape its sizes; default: one axis.
 * @example tensor([1, 2, 3, 4], [2, 2])
 */
export function tensor(
  values: HostArray | readonly number[],
  shape: readonly number[] = [values.length],
  options: TensorOptions = {},
): Tensor {
  const device = options.device ?? defaultDevice();
  const given = Array.isArray(values)
    ? fromNumbers(values as readonly number[], options.dtype ?? "float32")
    : (values as HostArray);
  const { dtype = dtypeOf(given) } = options;
  // GPUs may be without float64: what is to become another type is narrowed on the way.
  const array =
    given instanceof Float64Array && dtype !== "float64" && device !== "cpu"
      ? Float32Array.from(given)
      : given;
  const stored = dtypeOf(array);
  checkShape("tensor", shape);
  if (shape.reduce((product, size) => product * size, 1) !== array.length) {
    throw new AvjepaError(
      "AVJ_SHAPE",
      `tensor: ${array.length} values for the shape [${shape.join(", ")}]`,
    );
  }
  if ((array.buffer as ArrayBuffer).detached) {
    throw new AvjepaError(
      "AVJ_ARGUMENT",
      "tensor: the array's memory has been handed to another owner",
      { hint: "copy the array before it is transferred" },
    );
  }
  const bytes = new Uint8Array(
    array.buffer,
    array.byteOffset,
    array.byteLength,
  );
  const handle = callNative(() =>
    native.upload(deviceNumber(device), dtypeNumber(stored), [...shape], bytes),
  );
  let made = adopt(
    new Tensor(handle, [...shape], stored, device, false, "tensor"),
  );
  if (options.dtype !== undefined && options.dtype !== stored) {
    const cast = made.cast(options.dtype);
    made.dispose();
    made = cast;
  }
  return options.requiresGrad ? requireGrad(made) : made;
}

/** A tensor of one value everywhere. */
export function full(
  shape: readonly number[],
  value: number,
  options: TensorOptions = {},
): Tensor {
  const device = options.device ?? defaultDevice();
  const type = options.dtype ?? "float32";
  const dtype = dtypeNumber(type);
  checkShape("full", shape);
  if (!representable(value, type)) refuseNumber("full", value, type);
  const made = operation("full", device, [
    deviceNumber(device),
    shape,
    dtype,
    value,
  ]);
  return options.requiresGrad ? requireGrad(made) : made;
}

export function zeros(
  shape: readonly number[],
  options: TensorOptions = {},
): Tensor {
  return full(shape, 0, options);
}

export function ones(
  shape: readonly number[],
  options: TensorOptions = {},
): Tensor {
  return full(shape, 1, options);
}

/** Joins tensors along an axis. */
export function concat(tensors: readonly Tensor[], axis = 0): Tensor {
  const [first] = tensors;
  if (first === undefined)
    throw new AvjepaError("AVJ_ARGUMENT", "concat: no tensors were given");
  return operation("concat", first.device, [
    tensors.map((t) => t.handle),
    axis,
  ]);
}

/** A leaf of the same values whose gradient is collected (in `grad`, where given). Takes the tensor over. */
export function requireGrad(source: Tensor, grad?: Tensor): Tensor {
  const leaf = operation("requiresGrad", source.device, [
    source.handle,
    grad?.handle ?? null,
  ]);
  source.dispose();
  return leaf;
}

/** @internal Runs an operation that answers one tensor. */
export function operation(
  name: string,
  device: string,
  values: readonly Argument[],
): Tensor {
  return fromReply(invoke(name, values), 0, device, name).tensor;
}

/** @internal Runs an operation that answers several tensors. */
export function operations(
  name: string,
  device: string,
  values: readonly Argument[],
): Tensor[] {
  const reply = invoke(name, values).slice();
  const tensors: Tensor[] = [];
  for (let at = 0; at < reply.length;) {
    const { tensor, next } = fromReply(reply, at, device, name);
    tensors.push(tensor);
    at = next;
  }
  return tensors;
}

function fromReply(
  reply: Float64Array,
  at: number,
  device: string,
  name: string,
): { tensor: Tensor; next: number } {
  const [handle = 0, dtype = 0, requiresGrad = 0, ndim = 0] = reply.subarray(
    at,
    at + 4,
  );
  const next = at + 4 + ndim;
  const shape = Array.from(reply.subarray(at + 4, next));
  return {
    tensor: adopt(
      new Tensor(
        handle,
        shape,
        dtypeName(dtype),
        device,
        requiresGrad === 1,
        name,
      ),
    ),
    next,
  };
}

function fromNumbers(values: readonly number[], dtype: DType): HostArray {
  // Not by `find`, to which a hole and a missing number look like nothing found.
  const wrong = values.findIndex((x) => !representable(x, dtype));
  if (wrong >= 0) refuseNumber("tensor", values[wrong], dtype);
  if (dtype === "int64") return BigInt64Array.from(values, BigInt);
  if (dtype === "int32") return Int32Array.from(values);
  if (dtype === "uint8") return Uint8Array.from(values);
  return dtype === "float64"
    ? Float64Array.from(values)
    : Float32Array.from(values);
}

/** What plain numbers of the integer types may be. */
const integers: Partial<
  Record<DType, readonly [least: number, greatest: number]>
> = {
  uint8: [0, 255],
  int32: [-(2 ** 31), 2 ** 31 - 1],
  int64: [Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
};

/** Whether a number can be an element: any is a float, if only a rounded one. */
function representable(x: unknown, dtype: DType): boolean {
  const range = integers[dtype];
  if (range === undefined) return typeof x === "number";
  return (
    Number.isInteger(x) &&
    (x as number) >= range[0] &&
    (x as number) <= range[1]
  );
}

function refuseNumber(what: string, x: unknown, dtype: DType): never {
  throw new AvjepaError("AVJ_DTYPE", `${what}: ${inspect(x)} is no ${dtype}`, {
    hint: "round it, or choose another dtype",
  });
}

/** Elements beyond which byte counts would no longer be exact. */
const MOST_ELEMENTS = 2 ** 49;

/** @internal Refuses what is no shape. @throws AvjepaError AVJ_SHAPE */
export function checkShape(what: string, shape: readonly number[]): void {
  if (!Array.isArray(shape))
    throw new AvjepaError(
      "AVJ_SHAPE",
      `${what}: ${inspect(shape)} is no shape`,
    );
  const text = `${what}: the shape [${shape.join(", ")}]`;
  const wrong = shape.find((size) => !Number.isSafeInteger(size) || size < 0);
  if (wrong !== undefined)
    throw new AvjepaError("AVJ_SHAPE", `${text} has an axis of ${wrong}`);
  // An axis of 0 does not make the others countable.
  if (
    shape.reduce((product, size) => product * Math.max(size, 1), 1) >
    MOST_ELEMENTS
  ) {
    throw new AvjepaError("AVJ_SHAPE", `${text} is too large for any memory`);
  }
}

/** Bytes a tensor of this shape and type takes. */
export function byteSize(shape: readonly number[], dtype: DType): number {
  return shape.reduce((product, size) => product * size, 1) * dtypeBytes(dtype);
}
