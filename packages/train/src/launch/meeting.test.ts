import { expect, test } from "bun:test";

import type { Place } from "./environment.ts";
import { firstOf, meetingOf } from "./meeting.ts";

const place = (launcher: Place["launcher"], rank = 0): Place => ({
  rank,
  world: 4,
  localRank: rank,
  launcher,
});

test("torchrun's names, and the port that its own store has", async () => {
  const env = { MASTER_ADDR: "head", MASTER_PORT: "29500" };
  const meeting = await meetingOf(place("torchrun", 3), env);
  expect(meeting).toEqual({
    rank: 3,
    world: 4,
    localRank: 3,
    address: "head",
    port: 29_500,
    run: "torchrun 29500",
    seconds: 300,
  });
  const store = { TORCHELASTIC_USE_AGENT_STORE: "True" };
  expect(
    await meetingOf(place("torchrun"), { ...env, ...store }),
  ).toMatchObject({ port: 29_501 });
  for (const wrong of [
    {},
    { MASTER_ADDR: "head" },
    { ...env, MASTER_PORT: "x" },
  ])
    await expect(meetingOf(place("torchrun"), wrong)).rejects.toThrow(
      "MASTER_PORT",
    );
});

test("srun's first node, and a port of the job's own", async () => {
  const step = (id: string, more = {}) =>
    meetingOf(place("srun"), {
      SLURM_JOB_ID: id,
      SLURM_STEP_ID: "0",
      SLURM_STEP_NUM_NODES: "2",
      SLURM_STEP_NODELIST: "no-such-node-[07-08].invalid",
      SLURM_LAUNCH_NODE_IPADDR: "10.0.0.7",
      ...more,
    });
  const [one, same, other] = await Promise.all([
    step("1"),
    step("1"),
    step("2"),
  ]);
  expect(one).toEqual(same);
  expect(one.address).toBe("10.0.0.7");
  expect(one.port).toBeGreaterThanOrEqual(20_000);
  expect(one.port).toBeLessThan(30_000);
  expect(other.run).not.toBe(one.run);
  expect(await step("1", { SLURM_RESTART_COUNT: "1" })).not.toEqual(one);
  const own = await step("1", { SLURM_STEP_NUM_NODES: "1" });
  expect(own.address).toBe("127.0.0.1");
  const said = await step("1", { MASTER_ADDR: "x", MASTER_PORT: "4000" });
  expect(said).toMatchObject({ address: "x", port: 4000 });
});

test("mpirun on one machine; on several it has to be told", async () => {
  const env = { PMIX_NAMESPACE: "3", OMPI_COMM_WORLD_LOCAL_SIZE: "4" };
  const meeting = await meetingOf(place("mpirun"), env);
  expect(meeting).toMatchObject({ address: "127.0.0.1", run: "mpirun 3" });
  const two = { ...env, OMPI_COMM_WORLD_LOCAL_SIZE: "2" };
  await expect(meetingOf(place("mpirun"), two)).rejects.toThrow("rank 0's");
  const told = await meetingOf(place("mpirun"), { ...two, MASTER_ADDR: "h" });
  expect(told.address).toBe("h");
  const mpich = { MPI_LOCALNRANKS: "2", MASTER_ADDR: "h" };
  await expect(meetingOf(place("mpirun"), mpich)).rejects.toThrow("job's name");
  const port = { ...mpich, MASTER_PORT: "4000" };
  expect(await meetingOf(place("mpirun"), port)).toMatchObject({
    run: "mpirun 4000",
    port: 4000,
  });
  const wrong = { ...two, MASTER_ADDR: "h", MASTER_PORT: "abc" };
  await expect(meetingOf(place("mpirun"), wrong)).rejects.toThrow("is abc");
});

test("patience", async () => {
  const env = { MASTER_ADDR: "h", MASTER_PORT: "1" };
  const of = (AVJEPA_MEET_SECONDS: string) =>
    meetingOf(place("torchrun"), { ...env, AVJEPA_MEET_SECONDS });
  expect((await of("2.5")).seconds).toBe(2.5);
  expect((await of("never")).seconds).toBe(300);
});

test("the first of a list of nodes", () => {
  expect(firstOf("n[03-05,9]-ib,login")).toBe("n03-ib");
  expect(firstOf("n0,n1")).toBe("n0");
  expect(firstOf("gpu7")).toBe("gpu7");
  expect(firstOf("")).toBe("");
});
