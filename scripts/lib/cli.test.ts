import { describe, expect, test } from "bun:test";
import { join } from "node:path";

import { AvjepaError } from "@avjepa/core/error";
import { CommanderError } from "commander";

import { makeCommand, parseCommand } from "./cli.ts";

const spec = {
  name: "pretrain",
  summary: "Train.",
  config: "required",
  common: [
    "folder",
    "devices",
    "ranks",
    "set",
    "resume",
    "steps",
    "seed",
    "dryRun",
    "profile",
    "json",
  ],
  examples: ["bun run pretrain configs/pretrain/vitl16.yaml"],
} as const;

const quiet = { writeOut: () => {}, writeErr: () => {} };
const parse = (...argv: string[]) =>
  parseCommand(makeCommand(spec).configureOutput(quiet), argv);

test("defaults", () => {
  expect(parse("a.yaml")).toEqual({
    config: "a.yaml",
    devices: [],
    set: [],
    resume: "auto",
    dryRun: false,
    allowChange: false,
    profile: false,
    json: false,
  });
});

test("CONFIG and --fname are the same", () => {
  expect(parse("--fname", "a.yaml").config).toBe("a.yaml");
  for (const argv of [[], ["a.yaml", "b.yaml"], ["a.yaml", "--fname", "b"]])
    expect(() => parse(...argv)).toThrow(AvjepaError);
});

test("devices in both forms, before or after CONFIG", () => {
  for (const argv of [
    ["a.yaml", "--devices", "cuda:0", "cuda:1"],
    ["a.yaml", "--devices", "cuda:0,cuda:1"],
    ["--devices", "cuda:0", "cuda:1", "a.yaml"],
    ["--devices", "cuda:0,cuda:1", "--seed", "1", "a.yaml"],
    ["--devices", "cuda:0", "--devices", "cuda:1", "a.yaml"],
  ])
    expect(parse(...argv)).toMatchObject({
      config: "a.yaml",
      devices: ["cuda:0", "cuda:1"],
    });
  expect(() => parse("a.yaml", "--devices", "tpu")).toThrow("--devices tpu");
  expect(() => parse("a.yaml", "--devices", "cuda:0,cuda:0")).toThrow("twice");
});

test("--set repeats, in order; numbers are checked", () => {
  expect(
    parse("a.yaml", "--set", "a.b=1", "--steps", "5", "--set", "a.c=[x, y]"),
  ).toMatchObject({ set: ["a.b=1", "a.c=[x, y]"], steps: 5 });
  for (const argv of [
    ["--steps", "0"],
    ["--steps", "1.5"],
    ["--seed", "-1"],
    ["--ranks", "x"],
    ["--nonsense"],
    ["--folder"],
  ])
    expect(() => parse("a.yaml", ...argv)).toThrow(CommanderError);
});

describe("as a process", () => {
  const run = (action: string, ...argv: string[]) => {
    const program = `
      import { makeCommand, runCommand } from ${JSON.stringify(join(import.meta.dir, "cli.ts"))};
      import { AvjepaError } from "@avjepa/core/error";
      await runCommand(makeCommand(${JSON.stringify(spec)}), async (options) => { ${action} }, ${JSON.stringify(argv)});`;
    const { exitCode, stdout, stderr } = Bun.spawnSync(
      [process.execPath, "-e", program],
      { cwd: import.meta.dir },
    );
    return { exitCode, out: stdout.toString(), err: stderr.toString() };
  };
  test("--help is 0 and shows every option", () => {
    const { exitCode, out } = run("", "--help");
    expect(exitCode).toBe(0);
    for (const option of ["--devices", "--set", "--resume", "CONFIG", "75"])
      expect(out).toContain(option);
  });
  test("wrong usage is 2, with one message", () => {
    const { exitCode, err } = run("", "a.yaml", "--foldr", "x");
    expect(exitCode).toBe(2);
    expect(err).toContain("unknown option '--foldr'");
    expect(err).toContain("--folder");
    expect(err).toContain("--help");
    expect(run("").exitCode).toBe(2);
  });
  test("a failure is 1, with its hint, and JSON where asked for", () => {
    const fail = 'throw new AvjepaError("AVJ_X", "bad", { hint: "do" });';
    const { exitCode, out, err } = run(fail, "a.yaml", "--json");
    expect(exitCode).toBe(1);
    expect(err).toBe("error: bad\n  do\n");
    expect(JSON.parse(out)).toEqual({
      error: { code: "AVJ_X", message: "bad", hint: "do" },
    });
    expect(run("null.x", "a.yaml")).toMatchObject({ exitCode: 1, out: "" });
  });
  test("the outcome's code and result", () => {
    const action =
      "setInterval(() => {}, 1e6); console.log('x'); return { exitCode: 75, result: { step: 3 } };";
    const { exitCode, out } = run(action, "a.yaml", "--json");
    expect(exitCode).toBe(75);
    expect(out).toBe('x\n{"step":3}\n');
    expect(run("", "a.yaml")).toEqual({ exitCode: 0, out: "", err: "" });
  });
});
