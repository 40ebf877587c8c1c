#!/usr/bin/env bash
# Puts on this machine what the project needs, and builds it: system packages, Bun, npm packages, the native addon.
# Safe to run again, and fast when nothing is missing.
#
#   bash scripts/setup.sh         to use the project
#   bash scripts/setup.sh test    also what the tests need (the ffmpeg program, MPI; for AVJEPA_TEST_DEVICES=wgpu a Vulkan driver;
#                                 for AVJEPA_TEST_SLURM=1 SLURM and munge)
#
# MPI, for runs of several processes, is used where it is installed; nothing else needs it.
# AVJEPA_NO_MEDIA=1 builds without FFmpeg: no video files then, only wav, flac, aiff, caf, mp3 and ogg-vorbis.
set -euo pipefail
cd "$(dirname "$0")/.."

bun_version=$(sed -n 's/.*"packageManager": "bun@\([^"]*\)".*/\1/p' package.json)
rust_minimum=1.89

die() {
  printf 'error: %s\n' "$1" >&2
  shift
  printf '  %s\n' "$@" >&2
  exit 1
}

# --- System packages -------------------------------------------------------------------------------------------------

has_libclang() {
  [ -n "${LIBCLANG_PATH:-}" ] && return 0
  # libclang.so, libclang-14.so, libclang-14.so.14: but not libclang-cpp.so, which is another library.
  { ldconfig -p; ls /usr/lib/llvm-*/lib "${CONDA_PREFIX:-/nonexistent}/lib"; true; } 2>/dev/null |
    grep -E '(^|[[:space:]])libclang(-[0-9.]+)?\.so' >/dev/null && return 0
  [ -e /Library/Developer/CommandLineTools/usr/lib/libclang.dylib ]
}

missing=()
command -v cc >/dev/null || missing+=(build-essential)
if [ -z "${AVJEPA_NO_MEDIA:-}" ]; then
  command -v pkg-config >/dev/null || missing+=(pkg-config)
  for library in avcodec avformat avutil swscale swresample; do
    pkg-config --exists "lib$library" 2>/dev/null || missing+=("lib$library-dev")
  done
  has_libclang || missing+=(libclang-dev)
  if [ "${1:-}" = test ]; then
    command -v ffmpeg >/dev/null || missing+=(ffmpeg)
  fi
fi
if [ "${1:-}" = test ] && ! command -v mpicc >/dev/null; then
  missing+=(libopenmpi-dev openmpi-bin)
  has_libclang || missing+=(libclang-dev)
fi

# The tests of SLURM, when they are asked for, bring up a cluster of their own. With MPICH, PMI-2 comes with SLURM itself.
if [ "${1:-}" = test ] && [ "${AVJEPA_TEST_SLURM:-}" = 1 ]; then
  [ -x /usr/sbin/slurmctld ] || missing+=(slurmctld)
  [ -x /usr/sbin/slurmd ] || missing+=(slurmd)
  command -v sbatch >/dev/null || missing+=(slurm-client slurm-wlm-basic-plugins)
  [ -x /usr/sbin/munged ] || missing+=(munge)
  ldconfig -p 2>/dev/null | grep 'libpmix\.so\.2' >/dev/null || missing+=(libpmix2)
fi

# Kernels for GPUs, when they are to be tested, run on Mesa's driver for the processor where there is none for a GPU.
has_vulkan() {
  ldconfig -p 2>/dev/null | grep 'libvulkan\.so\.1' >/dev/null || return 1
  [ -n "${VK_DRIVER_FILES:-}" ] && return 0
  { ls /usr/share/vulkan/icd.d /etc/vulkan/icd.d; true; } 2>/dev/null | grep '\.json$' >/dev/null
}
if [ "${1:-}" = test ] && [[ "${AVJEPA_TEST_DEVICES:-}" == *wgpu* ]] && [ "$(uname)" = Linux ] && ! has_vulkan; then
  missing+=(libvulkan1 mesa-vulkan-drivers)
fi

if [ ${#missing[@]} -gt 0 ]; then
  if ! command -v apt-get >/dev/null; then
    die "missing on this machine: ${missing[*]} (Debian's names)" \
      "install them with your package manager (macOS: brew install pkg-config ffmpeg), or set AVJEPA_NO_MEDIA=1 to do without FFmpeg"
  fi
  if [ "$(id -u)" = 0 ]; then
    as_root=()
  elif sudo -n true 2>/dev/null; then
    as_root=(sudo)
  else
    die "system packages are missing; install them with this line, then run the command again:" \
      "sudo apt-get update && sudo apt-get install -y --no-install-recommends ${missing[*]}"
  fi
  echo "setup: installing ${missing[*]}"
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

# --- Rust ------------------------------------------------------------------------------------------------------------

install_rust="curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal -c clippy -c rustfmt"
[ -x "$HOME/.cargo/bin/cargo" ] && PATH="$PATH:$HOME/.cargo/bin"
if ! command -v cargo >/dev/null || ! command -v rustc >/dev/null; then
  die "there is no Rust tool chain; install one with this line, then run the command again:" "$install_rust"
fi
rust_version=$(rustc --version | awk '{ print $2 }')
if [ "$(printf '%s\n%s\n' "$rust_minimum" "$rust_version" | sort -V | head -n 1)" != "$rust_minimum" ]; then
  die "Rust $rust_version is too old, $rust_minimum is needed; install a newer one with this line, then run the command again:" "$install_rust"
fi

# --- Bun and the npm packages ----------------------------------------------------------------------------------------

if [ "$(bun --version 2>/dev/null || true)" = "$bun_version" ]; then
  bun=$(command -v bun)
else
  bun=$PWD/.tools/node_modules/.bin/bun
  if [ "$("$bun" --version 2>/dev/null || true)" != "$bun_version" ]; then
    command -v npm >/dev/null || die "there is neither Bun $bun_version nor npm to fetch it with; install Node with npm, or Bun:" \
      "apt-get install -y --no-install-recommends nodejs npm"
    echo "setup: fetching Bun $bun_version"
    mkdir -p .tools
    echo '{ "private": true }' >.tools/package.json
    # Scripts are run by hand, so that this works whatever npm's policy on install scripts is.
    npm install --prefix .tools --ignore-scripts --no-audit --no-fund --silent "bun@$bun_version" >/dev/null
    (cd .tools/node_modules/bun && node install.js)
    [ "$("$bun" --version)" = "$bun_version" ] || die "Bun $bun_version could not be installed under .tools" "install it with: npm install -g bun@$bun_version"
  fi
fi

"$bun" install --frozen-lockfile --silent
# `npm run` looks for commands here: with this link it finds Bun even where it is not installed for everybody.
if [ "$bun" != "$PWD/node_modules/.bin/bun" ]; then
  mkdir -p node_modules/.bin
  ln -sf "$bun" node_modules/.bin/bun
fi

# --- The addon -------------------------------------------------------------------------------------------------------

"$bun" scripts/build.ts
