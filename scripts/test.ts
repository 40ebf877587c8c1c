/**
 * Every test: bun run test (or npm test)
 *
 * Formatters, linters and the type check count as tests. The last line is
 * `N passed, N failed`; exit 1 if anything failed. What could not run here
 * (pending kinds, absent devices) is printed, and never counted as passed.
 */

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { workspaceArguments } from "./lib/workspace.ts";

const scratch = mkdtempSync(join(tmpdir(), "avjepa-test-"));
const junit = join(scratch, "junit.xml");
const packages = workspaceArguments();
/** Kernels of wgpu are tested when asked for: a driver for the processor takes minutes over them. */
const withWgpu = (process.env.AVJEPA_TEST_DEVICES ?? "").includes("wgpu");
/** Cooperative matrices are what few drivers have. */
const withMatrices = (process.env.AVJEPA_TEST_DEVICES ?? "").includes(
  "matrices",
);
/** How often a driver has crashed. */
let crashes = 0;
let passed = 0;
let failed = 0;

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
cargoTests("cargo test", [...packages, "--no-fail-fast"]);
if (withWgpu)
  cargoTests("cargo test of wgpu", [
    ...[...packages, "--test", "wgpu"],
    ...["--", "--ignored"],
    ...(withMatrices ? [] : ["--skip", "matrices::"]),
  ]);
bunTests();

rmSync(scratch, { recursive: true, force: true });
if (!withWgpu)
  console.log("wgpu: not tested; AVJEPA_TEST_DEVICES=wgpu tests its kernels");
else if (!withMatrices)
  console.log(
    "wgpu: cooperative matrices not tested; AVJEPA_TEST_DEVICES=wgpu,matrices tests them where the adapter has them",
  );
if (crashes > 0) console.log(`wgpu: a driver crashed ${crashes} times`);
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);

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

/** The TypeScript tests, counted from the JUnit report. */
function bunTests(): void {
  const { output, exitCode } = twice(
    [
      "bun",
      "test",
      "--timeout",
      "120000",
      "--reporter=junit",
      `--reporter-outfile=${junit}`,
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
    `${exitCode === 0 ? "ok   " : "FAIL "} bun test: ${tests - failures - skipped} passed, ${failures + died} failed, ${skipped} skipped`,
  );
}

interface Outcome {
  output: string;
  exitCode: number;
}

/**
 * Runs a command; once more where a driver played on the processor crashed it,
 * which is said and counted. Only where wgpu is tested: nothing else may crash.
 */
function twice(
  command: string[],
  crashed: (outcome: Outcome) => boolean,
): Outcome {
  const first = run(command);
  if (!withWgpu || !crashed(first)) return first;
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
