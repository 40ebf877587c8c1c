/**
 * Builds the native addon: bun scripts/build.ts
 *
 * One cargo command and one profile for the whole workspace, so that nothing
 * is compiled twice. The results are copied to `native/`, and the addon's
 * TypeScript declarations are written down from its own descriptions of its
 * functions.
 */

import { $ } from "bun";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

import { crateIsLeftOut, workspaceArguments } from "./lib/workspace.ts";

const root = join(import.meta.dir, "..");
process.chdir(root);

const metadata =
  await $`cargo metadata --format-version 1 --no-deps --locked`.json();
const target: string = metadata.target_directory;
const declarations = join(target, "napi-declarations");
mkdirSync(declarations, { recursive: true });
// It is appended to: what former versions described must not stay.
const described = join(declarations, "avjepa-binding");
rmSync(described, { force: true });

const cargo = Bun.spawnSync(
  ["cargo", "build", "--release", "--locked", ...workspaceArguments()],
  {
    env: { ...process.env, NAPI_TYPE_DEF_TMP_FOLDER: declarations },
    stdio: ["ignore", "inherit", "inherit"],
  },
);
if (cargo.exitCode !== 0) process.exit(1);

const [prefix, suffix] =
  process.platform === "darwin" ? ["lib", ".dylib"] : ["lib", ".so"];
install(`${prefix}avjepa${suffix}`, "avjepa.node");
for (const name of ["ffmpeg", "mpi"]) {
  if (!crateIsLeftOut(`avjepa-${name}`))
    install(
      `${prefix}avjepa_${name}${suffix}`,
      `${prefix}avjepa_${name}${suffix}`,
    );
}
writeDeclarations();

/** Copies a library aside and renames it, since a process may have the old one open. */
function install(library: string, name: string): void {
  const from = join(target, "release", library);
  const to = join("native", name);
  mkdirSync("native", { recursive: true });
  if (existsSync(to) && statSync(to).mtimeMs >= statSync(from).mtimeMs) return;
  copyFileSync(from, `${to}.new`);
  renameSync(`${to}.new`, to);
}

/** What napi-derive tells of the addon: one JSON line a function, object, class, or class's methods. */
interface Description {
  kind: "fn" | "interface" | "struct" | "impl";
  name: string;
  js_doc?: string;
  def: string;
}

/** Sorted by name, the descriptions are the addon's declarations. */
function writeDeclarations(): void {
  // Written when the crate is compiled, and only then.
  if (!existsSync(described)) return;
  const items = readFileSync(described, "utf8")
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Description)
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  const methods = (name: string) =>
    items.find((item) => item.kind === "impl" && item.name === name)?.def ?? "";
  const text = items
    .filter(({ kind }) => kind !== "impl")
    .map(({ kind, name, js_doc = "", def }) => {
      if (kind === "fn") return `${js_doc}export declare ${def};`;
      return kind === "struct"
        ? `${js_doc}export declare class ${name} {\nprivate constructor();\n${methods(name)}\n}`
        : `${js_doc}export interface ${name} {\n${def}\n}`;
    });
  const path = "packages/core/src/native.d.ts";
  const content = `// Written by scripts/build.ts from the addon's own descriptions. Do not edit.\n${text.join("\n")}\n`;
  if (!existsSync(path) || readFileSync(path, "utf8") !== content)
    writeFileSync(path, content);
}
