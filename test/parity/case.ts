/** A parity case: what the reference was given, and what it answered. */

import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import {
  type DType,
  type HostArray,
  type nn,
  type Tensor,
  tensor,
} from "@avjepa/core";
import { difference, type Tolerance } from "./compare.ts";
import {
  type Fill,
  fillBytes,
  fillValues,
  type Signal,
  signalValues,
} from "./fill.ts";

export interface Descriptor {
  role: "input" | "param" | "loss_weight" | "expect" | "grad" | "info";
  dtype: "F32" | "F64" | "I32" | "I64" | "U8";
  shape: number[];
  source: "file" | "sample" | "fill" | "fill_u8" | "sincos" | "signal";
  fill?: Fill;
  signal?: Signal;
  index?: string;
  values?: string;
  l2?: number;
  tol?: Tolerance;
  unused?: boolean;
}

interface CaseJson {
  format: number;
  kind: string;
  name: string;
  // biome-ignore lint: the settings differ by kind.
  hyper: Record<string, any>;
  tensors: Record<string, Descriptor>;
  file: string | null;
  loss?: { value: number; tol: Tolerance };
  /** Plain values that a checkpoint holds. */
  expected_meta?: Record<string, unknown>;
}

/** One case, and what of it has been compared. */
export class ParityCase {
  readonly path: string;
  readonly kind: string;
  readonly name: string;
  readonly hyper: CaseJson["hyper"];
  readonly tensors: Record<string, Descriptor>;
  readonly #json: CaseJson;
  #stored: Map<string, HostArray> | null = null;
  readonly #failures: string[] = [];
  readonly #compared = new Set<string>();

  constructor(path: string, json: CaseJson) {
    this.path = path;
    this.kind = json.kind;
    this.name = json.name;
    this.hyper = json.hyper;
    this.tensors = json.tensors;
    this.#json = json;
  }

  /** The case in a JSON file, or null if it is something else. */
  static read(path: string): ParityCase | null {
    const json = JSON.parse(readFileSync(path, "utf8")) as Partial<CaseJson>;
    if (
      typeof json !== "object" ||
      json === null ||
      json.kind === undefined ||
      json.tensors === undefined
    )
      return null;
    if (json.format !== 1)
      throw new Error(`${path}: format ${json.format} is not known`);
    return new ParityCase(path, json as CaseJson);
  }

