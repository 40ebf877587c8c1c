/**
 * What all commands share: their options, `--help`, one message and a hint on
 * failure, the exit codes 0, 1, 2 and 75, and `--json`'s last line.
 */

import { AvjepaError, formatError } from "@avjepa/core/error";
import { type CollectiveName, collectives } from "@avjepa/train/collectives";
import {
  Command,
  CommanderError,
  InvalidArgumentError,
  Option,
} from "commander";

/** The options that commands share; a command names those it takes. */
export interface CommonOptions {
  /** CONFIG, or `--fname`. */
  config?: string;
  /** `logging.folder` */
  folder?: string;
  /** `cpu`, `wgpu:1`, `cuda:0`, …; one process each. Empty: the CPU. */
  devices: string[];
  /** Processes, for cpu. */
  ranks?: number;
  /** What processes meet through. */
  collective?: CollectiveName;
  /** `path.to.key=value`, in order. */
  set: string[];
  /** `auto`, `never`, or a checkpoint's path. */
  resume: string;
  /** Stop after so many optimizer steps in all. */
  steps?: number;
  /** `meta.seed` */
  seed?: number;
  /** Resolve and check, print the plan, do nothing. */
  dryRun: boolean;
  /** Go on though the configuration changed. */
  allowChange: boolean;
  /** Write a trace of some steps. */
  profile: boolean;
  /** End with a line of JSON. */
  json: boolean;
}

/** The name of a shared option. */
export type CommonOption = Exclude<keyof CommonOptions, "config">;

/** A whole number of at least `least`, for an option's value. */
export function wholeNumber(least: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || !Number.isSafeInteger(value) || value < least)
      throw new InvalidArgumentError(
        `Expected a whole number of at least ${least}.`,
      );
    return value;
  };
}

const device = /^(cpu|wgpu(:\d+)?|cuda(:\d+)?)$/;

const add: Record<CommonOption, (command: Command) => void> = {
  folder: (c) =>
    c.option("--folder <dir>", "the run folder; overrides logging.folder"),
  devices: (c) =>
    c.option(
      "--devices <device...>",
      "cpu, wgpu, wgpu:1, cuda, cuda:0 cuda:1 or cuda:0,cuda:1; one process a device (default: cpu)",
      (text: string, before: string[] = []) => [...before, ...text.split(",")],
    ),
  ranks: (c) => c.option("--ranks <n>", "processes, for cpu", wholeNumber(1)),
  collective: (c) =>
    c.addOption(
      new Option(
        "--collective <name>",
        "what processes meet through: MPI, or NCCL by way of a GPU of NVIDIA's each (default: nccl for cuda, else mpi)",
      ).choices([...collectives]),
    ),
  set: (c) =>
    c.option(
      "--set <path.to.key=value>",
      "set a key of the configuration; the value is YAML; repeatable",
      (text: string, before: string[] = []) => [...before, text],
    ),
  resume: (c) =>
    c.option(
      "--resume <auto|never|path>",
      "auto continues the run in the folder",
      "auto",
    ),
  steps: (c) =>
    c.option(
      "--steps <n>",
      "stop after n optimizer steps in all; schedules stay",
      wholeNumber(1),
    ),
  seed: (c) => c.option("--seed <n>", "overrides meta.seed", wholeNumber(0)),
  dryRun: (c) =>
    c.option(
      "--dry-run",
      "resolve, check, print the plan (model, tokens, memory, devices); train nothing",
    ),
  allowChange: (c) =>
    c.option(
      "--allow-change",
      "continue a run though its configuration changed",
    ),
  profile: (c) => c.option("--profile", "write a trace file of some steps"),
  json: (c) => c.option("--json", "end with a machine-readable line"),
};

/** What a command is. */
export interface CommandSpec {
  /** `pretrain`: typed as `bun run pretrain`. */
  name: string;
  /** One sentence. */
  summary: string;
  /** Whether it takes CONFIG, or `--fname`. */
  config?: "required" | "optional";
  /** The shared options it takes. */
  common: readonly CommonOption[];
  /** Command lines that work, shown by `--help`. */
  examples: readonly string[];
}

/**
 * A commander command with the shared options; add the command's own to it.
 *
 * @example
 * const command = makeCommand({ name: "pretrain", config: "required", … });
 * await runCommand(command, async (options) => { …; return { result }; });
 */
export function makeCommand(spec: CommandSpec): Command {
  const command = new Command(`bun run ${spec.name}`)
    .description(spec.summary)
    .configureOutput({ outputError: (text, write) => write(text) })
    .showHelpAfterError(`  bun run ${spec.name} --help shows the options`)
    .addHelpText(
      "after",
      `\nExamples:\n${spec.examples.map((line) => `  ${line}\n`).join("")}\nExit: 0 done, 1 failed, 2 wrong usage, 75 stopped by a signal after saving`,
    );
  if (spec.config) {
    command.argument("[CONFIG]", "the configuration, a YAML file");
    command.option("--fname <file>", "the same as CONFIG");
  }
  for (const name of spec.common) add[name](command);
  specOf.set(command, spec);
  return command;
}

