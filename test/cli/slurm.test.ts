/** `bun run slurm` where there is no SLURM. */

import { expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";

setDefaultTimeout(60_000);

const root = join(import.meta.dir, "../..");

function slurm(...args: string[]) {
  const { stdout, stderr, exitCode } = Bun.spawnSync(
    [process.execPath, join(root, "scripts/slurm.ts"), ...args],
    { cwd: root, env: { ...process.env, PATH: "/nonexistent" } },
  );
  return { out: String(stdout), err: String(stderr), exitCode };
}

const config = "configs/pretrain/av-vitt16.yaml";
const data = ["--set", "data.datasets=[clips.csv]"];

test("a submission says where it can be made", () => {
  const { err, exitCode } = slurm(config, ...data);
  expect(exitCode).toBe(1);
  expect(err).toContain("there is no sbatch on the PATH");
  expect(err).toContain("--dry-run");
});

test("--dry-run prints a script that bash can read", () => {
  const { out, err, exitCode } = slurm(
    ...["--dry-run", "--partition", "gpu", "--nodes", "2"],
    ...["--tasks-per-node", "4", "--account", "me", "--qos", "long"],
    ...["--exclude", "n[3-4]", "--folder", "/runs/it's here"],
    ...["--steps", "7", config, ...data],
  );
  expect(exitCode, err).toBe(0);
  expect(err).toContain("is not checked");
  for (const line of [
    "--job-name=avjepa-av-vitt16",
    "--partition=gpu",
    "--nodes=2",
    "--ntasks-per-node=4",
    "--gpus-per-node=4",
    "--cpus-per-task=12",
    "--mem-per-gpu=55G",
    "--time=4300",
    "--account=me",
    "--qos=long",
    "--exclude=n[3-4]",
    "--requeue",
    `--output="/runs/it's here/job_%j/slurm.log"`,
  ])
    expect(out).toContain(`#SBATCH ${line}\n`);
  expect(out).toContain("--steps 7");
  const { exitCode: syntax } = Bun.spawnSync(["/bin/bash", "-n"], {
    stdin: new TextEncoder().encode(out),
  });
  expect(syntax).toBe(0);
});

test("a list makes an array; its configurations need the same machines", () => {
  const list = join(root, "test/fixtures/slurm/list.yaml");
  const { out, exitCode } = slurm(
    ...["--dry-run", "--batch-launch", list, "--array-limit", "1"],
    ...["--nodes", "1", "--tasks-per-node", "1", ...data],
  );
  expect(exitCode).toBe(0);
  expect(out).toContain("#SBATCH --array=0-1%1\n");
  expect(out).toContain("job_%A_%a/slurm.log");
  const apart = slurm("--dry-run", "--batch-launch", list, ...data);
  expect(apart.exitCode).toBe(1);
  expect(apart.err).toContain("--nodes N");
});

test("wrong usage", () => {
  expect(slurm("--time", "soon").exitCode).toBe(2);
  expect(slurm("--batch-launch", "x.yaml", config).exitCode).toBe(2);
  expect(slurm("status").exitCode).toBe(2);
  const status = slurm("status", "nowhere");
  expect(status.exitCode).toBe(1);
  expect(slurm("--help").out).toContain("--partition");
});
