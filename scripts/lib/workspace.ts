/** The crates that are built on this machine. */

/** Crates that link a library of the system's, and whether they are left out. */
const optional: Record<string, () => boolean> = {
  "avjepa-ffmpeg": () => Boolean(process.env.AVJEPA_NO_MEDIA),
  "avjepa-mpi": () => !Bun.which("mpicc"),
};

/** The crates that are left out: what they link is not here, or not wanted. */
export function crateIsLeftOut(name: string): boolean {
  return optional[name]?.() ?? false;
}

/** Cargo's arguments for the workspace without them. */
export function workspaceArguments(): string[] {
  const left = Object.keys(optional).filter(crateIsLeftOut);
  return ["--workspace", ...left.flatMap((name) => ["--exclude", name])];
}