const specOf = new WeakMap<Command, CommandSpec>();

/** What a shared option is where it is not given. */
const defaults = {
  devices: [],
  set: [],
  dryRun: false,
  allowChange: false,
  profile: false,
  json: false,
};

/** What a command came to. */
export interface Outcome {
  /** 0 by default. */
  exitCode?: number;
  /** What `--json` prints. */
  result?: unknown;
  /** Leaves the last line to another process of the run. */
  silent?: boolean;
}

/**
 * Parse the command line, run, and end the process: 0, 1 after a failure with
 * its message and hint on standard error, 2 after wrong usage, or the outcome's
 * code. With `--json` the last line of standard output is the outcome's result,
 * or `{ "error": { "code", "message", "hint" } }`.
 */
export async function runCommand<T extends object = object>(
  command: Command,
  action: (options: CommonOptions & T) => Promise<Outcome | void>,
  argv: readonly string[] = process.argv.slice(2),
): Promise<never> {
  let json = false;
  let exitCode = 0;
  try {
    const options = parseCommand<T>(command, argv);
    json = options.json === true;
    const outcome = (await action(options)) ?? {};
    exitCode = outcome.exitCode ?? 0;
    if (json && !outcome.silent)
      await printLine(JSON.stringify(outcome.result ?? {}));
  } catch (error) {
    exitCode = exitCodeOf(error);
    if (!(error instanceof CommanderError)) {
      await Bun.write(Bun.stderr, `${formatError(error)}\n`);
      if (json) await printLine(JSON.stringify({ error: errorFacts(error) }));
    }
  }
  process.exit(exitCode);
}

/** Prints lines for people: to standard output, or to standard error where `--json` has that for itself. */
export function printer(json: boolean): (text: string) => void {
  const stream = json ? process.stderr : process.stdout;
  return (text) => stream.write(`${text}\n`);
}

/** Says on standard error what the user should know, without stopping. */
export function warn(text: string): void {
  process.stderr.write(`warning: ${text.replaceAll("\n", "\n  ")}\n`);
}

/**
 * The options of a command line.
 *
 * @throws CommanderError after `--help` (exitCode 0) or wrong usage, the text
 *   being printed already; AvjepaError `AVJ_USAGE`.
 */
export function parseCommand<T extends object = object>(
  command: Command,
  argv: readonly string[],
): CommonOptions & T {
  const spec = specOf.get(command);
  command.exitOverride();
  command.allowExcessArguments(spec?.config !== undefined);
  command.parse([...argv], { from: "user" });
  const options = {
    ...defaults,
    ...command.opts<CommonOptions & T & { fname?: string }>(),
  };
  const positional = [...command.args];
  // `doctor --devices` names none.
  const named: unknown = options.devices;
  const words = Array.isArray(named) ? (named as string[]) : [];
  // `--devices cpu CONFIG`: a list of devices ends where no device follows.
  const devices = words.filter((word) => {
    if (device.test(word)) return true;
    if (spec?.config && /\.(ya?ml|csv)$/.test(word)) positional.push(word);
    else
      throw new AvjepaError(
        "AVJ_USAGE",
        `--devices ${word}: there is no such device`,
        {
          hint: "cpu, wgpu, wgpu:1, cuda, cuda:0; `bun run doctor --devices` lists this machine's",
        },
      );
    return false;
  });
  Object.assign(options, { devices });
  const repeated = devices.find(
    (word, i) => word !== "cpu" && devices.indexOf(word) !== i,
  );
  if (repeated)
    throw new AvjepaError("AVJ_USAGE", `--devices names ${repeated} twice`, {
      hint: "one process runs on a device",
    });
  return withConfig(command, options, positional);
}

/** CONFIG or `--fname`, but not both and not two. */
function withConfig<T extends CommonOptions & { fname?: string }>(
  command: Command,
  options: T,
  positional: string[],
): T {
  const spec = specOf.get(command);
  if (!spec?.config) return options;
  const named = [...positional, ...(options.fname ? [options.fname] : [])];
  delete options.fname;
  if (named.length > 1)
    throw new AvjepaError(
      "AVJ_USAGE",
      `expected one CONFIG, found ${named.join(" and ")}`,
      { hint: `${command.name()} --help shows the options` },
    );
  if (named[0] !== undefined) options.config = named[0];
  else if (spec.config === "required")
    throw new AvjepaError("AVJ_USAGE", "CONFIG is missing", {
      hint: `for example: ${spec.examples[0]}\n${command.name()} --help shows the options`,
    });
  return options;
}

function exitCodeOf(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  return AvjepaError.is(error) && error.code === "AVJ_USAGE" ? 2 : 1;
}

function errorFacts(error: unknown): object {
  if (AvjepaError.is(error)) {
    const { code, message, hint } = error;
    return { code, message, hint };
  }
  return { code: "AVJ_BUG", message: String(error) };
}

async function printLine(text: string): Promise<void> {
  await Bun.write(Bun.stdout, `${text}\n`);
}
