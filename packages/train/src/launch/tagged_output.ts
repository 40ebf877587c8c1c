/** What ranks print, told apart by the tags that mpirun puts before their lines. */

/** Where text goes; resolves when it is there. */
export type Sink = (text: string) => Promise<unknown>;

/** Lines kept of each rank. */
const kept = 30;

/** Rank 0's lines go on to the terminal; the last lines of the others are kept. */
export class TaggedOutput {
  readonly #lines = new Map<number, string[]>();
  /** mpirun's own lines. */
  readonly untagged: string[] = [];
  readonly #tag: RegExp;

  /** @param mpich `[1] text`, as MPICH's mpirun writes; else Open MPI's `[1,1]<stderr>:text`. */
  constructor(mpich: boolean) {
    this.#tag = mpich ? /^\[(\d+)\] ?/ : /^\[\d+,(\d+)\]<\w+>: ?/;
  }

  /** Reads a stream to its end. */
  async pass(from: ReadableStream<Uint8Array>, to: Sink): Promise<void> {
    const decoder = new TextDecoder();
    let rest = "";
    for await (const piece of from) {
      const lines = (rest + decoder.decode(piece, { stream: true })).split(
        "\n",
      );
      rest = lines.pop() ?? "";
      await to(lines.map((line) => this.#take(line)).join(""));
    }
    if (rest) await to(this.#take(rest));
  }

  /** The last lines that a rank printed. */
  lastLines(rank: number): readonly string[] {
    return this.#lines.get(rank) ?? [];
  }

  /** Keeps a line, and returns what of it is for the terminal. */
  #take(line: string): string {
    const rank = this.#tag.exec(line)?.[1];
    if (rank === undefined) {
      if (line.trim()) this.untagged.push(line);
      return "";
    }
    const text = line.replace(this.#tag, "");
    if (text.trim()) {
      const lines = this.#lines.get(Number(rank)) ?? [];
      lines.push(text);
      if (lines.length > kept) lines.shift();
      this.#lines.set(Number(rank), lines);
    }
    return rank === "0" || speaksForAll(text) ? `${text}\n` : "";
  }
}

/** Reports of the watchdog are of interest whoever writes them: `rank 1 of 4: no progress …`. */
const speaksForAll = (text: string): boolean => /^rank \d+ of \d+: /.test(text);
