/** Small films and sounds, indexes of them, and what there is to compare of a batch. */

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import {
  type ClipBatch,
  ClipLoader,
  type ClipLoaderOptions,
  writeFilm,
} from "@avjepa/data";

const width = 48;
const height = 32;
const fps = 10;
const sampleRate = 16_000;

/** A folder that is gone with the test. */
export class Folder implements Disposable {
  readonly root = mkdtempSync(join(tmpdir(), "avjepa-data-"));

  path(name: string): string {
    return join(this.root, name);
  }

  /** Writes a text file. */
  text(name: string, ...lines: string[]): string {
    const path = this.path(name);
    writeFileSync(path, lines.map((line) => `${line}\n`).join(""));
    return path;
  }

  /** A film of noise that moves, with a tone. */
  async film(
    name: string,
    given: {
      seconds?: number;
      sound?: Float32Array | null;
      seed?: number;
    } = {},
  ): Promise<string> {
    const {
      seconds = 1.6,
      seed = 0,
      sound = tone(seconds, 300 + 50 * seed),
    } = given;
    const count = Math.round(seconds * fps);
    const frames = Uint8Array.from(
      { length: count * height * width * 3 },
      (_, i) => {
        const x = Math.floor(i / 3) % width;
        const t = Math.floor(i / (3 * width * height));
        return 128 + 90 * Math.sin((x + 3 * t) / (4 + seed)) + 12 * (i % 3);
      },
    );
    const path = this.path(name);
    await writeFilm(path, {
      width,
      height,
      fps,
      frames,
      ...(sound && { sound, sampleRate }),
    });
    return path;
  }

  /** Sound alone, 16-bit PCM. */
  wav(name: string, sound: Float32Array): string {
    const bytes = new DataView(new ArrayBuffer(44 + 2 * sound.length));
    const tag = (at: number, text: string) =>
      [...text].forEach((letter, i) =>
        bytes.setUint8(at + i, letter.charCodeAt(0)),
      );
    const u32 = (at: number, value: number) => bytes.setUint32(at, value, true);
    const u16 = (at: number, value: number) => bytes.setUint16(at, value, true);
    tag(0, "RIFF");
    u32(4, 36 + 2 * sound.length);
    tag(8, "WAVEfmt ");
    u32(16, 16);
    u16(20, 1);
    u16(22, 1);
    u32(24, sampleRate);
    u32(28, 2 * sampleRate);
    u16(32, 2);
    u16(34, 16);
    tag(36, "data");
    u32(40, 2 * sound.length);
    sound.forEach((x, i) => bytes.setInt16(44 + 2 * i, 32_767 * x, true));
    const path = this.path(name);
    writeFileSync(path, new Uint8Array(bytes.buffer));
    return path;
  }

  [Symbol.dispose](): void {
    rmSync(this.root, { recursive: true, force: true });
  }
}

/** Seconds of a tone. */
export function tone(seconds: number, hertz = 440): Float32Array {
  return Float32Array.from(
    { length: Math.round(seconds * sampleRate) },
    (_, i) => 0.4 * Math.sin((2 * Math.PI * hertz * i) / sampleRate),
  );
}

/** Clips of 4 frames, 32 × 32, 0.6 s long, and half a second of sound. */
export const small = {
  batch: 4,
  seed: 5,
  crop: 32,
  patch: 8,
  frames: 4,
  step: 2,
  audioSeconds: 0.48,
} satisfies ClipLoaderOptions;

/** Two generators, as shipped. */
export const shippedMask = [
  { num_blocks: 8, spatial_scale: [0.15, 0.15] },
  { num_blocks: 2, spatial_scale: [0.7, 0.7] },
];

/** The first `count` batches, or all there are. */
export async function batches(
  index: string | readonly string[],
  options: Partial<ClipLoaderOptions> = {},
  count = Infinity,
): Promise<ClipBatch[]> {
  await using loader = new ClipLoader(index, { ...small, ...options });
  const found: ClipBatch[] = [];
  while (found.length < count) {
    const batch = await loader.next();
    if (batch === null) break;
    found.push(batch);
  }
  return found;
}

/** Everything of a batch that must not depend on threads or time. */
export function contents(batch: ClipBatch) {
  const hash = (values: ArrayBufferView | null) =>
    values &&
    new Bun.CryptoHasher("sha256").update(values as Uint8Array).digest("hex");
  return {
    video: hash(batch.videoData),
    audio: hash(batch.audioData),
    masks: batch.masks && [batch.masks.context, batch.masks.target],
    hasVideo: [...batch.hasVideo],
    audioCols: [...batch.audioCols],
    frames: [...batch.frames],
    starts: [...batch.starts],
    labels: [...batch.labels],
    indices: [...batch.indices],
    passes: [...batch.passes],
    paths: batch.paths,
    number: batch.number,
    next: batch.next,
  };
}

/** The error that `work` ends with. */
export async function failure(
  work: Promise<unknown>,
): Promise<{ code: string; message: string; hint?: string }> {
  try {
    await work;
  } catch (error) {
    return error as { code: string; message: string; hint?: string };
  }
  throw new Error("no error");
}
