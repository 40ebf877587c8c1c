/**
 * A real SLURM on this one machine: controller, node daemons (two nodes for
 * everything, a third for short jobs alone) and munge, from the distribution's packages, without systemd. Needs root.
 */

import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";

const sbin = (name: string) => `/usr/sbin/${name}`;

/** Whether the tests of SLURM are asked for: they take minutes. */
export const slurmAskedFor = process.env.AVJEPA_TEST_SLURM === "1";

/** Why there can be no cluster here; null where there can. */
export function withoutSlurm(): string | null {
  if (process.platform !== "linux") return "SLURM runs on Linux only";
  const missing = ["slurmctld", "slurmd", "munged"].filter(
    (name) => !existsSync(sbin(name)),
  );
  if (missing.length > 0)
    return `${missing.join(", ")} not installed (apt-get install -y --no-install-recommends slurmctld slurmd slurm-client slurm-wlm-basic-plugins munge libpmix2)`;
  if (process.getuid?.() !== 0) return "starting SLURM needs root";
  if (!Bun.which("mpirun")) return "MPI is not installed";
  return null;
}

/** Names of the clusters' folders, which hold the number of the process they belong to. */
const prefix = "avjepa-slurm-";
const nodes = ["n0", "n1", "n2"];
/** Minutes that anything is waited for; machines may be busy with other things. */
const patience = 4;

/** The cluster, up until it is disposed. */
export class Cluster implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), prefix));
  /** Of the controller and the two nodes. */
  #ports: readonly number[] = [];
  /** What a command of SLURM, or a job, needs in its environment. */
  readonly env: Record<string, string | undefined>;

  private constructor() {
    this.env = {
      ...process.env,
      SLURM_CONF: join(this.folder, "slurm.conf"),
      // Both nodes are this host: memory that they shared would be found where it is not.
      OMPI_MCA_btl: "tcp,self",
    };
  }

  static async up(): Promise<Cluster> {
    endAbandoned();
    const cluster = new Cluster();
    try {
      await cluster.#up();
      return cluster;
    } catch (error) {
      await cluster[Symbol.asyncDispose]();
      throw error;
    }
  }

  async #up(): Promise<void> {
    const { folder } = this;
    writeFileSync(join(folder, "owner"), String(process.pid));
    this.#ports = await freePorts(1 + nodes.length);
    chmodSync(folder, 0o755);
    const munge = join(folder, "munge");
    for (const name of [
      ...["ctld", "log", "munge"],
      ...nodes.flatMap((node) => [`spool.${node}`, `tmp.${node}`]),
    ])
      mkdirSync(join(folder, name));
    writeFileSync(
      join(munge, "key"),
      crypto.getRandomValues(new Uint8Array(128)),
    );
    this.#run("chown", "-R", "munge:munge", munge);
    this.#run("chmod", "755", munge);
    this.#run("chmod", "400", join(munge, "key"));
    this.#run(
      // Forced: a folder for temporary files that others may write is no reason not to start.
      ...["runuser", "-u", "munge", "--", sbin("munged"), "--force"],
      `--socket=${munge}/sock`,
      `--key-file=${munge}/key`,
      `--pid-file=${munge}/pid`,
      `--log-file=${munge}/log`,
      `--seed-file=${munge}/seed`,
    );
    writeFileSync(join(folder, "slurm.conf"), this.#configuration());
    writeFileSync(
      join(folder, "gres.conf"),
      // Any character device does.
      "NodeName=n[0-2] Name=gpu File=/dev/tty[0-1]\n",
    );
    writeFileSync(join(folder, "cgroup.conf"), "");
    const configuration = ["-f", join(folder, "slurm.conf")];
    this.#run(sbin("slurmctld"), ...configuration);
    for (const node of nodes)
      this.#run(sbin("slurmd"), "-N", node, ...configuration);
    await this.wait("the nodes to be idle", () => {
      const { out } = this.command("sinfo", "-h", "-N", "-o", "%N %t");
      // Twice where a node is of two partitions.
      const idle = out.split("\n").filter((line) => line.endsWith(" idle"));
      return new Set(idle).size === nodes.length;
    });
  }

  /** Runs a command with the cluster's environment. */
  command(...words: string[]): { out: string; err: string; exitCode: number } {
    const { stdout, stderr, exitCode } = Bun.spawnSync(words, {
      env: this.env,
    });
    return { out: String(stdout).trim(), err: String(stderr).trim(), exitCode };
  }

  #run(...words: string[]): void {
    const { err, exitCode } = this.command(...words);
    if (exitCode !== 0) throw new Error(`${words.join(" ")}: ${err}`);
  }

  /** Waits until `condition` holds. @throws with what the daemons say, where that takes minutes. */
  async wait(
    what: string,
    condition: () => boolean,
    explain: () => string = () => "",
  ): Promise<void> {
    const end = Date.now() + 60_000 * patience;
    for (; !condition(); await Bun.sleep(20))
      if (Date.now() > end)
        throw new Error(
          `waited ${patience} minutes for ${what}\n${this.logs()}\n${explain()}`,
        );
  }

  /** The end of the daemons' logs and the queue, for a test that fails. */
  logs(): string {
    const log = join(this.folder, "log/slurmctld.log");
    const text = existsSync(log) ? readFileSync(log, "utf8") : "";
    return [
      this.command("squeue", "-a").out,
      ...text.split("\n").slice(-15),
    ].join("\n");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Daemons that are gone leave their jobs' processes behind.
    for (let i = 0; i < 200 && this.command("squeue", "-h").out !== ""; i++) {
      if (i % 20 === 0) this.command("scancel", "--user=root");
      await Bun.sleep(100);
    }
    this.command("scontrol", "shutdown");
    for (const file of pidFiles.map((name) => join(this.folder, name))) {
      // A daemon removes its file when it ends; munged has to be told.
      for (let i = 0; i < 100 && existsSync(file); i++) {
        if (file.endsWith("munge/pid") || i === 50)
          signalTo(Number(textOf(file)), "SIGTERM");
        await Bun.sleep(100);
      }
    }
    rmSync(this.folder, { recursive: true, force: true });
  }

  #configuration(): string {
    const { folder } = this;
    const [controller = 0, ...ports] = this.#ports;
    const node = (name: string, i: number) =>
      `NodeName=${name} NodeHostname=${hostname()} NodeAddr=127.0.0.1 Port=${ports[i]} CPUs=2 Boards=1 SocketsPerBoard=1 CoresPerSocket=2 ThreadsPerCore=1 RealMemory=4000 Gres=gpu:2 State=UNKNOWN`;
    return `ClusterName=test
SlurmctldHost=${hostname()}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=${folder}/munge/sock,cred_expire=5
SlurmctldPort=${controller}
StateSaveLocation=${folder}/ctld
SlurmdSpoolDir=${folder}/spool.%n
TmpFS=${folder}/tmp.%n
SlurmctldPidFile=${folder}/slurmctld.pid
SlurmdPidFile=${folder}/slurmd.%n.pid
SlurmctldLogFile=${folder}/log/slurmctld.log
SlurmdLogFile=${folder}/log/slurmd.%n.log
SlurmdParameters=config_overrides
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
ReturnToService=2
GresTypes=gpu
KillWait=30
OverTimeLimit=5
MinJobAge=600
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
${nodes.map(node).join("\n")}
PartitionName=gpu Nodes=n[0-1] Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=240
PartitionName=short Nodes=n2 MaxTime=30 State=UP PriorityTier=1 PreemptMode=OFF
PartitionName=high Nodes=n[0-1] MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
`;
  }
}

