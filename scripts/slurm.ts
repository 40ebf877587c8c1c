/** Runs on a cluster: bun run slurm --partition gpu */

import "./lib/told.ts";

import {
  gitRevision,
  loadEvalConfig,
  loadPretrainConfig,
  toYaml,
} from "@avjepa/train";
import { AvjepaError } from "@avjepa/core/error";
import { readFileSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { parse } from "yaml";

import {
  type CommonOptions,
  makeCommand,
  runCommand,
  wholeNumber,
} from "./lib/cli.ts";
import {
  checkRequest,
  type Partition,
  readCluster,
} from "./lib/slurm/cluster.ts";
import { endJob } from "./lib/slurm/ended.ts";
import { recordEvent } from "./lib/slurm/events.ts";
import { afterKilled, setGuard } from "./lib/slurm/guard.ts";
import {
  cancelRun,
  formatStatus,
  logsOf,
  resumeRun,
  statusOf,
} from "./lib/slurm/manage.ts";
import { mpiPlugin } from "./lib/slurm/mpi.ts";
import {
  type Machines,
  type RequestOptions,
  makeRequest,
  requireSameMachines,
} from "./lib/slurm/request.ts";
import { hasSlurm, requireSlurm } from "./lib/slurm/run_slurm.ts";
import { type Job, batchScript } from "./lib/slurm/script.ts";
import { submitJob } from "./lib/slurm/submit.ts";

const [word = "", ...rest] = process.argv.slice(2);
if (["started", "ended", "killed"].includes(word)) fromJob(word, rest);
else if (["status", "logs", "cancel", "resume"].includes(word))
  await manage(word, rest);
else if (["pretrain", "eval"].includes(word)) await submit(word, rest);
else await submit("pretrain", process.argv.slice(2));

/** What a job's own script calls, with its exit code at the end; and its guard, with the number of the job. */
function fromJob(event: string, [run = "", about = ""]: string[]): never {
  if (event === "ended") process.exit(endJob(run, Number(about)));
  const { SLURM_JOB_ID: job = "", SLURM_RESTART_COUNT } = process.env;
  const restart = Number(SLURM_RESTART_COUNT ?? 0);
  if (event === "killed") afterKilled(run, about);
  else {
    recordEvent(run, { event: "started", job, restart });
    setGuard(run);
  }
  process.exit(0);
}

/** `bun run slurm status RUN`, and its kin. */
async function manage(name: string, argv: string[]): Promise<void> {
  const summaries: Record<string, string> = {
    status: "Tell how a submitted run is.",
    logs: "Show the last lines of a run's logs.",
    cancel:
      "End a run: it finishes its step and saves, and is not queued again.",
    resume: "Submit a run again, to go on where it was.",
  };
  const command = makeCommand({
    name: `slurm ${name}`,
    summary: summaries[name] ?? "",
    common: ["json"],
    examples: [`bun run slurm ${name} runs/vitl16/job_1234`],
  }).argument("<RUN>", "the run's folder, as bun run slurm printed it");
  if (name === "logs")
    command
      .option("--rank <n>", "whose log", wholeNumber(0), 0)
      .option("--lines <n>", "how many lines", wholeNumber(1), 30);
  if (name === "cancel")
    command.option(
      "--now",
      "without saving what came after the last checkpoint",
    );
  interface Options {
    rank: number;
    lines: number;
    now?: boolean;
  }
  await runCommand<Options>(
    command,
    async ({ rank, lines, now = false }) => {
      requireSlurm();
      const run = command.args[0] as string;
      if (name === "status") {
        const status = statusOf(run);
        console.error(formatStatus(status));
        return { result: status };
      }
      if (name === "logs") {
        console.log(logsOf(run, rank, lines));
        return {};
      }
      if (name === "cancel") {
        console.error(cancelRun(run, now));
        return { result: statusOf(run) };
      }
      const job = resumeRun(run);
      console.error(`job ${job} goes on with ${resolve(run)}`);
      return { result: { job, run: resolve(run) } };
    },
    argv,
  );
}

interface SubmitOptions extends RequestOptions {
  batchLaunch?: string;
  arrayLimit?: number;
}

/** `bun run slurm [pretrain|eval] [CONFIG]` */
async function submit(kind: string, argv: string[]): Promise<void> {
  const command = makeCommand({
    name: kind === "eval" ? "slurm eval" : "slurm",
    summary:
      "Submit a run to SLURM: checked against the cluster first, with a copy of the code; when it is preempted or out of time it saves and queues itself again.",
    config: "optional",
    common: [
      ...(["folder", "set", "seed", "steps", "dryRun", "json"] as const),
      ...(kind === "pretrain" ? (["collective"] as const) : []),
    ],
    examples: [
      "bun run slurm --partition gpu",
      "bun run slurm pretrain configs/pretrain/av-vitb16.yaml --partition gpu --nodes 2",
      "bun run slurm --batch-launch sweep.yaml --partition gpu --array-limit 2",
      "bun run slurm status runs/vitl16/job_1234",
    ],
  })
    .option("--partition <name>", "the cluster's default where it is not given")
    .option(
      "--time <minutes>",
      "time limit of a job, which goes on by itself",
      wholeNumber(1),
      4300,
    )
    .option(
      "--nodes <n>",
      "machines (default: the configuration's)",
      wholeNumber(1),
    )
    .option(
      "--tasks-per-node <n>",
      "processes a machine (default: the configuration's)",
      wholeNumber(1),
    )
    .option(
      "--gpus-per-node <n>",
      "default: one a process; 0 runs on CPUs",
      wholeNumber(0),
    )
    .option("--cpus-per-task <n>", "default: 12", wholeNumber(1))
    .option("--mem-per-gpu <size>", "default: 55G")
    .option("--exclude <nodes>", "machines not to use")
    .option("--account <name>")
    .option("--qos <name>")
    .option(
      "--batch-launch <list>",
      "a YAML list of configurations: one array of jobs",
    )
    .option("--array-limit <n>", "jobs of the array at a time", wholeNumber(1));
  await runCommand<SubmitOptions>(
    command,
    async (options) => {
      const { dryRun, batchLaunch } = options;
      if (batchLaunch && options.config)
        throw new AvjepaError(
          "AVJ_USAGE",
          "CONFIG and --batch-launch are both given",
          {
            hint: "the list names the configurations",
          },
        );
      if (!dryRun) requireSlurm();
      const paths = batchLaunch
        ? readList(batchLaunch)
        : [
            options.config ??
              join(import.meta.dir, "../configs/pretrain/vitl16.yaml"),
          ];
      const loaded = paths.map((path) => load(kind, path, options));
      requireSameMachines(loaded, options);
      const [first] = loaded as [Loaded];
      const request = makeRequest(options, first.machines);
      const cluster = lookAtCluster(dryRun);
      if (cluster) checkRequest(request, cluster);
      const several = request.nodes * request.tasksPerNode > 1;
      const { collective, steps } = options;
      const job: Job = {
        request,
        command: kind,
        name: `avjepa-${batchLaunch ? basename(batchLaunch, ".yaml") : first.name}`,
        root: resolve(options.folder ?? first.folder),
        run: null,
        array: batchLaunch
          ? { size: loaded.length, limit: options.arrayLimit ?? null }
          : null,
        bun: process.execPath,
        directory: process.cwd(),
        mpi: several && cluster && collective !== "nccl" ? mpiPlugin() : null,
        options: [
          ...(steps === undefined ? [] : ["--steps", String(steps)]),
          ...(collective ? ["--collective", collective] : []),
        ],
      };
      if (dryRun) {
        for (const { warnings } of loaded)
          for (const text of warnings) console.error(`warning: ${text}`);
        await Bun.write(Bun.stdout, batchScript(job));
        return { result: { script: batchScript(job) } };
      }
      const git = gitRevision();
      const submitted = submitJob(
        job,
        loaded.map(({ yaml }) => ({ config: yaml, git })),
      );
      for (const { job: id, run } of submitted)
        console.error(`job ${id}  ${run}`);
      console.error(
        `bun run slurm status ${submitted[0]?.run} tells how it is`,
      );
      return { result: { jobs: submitted } };
    },
    argv,
  );
}

/**
 * The cluster's partitions. A dry run goes on without them, and says so: the
 * script can be read where nothing is submitted.
 *
 * @throws AvjepaError AVJ_SLURM where SLURM does not answer and a job is to be submitted.
 */
function lookAtCluster(dryRun: boolean): Partition[] | null {
  const unchecked = (why: string): null => {
    console.error(`${why}: the request is not checked`);
    return null;
  };
  if (!hasSlurm()) return unchecked("SLURM is not on this machine");
  try {
    return readCluster();
  } catch (error) {
    if (!dryRun || !AvjepaError.is(error)) throw error;
    return unchecked(error.message.split("\n")[0] ?? "");
  }
}

/** A configuration to be submitted. */
interface Loaded {
  path: string;
  name: string;
  machines: Machines;
  /** Its run folder. */
  folder: string;
  /** Resolved. */
  yaml: string;
  warnings: string[];
}

/** Resolves a configuration as the job's processes will. */
function load(
  kind: string,
  path: string,
  { set, seed, dryRun, ...options }: CommonOptions & SubmitOptions,
): Loaded {
  const name = basename(path).replace(/\.ya?ml$/, "");
  if (kind === "eval") {
    const { config, warnings } = loadEvalConfig(path, {
      set,
      seed,
      allowUnset: dryRun,
    });
    // An evaluation is one process.
    const machines = { nodes: 1, tasks_per_node: 1 };
    const { folder } = config.logging;
    return { path, name, machines, folder, yaml: toYaml(config), warnings };
  }
  // How many processes there are stands in the configuration, which is checked for that number.
  const text = parse(readFileSync(path, "utf8")) as Partial<Machines> | null;
  const machines = {
    nodes: options.nodes ?? text?.nodes ?? 1,
    tasks_per_node: options.tasksPerNode ?? text?.tasks_per_node ?? 1,
  };
  const world = machines.nodes * machines.tasks_per_node;
  const { config, warnings } = loadPretrainConfig(path, {
    set,
    seed,
    world,
    allowUnset: dryRun,
  });
  const { folder } = config.logging;
  return { path, name, machines, folder, yaml: toYaml(config), warnings };
}

/** The configurations that a list names, relative to where the command is given. */
function readList(path: string): string[] {
  const list: unknown = parse(readFileSync(path, "utf8"));
  if (
    Array.isArray(list) &&
    list.length > 0 &&
    list.every((entry) => typeof entry === "string")
  )
    return list;
  throw new AvjepaError("AVJ_SLURM", `${path} is no list of configurations`, {
    hint: "one a line: - configs/pretrain/vitl16.yaml",
  });
}
