/** `bun run slurm` where there is no SLURM. */

import { expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

setDefaultTimeout(60_000);

const root = join(import.meta.dir, "../..");

const slurm = (...args: string[]) => slurmWith("/nonexistent", ...args);

/** With the programs of a folder alone. */
function slurmWith(path: string, ...args: string[]) {
  const { stdout, stderr, exitCode } = Bun.spawnSync(
    [process.execPath, join(root, "scripts/slurm.ts"), ...args],
    { cwd: root, env: { ...process.env, PATH: path } },
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

test("where the controller is down, --dry-run prints the script unchecked, and nothing is submitted", () => {
  const bin = mkdtempSync(join(tmpdir(), "avjepa-slurm-"));
  try {
    const script =
      "#!/bin/sh\necho 'Unable to contact slurm controller' >&2\nexit 1\n";
    for (const name of ["sbatch", "scontrol", "sinfo", "srun"])
      writeFileSync(join(bin, name), script, { mode: 0o755 });
    const dry = slurmWith(bin, "--dry-run", config, ...data);
    expect(dry.exitCode, dry.err).toBe(0);
    expect(dry.out).toContain("#SBATCH --requeue\n");
    expect(dry.err).toContain(
      "SLURM does not answer: Unable to contact slurm controller: the request is not checked",
    );
    const wet = slurmWith(bin, config, ...data);
    expect(wet.exitCode).toBe(1);
    expect(wet.err).toContain("SLURM does not answer");
  } finally {
    rmSync(bin, { recursive: true });
  }
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
