/** All the logs of one rank of a run, opened, written and cut together. */

import { join } from "node:path";

import { AppendFile, cutLines } from "../files/append_file.ts";
import { EventFile } from "./event_file.ts";
import { describeFile } from "./file_report.ts";
import type { RunFileEvent } from "./file_report.ts";
import { MetricsLog } from "./metrics_log.ts";
import type { StepMetrics } from "./metrics_log.ts";
import { Progress } from "./progress.ts";
import type { ProgressStream } from "./progress.ts";
import { StepTable } from "./step_table.ts";

/** What the logs need to know of the run. */
export interface RunLogsOptions {
  /** The run folder; it exists. */
  folder: string;
  /** `logging.write_tag` */
  tag: string;
  rank: number;
  /** Steps an epoch. */
  ipe: number;
  /** Steps of the run. */
  totalSteps: number;
  /** Where this process stops; the run's end by default. */
  lastStep?: number;
  /** `logging.every_steps` */
  everySteps: number;
  /** `logging.tensorboard` */
  tensorboard: boolean;
  /** Where the progress line goes; standard error by default. */
  stream?: ProgressStream;
}

/**
 * The logs of a rank. Every rank has its table; metrics, events, log.txt and
 * the progress line are rank 0's.
 *
 * @example
 * const logs = new RunLogs({ folder, tag, rank: 0, ipe, totalSteps, everySteps: 10, tensorboard: true });
 * logs.truncateTo(resumedStep);
 * logs.note("AV-JEPA  vit_tiny 5.7 M · cpu");
 * logs.step(metrics);
 * logs.close();
 */
export class RunLogs {
  readonly #table: StepTable;
  readonly #metrics: MetricsLog | undefined;
  readonly #events: EventFile | undefined;
  readonly #text: AppendFile | undefined;
  readonly #progress: Progress | undefined;
  /** Texts of {@link RunLogs.fact} that log.txt has. */
  readonly #facts = new Set<string>();
  readonly #everySteps: number;
  readonly #lastStep: number;

  constructor(options: RunLogsOptions) {
    const { folder, tag, rank, totalSteps, stream } = options;
    this.#everySteps = options.everySteps;
    this.#lastStep = options.lastStep ?? totalSteps;
    this.#table = new StepTable(
      join(folder, `${tag}_r${rank}.csv`),
      options.ipe,
    );
    if (rank !== 0) return;
    this.#metrics = new MetricsLog(join(folder, "metrics.jsonl"));
    if (options.tensorboard) this.#events = new EventFile(folder);
    this.#text = new AppendFile(join(folder, "log.txt"));
    this.#progress = new Progress(
      { totalSteps, ...(stream ? { stream } : {}) },
      this.#lastStep,
    );
  }

  /** Report a step everywhere. `deviceMs`: the device's own time, if known. */
  step(metrics: StepMetrics, deviceMs?: number): void {
    const { step } = metrics;
    this.#table.write(metrics, deviceMs);
    this.#metrics?.write(metrics);
    const { step: _, epoch: __, ...values } = metrics;
    this.#events?.scalars(
      step,
      Object.fromEntries(
        Object.entries(values).map(([key, value]) => [`train/${key}`, value]),
      ),
    );
    const due = step % this.#everySteps === 0 || step === this.#lastStep;
    const line = this.#progress?.step(metrics, due);
    if (due && line !== undefined) this.#text?.write(`${line}\n`);
  }

  /** Show a text on the terminal and keep it in log.txt. Rank 0 only. */
  note(text: string): void {
    this.#progress?.note(text);
    this.#text?.write(`${text}\n`);
  }

  /**
   * Keep a text in log.txt under its step, once a run: a process that goes on
   * with it finds the same out again. Returns whether it was new.
   */
  fact(step: number, text: string): boolean {
    if (this.#facts.has(text)) return false;
    this.#facts.add(text);
    this.#text?.write(`step ${step}: ${text}\n`);
    return true;
  }

  /** Tell what files were lacking: on the terminal, where they are broken. */
  files(step: number, events: readonly RunFileEvent[]): void {
    for (const event of events) {
      const text = describeFile(event);
      if (this.fact(step, text) && event.kind === "bad") this.say(text);
    }
  }

  /** Warn, once a run. */
  warn(step: number, text: string): void {
    if (this.fact(step, text)) this.say(`warning: ${text}`);
  }

  /**
   * Keep the error that ends this process at `step`. The terminal is told it
   * last of all; a run that goes on from before that step forgets it.
   */
  failed(step: number, error: unknown): void {
    const message = error instanceof Error ? error.message : String(error);
    const line = message.replaceAll(/:?\s*\n\s*/g, "; ");
    try {
      this.fact(step, `error: ${line}`);
    } catch {
      // The disk is full: what was to be told says it, or matters more.
    }
  }

  /** Show a text on the terminal only: what is of this process, not of the run. */
  say(text: string): void {
    this.#progress?.note(text);
  }

  /** Cut every log back to what it was after `step`; 0 empties them. */
  truncateTo(step: number): void {
    this.#table.truncateTo(step);
    this.#metrics?.truncateTo(step);
    this.#events?.truncateTo(step);
    if (this.#progress)
      this.#progress.rank = this.valuesOf("effective_rank").at(-1);
    if (this.#text && step === 0) this.#text.cut(0);
    else if (this.#text)
      cutLines(this.#text, (line) => {
        const at = /^step +(\d+)[/:]/.exec(line)?.[1];
        return at !== undefined && Number(at) > step;
      });
    this.#facts.clear();
    for (const line of this.#text?.read().toString().split("\n") ?? []) {
      const fact = /^step \d+: (.*)$/.exec(line)?.[1];
      if (fact !== undefined) this.#facts.add(fact);
    }
  }

  /** All values that `metrics.jsonl` has of a key, in order. Rank 0 only. */
  valuesOf(key: string): number[] {
    return this.#metrics?.valuesOf(key) ?? [];
  }

  /** Leave the progress line as it is; what is said from now on stands below it. */
  endProgress(): void {
    this.#progress?.end();
  }

  /** Close the files and leave the progress line. */
  close(): void {
    this.endProgress();
    this.#table.close();
    this.#metrics?.close();
    this.#events?.close();
    this.#text?.close();
  }
}
