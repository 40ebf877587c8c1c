/** Figures of evaluations. */

import {
  averagePrecision,
  medianRank,
  multiLabelMetrics,
  recallAt,
  retrievalRanks,
  TopKCounter,
} from "@avjepa/evals";
import type { ParityCase } from "../case.ts";

export function runMetrics(given: ParityCase): void {
  if (given.hyper.form === "classification") classification(given);
  else if (given.hyper.form === "retrieval") retrieval(given);
  else throw new Error(`${given.path}: there is no form ${given.hyper.form}`);
}

function classification(given: ParityCase): void {
  const classes = given.shape("scores")[1] as number;
  const scores = given.numbers("scores");
  const counter = new TopKCounter(classes, [1, 5]);
  counter.add(scores, given.numbers("labels"));
  for (const k of [1, 5])
    if (given.has(`top${k}`)) given.compare(`top${k}`, [counter.percent(k)]);
  const multi = given.numbers("multi");
  const found = multiLabelMetrics(scores, multi, classes);
  const { classes: used, values, mean } = found.averagePrecision;
  given.require(
    used.join() === given.numbers("classes_used").join(),
    `classes ${used.join()} are used, expected ${given.numbers("classes_used").join()}`,
  );
  given.compare("ap", values);
  given.compare("map", [mean]);
  given.compare("auc", found.auc);
  given.compare("dprime", [found.dPrime]);
  const first = (of: Float64Array) =>
    of.filter((_, i) => i % classes === used[0]);
  given.require(
    averagePrecision(first(scores), first(multi)) === values[0],
    "a class alone has another average precision",
  );
}

function retrieval(given: ParityCase): void {
  const [queries = 0, candidates = 0] = given.shape("scores");
  const scores = Float32Array.from(given.numbers("scores"));
  const bump = given.numbers("bump");
  for (let i = 0; i < queries; i++) scores[i * candidates + i]! += bump[i]!;
  const ranks = retrievalRanks(scores, queries, candidates, { ties: "best" });
  for (const k of [1, 5, 10]) given.compare(`r${k}`, [recallAt(ranks, k)]);
  given.compare("rank", ranks);
  given.compare("median_rank", [medianRank(ranks)]);
}
