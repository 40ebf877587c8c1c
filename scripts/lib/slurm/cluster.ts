/** A request against the cluster as it is, before anything is submitted. */

import { AvjepaError } from "@avjepa/core/error";

import type { Request } from "./request.ts";
import { records, slurm } from "./run_slurm.ts";

/** A partition's facts. */
export interface Partition {
  name: string;
  isDefault: boolean;
  /** `UP`, `DOWN`, `DRAIN`, `INACTIVE` */
  state: string;
  /** Minutes; null: as long as it likes. */
  maxTime: number | null;
  nodes: Node[];
}

/** A node's facts. */
export interface Node {
  name: string;
  cpus: number;
  gpus: number;
}

/** The partitions and their nodes. @throws AvjepaError AVJ_SLURM where SLURM does not answer. */
export function readCluster(): Partition[] {
  const partitions = slurm("scontrol", "show", "partition", "-o");
  const nodes = slurm("sinfo", "-h", "-N", "-o", "%R|%N|%c|%G");
  for (const { ok, err } of [partitions, nodes])
    if (!ok)
      throw new AvjepaError("AVJ_SLURM", `SLURM does not answer: ${err}`, {
        hint: "is the controller up? `scontrol ping` tells",
      });
  const listed = nodes.out.split("\n").map((line) => line.split("|"));
  return records(partitions.out).map((record) => ({
    name: record.PartitionName ?? "",
    isDefault: record.Default === "YES",
    state: record.State ?? "UP",
    maxTime: parseMinutes(record.MaxTime ?? "UNLIMITED"),
    nodes: listed
      .filter(([partition]) => partition === record.PartitionName)
      .map(([, name = "", cpus = "", gres = ""]) => ({
        name,
        cpus: parseInt(cpus) || 0,
        gpus: countGpus(gres),
      })),
  }));
}

/** `1-12:00:00`, `04:00:00`, `30:00`, `UNLIMITED` in minutes. */
export function parseMinutes(text: string): number | null {
  const match = /^(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)$/.exec(text);
  if (!match) return null;
  const [days = 0, hours = 0, minutes = 0, seconds = 0] = match
    .slice(1)
    .map((part) => Number(part ?? 0));
  return days * 1440 + hours * 60 + minutes + seconds / 60;
}

/** `gpu:2`, `gpu:h100:8(S:0-1),nvme:1` */
export function countGpus(gres: string): number {
  let count = 0;
  for (const [, n] of gres.matchAll(/\bgpu(?::[A-Za-z][^:(,]*)?:(\d+)/g))
    count += Number(n);
  return count;
}

/**
 * Checks that the request can ever run.
 *
 * @throws AvjepaError AVJ_SLURM with the option that mends it.
 */
export function checkRequest(
  request: Request,
  partitions: readonly Partition[],
): void {
  const refuse = (message: string, hint: string): never => {
    throw new AvjepaError("AVJ_SLURM", message, { hint });
  };
  const names = partitions.map(({ name }) => name).join(", ");
  const partition =
    request.partition === null
      ? partitions.find(({ isDefault }) => isDefault)
      : partitions.find(({ name }) => name === request.partition);
  if (!partition)
    return request.partition === null
      ? refuse(
          "the cluster has no default partition",
          `name one: --partition (there are ${names})`,
        )
      : refuse(
          `there is no partition "${request.partition}"`,
          `--partition one of: ${names}`,
        );
  const { name, state, maxTime, nodes } = partition;
  if (state !== "UP")
    refuse(
      `partition ${name} is ${state}: jobs would wait in it for ever`,
      `choose another: --partition one of ${names}`,
    );
  if (maxTime !== null && request.time > maxTime)
    refuse(
      `${request.time} minutes are asked for, but partition ${name} allows ${maxTime}`,
      `--time ${Math.floor(maxTime)}: a job goes on by itself when its time is up`,
    );
  if (request.nodes > nodes.length)
    refuse(
      `${count(request.nodes, "node")} are asked for, but partition ${name} has ${nodes.length}`,
      `--nodes ${nodes.length}, or another --partition`,
    );
  const most = Math.max(0, ...nodes.map(({ gpus }) => gpus));
  if (request.gpusPerNode > most)
    refuse(
      most === 0
        ? `partition ${name} has no GPUs`
        : `${request.gpusPerNode} GPUs a node are asked for, but the nodes of partition ${name} have ${most}`,
      most === 0
        ? "--gpus-per-node 0 runs on its CPUs, or choose another --partition"
        : `--gpus-per-node ${most} --tasks-per-node ${most}`,
    );
  const cpus = request.tasksPerNode * request.cpusPerTask;
  const cores = Math.max(0, ...nodes.map((node) => node.cpus));
  if (cpus > cores)
    refuse(
      `${request.tasksPerNode} × ${request.cpusPerTask} CPUs a node are asked for, but the nodes of partition ${name} have ${cores}`,
      cores >= request.tasksPerNode
        ? `--cpus-per-task ${Math.floor(cores / request.tasksPerNode)}`
        : `--tasks-per-node ${cores} --cpus-per-task 1`,
    );
  const fitting = nodes.filter(
    (node) => node.gpus >= request.gpusPerNode && node.cpus >= cpus,
  ).length;
  if (fitting < request.nodes)
    refuse(
      `only ${count(fitting, "node")} of partition ${name} have ${request.gpusPerNode} GPUs and ${cpus} CPUs`,
      `--nodes ${fitting}, or ask less of each`,
    );
}

const count = (n: number, what: string): string =>
  `${n} ${what}${n === 1 ? "" : "s"}`;