  /** Compared again in another precision. */
  again(): ParityCase {
    return new ParityCase(this.path, this.#json);
  }

  has(name: string): boolean {
    return name in this.tensors;
  }

  /** Names of a role, in order. */
  names(role: Descriptor["role"]): string[] {
    return Object.keys(this.tensors).filter(
      (name) => this.tensors[name]?.role === role,
    );
  }

  descriptor(name: string): Descriptor {
    const found = this.tensors[name];
    if (found === undefined)
      throw new Error(`${this.path}: there is no tensor ${name}`);
    return found;
  }

  shape(name: string): number[] {
    return this.descriptor(name).shape;
  }

  /** A tensor's values on the host. */
  host(name: string): HostArray {
    const d = this.descriptor(name);
    const count = d.shape.reduce((product, size) => product * size, 1);
    switch (d.source) {
      case "file":
        return this.#file(name);
      case "fill":
        return fillValues(name, d.fill as Fill, count);
      case "fill_u8":
        return fillBytes(name, d.fill as Fill, count);
      case "signal":
        return signalValues(d.signal as Signal);
      default:
        throw new Error(
          `${this.path}: ${name} comes from ${d.source}, and has no values`,
        );
    }
  }

  /** As numbers, whatever the type. */
  numbers(name: string): Float64Array {
    const values = this.host(name);
    return values instanceof BigInt64Array
      ? Float64Array.from(values, Number)
      : Float64Array.from(values as Float64Array);
  }

  /** Rows of an integer matrix. */
  rows(name: string): Int32Array[] {
    const [count = 0, length = 0] = this.shape(name);
    const all = Int32Array.from(this.numbers(name));
    return Array.from({ length: count }, (_, i) =>
      all.subarray(i * length, (i + 1) * length),
    );
  }

  /** A float tensor on the device. */
  tensor(
    name: string,
    options: { dtype: DType; requiresGrad?: boolean },
  ): Tensor {
    return tensor(this.host(name), this.shape(name), options);
  }

  /**
   * Loads the parameters whose names begin with `prefix`, all of them and no
   * others. Position tables keep the module's own values.
   */
  loadParameters(module: nn.Module, prefix = ""): void {
    const own = module.stateDict();
    const state: Record<string, Tensor> = {};
    for (const name of this.names("param").filter((param) =>
      param.startsWith(prefix),
    )) {
      const key = name.slice(prefix.length);
      const table = own[key];
      if (this.descriptor(name).source !== "sincos")
        state[key] = this.tensor(name, {
          dtype: module.parameters()[0]!.dtype,
        });
      else if (table !== undefined) state[key] = table;
    }
    module.loadStateDict(state);
  }

  /** Compares what was computed with what is expected under this name. */
  compare(name: string, got: ArrayLike<number>): void {
    const d = this.descriptor(name);
    const count = d.shape.reduce((product, size) => product * size, 1);
    this.#compared.add(name);
    if (got.length !== count) {
      this.#failures.push(
        `${name}: ${got.length} values, expected ${count} of [${d.shape.join(", ")}]`,
      );
      return;
    }
    const index =
      d.source === "sample"
        ? (this.#file(d.index as string) as Int32Array)
        : null;
    const want = index ? this.#file(d.values as string) : this.host(name);
    const numbers =
      want instanceof BigInt64Array ? Float64Array.from(want, Number) : want;
    const picked = index
      ? Float64Array.from(index, (i) => got[i] as number)
      : got;
    const found = difference(
      picked,
      numbers as ArrayLike<number>,
      d.tol ?? { rtol: 0, atol: 0 },
    );
    if (found !== null) this.#failures.push(`${name}: ${found}`);
  }

  /** Compares a tensor. */
  async compareTensor(name: string, got: Tensor): Promise<void> {
    this.compare(name, await got.toNumbers());
  }

  /** Compares the value of `loss`. */
  compareLoss(got: number): void {
    if (!this.#json.loss) throw new Error(`${this.path}: there is no loss`);
    const { value, tol } = this.#json.loss;
    const found = difference([got], [value], tol);
    if (found !== null) this.#failures.push(`loss: ${found}`);
  }

  /** Plain values that a checkpoint must hold. */
  get meta(): Record<string, unknown> {
    return this.#json.expected_meta ?? {};
  }

  get hasLoss(): boolean {
    return this.#json.loss !== undefined;
  }

  /** Says so if the condition does not hold. */
  require(condition: boolean, message: string): void {
    if (!condition) this.#failures.push(message);
  }

  /** Compares the gradients of a module's parameters; those marked unused must have none. */
  async compareGradients(module: nn.Module, prefix = ""): Promise<void> {
    for (const [key, parameter] of module.namedParameters()) {
      const name = prefix + key;
      const gradient = parameter.grad;
      if (this.has(`grad.${name}`)) {
        if (gradient === null) this.require(false, `${name} got no gradient`);
        else await this.compareTensor(`grad.${name}`, gradient);
      } else if (this.descriptor(name).unused) {
        this.require(
          gradient === null,
          `${name} is unused, but got a gradient`,
        );
      }
      gradient?.dispose();
    }
  }

  /** Throws what failed, and what was expected and never compared. */
  finish(): void {
    for (const role of ["expect", "grad"] as const) {
      for (const name of this.names(role)) {
        if (!this.#compared.has(name))
          this.#failures.push(`${name} was never compared`);
      }
    }
    if (this.#failures.length > 0) {
      const shown = this.#failures.slice(0, 12);
      const rest = this.#failures.length - shown.length;
      throw new Error(
        [
          `${this.kind}/${this.name}`,
          ...shown,
          ...(rest > 0 ? [`and ${rest} more`] : []),
        ].join("\n  "),
      );
    }
  }

  #file(name: string): HostArray {
    if (this.#json.file === null)
      throw new Error(
        `${this.path}: ${name} is stored, but the case has no file`,
      );
    this.#stored ??= readSafetensors(join(dirname(this.path), this.#json.file));
    const found = this.#stored.get(name);
    if (found === undefined)
      throw new Error(`${this.path}: ${this.#json.file} has no ${name}`);
    return found;
  }
}

const arrays = {
  F32: Float32Array,
  F64: Float64Array,
  I32: Int32Array,
  I64: BigInt64Array,
  U8: Uint8Array,
};

/** The tensors of a safetensors file, on the host. */
export function readSafetensors(path: string): Map<string, HostArray> {
  const bytes = readFileSync(path);
  const length = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString("utf8", 8, 8 + length)) as Record<
    string,
    { dtype: keyof typeof arrays; data_offsets: [number, number] }
  >;
  delete header.__metadata__;
  return new Map(
    Object.entries(header).map(
      ([
        name,
        {
          dtype,
          data_offsets: [begin, end],
        },
      ]) => {
        // A copy: arrays must begin at a multiple of their element's size.
        const { buffer } = Uint8Array.from(
          bytes.subarray(8 + length + begin, 8 + length + end),
        );
        return [name, new arrays[dtype](buffer)];
      },
    ),
  );
}
