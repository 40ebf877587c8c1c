/** Every file of an index: opened, and a clip of it decoded as training would. */

import { AvjepaError } from "@avjepa/core";
import {
  ClipLoader,
  type IndexLines,
  type MediaProbe,
  probe,
  readIndex,
} from "@avjepa/data";
import { formatDuration } from "@avjepa/train";
import { availableParallelism } from "node:os";

/** What is wrong with a file. */
export interface Fault {
  path: string;
  /** In the index, from 1. */
  line: number;
  reason: string;
}

/** What an index holds. */
export interface IndexReport {
  index: string;
  files: number;
  classes: number;
  /** Lines whose path stands in the index before. */
  repeated: number;
  /** Cannot be read, or decoded. */
  bad: Fault[];
  bad_fraction: number;
  max_bad_fraction: number;
  /** Without sound, or without picture. */
  missing_audio: number;
  missing_video: number;
  /** Sound that is nothing but zeros; shorter than a clip. */
  silent: number;
  short: number;
  /** Of the files that announce it. */
  seconds: {
    total: number;
    shortest: number;
    median: number;
    longest: number;
  } | null;
  /** How many files have each, the most frequent first. */
  pictures: Record<string, number>;
}

/** How an index is checked. */
export interface IndexCheckOptions {
  maxBadFraction: number;
  /** `data` of the configuration the files are for; default: clips of 16 frames, every fourth. */
  data?: Readonly<Record<string, unknown>>;
  /** Told how far it is. */
  progress: (done: number, of: number, what: string) => void;
}

/**
 * Checks all files of an index.
 *
 * @throws AvjepaError AVJ_INDEX when the index itself cannot be read.
 */
export async function checkIndex(
  index: string,
  options: IndexCheckOptions,
): Promise<IndexReport> {
  const lines = readIndex(index);
  const files = lines.paths.length;
  const probes = await probeAll(lines, (done) =>
    options.progress(done, files, "opened"),
  );
  const faults = new Map<number, string>();
  probes.forEach((found, i) => {
    if (typeof found === "string") faults.set(i, found);
    else if (!found.video && !found.audio)
      faults.set(i, "it has neither picture nor sound");
  });
  const counts = await decodeAll(index, files, options, faults);
  const opened = probes.filter((found) => typeof found !== "string");
  return {
    index,
    files,
    classes: new Set(lines.labels).size,
    repeated: files - new Set(lines.paths).size,
    bad: [...faults.entries()]
      .sort(([a], [b]) => a - b)
      .map(([i, reason]) => ({
        path: lines.paths[i] ?? "",
        line: i + 1,
        reason,
      })),
    bad_fraction: faults.size / files,
    max_bad_fraction: options.maxBadFraction,
    missing_audio: opened.filter(({ audio }) => !audio).length,
    missing_video: opened.filter(({ video }) => !video).length,
    ...counts,
    seconds: durations(opened),
    pictures: tally(opened),
  };
}

/** Whether training would go on. */
export function isAcceptable({
  bad_fraction,
  max_bad_fraction,
}: IndexReport): boolean {
  return bad_fraction <= max_bad_fraction;
}

/** Headers of every file, or why there are none; as many at once as there are cores. */
async function probeAll(
  { paths }: IndexLines,
  progress: (done: number) => void,
): Promise<(MediaProbe | string)[]> {
  const found: (MediaProbe | string)[] = [];
  let next = 0;
  let done = 0;
  const worker = async (): Promise<void> => {
    for (let i = next++; i < paths.length; i = next++) {
      const path = paths[i] as string;
      found[i] = await probe(path).catch((error: unknown) =>
        reasonOf(error, path),
      );
      progress(++done);
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, worker));
  return found;
}

/** Decodes a clip of every file; enters those that fail among the faults. */
async function decodeAll(
  index: string,
  files: number,
  { data, progress }: IndexCheckOptions,
  faults: Map<number, string>,
): Promise<Pick<IndexReport, "silent" | "short">> {
  const counts = { silent: 0, short: 0 };
  if (faults.size === files) return counts;
  await using loader = new ClipLoader(index, {
    batch: 4,
    data: {
      modalities: ["video", "audio"],
      ...data,
      max_bad_fraction: 1,
      missing_audio: "mask",
      missing_video: "mask",
    },
    workers: availableParallelism(),
    order: "sequential",
    passes: 1,
  });
  try {
    let done = 0;
    for await (const clips of loader) {
      done += clips.samples;
      progress(done, files, "decoded");
    }
  } catch (error) {
    // Nothing is left that could stand in for a bad file: all are known by now.
    if (!AvjepaError.is(error) || error.code !== "AVJ_BAD_FILES") throw error;
  }
  for (const { kind, index: line, reason, path } of loader.events) {
    if (kind === "bad" && !faults.has(line))
      faults.set(line, without(reason, path));
    if (kind === "silent" || kind === "short") counts[kind]++;
  }
  return counts;
}

