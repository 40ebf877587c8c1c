/**
 * The safetensors format: eight bytes of header length, a JSON header, the
 * tensors' bytes (https://github.com/huggingface/safetensors).
 *
 * A file is checked whole before any of it is used: every tensor inside the
 * file, none overlapping, no gaps, sizes as shapes and types say.
 */

import { type FileHandle, open } from "node:fs/promises";
import { awaitNative, native } from "./addon.ts";
import {
  type DType,
  dtypeBytes,
  dtypeOf,
  type HostArray,
  hostArray,
} from "./dtype.ts";
import { AvjepaError } from "./error.ts";
import { type Tensor, tensor } from "./tensor.ts";

const names: Record<DType, string> = {
  float32: "F32",
  bfloat16: "BF16",
  float64: "F64",
  int32: "I32",
  int64: "I64",
  uint8: "U8",
};
const types = new Map(
  Object.entries(names).map(([dtype, name]) => [name, dtype as DType]),
);
/** The format's own limit. */
const MAX_HEADER = 100_000_000;

/** What the header says of one tensor. */
interface Entry {
  dtype: DType;
  shape: number[];
  begin: number;
  end: number;
}

/** A tensor's values on the host. */
export interface HostTensor {
  dtype: DType;
  shape: readonly number[];
  /** Little endian, row-major. */
  bytes: Uint8Array;
}

/** A host array as a tensor on the host: a view, no copy. */
export function hostTensor(
  values: HostArray,
  shape: readonly number[],
): HostTensor {
  const { buffer, byteOffset, byteLength } = values;
  const bytes = new Uint8Array(buffer, byteOffset, byteLength);
  return { dtype: dtypeOf(values), shape, bytes };
}

/**
 * Copies tensors to the host, all as they are when the call is made: what is
 * enqueued after it does not change the copies.
 */
export async function readTensors(
  tensors: Readonly<Record<string, Tensor>>,
): Promise<Record<string, HostTensor>> {
  const copies = new Map<string, HostTensor>();
  const ofDevices = Map.groupBy(
    Object.entries(tensors),
    ([, { device }]) => device,
  );
  // Those of a device together: it copies many at a time.
  const readings = [...ofDevices.values()].map(async (entries) => {
    const handles = entries.map(([, { handle }]) => handle);
    const read = await awaitNative(() => native.readAll(handles));
    for (const [i, [name, { dtype, shape }]] of entries.entries())
      copies.set(name, { dtype, shape, bytes: read[i] as Uint8Array });
  });
  await Promise.all(readings);
  return Object.fromEntries(
    Object.keys(tensors).map((name) => [name, copies.get(name) as HostTensor]),
  );
}

/**
 * Writes tensors, those on devices read one at a time. Equal tensors give
 * equal bytes: keys are written in the order given.
 */
export async function saveSafetensors(
  path: string,
  tensors: Readonly<Record<string, Tensor | HostTensor>>,
  metadata?: Readonly<Record<string, string>>,
): Promise<void> {
  const header: Record<string, unknown> = metadata
    ? { __metadata__: metadata }
    : {};
  let at = 0;
  for (const [name, { dtype, shape }] of Object.entries(tensors)) {
    const end = shape.reduce((bytes, n) => bytes * n, dtypeBytes(dtype)) + at;
    header[name] = { dtype: names[dtype], shape, data_offsets: [at, end] };
    at = end;
  }
  const json = JSON.stringify(header);
  // Tensors begin at a multiple of eight.
  const text = Buffer.from(
    json + " ".repeat((8 - (Buffer.byteLength(json) % 8)) % 8),
  );
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  const file = await open(path, "w");
  try {
    await writeAll(file, length);
    await writeAll(file, text);
    for (const tensor of Object.values(tensors)) {
      const bytes =
        "bytes" in tensor
          ? tensor.bytes
          : await awaitNative(() => native.read(tensor.handle));
      await writeAll(file, bytes);
    }
    await file.sync();
  } finally {
    await file.close();
  }
}

