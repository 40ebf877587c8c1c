import { expect, test } from "bun:test";

import {
  type Partition,
  checkRequest,
  countGpus,
  parseMinutes,
} from "./cluster.ts";
import { makeRequest } from "./request.ts";

const node = (name: string, cpus: number, gpus: number) => ({
  name,
  cpus,
  gpus,
});
const cluster: Partition[] = [
  {
    name: "gpu",
    isDefault: true,
    state: "UP",
    maxTime: 1440,
    nodes: [node("n0", 96, 8), node("n1", 96, 8), node("n2", 96, 4)],
  },
  {
    name: "cpu",
    isDefault: false,
    state: "UP",
    maxTime: null,
    nodes: [node("c0", 32, 0)],
  },
  { name: "old", isDefault: false, state: "DOWN", maxTime: null, nodes: [] },
];

const refusal = (options: Parameters<typeof makeRequest>[0], nodes = 2) => {
  const machines = { nodes, tasks_per_node: 8 };
  try {
    checkRequest(makeRequest(options, machines), cluster);
  } catch (error) {
    const { message, hint } = error as { message: string; hint: string };
    return `${message} | ${hint}`;
  }
  return null;
};

test("SLURM's times and GPUs", () => {
  expect(parseMinutes("1-12:30:00")).toBe(2190);
  expect(parseMinutes("04:00:00")).toBe(240);
  expect(parseMinutes("30:00")).toBe(30);
  expect(parseMinutes("UNLIMITED")).toBeNull();
  expect(countGpus("gpu:2")).toBe(2);
  expect(countGpus("gpu:h100:8(S:0-1),nvme:1")).toBe(8);
  expect(countGpus("gpu:a100:2,gpu:v100:1")).toBe(3);
  expect(countGpus("(null)")).toBe(0);
});

test("what fits is accepted", () => {
  expect(refusal({ time: 60 })).toBeNull();
  expect(refusal({ time: 60, partition: "gpu" })).toBeNull();
  const cpu = { partition: "cpu", gpusPerNode: 0, tasksPerNode: 2, time: 9999 };
  expect(refusal(cpu, 1)).toBeNull();
});

test("what never could run is refused with the option that mends it", () => {
  const cases: [Parameters<typeof refusal>[0], number, string, string][] = [
    [
      { time: 60, partition: "gpus" },
      2,
      'no partition "gpus"',
      "gpu, cpu, old",
    ],
    [{ time: 60, partition: "old" }, 1, "is DOWN", "--partition"],
    [{ time: 4300 }, 2, "allows 1440", "--time 1440"],
    [{ time: 60 }, 4, "has 3", "--nodes 3"],
    [{ time: 60 }, 3, "only 2 nodes", "--nodes 2"],
    [{ time: 60, gpusPerNode: 9 }, 1, "have 8", "--gpus-per-node 8"],
    [{ time: 60, partition: "cpu" }, 1, "no GPUs", "--gpus-per-node 0"],
    [{ time: 60, cpusPerTask: 16 }, 1, "8 × 16 CPUs", "--cpus-per-task 12"],
  ];
  for (const [options, nodes, message, hint] of cases) {
    expect(refusal(options, nodes)).toContain(message);
    expect(refusal(options, nodes)).toContain(hint);
  }
});
