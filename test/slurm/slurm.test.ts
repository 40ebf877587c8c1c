/** `bun run slurm` against a real SLURM of two nodes: what completes, and what is interrupted. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { readEvents } from "../../scripts/lib/slurm/events.ts";
import { readJob } from "../../scripts/lib/slurm/job_file.ts";
import { ncclDouble, processesWith } from "../launch/support.ts";
import { Clips, bytesOf, root, small, stepsOf } from "../pretrain/support.ts";
import { Cluster, slurmAskedFor, withoutSlurm } from "./cluster.ts";

/** Milliseconds that a test may take: each waits for states, on machines that may be busy. */
const limit = 600_000;
const reason = withoutSlurm();
const skip = !slurmAskedFor || reason !== null;
const tag = "avjepaTiny-L1";
let clips: Clips;
let cluster: Cluster;

beforeAll(async () => {
  if (skip) return;
  clips = new Clips();
  cluster = await Cluster.up();
}, limit);
afterAll(async () => {
  await cluster?.[Symbol.asyncDispose]();
  clips?.[Symbol.dispose]();
}, limit);

/** Options that make the shipped configuration small. */
const sets = (steps: number): string[] => [
  ...small(clips.path("clips.csv")),
  ...stepsOf(1, steps),
  ...["--set", "data.num_workers=1"],
  ...["--set", "meta.checkpoint_every_steps=4"],
  ...["--set", "logging.every_steps=1"],
];

const slurm = (...words: string[]) =>
  cluster.command(process.execPath, join(root, "scripts/slurm.ts"), ...words);

/** Two processes, one a node, or both on one. */
const cpu = ["--gpus-per-node", "0", "--cpus-per-task", "1"];

/** Submits a run; its folder. */
function submit(name: string, steps: number, ...more: string[]): string {
  const { out, err, exitCode } = slurm(
    ...["pretrain", join(root, "configs/pretrain/av-vitt16.yaml")],
    ...["--folder", clips.path(name)],
    ...sets(steps),
    ...cpu,
    ...["--json", ...more],
  );
  expect(exitCode, err).toBe(0);
  const { jobs } = JSON.parse(out) as { jobs: { run: string }[] };
  return jobs[0]?.run as string;
}

const steps = (run: string): number => {
  const path = join(run, "metrics.jsonl");
  return existsSync(path)
    ? readFileSync(path, "utf8").split("\n").length - 1
    : 0;
};

const statusOf = (run: string) =>
  JSON.parse(slurm("status", run, "--json").out) as {
    state: string;
    step: number;
    restarts: number;
  };

const starts = (run: string): number =>
  readEvents(run).filter(({ event }) => event === "started").length;

/** What rank 0 printed, over all starts. */
const rank0 = (run: string): string =>
  readFileSync(join(run, "ranks/0.log"), "utf8");

const ends = (run: string) =>
  readEvents(run).filter(({ event }) => event === "ended");

/** What a run's logs say, for a test that fails. */
const logs = (run: string): string =>
  [
    join(run, "events.jsonl"),
    join(run, "slurm.log"),
    ...(existsSync(join(run, "ranks"))
      ? readdirSync(join(run, "ranks")).map((n) => join(run, "ranks", n))
      : []),
  ]
    .filter((path) => existsSync(path))
    .map((path) => `${path}\n${readFileSync(path, "utf8")}`)
    .join("\n");

/** Waits until the run's processes have ended with success. */
async function finished(run: string): Promise<void> {
  await cluster.wait(
    `${run} to finish`,
    () => {
      if (readEvents(run).some(({ event }) => event === "gave_up"))
        throw new Error(logs(run));
      return ends(run).at(-1)?.code === 0;
    },
    () => logs(run),
  );
}

/** Runs that are interrupted have more steps than they will ever take. */
const endless = 1_000_000;

/** Ends an endless run where it is; its last step, saved. */
async function cancelled(run: string): Promise<number> {
  const { err, exitCode } = slurm("cancel", run);
  expect(exitCode, err).toBe(0);
  await cluster.wait(
    `${run} to be cancelled`,
    () => ends(run).at(-1)?.text?.includes("cancelled after") ?? false,
    () => logs(run),
  );
  return steps(run);
}