async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    const { bytesWritten } = await file.write(bytes, at, bytes.length - at);
    at += bytesWritten;
  }
}

/** What {@link loadSafetensors} returns. */
export interface SafetensorsFile {
  tensors: Record<string, Tensor>;
  metadata: Record<string, string>;
}

/**
 * Reads a file's tensors onto a device.
 *
 * @param options.keys only these; default all.
 * @throws AvjepaError AVJ_SAFETENSORS naming the file and what is wrong with it.
 */
export async function loadSafetensors(
  path: string,
  options: { device?: string; keys?: (name: string) => boolean } = {},
): Promise<SafetensorsFile> {
  const where = options.device === undefined ? {} : { device: options.device };
  const file = await openFile(path);
  try {
    const { entries, metadata, start } = await readHeader(path, file);
    const loaded: [name: string, tensor: Tensor][] = [];
    try {
      for (const [name, { dtype, shape, begin, end }] of entries) {
        if (options.keys && !options.keys(name)) continue;
        const bytes = new Uint8Array(end - begin);
        await readExactly(path, file, bytes, start + begin);
        loaded.push([name, tensor(hostArray(dtype, bytes), shape, where)]);
      }
    } catch (error) {
      for (const [, made] of loaded) made.dispose();
      throw error;
    }
    // Not by assignment: a tensor may be called "__proto__".
    return { tensors: Object.fromEntries(loaded), metadata };
  } finally {
    await file.close();
  }
}

/** What {@link mapSafetensors} returns. */
export interface MappedSafetensors {
  /** Views of the file: read when first touched, and not to be written. */
  tensors: Record<string, HostTensor>;
  metadata: Record<string, string>;
}

/**
 * Maps a file's tensors into memory without reading them.
 *
 * @throws AvjepaError AVJ_SAFETENSORS, as {@link loadSafetensors}; also for
 *   tensors that are not aligned to their type.
 */
export async function mapSafetensors(path: string): Promise<MappedSafetensors> {
  const file = await openFile(path);
  try {
    const { entries, metadata, start } = await readHeader(path, file);
    const bytes = Bun.mmap(path);
    const views = entries.map(
      ([name, { dtype, shape, begin, end }]): [string, HostTensor] => {
        if ((start + begin) % dtypeBytes(dtype) !== 0)
          throw damaged(path, `${name} is not aligned to its type`);
        const part = bytes.subarray(start + begin, start + end);
        return [name, { dtype, shape, bytes: part }];
      },
    );
    return { tensors: Object.fromEntries(views), metadata };
  } finally {
    await file.close();
  }
}

/** A tensor in a file, read when asked for. */
export interface StoredTensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** @throws AvjepaError AVJ_SAFETENSORS when the file has changed or cannot be read. */
  read(): Promise<HostArray>;
}

/**
 * Checks a file and lists its tensors, without reading them.
 *
 * @throws AvjepaError AVJ_SAFETENSORS naming the file and what is wrong with it.
 */
export async function openSafetensors(
  path: string,
): Promise<Map<string, StoredTensor>> {
  const file = await openFile(path);
  try {
    const { entries, start } = await readHeader(path, file);
    return new Map(
      entries.map(([name, { dtype, shape, begin, end }]) => {
        const read = async () => {
          const again = await openFile(path);
          try {
            const bytes = new Uint8Array(end - begin);
            await readExactly(path, again, bytes, start + begin);
            return hostArray(dtype, bytes);
          } finally {
            await again.close();
          }
        };
        return [name, { dtype, shape, read }];
      }),
    );
  } finally {
    await file.close();
  }
}

async function openFile(path: string): Promise<FileHandle> {
  try {
    return await open(path, "r");
  } catch (cause) {
    throw new AvjepaError(
      "AVJ_SAFETENSORS",
      `cannot open ${path}: ${(cause as Error).message}`,
      { cause },
    );
  }
}

