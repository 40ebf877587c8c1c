/** Random streams: torch's, numpy's legacy one, Python's, and the distributed sampler's order. */

import { native } from "@avjepa/core";
import { RandomStream } from "@avjepa/data";
import type { ParityCase } from "../case.ts";

type Draw = (
  stream: RandomStream,
  count: number,
) => ArrayLike<number> | undefined;

export function runRng(given: ParityCase): void {
  const { library, seed } = given.hyper;
  if (library === "distributed_sampler") return runSampler(given);
  for (const name of given.names("expect")) {
    const count = given
      .shape(name)
      .reduce((product, size) => product * size, 1);
    const stream = new RandomStream(library, seed);
    const values = named[name]?.[library as "torch"] ?? patterned(name);
    const drawn = values(stream, count);
    if (drawn === undefined)
      throw new Error(`${given.path}: nothing knows the draws "${name}"`);
    given.compare(name, drawn);
  }
}

const one = (stream: RandomStream, operation: string, ...args: number[]) =>
  stream.draw(operation, args)[0] as number;

/** Sequences whose name does not tell what they are. */
const named: Record<
  string,
  Partial<Record<"torch" | "numpy" | "python", Draw>>
> = {
  mixed: {
    torch: (stream) =>
      [1, 10, 3, 9, 1, 1, 14, 2, 5, 7, 11, 4, 196, 24, 6, 8].map((n) =>
        one(stream, "randint", 0, n),
      ),
    numpy: (stream) =>
      [
        [64, 300],
        [0, 10],
        [0, 3],
      ].flatMap(([low = 0, high = 0]) => [
        one(stream, "randint", low, high),
        one(stream, "random"),
      ]),
    python: (stream) => [
      one(stream, "uniform", 0.3, 1),
      one(stream, "uniform", -0.2, 0.3),
      one(stream, "randint", 0, 96),
      one(stream, "normal", 7, 0.5),
      one(stream, "random"),
      one(stream, "normal", 7, 0.5),
      one(stream, "random"),
      one(stream, "normal", 7, 0.5),
    ],
  },
  uniform_03_1: {
    python: (stream, count) => stream.draw("uniform", [0.3, 1], count),
  },
  gauss_7_05: {
    python: (stream, count) => stream.draw("normal", [7, 0.5], count),
  },
  choice_weighted_all_no_replace: {
    numpy: (stream, count) =>
      stream.draw(
        "choice_weighted",
        Array.from({ length: 8 }, (_, i) => (i + 1) / 36),
        count,
      ),
  },
  shuffle_20z_9o: {
    numpy: (stream) =>
      stream.draw("shuffle", [
        ...new Array<number>(20).fill(0),
        ...new Array<number>(9).fill(1),
      ]),
  },
};

/** `randint_m5_9`, `permutation_30`, …: the operation, then its numbers; m is minus. */
function patterned(name: string): Draw {
  const operation = name
    .replace(/_generator$/, "")
    .replace(/(_[mx]?\d+|\d+)+$/, "");
  const numbers = [...name.slice(operation.length).matchAll(/m?\d+/g)].map(
    ([text]) => Number(text.replace("m", "-")),
  );
  const counts = (length: number) => Array.from({ length }, (_, i) => i);
  return (stream, count) => {
    switch (operation) {
      case "randint":
        return stream.draw("randint", numbers, count);
      case "uniform":
        return stream.draw("uniform", numbers, count);
      case "randperm":
      case "permutation":
        return stream.draw("permutation", [numbers[0] ?? count]);
      case "rand":
      case "random":
        return stream.draw("random", [], count);
      case "standard_normal":
        return stream.draw("normal", [0, 1], count);
      case "base_seed":
        return stream.draw("base_seed", [], count);
      case "shuffle":
        return stream.draw("shuffle", counts(numbers[0] ?? count));
      case "choice":
        // `choice5`: Python's, from so many; `choice_15_x8`: numpy's.
        return name.includes("x")
          ? stream.draw("choice", [numbers[0] as number], count)
          : stream.draw("below", [numbers[0] as number], count);
      default:
        return undefined;
    }
  };
}

function runSampler(given: ParityCase): void {
  const entries = given.hyper.entries as {
    n: number;
    world: number;
    seed: number;
    epoch: number;
  }[];
  for (const [i, { n, world, seed, epoch }] of entries.entries())
    for (let rank = 0; rank < world; rank++)
      given.compare(
        `rank.${i}.${rank}`,
        native.mediaDistributedSampler(n, world, rank, seed, epoch),
      );
}
