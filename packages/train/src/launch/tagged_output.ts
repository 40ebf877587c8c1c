/** What ranks print, told apart by the tags that mpirun puts before their lines. */

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
  async pass(
    from: ReadableStream<Uint8Array>,
    to: { write(text: string): unknown },
  ): Promise<void> {
    const decoder = new TextDecoder();
    let rest = "";
    for await (const piece of from) {
      const lines = (rest + decoder.decode(piece, { stream: true })).split(
        "\n",
      );
      rest = lines.pop() ?? "";
      for (const line of lines) this.#take(line, to);
    }
    if (rest) this.#take(rest, to);
  }

  /** The last lines that a rank printed. */
  lastLines(rank: number): readonly string[] {
    return this.#lines.get(rank) ?? [];
  }

  #take(line: string, to: { write(text: string): unknown }): void {
    const rank = this.#tag.exec(line)?.[1];
    if (rank === undefined) {
      if (line.trim()) this.untagged.push(line);
      return;
    }
    const text = line.replace(this.#tag, "");
    if (rank === "0" || speaksForAll(text)) to.write(`${text}\n`);
    if (!text.trim()) return;
    const lines = this.#lines.get(Number(rank)) ?? [];
    lines.push(text);
    if (lines.length > kept) lines.shift();
    this.#lines.set(Number(rank), lines);
  }
}

/** Reports of the watchdog are of interest whoever writes them: `rank 1 of 4: no progress …`. */
const speaksForAll = (text: string): boolean => /^rank \d+ of \d+: /.test(text);
