/** Tables of a classification, as CSV. */

/** Samples, hits, recall and precision (per cent) of each class. */
export function classTable(
  labels: readonly number[],
  predicted: ArrayLike<number>,
  classes: number,
  names: readonly string[] | null,
): string {
  const samples = new Uint32Array(classes);
  const guesses = new Uint32Array(classes);
  const right = new Uint32Array(classes);
  labels.forEach((label, i) => {
    samples[label]! += 1;
    guesses[predicted[i]!]! += 1;
    if (predicted[i] === label) right[label]! += 1;
  });
  const percent = (part: number, whole: number): string =>
    whole === 0 ? "" : ((100 * part) / whole).toFixed(3);
  const rows = Array.from(right, (hits, c) =>
    [
      c,
      quoted(names?.[c] ?? String(c)),
      samples[c],
      guesses[c],
      hits,
      percent(hits, samples[c]!),
      percent(hits, guesses[c]!),
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
