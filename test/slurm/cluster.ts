/**
 * A real SLURM of two nodes on this one machine: controller, two node daemons
 * and munge, from the distribution's packages, without systemd. Needs root.
 */

import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { cpus, hostname, tmpdir, totalmem } from "node:os";
import { join } from "node:path";

const sbin = (name: string) => `/usr/sbin/${name}`;

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

/** Ports of this cluster: others on the machine may run one at the same time. */
const firstPort = 20_000 + (process.pid % 400) * 10;

/** The cluster, up until it is disposed. */
export class Cluster implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), "avjepa-slurm-"));
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
    chmodSync(folder, 0o755);
    const munge = join(folder, "munge");
    for (const name of [
      "ctld",
      "log",
      "munge",
      "spool.n0",
      "spool.n1",
      "tmp.n0",
      "tmp.n1",
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
      ...["runuser", "-u", "munge", "--", sbin("munged")],
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
      "NodeName=n[0-1] Name=gpu File=/dev/tty[0-1]\n",
    );
    writeFileSync(join(folder, "cgroup.conf"), "");
    const configuration = ["-f", join(folder, "slurm.conf")];
    this.#run(sbin("slurmctld"), ...configuration);
    for (const node of ["n0", "n1"])
      this.#run(sbin("slurmd"), "-N", node, ...configuration);
    await this.wait("the nodes to be idle", () => {
      const { out } = this.command(
        "sinfo",
        "-h",
        "-N",
        "-o",
        "%N %t",
        "-p",
        "gpu",
      );
      return (
        out.split("\n").filter((line) => line.endsWith(" idle")).length === 2
      );
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

  /** Waits until `condition` holds; two minutes at most. */
  async wait(
    what: string,
    condition: () => boolean,
    explain: () => string = () => "",
  ): Promise<void> {
    for (const end = Date.now() + 120_000; !condition(); await Bun.sleep(100))
      if (Date.now() > end)
        throw new Error(
          `waited two minutes for ${what}\n${this.logs()}\n${explain()}`,
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
    const files = [
      "slurmctld.pid",
      "slurmd.n0.pid",
      "slurmd.n1.pid",
      "munge/pid",
    ];
    for (const file of files.map((name) => join(this.folder, name))) {
      // A daemon removes its file when it ends; munged has to be told.
      for (let i = 0; i < 100 && existsSync(file); i++) {
        if (file.endsWith("munge/pid") || i === 50) this.#end(file);
        await Bun.sleep(100);
      }
    }
    rmSync(this.folder, { recursive: true, force: true });
  }

  #end(file: string): void {
    try {
      process.kill(Number(readFileSync(file, "utf8")), "SIGTERM");
    } catch {
      // It has ended by itself.
    }
  }

  #configuration(): string {
    const { folder } = this;
    const node = (i: number) =>
      `NodeName=n${i} NodeHostname=${hostname()} NodeAddr=127.0.0.1 Port=${firstPort + 1 + i} CPUs=${cpus().length} Boards=1 SocketsPerBoard=1 CoresPerSocket=${cpus().length} ThreadsPerCore=1 RealMemory=${Math.min(4000, Math.floor(totalmem() / 3e6))} Gres=gpu:2 State=UNKNOWN`;
    return `ClusterName=test
SlurmctldHost=${hostname()}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=${folder}/munge/sock,cred_expire=5
SlurmctldPort=${firstPort}
StateSaveLocation=${folder}/ctld
SlurmdSpoolDir=${folder}/spool.%n
TmpFS=${folder}/tmp.%n
SlurmctldPidFile=${folder}/slurmctld.pid
SlurmdPidFile=${folder}/slurmd.%n.pid
SlurmctldLogFile=${folder}/log/slurmctld.log
SlurmdLogFile=${folder}/log/slurmd.%n.log
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
KillWait=5
MinJobAge=600
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
${node(0)}
${node(1)}
PartitionName=gpu Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=60
PartitionName=short Nodes=ALL MaxTime=30 State=UP PriorityTier=1 PreemptMode=OFF
PartitionName=high Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
`;
  }
}
