/** What files were lacking, in words. */

import type { FileCounts, FileEvent } from "@avjepa/data";

/** News of a file of a run. */
export interface RunFileEvent extends FileEvent {
  /** Whether the file is of `data.held_out`. */
  heldOut?: boolean;
}

/** `cannot read clips/0412.mp4: the file ends early; another file takes its place` */
export function describeFile(event: RunFileEvent): string {
  const { kind, path, reason, replaced, heldOut } = event;
  const what = kind === "bad" ? "cannot read" : kind.replace("_", " ");
  const whose = heldOut ? " held-out" : "";
  const instead = replaced ? "; another file takes its place" : "";
  return `${what}${whose} ${path}: ${reason}${instead}`;
}

/** `of 1,000 files 3 could not be read, 17 have no sound`; null where nothing was lacking. */
export function summariseFiles(counts: FileCounts): string | null {
  const lacking = [
    [counts.bad, "could not be read", "could not be read"],
    [counts.missingAudio, "has no sound", "have no sound"],
    [counts.silent, "is silent", "are silent"],
    [counts.missingVideo, "has no picture", "have no picture"],
    [counts.short, "is shorter than a clip", "are shorter than a clip"],
  ] as const;
  const parts = lacking
    .filter(([count]) => count > 0)
    .map(
      ([count, one, many]) =>
        `${count.toLocaleString("en-US")} ${count === 1 ? one : many}`,
    );
  const tried = counts.tried.toLocaleString("en-US");
  const files = counts.tried === 1 ? "file" : "files";
  return parts.length === 0 ? null : `of ${tried} ${files} ${parts.join(", ")}`;
}
