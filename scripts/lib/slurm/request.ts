/** What a submission asks of SLURM. */

import { AvjepaError } from "@avjepa/core/error";

/** One job's resources; those of an array are per task of it. */
export interface Request {
  /** Null: the cluster's default. */
  partition: string | null;
  nodes: number;
  tasksPerNode: number;
  gpusPerNode: number;
  cpusPerTask: number;
  /** `55G`; null without GPUs. */
  memPerGpu: string | null;
  /** Minutes. */
  time: number;
  exclude: string | null;
  account: string | null;
  qos: string | null;
}

/** The options of the command line, by their names. */
export interface RequestOptions {
  partition?: string;
  nodes?: number;
  tasksPerNode?: number;
  gpusPerNode?: number;
  cpusPerTask?: number;
  memPerGpu?: string;
  time: number;
  exclude?: string;
  account?: string;
  qos?: string;
}

/** What a configuration says of its machines. */
export interface Machines {
  nodes: number;
  tasks_per_node: number;
}

/** The reference's numbers, where nothing else is said. */
const defaults = { cpusPerTask: 12, memPerGpu: "55G" };

/** Completes the options: machines from the configuration, a GPU for each task. */
export function makeRequest(
  options: RequestOptions,
  machines: Machines,
): Request {
  const nodes = options.nodes ?? machines.nodes;
  const tasksPerNode = options.tasksPerNode ?? machines.tasks_per_node;
  const gpusPerNode = options.gpusPerNode ?? tasksPerNode;
  return {
    partition: options.partition ?? null,
    nodes,
    tasksPerNode,
    gpusPerNode,
    cpusPerTask: options.cpusPerTask ?? defaults.cpusPerTask,
    memPerGpu:
      gpusPerNode > 0 ? (options.memPerGpu ?? defaults.memPerGpu) : null,
    time: options.time,
    exclude: options.exclude ?? null,
    account: options.account ?? null,
    qos: options.qos ?? null,
  };
}

/** @throws AvjepaError AVJ_SLURM where the tasks of an array would need other machines. */
export function requireSameMachines(
  configs: readonly { path: string; machines: Machines }[],
  options: Pick<RequestOptions, "nodes" | "tasksPerNode">,
): void {
  const [first, ...others] = configs;
  if (!first) return;
  for (const key of ["nodes", "tasks_per_node"] as const) {
    if (key === "nodes" ? options.nodes : options.tasksPerNode) continue;
    const other = others.find(
      ({ machines }) => machines[key] !== first.machines[key],
    );
    if (!other) continue;
    const flag = key === "nodes" ? "--nodes" : "--tasks-per-node";
    throw new AvjepaError(
      "AVJ_SLURM",
      `the jobs of an array get the same machines, but ${first.path} says ${key}: ${first.machines[key]} and ${other.path} says ${other.machines[key]}`,
      { hint: `give all of them ${flag} N, or submit them apart` },
    );
  }
}
