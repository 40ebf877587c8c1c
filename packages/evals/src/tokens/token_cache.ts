/**
 * Encoded tokens on the disk: safetensors shards that are mapped, not read, and
 * a `cache.json` that says what they are of. A folder is written once, from
 * its first sample to its last; a process that stops leaves whole shards, and
 * the next one goes on after them.
 *
 * A shard has, for n samples: `indices` [n], lines in the index; and for each
 * input `{name}.sequences` [n], `{name}.lengths` [S] (tokens of each sequence),
 * `{name}.pooled` [S, D] (mean of each sequence) and `{name}.tokens` [M, D].
 */

import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

import {
  AvjepaError,
  type HostTensor,
  hostTensor,
  saveSafetensors,
} from "@avjepa/core";

import { sumRows } from "./bfloat16.ts";
import type { SampleTokens, SkippedFile, TokenType } from "./encode_clips.ts";
import { TokenSet } from "./token_set.ts";

/** What decides the tokens: equal settings find the same folder. */
export interface CacheSettings {
  /** Of the encoder's weights, the index's lines, and all that was said about clips. */
  [key: string]: unknown;
  inputs: readonly string[];
  dtype: TokenType;
}

/** How far a folder has come. */
interface CacheState {
  settings: CacheSettings;
  /** Samples of the index that its shards cover, skipped ones too. */
  done: number;
  complete: boolean;
  dim: number;
  shards: number;
  skipped: SkippedFile[];
}

/** Bytes after which a shard is written, and milliseconds. */
const shardBytes = 256 << 20;
const shardTime = 30_000;

/** Hexadecimal name of settings. */
export function settingsKey(settings: CacheSettings): string {
  const sorted = (_: string, value: unknown): unknown =>
    typeof value === "object" && value !== null && !Array.isArray(value)
      ? Object.fromEntries(
          Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)),
        )
      : value;
  return new Bun.CryptoHasher("sha256")
    .update(JSON.stringify(settings, sorted))
    .digest("hex")
    .slice(0, 24);
}

/** One folder of tokens. */
export class TokenCache {
  readonly folder: string;
  readonly #state: CacheState;
  #pending: SampleTokens[] = [];
  #pendingSkipped: SkippedFile[] = [];
  #pendingBytes = 0;
  #pendingTo: number;
  #since = performance.now();

