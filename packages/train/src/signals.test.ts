import { expect, test } from "bun:test";
import { join } from "node:path";

import { exitStopped } from "./signals.ts";

/** A process that stops a step after a signal, saying what it does. */
const program = `
  import { exitStopped, StopFlag } from ${JSON.stringify(join(import.meta.dir, "signals.ts"))};
  using stop = new StopFlag((text) => console.log(text));
  console.log("ready");
  const linger = Number(process.argv.at(-1));
  while (!stop.signal) await Bun.sleep(5);
  await Bun.sleep(linger);
  console.log("saved");
  process.exit(exitStopped);`;

async function run(linger: number, ...signals: NodeJS.Signals[]) {
  const child = Bun.spawn([process.execPath, "-e", program, String(linger)], {
    stdout: "pipe",
  });
  let text = "";
  const decoder = new TextDecoder();
  const pending = [...signals];
  for await (const chunk of child.stdout) {
    text += decoder.decode(chunk);
    // One signal after each line: the next only once the last was heard.
    if (pending.length > 0) child.kill(pending.shift()!);
  }
  return { code: await child.exited, text };
}

test.each(["SIGUSR2", "SIGTERM", "SIGINT"] as const)(
  "%s: the step is finished, then 75",
  async (signal) => {
    const { code, text } = await run(0, signal);
    expect(code).toBe(exitStopped);
    expect(text).toContain(`${signal}: finishing the step, saving`);
    expect(text).toContain("saved");
  },
);

test("a second SIGINT ends at once", async () => {
  const { code, text } = await run(60_000, "SIGINT", "SIGINT");
  expect(code).toBe(130);
  expect(text).not.toContain("saved");
});