/** Where daemons write their numbers, below a cluster's folder. */
const pidFiles = [
  "slurmctld.pid",
  ...nodes.map((node) => `slurmd.${node}.pid`),
  "munge/pid",
];

/** Ends what a test that was killed has left: daemons, their jobs' processes, and the folder. */
function endAbandoned(): void {
  for (const name of readdirSync(tmpdir())) {
    if (!name.startsWith(prefix)) continue;
    const folder = join(tmpdir(), name);
    const owner = Number(textOf(join(folder, "owner")));
    if (!owner || existsSync(`/proc/${owner}`)) continue;
    const mark = `SLURM_CONF=${folder}/`;
    for (const pid of readdirSync("/proc").filter((n) => /^\d+$/.test(n)))
      if (textOf(`/proc/${pid}/environ`).includes(mark))
        signalTo(Number(pid), "SIGKILL");
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Signals a process, if it is there still. */
function signalTo(pid: number, signal: NodeJS.Signals): void {
  // 0 would be this very group.
  if (!(pid > 0)) return;
  try {
    process.kill(pid, signal);
  } catch {
    // It has ended by itself.
  }
}

function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

/** Ports that nobody listens on. Below those that the system gives to connections. */
async function freePorts(count: number): Promise<number[]> {
  const found: number[] = [];
  const isFree = (port: number) =>
    new Promise<boolean>((tell) => {
      const server = createServer();
      server.once("error", () => tell(false));
      server.listen({ port, exclusive: true }, () =>
        server.close(() => tell(true)),
      );
    });
  for (let i = 0; found.length < count; i++) {
    if (i === 1000) throw new Error("there are no free ports");
    const port = 20_000 + ((process.pid * 16 + i) % 10_000);
    if (await isFree(port)) found.push(port);
  }
  return found;
}
