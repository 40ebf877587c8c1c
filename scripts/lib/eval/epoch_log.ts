/** An evaluation's epochs: `metrics.jsonl`, and the published code's CSV. */

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { appendFileSync } from "node:fs";
import { join } from "node:path";

/** One epoch of a grid of probes. */
export interface EpochRow {
  /** From 1, and optimizer steps so far. */
  epoch: number;
  step: number;
  /** Which of the probes the held-out part prefers. */
  best: number;
  probes: Record<string, number>[];
  val_acc: number;
}

/** The logs of one training; several of an evaluation share `metrics.jsonl`. */
export class EpochLog {
  readonly #csv: string;
  readonly #jsonl: string;
  readonly #part: string;

  /** @param part names the training in `metrics.jsonl` and the CSV's file name. */
  constructor(folder: string, part: string) {
    this.#csv = join(folder, `${part}_r0.csv`);
    this.#jsonl = join(folder, "metrics.jsonl");
    this.#part = part;
  }

  /** Adds an epoch; accuracies are per cent. */
  epoch(row: EpochRow): void {
    const { loss = NaN, train_acc = NaN } = row.probes[row.best] ?? {};
    if (!existsSync(this.#csv))
      writeFileSync(this.#csv, "epoch,loss,train_acc,val_acc\n");
    appendFileSync(
      this.#csv,
      `${row.epoch},${loss.toFixed(5)},${train_acc.toFixed(5)},${row.val_acc.toFixed(5)}\n`,
    );
    appendFileSync(
      this.#jsonl,
      `${JSON.stringify({ probe: this.#part, ...row })}\n`,
    );
  }

  /** Drops what is of later epochs. */
  truncateTo(epoch: number): void {
    keepLines(
      this.#csv,
      (line) => line.startsWith("epoch") || Number(line.split(",")[0]) <= epoch,
    );
    keepLines(this.#jsonl, (line) => {
      try {
        const row = JSON.parse(line) as { probe: string; epoch: number };
        return row.probe !== this.#part || row.epoch <= epoch;
      } catch {
        // A killed process may leave a part of a line.
        return false;
      }
    });
  }
}

function keepLines(path: string, keep: (line: string) => boolean): void {
  if (!existsSync(path)) return;
  const lines = readFileSync(path, "utf8").split("\n").filter(Boolean);
  const kept = lines.filter(keep);
  if (kept.length < lines.length)
    writeFileSync(path, kept.map((line) => `${line}\n`).join(""));
}
