/**
 * A TensorBoard event file of scalars.
 *
 * Each record is `length (u64), masked CRC of it, data, masked CRC of it`; the
 * data is an `Event` message: wall_time = 1 (double), step = 2 (int64),
 * file_version = 3, summary = 5 { value = 1 { tag = 1, simple_value = 2 } }.
 * Format: tensorflow/core/lib/io/record_writer.h and core/util/event.proto.
 */

import { readdirSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";

import { AppendFile } from "../files/append_file.ts";
import { maskedCrc32c } from "./crc32c.ts";

const prefix = "events.out.tfevents.";

/** The event file of a run folder. */
export class EventFile {
  readonly #file: AppendFile;

  /** Go on with the folder's event file, or begin one. */
  constructor(folder: string) {
    const name =
      readdirSync(folder)
        .filter((file) => file.startsWith(prefix))
        .sort()[0] ?? `${prefix}${Math.floor(Date.now() / 1000)}.${hostname()}`;
    this.#file = new AppendFile(join(folder, name));
    if (this.#file.size === 0) this.#begin();
  }

  /** The file. */
  get path(): string {
    return this.#file.path;
  }

  /** Append scalars; those that are undefined are left out. */
  scalars(step: number, values: Record<string, number | undefined>): void {
    const summary = Object.entries(values).flatMap(([tag, value]) =>
      value === undefined
        ? []
        : bytesField(1, [
            ...bytesField(1, Buffer.from(tag)),
            ...floatField(2, value),
          ]),
    );
    this.#record([
      ...doubleField(1, Date.now() / 1000),
      ...intField(2, step),
      ...bytesField(5, summary),
    ]);
  }

  /** Keep the steps up to `step`, and whole records only. */
  truncateTo(step: number): void {
    const content = this.#file.read();
    let end = 0;
    for (const record of readRecords(content)) {
      if (readStep(record.data) > step) break;
      end = record.end;
    }
    this.#file.cut(end);
    if (end === 0) this.#begin();
  }

  /** Close the file. */
  close(): void {
    this.#file.close();
  }

  #begin(): void {
    this.#record([
      ...doubleField(1, Date.now() / 1000),
      ...bytesField(3, Buffer.from("brain.Event:2")),
    ]);
  }

  #record(event: readonly number[]): void {
    const data = Uint8Array.from(event);
    const record = Buffer.alloc(data.length + 16);
    record.writeBigUInt64LE(BigInt(data.length), 0);
    record.writeUInt32LE(maskedCrc32c(record.subarray(0, 8)), 8);
    record.set(data, 12);
    record.writeUInt32LE(maskedCrc32c(data), 12 + data.length);
    this.#file.write(record);
  }
}

/** The records of a file, up to the first that is cut off or damaged. */
function* readRecords(
  content: Buffer,
): Generator<{ data: Buffer; end: number }> {
  let at = 0;
  while (at + 16 <= content.length) {
    const length = Number(content.readBigUInt64LE(at));
    const head = content.subarray(at, at + 8);
    if (maskedCrc32c(head) !== content.readUInt32LE(at + 8)) return;
    const end = at + 16 + length;
    if (end > content.length) return;
    const data = content.subarray(at + 12, end - 4);
    if (maskedCrc32c(data) !== content.readUInt32LE(end - 4)) return;
    yield { data, end };
    at = end;
  }
}

/** The step of an event as written above: after the nine bytes of its time. */
function readStep(event: Buffer): number {
  if (event[9] !== 0x10) return 0;
  let step = 0;
  let scale = 1;
  for (let at = 10; at < event.length; at++) {
    const byte = event[at]!;
    step += (byte & 0x7f) * scale;
    if (byte < 0x80) break;
    scale *= 128;
  }
  return step;
}

function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  while (rest >= 0x80) {
    bytes.push((rest % 128) | 0x80);
    rest = Math.floor(rest / 128);
  }
  return [...bytes, rest];
}

const intField = (field: number, value: number): number[] => [
  field << 3,
  ...varint(value),
];

const bytesField = (
  field: number,
  bytes: readonly number[] | Buffer,
): number[] => [(field << 3) | 2, ...varint(bytes.length), ...bytes];

function doubleField(field: number, value: number): number[] {
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleLE(value);
  return [(field << 3) | 1, ...bytes];
}

function floatField(field: number, value: number): number[] {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return [(field << 3) | 5, ...bytes];
}
