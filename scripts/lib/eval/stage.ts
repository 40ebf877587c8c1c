/** The line that says what an evaluation is at: live on a terminal, else one plain line now and then. */

import { formatDuration } from "@avjepa/train";
import { appendFileSync } from "node:fs";

/** Milliseconds between lines off a terminal. */
const interval = 10_000;

/** Tells the user of an evaluation's stages, and keeps what it says in log.txt. */
export class Stages {
  readonly #live = process.stderr.isTTY === true && process.env.TERM !== "dumb";
  readonly #log: string;
  #shown = 0;
  #stage = { name: "", unit: "", since: 0, from: 0 };

  constructor(log: string) {
    this.#log = log;
  }

  /** Begins something that has `total` parts, of which `from` are done already. */
  begin(name: string, unit: string, from = 0): void {
    this.#stage = { name, unit, since: performance.now(), from };
    this.#shown = 0;
  }

  /** Shows how far it has come. */
  at(done: number, total: number, more = ""): void {
    const now = performance.now();
    if (now - this.#shown < (this.#live ? 100 : interval) && done < total)
      return;
    if (!this.#live && this.#shown === 0 && done < total) {
      this.#shown = this.#stage.since;
      if (now - this.#stage.since < interval) return;
    }
    this.#shown = now;
    const { name, unit, since, from } = this.#stage;
    const seconds = (now - since) / 1000;
    const rate = (done - from) / Math.max(seconds, 1e-6);
    const left = rate > 0 ? (total - done) / rate : undefined;
    const line = [
      `${name} ${String(done).padStart(String(total).length)}/${total}`,
      ...(more ? [more] : []),
      `${Number(rate.toPrecision(3))} ${unit}/s`,
      ...(left === undefined ? [] : [`ETA ${formatDuration(left)}`]),
    ].join("  ");
    if (this.#live) process.stderr.write(`\r\x1b[2K${line}`);
    else process.stderr.write(`${line}\n`);
    if (done >= total && this.#live) process.stderr.write("\n");
    if (done >= total) appendFileSync(this.#log, `${line}\n`);
  }

  /** Says something once. */
  say(text: string): void {
    if (this.#live) process.stderr.write("\r\x1b[2K");
    process.stderr.write(`${text}\n`);
    appendFileSync(this.#log, `${text}\n`);
  }
}
