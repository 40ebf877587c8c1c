/**
 * Every test: bun run test (or npm test)
 *
 * Formatters, linters and the type check count as tests. The last line is
 * `N passed, N failed`; exit 1 if anything failed. What could not run here
 * (pending kinds, absent devices) is printed, and never counted as passed.
 * Kernels for GPUs are tested on every GPU there is.
 */

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { workspaceArguments } from "./lib/workspace.ts";

const scratch = mkdtempSync(join(tmpdir(), "avjepa-test-"));
const junit = join(scratch, "junit.xml");
const packages = workspaceArguments();
/** How often a driver has crashed. */
let crashes = 0;
let passed = 0;
let failed = 0;
/** The machine's graphics adapters, and those whose kernels are tested. */
const adapters = lookForAdapters();
const named = process.env.AVJEPA_TEST_DEVICES;
const gpus = adaptersToTest();

check(
  "rustfmt",
  ["cargo", "fmt", "--all", "--check"],
  "rustup component add rustfmt; mend with: cargo fmt --all",
);
check(
  "clippy",
  [
    "cargo",
    "clippy",
    "--release",
    "--locked",
    ...packages,
    "--all-targets",
    "--",
    "-D",
    "warnings",
  ],
  "rustup component add clippy",
);
check(
  "format",
  ["bun", "fmt", "--check", "packages", "scripts", "test", "bench"],
  "mend with: bun fmt",
);
check("types", ["bun", "check"], "mend the errors above");
// The operations' tests run beside the CPU on one adapter at a time: everything with the first, what concerns kernels with the others.
const [first = "cpu", ...others] = gpus;
process.env.AVJEPA_TEST_DEVICES = first;
cargoTests("cargo test", [...packages, "--no-fail-fast"]);
if (gpus.length > 0) wgpuTests(first);
bunTests("bun test", []);
for (const gpu of others) {
  process.env.AVJEPA_TEST_DEVICES = gpu;
  cargoTests(`cargo test on ${gpu}`, [
    ...["--package", "avjepa-tensor"],
    "--no-fail-fast",
  ]);
  wgpuTests(gpu);
  bunTests(`bun test on ${gpu}`, ["test/wgpu", "test/parity"]);
}

rmSync(scratch, { recursive: true, force: true });
console.log(
  gpus.length > 0
    ? `wgpu: tested on ${gpus.join(", ")}`
    : `wgpu: not tested, ${named === undefined ? "there is no GPU" : "AVJEPA_TEST_DEVICES does not name it"}; AVJEPA_TEST_DEVICES=wgpu tests the first adapter, be it a driver for the processor`,
);
if (crashes > 0) console.log(`wgpu: a driver crashed ${crashes} times`);
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);

/** What doctor says of an adapter. */
interface Adapter {
  device: string;
  /** `software`: it computes on the processor. */
  kind: string;
  lacks?: string;
  features: string[];
}

/** In a process of its own: drivers crash. */
function lookForAdapters(): Adapter[] {
  const { output, exitCode } = run([
    ...["bun", "scripts/doctor.ts", "--devices", "--json"],
  ]);
  if (exitCode !== 0) {
    failed += 1;
    console.log(`${output}\nFAIL  the adapters cannot be listed`);
    return [];
  }
  const machine = output.split("\n").find((line) => line.startsWith("{"));
  return JSON.parse(machine ?? '{"adapters":[]}').adapters;
}

/**
 * What `AVJEPA_TEST_DEVICES` names (`wgpu:0,wgpu:1`), else every GPU. Drivers
 * that compute on the processor take minutes, and are tested when named.
 */
function adaptersToTest(): string[] {
  if (named === undefined)
    return adapters
      .filter(({ kind, lacks }) => kind !== "software" && !lacks)
      .map(({ device }) => device);
  const names = named.split(",").map((name) => name.trim());
  const wgpu = names.filter((name) => name.startsWith("wgpu"));
  return [...new Set(wgpu.map((name) => (name === "wgpu" ? "wgpu:0" : name)))];
}

