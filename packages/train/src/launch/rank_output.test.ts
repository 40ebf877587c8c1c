import { expect, test } from "bun:test";

import { deathOf } from "./death.ts";
import { RankOutput } from "./rank_output.ts";

async function passed(
  text: string,
  pieces: number,
  mpich = false,
  rank?: number,
) {
  const output = new RankOutput(mpich);
  const bytes = new TextEncoder().encode(text);
  const size = Math.ceil(bytes.length / pieces);
  const stream = new ReadableStream<Uint8Array>({
    start(controller) {
      for (let i = 0; i < pieces; i++)
        controller.enqueue(bytes.slice(i * size, (i + 1) * size));
      controller.close();
    },
  });
  let shown = "";
  await output.pass(stream, async (part) => (shown += part), rank);
  return { output, shown };
}

const openMpi = `[1,0]<stderr>:step 1/4  loss 0.5
[1,1]<stderr>:error: größer
[1,1]<stderr>:rank 1 of 2: no progress for 3 s
--------------------------------------------------------------------------
[1,0]<stdout>:{"step":4}
mpirun noticed that process rank 1 with PID 0 on node here exited on signal 9 (Killed).
[1,0]<stderr>:the end`;

test.each([1, 7, openMpi.length])(
  "rank 0 is shown, the others are kept, in %p pieces",
  async (pieces) => {
    const { output, shown } = await passed(openMpi, pieces);
    expect(shown).toBe(
      'step 1/4  loss 0.5\nrank 1 of 2: no progress for 3 s\n{"step":4}\nthe end\n',
    );
    expect(output.lastLines(1)).toEqual([
      "error: größer",
      "rank 1 of 2: no progress for 3 s",
    ]);
    expect(output.untagged).toHaveLength(2);
    expect(deathOf(output.untagged)).toEqual({
      rank: 1,
      how: "was killed by SIGKILL",
    });
  },
);

test("MPICH's tags", async () => {
  const { output, shown } = await passed("[0] one\n[1] two\nmine\n", 2, true);
  expect(shown).toBe("one\n");
  expect(output.lastLines(1)).toEqual(["two"]);
  expect(output.untagged).toEqual(["mine"]);
});

test("a stream of a rank's own has no tags", async () => {
  const own = "[0] one\nrank 1 of 2: no progress\nthree\n";
  const { output, shown } = await passed(own, 5, true, 1);
  expect(shown).toBe("rank 1 of 2: no progress\n");
  expect(output.lastLines(1)).toEqual(own.trim().split("\n"));
  expect(output.untagged).toEqual([]);
});

test("who ended how, in mpirun's words", () => {
  const exit = `mpirun detected that one or more processes exited with non-zero status, thus causing
the job to be terminated. The first process to do so was:

  Process name: [[52035,1],3]
  Exit code:    1`;
  expect(deathOf(exit.split("\n"))).toEqual({
    rank: 3,
    how: "ended with exit code 1",
  });
  expect(deathOf(["something else"])).toBeNull();
});