  /**
   * Opens the folder of these settings below `root`, or begins it.
   *
   * @throws AvjepaError AVJ_FILE when it cannot be written.
   */
  constructor(root: string, settings: CacheSettings) {
    this.folder = join(root, settingsKey(settings));
    try {
      mkdirSync(this.folder, { recursive: true });
    } catch (cause) {
      throw new AvjepaError(
        "AVJ_FILE",
        `cannot make the folder ${this.folder}: ${(cause as Error).message}`,
        { cause, hint: "set cache.folder to one that can be written" },
      );
    }
    this.#state = readState(this.folder) ?? {
      settings,
      done: 0,
      complete: false,
      dim: 0,
      shards: 0,
      skipped: [],
    };
    this.#pendingTo = this.#state.done;
  }

  /** Removes what a process that stopped has left behind. Call it holding the folder's lock. */
  clean(): void {
    for (const name of readdirSync(this.folder))
      if (isLeftOver(name, this.#state.shards))
        rmSync(join(this.folder, name), { force: true });
  }

  /** Samples of the index that are encoded or skipped: where to go on. */
  get done(): number {
    return this.#state.done;
  }

  get complete(): boolean {
    return this.#state.complete;
  }

  get skipped(): readonly SkippedFile[] {
    return this.#state.skipped;
  }

  /** Adds the samples up to position `to` of the index; writes a shard when there is enough. */
  async add(
    samples: readonly SampleTokens[],
    skipped: readonly SkippedFile[],
    dim: number,
    to: number,
  ): Promise<void> {
    if (dim > 0) this.#state.dim = dim;
    this.#pending.push(...samples);
    this.#pendingSkipped.push(...skipped);
    this.#pendingTo = to;
    for (const { sequences } of samples)
      for (const values of Object.values(sequences).flat())
        this.#pendingBytes += values.byteLength;
    const waited = performance.now() - this.#since;
    if (this.#pendingBytes >= shardBytes || waited >= shardTime)
      await this.flush();
  }

  /** Writes what is pending as a shard. */
  async flush(): Promise<void> {
    if (this.#pendingTo === this.#state.done) return;
    if (this.#pending.length > 0) {
      const path = join(this.folder, shardName(this.#state.shards));
      const aside = `${path}.tmp`;
      try {
        await saveSafetensors(aside, this.#shard());
        renameSync(aside, path);
      } catch (cause) {
        rmSync(aside, { force: true });
        if (AvjepaError.is(cause)) throw cause;
        throw new AvjepaError(
          "AVJ_FILE",
          `cannot write tokens to ${this.folder}: ${(cause as Error).message}`,
          {
            cause,
            hint: "what is there is kept: free space, or set cache.folder, and run the command again",
          },
        );
      }
      this.#state.shards += 1;
    }
    this.#state.done = this.#pendingTo;
    this.#state.skipped.push(...this.#pendingSkipped);
    this.#writeState();
    this.#pending = [];
    this.#pendingSkipped = [];
    this.#pendingBytes = 0;
    this.#since = performance.now();
  }

  /** All samples are there. */
  async finish(): Promise<void> {
    await this.flush();
    this.#state.complete = true;
    this.#writeState();
  }

  /** The tokens of an input. @throws AvjepaError AVJ_TOKENS when samples are missing or damaged. */
  async open(input: string): Promise<TokenSet> {
    if (!this.complete)
      throw new AvjepaError(
        "AVJ_TOKENS",
        `${this.folder} is not complete: ${this.done} samples are there`,
      );
    const shards = Array.from({ length: this.#state.shards }, (_, i) =>
      join(this.folder, shardName(i)),
    );
    return TokenSet.map(shards, input, this.#state.dim);
  }

  #shard(): Record<string, HostTensor> {
    const { dim, settings } = this.#state;
    const small: Record<string, HostTensor> = {
      indices: vector(this.#pending.map(({ index }) => index)),
    };
    const large: Record<string, HostTensor> = {};
    for (const name of settings.inputs) {
      const lists = this.#pending.map((sample) => sample.sequences[name] ?? []);
      const sequences = lists.flat();
      const lengths = sequences.map((values) => values.length / dim);
      small[`${name}.sequences`] = vector(lists.map(({ length }) => length));
      small[`${name}.lengths`] = vector(lengths);
      const pooled = new Float32Array(sequences.length * dim);
      const total = lengths.reduce((sum, length) => sum + length, 0);
      const tokens =
        settings.dtype === "bfloat16"
          ? new Uint16Array(total * dim)
          : new Float32Array(total * dim);
      let at = 0;
      sequences.forEach((values, s) => {
        const sum = sumRows(values, dim);
        for (let d = 0; d < dim; d++)
          pooled[s * dim + d] = sum[d]! / lengths[s]!;
        tokens.set(values, at);
        at += values.length;
      });
      small[`${name}.pooled`] = hostTensor(pooled, [sequences.length, dim]);
      large[`${name}.tokens`] = hostTensor(tokens, [total, dim]);
    }
    // Wider types first, so that all are aligned.
    return { ...small, ...large };
  }

  #writeState(): void {
    const path = join(this.folder, "cache.json");
    try {
      writeFileSync(`${path}.tmp`, `${JSON.stringify(this.#state, null, 2)}\n`);
      renameSync(`${path}.tmp`, path);
    } catch (cause) {
      throw new AvjepaError(
        "AVJ_FILE",
        `cannot write ${path}: ${(cause as Error).message}`,
        { cause },
      );
    }
  }
}

const shardName = (i: number): string =>
  `${String(i).padStart(5, "0")}.safetensors`;

function isLeftOver(name: string, shards: number): boolean {
  const number = /^(\d+)\.safetensors$/.exec(name)?.[1];
  return (
    name.endsWith(".tmp") || (number !== undefined && Number(number) >= shards)
  );
}

const vector = (values: readonly number[]): HostTensor =>
  hostTensor(Int32Array.from(values), [values.length]);

function readState(folder: string): CacheState | undefined {
  const path = join(folder, "cache.json");
  if (!existsSync(path)) return undefined;
  try {
    return JSON.parse(readFileSync(path, "utf8")) as CacheState;
  } catch {
    // Tokens can be made again.
    return undefined;
  }
}