/** The tests of the backend that need an adapter, all in modules of its name; those of cooperative matrices need one that has them. */
function wgpuTests(gpu: string): void {
  const features = adapters.find(({ device }) => device === gpu)?.features;
  const matrices = features?.some((feature) =>
    /cooperative matrix (8×8×8|16×16×16) f(16|32) → f32/.test(feature),
  );
  cargoTests(`cargo test of ${gpu}`, [
    // Of all packages, as above: with other features everything would be built again.
    ...[...packages, "--lib", "--test", "wgpu"],
    ...["--", "--ignored", "wgpu::", ...(matrices ? ["matrices::"] : [])],
  ]);
  if (!matrices)
    console.log(`${gpu}: no cooperative matrices, so these are not tested`);
}

/** A tool that passes or fails as a whole. */
function check(name: string, command: string[], remedy: string): void {
  const { output, exitCode } = run(command);
  if (exitCode === 0) {
    passed += 1;
    console.log(`ok    ${name}`);
    return;
  }
  failed += 1;
  console.log(output);
  console.log(`FAIL  ${name}: ${command.join(" ")}\n      ${remedy}`);
}

/** The Rust tests; each suite closes with its own counts. */
function cargoTests(name: string, args: string[]): void {
  const { output, exitCode } = twice(
    ["cargo", "test", "--release", "--locked", ...args],
    ({ output }) => /\(signal: \d+/.test(output),
  );
  const counts = [
    ...output.matchAll(/test result: \w+\. (\d+) passed; (\d+) failed/g),
  ];
  const sum = (group: number) =>
    counts.reduce((total, match) => total + Number(match[group]), 0);
  // A build that fails, or a suite that is killed, has no counts: it fails as one.
  const silent = exitCode !== 0 && sum(2) === 0 ? 1 : 0;
  passed += sum(1);
  failed += sum(2) + silent;
  if (exitCode !== 0) console.log(output);
  console.log(
    `${exitCode === 0 ? "ok   " : "FAIL "} ${name}: ${sum(1)} passed, ${sum(2) + silent} failed`,
  );
}

/** TypeScript tests, counted from the JUnit report; all where no paths are given. */
function bunTests(name: string, paths: string[]): void {
  rmSync(junit, { force: true });
  const { output, exitCode } = twice(
    [
      ...["bun", "test", "--timeout", "120000"],
      ...["--reporter=junit", `--reporter-outfile=${junit}`],
      ...paths,
    ],
    ({ exitCode }) => exitCode >= 128,
  );
  console.log(output);
  let counts = { tests: 0, failures: 1, skipped: 0 };
  try {
    const root =
      readFileSync(junit, "utf8").match(/<testsuites[^>]*>/)?.[0] ?? "";
    const count = (name: string) =>
      Number(root.match(new RegExp(`\\b${name}="(\\d+)"`))?.[1] ?? Number.NaN);
    counts = {
      tests: count("tests"),
      failures: count("failures"),
      skipped: count("skipped"),
    };
  } catch {
    // No report: the runner itself died, which the counts above say.
  }
  const { tests, failures, skipped } = counts;
  const died = exitCode !== 0 && failures === 0 ? 1 : 0;
  passed += Math.max(0, tests - failures - skipped);
  failed += failures + died;
  console.log(
    `${exitCode === 0 ? "ok   " : "FAIL "} ${name}: ${tests - failures - skipped} passed, ${failures + died} failed, ${skipped} skipped`,
  );
}

interface Outcome {
  output: string;
  exitCode: number;
}

/**
 * Runs a command; once more where a driver crashed it,
 * which is said and counted. Only where wgpu is tested: nothing else may crash.
 */
function twice(
  command: string[],
  crashed: (outcome: Outcome) => boolean,
): Outcome {
  const first = run(command);
  if (gpus.length === 0 || !crashed(first)) return first;
  crashes += 1;
  console.log(first.output);
  console.log("wgpu: the process crashed; it is run once more");
  return run(command);
}

function run(command: string[]): Outcome {
  console.log(`      ${command.join(" ")}`);
  try {
    const child = Bun.spawnSync(command, {
      stdio: ["ignore", "pipe", "pipe"],
      // Vulkan drivers complain on standard error where the folder is not named.
      env: { XDG_RUNTIME_DIR: scratch, ...process.env },
    });
    return {
      output: `${child.stdout}${child.stderr}`,
      exitCode: child.exitCode ?? (child.signalCode ? 128 : 1),
    };
  } catch (error) {
    return { output: (error as Error).message, exitCode: 127 };
  }
}
