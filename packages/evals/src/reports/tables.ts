/** Tables of a classification, as CSV. */

import { classRates } from "../metrics/confusion.ts";

/** Samples, hits and rates of each class, in per cent. */
export function classTable(
  matrix: ArrayLike<number>,
  classes: number,
  names: readonly string[] | null,
): string {
  const percent = (rate: number): string =>
    Number.isNaN(rate) ? "" : (100 * rate).toFixed(3);
  const rows = classRates(matrix, classes).map((rate) =>
    [
      rate.class,
      quoted(names?.[rate.class] ?? String(rate.class)),
      rate.samples,
      rate.predicted,
      rate.right,
      percent(rate.recall),
      percent(rate.precision),
    ].join(","),
  );
  return [
    "class,name,samples,predicted,right,recall,precision",
    ...rows,
    "",
  ].join("\n");
}

/** Counts: a line for each class, a column for each prediction. */
export function confusionTable(
  matrix: ArrayLike<number>,
  classes: number,
  names: readonly string[] | null,
): string {
  const name = (c: number): string => quoted(names?.[c] ?? String(c));
  const columns = Array.from({ length: classes }, (_, c) => c);
  const lines = columns.map((c) =>
    [name(c), ...columns.map((p) => matrix[c * classes + p])].join(","),
  );
  return [["class", ...columns.map(name)].join(","), ...lines, ""].join("\n");
}

/** As RFC 4180 wants it. */
const quoted = (text: string): string =>
  /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
