/** `bun run index DIR -o INDEX.csv`: an index of a folder, a sub-folder a class. */

import "./lib/told.ts";

import { makeIndex } from "@avjepa/data";

import { makeCommand, runCommand } from "./lib/cli.ts";

const command = makeCommand({
  name: "index",
  summary:
    "Make an index of a folder of media files: each sub-folder is a class, labelled by its place in alphabetical order.",
  common: ["json"],
  examples: [
    "bun run index videos -o videos.csv",
    "bun run pretrain configs/pretrain/vitl16.yaml --set data.datasets=[videos.csv]",
  ],
})
  .argument("<DIR>", "the folder; files are looked for at any depth")
  .requiredOption("-o, --output <file>", "the index to write, ending in .csv");

await runCommand<{ output: string }>(command, async ({ output, json }) => {
  const made = await makeIndex(command.args[0]!, output);
  const log = json ? console.error : console.log;
  for (const notice of made.notices) log(`note: ${notice}`);
  const width = Math.max(...made.classes.map(({ name }) => name.length));
  for (const { name, label, files } of made.classes)
    log(
      `${String(label).padStart(5)}  ${name.padEnd(width)}  ${files} ${files === 1 ? "file" : "files"}`,
    );
  const classes = made.classes.length === 1 ? "class" : "classes";
  log(
    `${made.index}: ${made.files} ${made.files === 1 ? "file" : "files"}, ${made.classes.length} ${classes}`,
  );
  return { result: made };
});
