import { expect, test } from "bun:test";

import { type LaunchRequest, planLaunch } from "./plan.ts";

const mpirun = (rank: number, world: number) => ({
  OMPI_COMM_WORLD_RANK: String(rank),
  OMPI_COMM_WORLD_SIZE: String(world),
  OMPI_COMM_WORLD_LOCAL_RANK: String(rank),
});

test("alone, to be started, started", () => {
  expect(planLaunch({ devices: [] }, {})).toMatchObject({
    world: 1,
    place: null,
    start: false,
    devices: [],
  });
  expect(planLaunch({ devices: ["cpu"], ranks: 4 }, {})).toMatchObject({
    world: 4,
    start: true,
  });
  expect(planLaunch({ devices: ["wgpu:0", "wgpu:1"] }, {})).toMatchObject({
    world: 2,
    start: true,
  });
  const started = planLaunch({ devices: ["wgpu:0", "wgpu:1"] }, mpirun(1, 2));
  expect(started).toMatchObject({
    world: 2,
    start: false,
    devices: ["wgpu:1"],
    place: { rank: 1 },
  });
  expect(planLaunch({ devices: [], ranks: 2 }, mpirun(0, 2)).world).toBe(2);
});

test("what contradicts itself is wrong usage", () => {
  const wrong = [
    [{ devices: ["cuda:0", "cuda:1"], ranks: 3 }, {}, "names 2"],
    [{ devices: ["cuda:0"], ranks: 2 }, {}, "--ranks 2 on cuda:0"],
    [{ devices: [], ranks: 3 }, mpirun(0, 2), "mpirun started 2"],
  ] as const;
  for (const [request, env, message] of wrong)
    expect(() => planLaunch(request, env)).toThrow(message);
});

test("what processes meet through", () => {
  const of = (request: Partial<LaunchRequest>, env = {}) =>
    planLaunch({ devices: [], ...request }, env).collective;
  expect(of({ ranks: 2 })).toBe("mpi");
  expect(of({ ranks: 2, collective: "auto" })).toBe("mpi");
  expect(of({ ranks: 2, collective: "nccl" })).toBe("nccl");
  expect(of({ devices: ["cuda:0", "cuda:1"] })).toBe("nccl");
  expect(of({ devices: ["cuda:0", "cuda:1"], collective: "mpi" })).toBe("mpi");
  expect(of({ collective: "nccl" }, mpirun(0, 2))).toBe("nccl");
});

test("torchrun's processes do not meet through MPI", () => {
  const env = { RANK: "0", WORLD_SIZE: "2", LOCAL_RANK: "0" };
  expect(() => planLaunch({ devices: ["cpu"] }, env)).toThrow("through MPI");
  expect(planLaunch({ devices: ["cuda:0"] }, env).devices).toEqual(["cuda:0"]);
  const nccl = { devices: ["cpu"], collective: "nccl" } as const;
  expect(planLaunch(nccl, env)).toMatchObject({ world: 2, start: false });
});