function reasonOf(error: unknown, path: string): string {
  if (!AvjepaError.is(error)) throw error;
  return without(error.message, path);
}

/** A reason that many files may share: not naming one. */
function without(reason: string, path: string): string {
  return reason
    .replaceAll(path, "")
    .replace(/^cannot read\s*:\s*/, "")
    .replace(/^[\s:]+/, "");
}

function durations(opened: readonly MediaProbe[]): IndexReport["seconds"] {
  const known = opened
    .map(({ seconds }) => seconds)
    .filter((seconds) => seconds > 0)
    .sort((a, b) => a - b);
  const [shortest] = known;
  if (shortest === undefined) return null;
  return {
    total: known.reduce((sum, seconds) => sum + seconds, 0),
    shortest,
    median: known[Math.floor(known.length / 2)] ?? shortest,
    longest: known.at(-1) ?? shortest,
  };
}

function tally(opened: readonly MediaProbe[]): Record<string, number> {
  const counts = new Map<string, number>();
  for (const { video } of opened) {
    if (!video) continue;
    const kind = `${video.codec} ${video.width} × ${video.height}`;
    counts.set(kind, (counts.get(kind) ?? 0) + 1);
  }
  return Object.fromEntries([...counts].sort(([, a], [, b]) => b - a));
}

/** Files shown of each reason; `--json` has all. */
const shown = 5;

/** Lines for people: counts first, then what is wrong, by reason. */
export function formatIndex(report: IndexReport): string[] {
  const { files, bad, seconds } = report;
  const count = (n: number) => n.toLocaleString("en-US");
  const percent = (x: number) => `${Number((100 * x).toPrecision(3))} %`;
  const kinds = Object.entries(report.pictures);
  const rows: [name: string, text: string][] = [
    [
      report.index,
      `${count(files)} files in ${report.classes === 1 ? "1 class" : `${count(report.classes)} classes`}, ${count(files - bad.length)} readable`,
    ],
  ];
  if (seconds)
    rows.push([
      "durations",
      `${formatDuration(seconds.total)} in all; ${seconds.shortest.toFixed(1)} s at least, ${seconds.median.toFixed(1)} s in the middle, ${seconds.longest.toFixed(1)} s at most`,
    ]);
  if (kinds.length > 0)
    rows.push([
      "pictures",
      [
        ...kinds.slice(0, 4).map(([kind, n]) => `${kind} (${count(n)})`),
        ...(kinds.length > 4 ? [`${kinds.length - 4} more kinds`] : []),
      ].join(", "),
    ]);
  const lacking = [
    [report.missing_audio, "without sound"],
    [report.missing_video, "without picture"],
    [report.silent, "with silence for sound"],
    [report.short, "shorter than a clip"],
    [report.repeated, "lines that repeat a path"],
  ] as const;
  const some = lacking.filter(([n]) => n > 0);
  if (some.length > 0)
    rows.push([
      "note",
      some.map(([n, what]) => `${count(n)} ${what}`).join(", "),
    ]);
  const verdict = isAcceptable(report) ? "" : ": training would stop";
  rows.push([
    "bad",
    `${count(bad.length)} of ${count(files)} (${percent(report.bad_fraction)}; data.max_bad_fraction allows ${percent(report.max_bad_fraction)}${verdict})`,
  ]);
  const width = Math.max(...rows.map(([name]) => name.length));
  const lines = rows.map(([name, text]) => `${name.padEnd(width)}  ${text}`);
  for (const [reason, faults] of Map.groupBy(bad, ({ reason }) => reason)) {
    lines.push(`${String(faults.length).padStart(6)}  ${reason}`);
    for (const { path, line } of faults.slice(0, shown))
      lines.push(`        ${path} (line ${line})`);
    if (faults.length > shown)
      lines.push(
        `        and ${count(faults.length - shown)} more; --json lists them`,
      );
  }
  return lines;
}
