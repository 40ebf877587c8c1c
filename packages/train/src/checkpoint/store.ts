/**
 * The checkpoints of a run folder: directories `{tag}-s{step}/`, the link
 * `{tag}-latest` to the newest, and links `{tag}-e{epoch}` to those kept for
 * good. What is in the files is the caller's; that they are there whole or not
 * at all is the store's.
 */

import {
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { isAbsolute, join, resolve } from "node:path";

import { AvjepaError } from "@avjepa/core/error";

import {
  linkTarget,
  replaceLink,
  syncLarge,
  syncPath,
} from "../files/atomic.ts";
import { fileError, systemCode, systemReason } from "../files/file_error.ts";
import {
  encodeState,
  fileEntry,
  formatVersion,
  readState,
  verifyFiles,
} from "./state.ts";
import type { State } from "./state.ts";

/** A checkpoint that was found and checked. */
export interface Checkpoint {
  /** The directory. */
  path: string;
  /** Optimizer steps done. */
  step: number;
  state: State;
}

/** A checkpoint being written, where its caller decides when it is whole. */
export interface PendingCheckpoint {
  /** Write the files here. Every rank may; none may be in a sub-folder. */
  readonly folder: string;
  /** All files are there: make it the newest. Rank 0, after a barrier. */
  commit(
    state: Record<string, unknown>,
    options?: CommitOptions,
  ): Promise<Checkpoint>;
  /** Give it up. */
  abort(): void;
}

/** How a checkpoint is put in its place. */
export interface CommitOptions {
  /** Keep it for good under `{tag}-e{epoch}`. */
  epoch?: number;
}

/** The checkpoints of one run. */
export class CheckpointStore {
  constructor(
    readonly folder: string,
    readonly tag: string,
    /** Newest checkpoints that are kept; `meta.keep_checkpoints`. */
    readonly keep = 2,
  ) {}

  /** The directory of a step's checkpoint. */
  pathOf(step: number): string {
    return join(this.folder, `${this.tag}-s${step}`);
  }

  /**
   * Write the checkpoint of `step`: `writeFiles` puts its files into a folder
   * aside, which is synced and renamed, the link to the newest is swapped, and
   * older ones are removed.
   *
   * @example
   * await store.save(step, { config, cursor }, async (dir) => {
   *   await saveSafetensors(`${dir}/weights.safetensors`, weights);
   * });
   * @throws AvjepaError `AVJ_CHECKPOINT`; what was there before is untouched.
   */
  async save(
    step: number,
    state: Record<string, unknown>,
    writeFiles: (folder: string) => Promise<void>,
    options: CommitOptions = {},
  ): Promise<Checkpoint> {
    const pending = this.begin(step);
    try {
      await writeFiles(pending.folder);
    } catch (error) {
      pending.abort();
      throw this.#saveError(step, error);
    }
    return await pending.commit(state, options);
  }

  /** Begin a checkpoint that several ranks write; see {@link save}. */
  begin(step: number): PendingCheckpoint {
    const aside = this.asideOf(step);
    try {
      rmSync(aside, { recursive: true, force: true });
      mkdirSync(aside);
    } catch (error) {
      throw this.#saveError(step, error);
    }
    const abort = (): void => rmSync(aside, { recursive: true, force: true });
    return {
      folder: aside,
      abort,
      commit: async (state, options = {}) => {
        let checkpoint: Checkpoint;
        try {
          checkpoint = await this.#commit(step, aside, state, options);
        } catch (error) {
          abort();
          throw this.#saveError(step, error);
        }
        this.#prune(step);
        return checkpoint;
      },
    };
  }

  /** Where a step's checkpoint is written before it is whole. */
  asideOf(step: number): string {
    return join(this.folder, `.${this.tag}-s${step}.tmp`);
  }

  async #commit(
    step: number,
    aside: string,
    extra: Record<string, unknown>,
    { epoch }: CommitOptions,
  ): Promise<Checkpoint> {
    const files: State["files"] = {};
    for (const name of readdirSync(aside).sort()) {
      const path = join(aside, name);
      files[name] = await fileEntry(path);
      await syncLarge(path);
    }
    const state: State = {
      ...extra,
      format_version: formatVersion,
      step,
      files,
    };
    writeFileSync(join(aside, "state.json"), encodeState(state));
    syncPath(join(aside, "state.json"));
    syncPath(aside);

    const path = this.pathOf(step);
    const old = join(this.folder, `.${this.tag}-s${step}.old`);
    rmSync(old, { recursive: true, force: true });
    if (existsSync(path)) renameSync(path, old);
    renameSync(aside, path);
    syncPath(this.folder);
    replaceLink(this.#link("latest"), `${this.tag}-s${step}`);
    if (epoch !== undefined)
      replaceLink(this.#link(`e${epoch}`), `${this.tag}-s${step}`);
    rmSync(old, { recursive: true, force: true });
    return { path, step, state };
  }

  /** Remove what crashed saves left behind. Call once, holding the lock. */
  clean(): void {
    for (const name of this.#entries()) {
      const [, step, kind] =
        /^-s(\d+)\.(tmp|old)$/.exec(this.#afterTag(name, ".")) ?? [];
      const path = join(this.folder, name);
      // A crash between the two renames leaves the old one as the only one.
      if (kind === "old" && !existsSync(this.pathOf(Number(step))))
        renameSync(path, this.pathOf(Number(step)));
      else if (kind) rmSync(path, { recursive: true, force: true });
    }
  }

  /** The steps that have a checkpoint, ascending. */
  steps(): number[] {
    return this.#entries()
      .map((name) => /^-s(\d+)$/.exec(this.#afterTag(name, ""))?.[1])
      .flatMap((step) => (step === undefined ? [] : [Number(step)]))
      .sort((a, b) => a - b);
  }

  /** The newest checkpoint, checked; undefined where there is none. */
  async latest(): Promise<Checkpoint | undefined> {
    const step = this.latestStep();
    return step === undefined ? undefined : await this.find(step);
  }

  /**
   * Let the link to the newest point to a checkpoint of this store that a run
   * continues from: should it end before its next save, it continues from there
   * again. One of another folder is left alone.
   */
  goBackTo(checkpoint: Checkpoint): void {
    const name = `${this.tag}-s${checkpoint.step}`;
    if (resolve(checkpoint.path) !== resolve(this.folder, name)) return;
    if (linkTarget(this.#link("latest")) === name) return;
    replaceLink(this.#link("latest"), name);
  }

  /** The newest checkpoint's step. */
  latestStep(): number | undefined {
    const steps = this.steps();
    const target = linkTarget(this.#link("latest")) ?? "";
    const linked = /^-s(\d+)$/.exec(this.#afterTag(target, ""))?.[1];
    return linked !== undefined && steps.includes(Number(linked))
      ? Number(linked)
      : steps.at(-1);
  }

  /**
   * A checkpoint by its step, by a path, or by a name in the run folder
   * (`{tag}-s100`, `{tag}-latest`), checked.
   *
   * @throws AvjepaError `AVJ_CHECKPOINT` where it is missing, damaged (naming
   *   the file, and the older checkpoint to use), or newer than this code.
   */
  async find(which: number | string): Promise<Checkpoint> {
    const path =
      typeof which === "number" ? this.pathOf(which) : this.#locate(which);
    if (!existsSync(path))
      throw new AvjepaError(
        "AVJ_CHECKPOINT",
        `there is no checkpoint ${path}`,
        {
          hint: this.#othersHint(undefined),
        },
      );
    return await openCheckpoint(path, this.#othersHint(path));
  }

  #locate(which: string): string {
    const inFolder = join(this.folder, which);
    return !isAbsolute(which) && existsSync(inFolder) ? inFolder : which;
  }

  /** What to use instead of a checkpoint that is damaged or missing. */
  #othersHint(path: string | undefined): string {
    const step = path && /-s(\d+)$/.exec(realName(path))?.[1];
    const older = this.steps().filter(
      (s) => step === undefined || step === "" || s < Number(step),
    );
    const best = older.at(-1);
    return best === undefined
      ? "there is no older checkpoint; --resume never starts anew"
      : `continue from the checkpoint of step ${best}: --resume ${this.pathOf(best)}`;
  }

  #saveError(step: number, cause: unknown): AvjepaError {
    const latest = this.latestStep();
    const intact =
      latest === undefined
        ? "no checkpoint was written before"
        : `the checkpoint of step ${latest} is intact: ${this.pathOf(latest)}`;
    const { hint } = AvjepaError.is(cause)
      ? cause
      : fileError(cause, "write", this.folder);
    const reason = systemCode(cause)
      ? systemReason(cause)
      : cause instanceof Error
        ? cause.message
        : String(cause);
    return new AvjepaError(
      "AVJ_CHECKPOINT",
      `cannot save the checkpoint of step ${step} in ${this.folder}: ${reason}`,
      { cause, hint: [...(hint ? [hint] : []), intact].join("\n") },
    );
  }

  /**
   * Keep the newest `keep` and those kept for good. Steps after `current` are
   * of a time line that a resume from an older checkpoint left.
   */
  #prune(current: number): void {
    const steps = this.steps();
    const newestFirst = [
      ...steps.filter((s) => s <= current).reverse(),
      ...steps.filter((s) => s > current).reverse(),
    ];
    const forGood = new Set(
      this.#entries()
        .filter((name) => /^-e\d+$/.test(this.#afterTag(name, "")))
        .map((name) => linkTarget(join(this.folder, name))),
    );
    for (const step of newestFirst.slice(this.keep)) {
      if (forGood.has(`${this.tag}-s${step}`)) continue;
      const path = this.pathOf(step);
      // Aside first: what a crash leaves half removed must not pass for a checkpoint.
      const aside = this.asideOf(step);
      try {
        rmSync(aside, { recursive: true, force: true });
        renameSync(path, aside);
        rmSync(aside, { recursive: true, force: true });
      } catch (error) {
        throw fileError(error, "remove the old checkpoint", path);
      }
    }
  }

  #entries(): string[] {
    try {
      return readdirSync(this.folder);
    } catch (error) {
      if (systemCode(error) === "ENOENT") return [];
      throw fileError(error, "read", this.folder);
    }
  }

  /** What follows the tag in a name, or "" where it is not the tag's. */
  #afterTag(name: string, before: string): string {
    const start = `${before}${this.tag}`;
    return name.startsWith(start) ? name.slice(start.length) : "";
  }

  #link(name: string): string {
    return join(this.folder, `${this.tag}-${name}`);
  }
}

/** The name a path has after its link is followed. */
function realName(path: string): string {
  return linkTarget(path) ?? path;
}

/**
 * Open and check a checkpoint by its path: its directory, a link to it, or a
 * run folder with one `*-latest` link.
 *
 * @throws AvjepaError `AVJ_CHECKPOINT` where it is missing, damaged or newer.
 */
export async function openCheckpoint(
  path: string,
  hint?: string,
): Promise<Checkpoint> {
  let folder = resolve(path);
  if (!existsSync(folder))
    throw new AvjepaError("AVJ_CHECKPOINT", `there is no checkpoint ${path}`);
  if (!statSync(folder).isDirectory())
    throw new AvjepaError(
      "AVJ_CHECKPOINT",
      `${path} is a file, not a checkpoint's directory`,
      {
        hint: "name the directory that holds weights.safetensors and state.json, or the run folder",
      },
    );
  if (!existsSync(join(folder, "state.json"))) {
    const latest = readdirSync(folder).filter((name) =>
      name.endsWith("-latest"),
    );
    if (latest.length > 1)
      throw new AvjepaError(
        "AVJ_CHECKPOINT",
        `${path} has several checkpoints: ${latest.join(", ")}`,
        { hint: "name one of them" },
      );
    if (latest[0]) folder = join(folder, latest[0]);
  }
  const target = linkTarget(folder);
  if (target !== undefined) folder = resolve(folder, "..", target);
  const state = readState(folder, hint);
  await verifyFiles(folder, state, hint);
  return { path: folder, step: state.step, state };
}
