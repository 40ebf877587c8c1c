import { expect, test } from "bun:test";

import { localDevice, placeFromEnvironment } from "./environment.ts";

const srun = (rank: number, world: number, local = rank) => ({
  SLURM_JOB_ID: "7",
  SLURM_NTASKS: String(world),
  SLURM_PROCID: String(rank),
  SLURM_STEP_NUM_TASKS: String(world),
  SLURM_LOCALID: String(local),
});

const mpirun = (rank: number, world: number, local = rank) => ({
  OMPI_COMM_WORLD_RANK: String(rank),
  OMPI_COMM_WORLD_SIZE: String(world),
  OMPI_COMM_WORLD_LOCAL_RANK: String(local),
});

test("each launcher's names", () => {
  expect(placeFromEnvironment(mpirun(3, 4, 1))).toEqual({
    rank: 3,
    world: 4,
    localRank: 1,
    launcher: "mpirun",
  });
  expect(placeFromEnvironment(srun(2, 4, 0))).toEqual({
    rank: 2,
    world: 4,
    localRank: 0,
    launcher: "srun",
  });
  expect(placeFromEnvironment({ PMI_RANK: "1", PMI_SIZE: "2" })).toEqual({
    rank: 1,
    world: 2,
    localRank: 0,
    launcher: "mpirun",
  });
  const torchrun = { RANK: "1", WORLD_SIZE: "2", LOCAL_RANK: "1" };
  expect(placeFromEnvironment(torchrun)?.launcher).toBe("torchrun");
});

test("no launch: a plain shell, a batch script, one process, half a set of names", () => {
  expect(placeFromEnvironment({})).toBeNull();
  const batch = { SLURM_PROCID: "0", SLURM_NTASKS: "4", SLURM_LOCALID: "0" };
  expect(placeFromEnvironment(batch)).toBeNull();
  expect(placeFromEnvironment(srun(0, 1))).toBeNull();
  expect(placeFromEnvironment(mpirun(0, 1))).toBeNull();
  expect(placeFromEnvironment({ RANK: "1" })).toBeNull();
  expect(placeFromEnvironment({ RANK: "zero", WORLD_SIZE: "2" })).toBeNull();
});

test("mpirun within a job of SLURM", () => {
  const env = { ...srun(0, 1), ...mpirun(1, 2) };
  expect(placeFromEnvironment(env)?.rank).toBe(1);
});

test("torchrun within a step of SLURM", () => {
  const torchrun = { RANK: "9", WORLD_SIZE: "16", LOCAL_RANK: "1" };
  const env = { ...srun(1, 2, 0), ...torchrun };
  expect(placeFromEnvironment(env)?.world).toBe(2);
  const place = placeFromEnvironment({ ...env, TORCHELASTIC_RUN_ID: "none" });
  expect(place).toMatchObject({ rank: 9, world: 16, launcher: "torchrun" });
});

test("devices by the place on the machine, modulo what is seen", () => {
  expect(localDevice(["cuda:0", "cuda:1"], 3)).toBe("cuda:1");
  expect(localDevice(["cuda:0"], 5)).toBe("cuda:0");
});
