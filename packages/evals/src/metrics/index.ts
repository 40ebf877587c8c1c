/** Figures of evaluations: exact counts, and what follows from them. */

export {
  type AveragePrecision,
  averagePrecision,
} from "./average_precision.ts";
export { classRates, type ClassRate, confusionMatrix } from "./confusion.ts";
export { dPrime, inverseNormal, rocAuc } from "./roc.ts";
export { type MultiLabelMetrics, multiLabelMetrics } from "./multi_label.ts";
export {
  expectedRecall,
  medianRank,
  recallAt,
  retrievalRanks,
} from "./retrieval.ts";
export { countTopK, predictedClass, TopKCounter } from "./top_k.ts";
export { type Interval, wilsonInterval } from "./wilson.ts";