async function readExactly(
  path: string,
  file: FileHandle,
  into: Uint8Array,
  position: number,
): Promise<void> {
  for (let at = 0; at < into.length;) {
    const { bytesRead } = await file.read(
      into,
      at,
      into.length - at,
      position + at,
    );
    if (bytesRead === 0) throw damaged(path, "it ends too early");
    at += bytesRead;
  }
}

async function readHeader(path: string, file: FileHandle) {
  const info = await file.stat();
  if (!info.isFile()) throw damaged(path, "it is no regular file");
  const { size } = info;
  if (size < 8) throw damaged(path, `it has ${size} bytes`);
  const prefix = Buffer.alloc(8);
  await readExactly(path, file, prefix, 0);
  const length = Number(prefix.readBigUInt64LE());
  if (length > MAX_HEADER || 8 + length > size) {
    throw damaged(
      path,
      `its header claims ${length} bytes, but the file has ${size}`,
    );
  }
  const text = Buffer.alloc(length);
  await readExactly(path, file, text, 8);
  let header: Record<string, unknown>;
  try {
    header = JSON.parse(
      new TextDecoder("utf-8", { fatal: true }).decode(text),
    ) as Record<string, unknown>;
  } catch (error) {
    throw damaged(path, `its header is no JSON: ${(error as Error).message}`);
  }
  if (typeof header !== "object" || header === null || Array.isArray(header))
    throw damaged(path, "its header is no object");
  const { __metadata__: metadata = {}, ...rest } = header;
  if (!isTexts(metadata))
    throw damaged(path, "its __metadata__ is no map of texts");
  const entries = Object.entries(rest).map(([name, raw]): [string, Entry] => [
    name,
    readEntry(path, name, raw),
  ]);
  checkLayout(path, entries, size - 8 - length);
  return { entries, metadata, start: 8 + length };
}

function readEntry(path: string, name: string, raw: unknown): Entry {
  const {
    dtype: typeName,
    shape,
    data_offsets: offsets,
  } = (raw ?? {}) as Record<string, unknown>;
  const dtype = types.get(String(typeName));
  if (dtype === undefined) {
    throw damaged(
      path,
      `${name} is of type ${String(typeName)}; known are ${[...types.keys()].join(", ")}`,
    );
  }
  if (!isSizes(shape) || !isSizes(offsets) || offsets.length !== 2) {
    throw damaged(path, `${name} has no proper shape and offsets`);
  }
  const [begin, end] = offsets as [number, number];
  const bytes = shape.reduce(
    (product, size) => product * size,
    dtypeBytes(dtype),
  );
  if (end - begin !== bytes) {
    throw damaged(
      path,
      `${name} of shape [${shape.join(", ")}] takes ${bytes} bytes, but has ${end - begin}`,
    );
  }
  return { dtype, shape, begin, end };
}

function isTexts(value: unknown): value is Record<string, string> {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    return false;
  return Object.values(value).every((text) => typeof text === "string");
}

function isSizes(value: unknown): value is number[] {
  return (
    Array.isArray(value) &&
    value.every((size) => Number.isSafeInteger(size) && size >= 0)
  );
}

function checkLayout(
  path: string,
  entries: [string, Entry][],
  available: number,
): void {
  let expected = 0;
  for (const [name, { begin, end }] of entries.toSorted(
    ([, a], [, b]) => a.begin - b.begin || a.end - b.end,
  )) {
    if (begin !== expected)
      throw damaged(
        path,
        `${name} begins at byte ${begin}, not at ${expected}`,
      );
    expected = end;
  }
  if (expected !== available)
    throw damaged(
      path,
      `its tensors take ${expected} bytes, but ${available} are there`,
    );
}

function damaged(path: string, what: string): AvjepaError {
  return new AvjepaError(
    "AVJ_SAFETENSORS",
    `${path} is no valid safetensors file: ${what}`,
    {
      hint: "it is damaged or incomplete: use another copy, or an older checkpoint",
    },
  );
}
