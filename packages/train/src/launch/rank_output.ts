/** What ranks print: on streams of their own, or told apart by the tags that mpirun puts before their lines. */

/** Where text goes; resolves when it is there. */
export type Sink = (text: string) => Promise<unknown>;

/** Lines kept of each rank. */
const kept = 30;

/** Rank 0's lines go on to the terminal; the last lines of the others are kept. */
export class RankOutput {
  readonly #lines = new Map<number, string[]>();
  /** mpirun's own lines. */
  readonly untagged: string[] = [];
  readonly #tag: RegExp;

  /** @param mpich tags are `[1] text`, as MPICH's mpirun writes; else Open MPI's `[1,1]<stderr>:text`. */
  constructor(mpich = false) {
    this.#tag = mpich ? /^\[(\d+)\] ?/ : /^\[\d+,(\d+)\]<\w+>: ?/;
  }

  /** Reads a stream to its end: one of tagged lines, or `rank`'s own. */
  async pass(
    from: ReadableStream<Uint8Array>,
    to: Sink,
    rank?: number,
  ): Promise<void> {
    const decoder = new TextDecoder();
    let rest = "";
    for await (const piece of from) {
      const lines = (rest + decoder.decode(piece, { stream: true })).split(
        "\n",
      );
      rest = lines.pop() ?? "";
      await to(lines.map((line) => this.#take(line, rank)).join(""));
    }
    if (rest) await to(this.#take(rest, rank));
  }

  /** The last lines that a rank printed. */
  lastLines(rank: number): readonly string[] {
    return this.#lines.get(rank) ?? [];
  }

  /** Keeps a line, and returns what of it is for the terminal. */
  #take(line: string, own?: number): string {
    const tag = own === undefined ? this.#tag.exec(line)?.[1] : own;
    if (tag === undefined) {
      if (line.trim()) this.untagged.push(line);
      return "";
    }
    const rank = Number(tag);
    const text = own === undefined ? line.replace(this.#tag, "") : line;
    if (text.trim()) {
      const lines = this.#lines.get(rank) ?? [];
      lines.push(text);
      if (lines.length > kept) lines.shift();
      this.#lines.set(rank, lines);
    }
    return rank === 0 || speaksForAll(text) ? `${text}\n` : "";
  }
}

/** Reports of the watchdog are of interest whoever writes them: `rank 1 of 4: no progress …`. */
const speaksForAll = (text: string): boolean => /^rank \d+ of \d+: /.test(text);
