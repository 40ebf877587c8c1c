/** What a media file holds. */

import { awaitNative, callNative, native } from "@avjepa/core";

/** From a file's headers. */
export interface MediaProbe {
  path: string;
  /** Container, in FFmpeg's words. */
  format: string;
  /** As announced; 0 where unknown. */
  seconds: number;
  video: { codec: string; width: number; height: number; fps: number } | null;
  audio: { codec: string; sampleRate: number; channels: number } | null;
}

/**
 * Loads FFmpeg's libraries, and returns their versions.
 *
 * @throws AvjepaError AVJ_MEDIA_LIBRARY where they are not there, with the remedy.
 */
export function loadMedia(): string {
  return callNative(() => native.mediaVersions());
}

/** Versions of FFmpeg's libraries, or null where they are not there. */
export function mediaVersions(): string | null {
  try {
    return loadMedia();
  } catch {
    return null;
  }
}

/**
 * Reads a file's headers.
 *
 * @throws AvjepaError AVJ_MEDIA naming the file; AVJ_MEDIA_LIBRARY without FFmpeg.
 */
export async function probe(path: string): Promise<MediaProbe> {
  return JSON.parse(
    await awaitNative(() => native.mediaProbe(path)),
  ) as MediaProbe;
}
