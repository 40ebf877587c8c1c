/** The demo's table, in Markdown. */

import { asked, type Accuracy } from "./probe_encoder.ts";

/** One encoder's figures. */
export interface Row {
  name: string;
  accuracy: Accuracy;
}

const titles: Record<string, string> = {
  class: "class",
  side: "light",
  note: "note",
};

/** Accuracies in per cent: a line an encoder, a column a view and question. */
export function formatTable(rows: readonly Row[], chance: number): string {
  const columns = Object.entries(asked).flatMap(([view, questions]) =>
    questions.map((question) => ({ view: view as keyof Accuracy, question })),
  );
  const percent = (x: number): string => (100 * x).toFixed(1);
  const cells = [
    [
      "frozen encoder",
      ...columns.map(({ view, question }) => `${titles[question]}, ${view}`),
    ],
    ...rows.map(({ name, accuracy }) => [
      name,
      ...columns.map(({ view, question }) =>
        percent(accuracy[view][question] ?? Number.NaN),
      ),
    ]),
    ["chance", ...columns.map(() => percent(chance))],
  ];
  const widths = cells[0]!.map((_, i) =>
    Math.max(...cells.map((row) => row[i]!.length)),
  );
  const line = (row: readonly string[]): string =>
    `| ${row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join(" | ")} |`;
  const rule = `| ${widths.map((width, i) => (i === 0 ? "-".repeat(width) : `${"-".repeat(width - 1)}:`)).join(" | ")} |`;
  const [head = [], ...body] = cells;
  return [line(head), rule, ...body.map(line)].join("\n");
}