describe.skipIf(skip)("SLURM", () => {
  const twoNodes = ["--nodes", "2", "--tasks-per-node", "1"];
  const oneTask = ["--nodes", "1", "--tasks-per-node", "1"];
  let whole: string;
  let limited: string;
  /** Runs on two nodes that were interrupted, and where they have come to. */
  const interrupted: { run: string; step: number }[] = [];

  test(
    "--dry-run prints the script and submits nothing",
    () => {
      const { out, exitCode } = slurm(
        ...["--dry-run", "--partition", "gpu", "--nodes", "2"],
        ...["--tasks-per-node", "1", ...cpu, "--time", "30"],
      );
      expect(exitCode).toBe(0);
      for (const line of [
        "#SBATCH --partition=gpu",
        "#SBATCH --nodes=2",
        "#SBATCH --ntasks-per-node=1",
        "#SBATCH --time=30",
        "#SBATCH --signal=USR2@120",
        "--mpi=pmix",
        "scripts/pretrain.ts",
      ])
        expect(out).toContain(line);
      expect(cluster.command("squeue", "-h").out).toBe("");
    },
    limit,
  );

  test(
    "what cannot run is refused before it is submitted",
    () => {
      const config = join(root, "configs/pretrain/av-vitt16.yaml");
      const refused = (...words: string[]) => {
        const { err, exitCode } = slurm(
          "pretrain",
          config,
          ...sets(4),
          ...words,
        );
        expect(exitCode).toBe(1);
        return err;
      };
      expect(refused("--partition", "gpux")).toContain("gpu, short, high");
      const long = refused("--partition", "short", ...cpu);
      expect(long).toContain("--time 30");
      const many = refused("--gpus-per-node", "3", "--tasks-per-node", "1");
      expect(many).toContain("--gpus-per-node 2");
      expect(cluster.command("squeue", "-h", "-a").out).toBe("");
    },
    limit,
  );

  test(
    "a run on two nodes completes",
    async () => {
      // Its minute passes meanwhile, on a node of its own. SLURM may not requeue it: another job goes on with it.
      cluster.env.SBATCH_NO_REQUEUE = "1";
      const minute = ["--partition", "short", "--time", "1"];
      limited = submit("limited", endless, ...minute, ...oneTask);
      delete cluster.env.SBATCH_NO_REQUEUE;
      whole = submit("whole", 12, ...twoNodes);
      await finished(whole);
      for (const name of [
        "job.sh",
        "job.json",
        "submitted.yaml",
        "config.yaml",
        "slurm.log",
      ])
        expect(readdirSync(whole)).toContain(name);
      expect(existsSync(join(whole, "code/scripts/pretrain.ts"))).toBe(true);
      expect(readdirSync(join(whole, "ranks")).sort()).toEqual([
        "0.log",
        "1.log",
      ]);
      const words = readEvents(whole).map(({ event }) => event);
      expect(words).toEqual(["submitted", "started", "ended"]);
      const { git } = JSON.parse(
        readFileSync(join(whole, "job.json"), "utf8"),
      ) as {
        git: string | null;
      };
      expect(git === null || /^[0-9a-f]{40}/.test(git)).toBe(true);
      expect(slurm("logs", whole).out).toContain("finished after step 12");
      await cluster.wait(
        "the job to be over",
        () => statusOf(whole).state === "COMPLETED",
      );
    },
    limit,
  );

  test(
    "srun's ranks meet through NCCL, over its double and without MPI",
    async () => {
      Object.assign(cluster.env, ncclDouble(clips.path(".")));
      const twoTasks = ["--nodes", "1", "--tasks-per-node", "2"];
      const nccl = ["--collective", "nccl"];
      const run = submit("nccl", 4, ...twoTasks, ...nccl);
      for (const name of Object.keys(ncclDouble(""))) delete cluster.env[name];
      await finished(run);
      expect(rank0(run)).toContain("2 processes meet through NCCL");
      expect(readFileSync(join(run, "job.sh"), "utf8")).not.toContain("--mpi");
    },
    limit,
  );

  test(
    "one whose rank is killed is tried again",
    async () => {
      const run = submit("killed", endless, ...twoNodes);
      await cluster.wait(
        "a checkpoint",
        () => steps(run) >= 5,
        () => logs(run),
      );
      const rank = processesWith(`${run}/submitted.yaml`).find((pid) =>
        readFileSync(`/proc/${pid}/environ`, "utf8").includes(
          "SLURM_PROCID=1\0",
        ),
      );
      process.kill(rank as number, "SIGKILL");
      await cluster.wait(
        "the second start",
        () => starts(run) >= 2 && rank0(run).includes("continuing after step"),
        () => logs(run),
      );
      const [first] = ends(run);
      expect(first?.text).toContain("crashed");
      const from = Number(/continuing after step (\d+)/.exec(rank0(run))?.[1]);
      expect(from).toBeGreaterThanOrEqual(4);
      await cluster.wait(
        "further steps",
        () => steps(run) > from,
        () => logs(run),
      );
      interrupted.push({ run, step: await cancelled(run) });
    },
    limit,
  );

  test(
    "one whose own script is killed goes on as another job",
    async () => {
      const run = submit("beheaded", endless, ...oneTask);
      await cluster.wait(
        "a checkpoint",
        () => steps(run) >= 5,
        () => logs(run),
      );
      const { job } = readJob(run);
      const shell = processesWith("slurm_script").find((pid) =>
        readFileSync(`/proc/${pid}/environ`, "utf8").includes(
          `SLURM_JOB_ID=${job}\0`,
        ),
      );
      process.kill(shell as number, "SIGKILL");
      await cluster.wait(
        "the second start",
        () => starts(run) >= 2,
        () => logs(run),
      );
      expect(ends(run)[0]?.text).toContain("own script was killed (FAILED)");
      const from = steps(run);
      await cluster.wait(
        "further steps",
        () => steps(run) > from,
        () => logs(run),
      );
      expect(rank0(run)).toContain("continuing after step");
      const { guard } = readJob(run);
      await cancelled(run);
      // Nothing waits any more once the script has come to its end.
      const queue = () => cluster.command("squeue", "-h", "-o", "%i").out;
      await cluster.wait(
        "its guard to be gone",
        () =>
          readJob(run).guard === undefined &&
          !queue()
            .split("\n")
            .includes(guard?.job as string),
        () => logs(run),
      );
    },
    limit,
  );

  test(
    "a preempted one resumes by itself",
    async () => {
      const run = submit("preempted", endless, ...twoNodes);
      await cluster.wait(
        "some steps",
        () => steps(run) >= 2,
        () => logs(run),
      );
      const high = cluster.command(
        ...["sbatch", "--parsable", "--partition=high"],
        ...["--nodes=2", "--exclusive"],
        ...["--output=/dev/null", "--wrap=true"],
      );
      expect(high.exitCode, high.err).toBe(0);
      await cluster.wait(
        "its return",
        () => starts(run) >= 2,
        () => logs(run),
      );
      const [first] = ends(run);
      expect(first?.code, logs(run)).toBe(75);
      const saved = first?.step as number;
      await cluster.wait(
        "further steps",
        () => steps(run) > saved,
        () => logs(run),
      );
      expect(rank0(run)).toContain(`continuing after step ${saved}`);
      expect(
        cluster.command("scontrol", "show", "job", high.out).out,
      ).toContain("JobState=COMPLETED");
      interrupted.push({ run, step: await cancelled(run) });
    },
    limit,
  );

  test(
    "those that were interrupted have the weights of one that was not",
    async () => {
      expect(interrupted).toHaveLength(2);
      const whole = interrupted.map(({ step }, i) =>
        submit(`whole${i}`, endless, ...twoNodes, "--steps", String(step)),
      );
      for (const run of whole) await finished(run);
      for (const [i, { run, step }] of interrupted.entries()) {
        const name = `${tag}-s${step}`;
        expect(bytesOf(join(run, name))).toEqual(
          bytesOf(join(whole[i] as string, name)),
        );
      }
    },
    limit,
  );

  test(
    "an evaluation of what was trained",
    async () => {
      const values = {
        "pretrain.folder": whole,
        "pretrain.checkpoint": "null",
        "pretrain.patch_size": 8,
        "data.dataset_train": clips.path("clips.csv"),
        "data.dataset_val": clips.path("clips.csv"),
        "data.num_classes": 2,
        "data.num_segments": 1,
        "data.num_views_per_segment": 1,
        "data.frames_per_clip": 4,
        "data.frame_step": 2,
        "data.num_workers": 1,
        "optimization.resolution": 32,
        "optimization.num_epochs": 1,
        "optimization.use_bfloat16": false,
        "probe.lr": "[0.001]",
        "probe.depth": "[1]",
        "probe.linear": false,
        "probe.knn": 0,
      };
      const { out, err, exitCode } = slurm(
        ...["eval", join(root, "configs/evals/vitt16_k400_16x8x3.yaml")],
        ...["--folder", clips.path("eval"), ...cpu, "--json"],
        ...Object.entries(values).flatMap(([key, value]) => [
          "--set",
          `${key}=${value}`,
        ]),
      );
      expect(exitCode, err).toBe(0);
      const { jobs } = JSON.parse(out) as { jobs: { run: string }[] };
      const run = jobs[0]?.run as string;
      await finished(run);
      const result = JSON.parse(
        readFileSync(join(run, "result.json"), "utf8"),
      ) as { num_samples: number; checkpoint: string };
      expect(result.num_samples).toBe(8);
      expect(result.checkpoint).toContain(`${tag}-s12`);
    },
    limit,
  );

  test(
    "a list of two configurations is an array of two jobs",
    async () => {
      const config = join(root, "configs/pretrain/av-vitt16.yaml");
      const list = clips.path("list.yaml");
      writeFileSync(list, `- ${config}\n- ${config}\n`);
      const { out, err, exitCode } = slurm(
        ...["--batch-launch", list, "--folder", clips.path("array")],
        ...[...oneTask, ...cpu],
        ...[...sets(2), "--array-limit", "2", "--json"],
      );
      expect(exitCode, err).toBe(0);
      const { jobs } = JSON.parse(out) as {
        jobs: { job: string; run: string }[];
      };
      expect(jobs.map(({ job }) => job.split("_")[1])).toEqual(["0", "1"]);
      for (const { run } of jobs) await finished(run);
    },
    limit,
  );

  test(
    "cancelled, a run saves and ends; resumed, it goes on; ended by SLURM, it is over",
    async () => {
      const run = submit("cancelled", endless, ...oneTask);
      await cluster.wait(
        "some steps",
        () => steps(run) >= 2,
        () => logs(run),
      );
      expect(slurm("resume", run).err).toContain("is still there");
      const saved = await cancelled(run);
      expect(existsSync(join(run, `${tag}-s${saved}`))).toBe(true);
      await cluster.wait(
        "the job to be over",
        () => !["RUNNING", "COMPLETING"].includes(statusOf(run).state),
      );
      expect(slurm("resume", run).exitCode).toBe(0);
      await cluster.wait(
        "its return",
        () => steps(run) > saved,
        () => logs(run),
      );
      // Cancelled without our knowledge: SLURM's word counts.
      const { job } = JSON.parse(
        readFileSync(join(run, "job.json"), "utf8"),
      ) as {
        job: string;
      };
      cluster.command("scancel", job);
      await cluster.wait(
        "the last event",
        () => readEvents(run).at(-1)?.event === "taken",
        () => logs(run),
      );
      await cluster.wait(
        "the job to be gone",
        () => statusOf(run).state === "CANCELLED",
      );
      expect(starts(run)).toBe(2);
    },
    limit,
  );

  test(
    "at its time limit a run saves, and another job goes on with it",
    async () => {
      await cluster.wait(
        "the second start",
        () => starts(limited) >= 2,
        () => logs(limited),
      );
      const [first] = ends(limited);
      expect(first?.code, logs(limited)).toBe(75);
      expect(first?.step).toBeGreaterThan(0);
      const jobs = readEvents(limited).filter((e) => e.event === "submitted");
      expect(new Set(jobs.map(({ job }) => job)).size).toBeGreaterThan(1);
      await cluster.wait(
        "further steps",
        () => steps(limited) > (first?.step as number),
        () => logs(limited),
      );
      expect(slurm("cancel", limited, "--now").exitCode).toBe(0);
    },
    limit,
  );
});

if (!slurmAskedFor)
  test.todo("SLURM: not asked for; AVJEPA_TEST_SLURM=1 npm test runs it");
else if (reason)
  test("SLURM", () => {
    throw new Error(`AVJEPA_TEST_SLURM is set, but ${reason}`);
  });
