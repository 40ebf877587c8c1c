/**
 * The line that says how a run is doing: one live line on a terminal, else one
 * plain line an interval.
 *
 *     step  412/1000  loss 0.4312 (v 0.401 a 0.489)  lr 8.1e-4  rank 61  12.4 clips/s  data 3 %  1.8 GB   ETA 4:12
 */

import { styleText } from "node:util";

import type { StepMetrics } from "./metrics_log.ts";

/** Where the line goes; the process's standard error by default. */
export interface ProgressStream {
  write(text: string): unknown;
  isTTY?: boolean;
  columns?: number;
}

/** What the line is made from. */
export interface ProgressState {
  metrics: StepMetrics;
  /** Steps of the run. */
  totalSteps: number;
  /** Seconds to its end, or undefined where not known yet. */
  eta?: number | undefined;
  /** The last effective rank measured. */
  rank?: number | undefined;
}

/**
 * The line, without colour. Where it is wider than `width`, what tells least is
 * left out: memory first, then the share of data, the loss's terms, the rank.
 */
export function formatProgress(state: ProgressState, width = Infinity): string {
  const { metrics: m, totalSteps, eta, rank } = state;
  const step = String(m.step).padStart(String(totalSteps).length);
  const terms = [
    ...(m.loss_video === undefined ? [] : [`v ${m.loss_video.toFixed(3)}`]),
    ...(m.loss_audio === undefined ? [] : [`a ${m.loss_audio.toFixed(3)}`]),
  ];
  const parts = {
    step: `step ${step}/${totalSteps}`,
    loss: `loss ${m.loss.toFixed(4)}`,
    terms: terms.length > 1 ? `(${terms.join(" ")})` : "",
    lr: `lr ${shortExponent(m.lr)}`,
    rank: rank === undefined ? "" : `rank ${rank.toFixed(0)}`,
    speed: `${significant(m.clips_per_s)} clips/s`,
    data: `data ${Math.round((100 * m.data_ms) / Math.max(m.step_ms, 1e-9))} %`,
    memory: formatBytes(m.memory_bytes),
    eta: eta === undefined ? "" : ` ETA ${formatDuration(eta)}`,
  };
  const line = () =>
    Object.values(parts)
      .filter((part) => part !== "")
      .join("  ")
      .replace("  (", " (");
  for (const name of ["memory", "data", "terms", "rank", "lr"] as const)
    if (line().length > width) parts[name] = "";
  return line();
}

/** `8.1e-4` */
const shortExponent = (x: number): string =>
  x === 0 ? "0" : x.toExponential(1).replace("e+", "e");

/** Three figures: `12.4`, `0.031`, `1240`. */
const significant = (x: number): string =>
  x >= 100 ? x.toFixed(0) : String(Number(x.toPrecision(3)));

/** `1.8 GB`, powers of ten. */
export function formatBytes(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 || value >= 99.5 ? value.toFixed(0) : value.toPrecision(2)} ${units[unit]}`;
}

/** `4:12`, `1:04:12`, `3 d 04:12`. */
export function formatDuration(seconds: number): string {
  const all = Math.max(0, Math.round(seconds));
  const two = (n: number): string => String(n).padStart(2, "0");
  const hours = Math.floor(all / 3600);
  const minutes = Math.floor(all / 60) % 60;
  if (hours >= 24)
    return `${Math.floor(hours / 24)} d ${two(hours % 24)}:${two(minutes)}`;
  if (hours > 0) return `${hours}:${two(minutes)}:${two(all % 60)}`;
  return `${minutes}:${two(all % 60)}`;
}

/** The line on its stream. */
export class Progress {
  readonly #live: boolean;
  readonly #colour: boolean;
  readonly #totalSteps: number;
  readonly #stream: ProgressStream;
  #line = "";
  #average: number | undefined;
  #rank: number | undefined;

  /** Show this effective rank until the next is measured. */
  set rank(value: number | undefined) {
    this.#rank = value;
  }

  /** `lastStep`: where this process stops, `--steps` or the run's end. */
  constructor(
    options: {
      totalSteps: number;
      stream?: ProgressStream;
      env?: Record<string, string | undefined>;
    },
    readonly lastStep: number = options.totalSteps,
  ) {
    const env = options.env ?? process.env;
    this.#stream = options.stream ?? process.stderr;
    this.#totalSteps = options.totalSteps;
    this.#live = this.#stream.isTTY === true && env.TERM !== "dumb";
    this.#colour = this.#live && !env.NO_COLOR;
  }

  /**
   * Show a step. Off a terminal only `due` ones are shown. Returns the line.
   */
  step(metrics: StepMetrics, due: boolean): string {
    this.#rank = metrics.effective_rank ?? this.#rank;
    // A running mean over some twenty steps.
    this.#average =
      this.#average === undefined
        ? metrics.step_ms
        : this.#average + 0.05 * (metrics.step_ms - this.#average);
    const left = Math.max(0, this.lastStep - metrics.step);
    const state: ProgressState = {
      metrics,
      totalSteps: this.#totalSteps,
      eta: (left * this.#average) / 1000,
      rank: this.#rank,
    };
    const line = formatProgress(state);
    if (this.#live) {
      this.#line = formatProgress(state, this.#width);
      this.#draw();
    } else if (due) this.#stream.write(`${line}\n`);
    return line;
  }

  /** Print a line of its own, the live line staying below it. */
  note(text: string): void {
    if (this.#live && this.#line) this.#stream.write("\r\x1b[2K");
    this.#stream.write(`${text}\n`);
    if (this.#live && this.#line) this.#draw();
  }

  /** Leave the live line as it is and go to the next. */
  end(): void {
    if (this.#live && this.#line) this.#stream.write("\n");
    this.#line = "";
  }

  /** Columns of the terminal that a line may fill without wrapping. */
  get #width(): number {
    return Math.max(1, (this.#stream.columns || 80) - 1);
  }

  #draw(): void {
    const line = this.#line.slice(0, this.#width);
    const text = this.#colour
      ? line.replace(/loss [\d.]+/, (loss) =>
          styleText("bold", loss, { validateStream: false }),
        )
      : line;
    this.#stream.write(`\r\x1b[2K${text}`);
  }
}
