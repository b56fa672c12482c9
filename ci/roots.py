"""Make a Debian root file system, or run a command in a throw-away copy of one.

make prints the folder of a root of SUITE with PACKAGEs, made by mmdebstrap and kept in $FUAIO_ROOTS
(default: build/roots); remove the folder to have a newer one. run takes a SUITE, which it makes if
need be, or such a folder, and leaves it as it is: what COMMAND changes is in memory and goes with
it, as do its processes and mounts, also after Ctrl-C or when the caller is killed. /proc, /sys and
/dev are there; a disk is not: bind a folder of one where direct writes are to be tried.

COMMAND has the caller's network, and the configuration of pip and the certificates it had, or with
--offline a network that has no interface but lo. Of the environment it has what --env gives.

Exits with COMMAND's status (128 + N after signal N), 2 on a wrong call or where something is
missing here (root, a tool, a package, the right to make namespaces), 3 where SUITE is unreachable.
"""

from __future__ import annotations

import argparse
import ast
import configparser
import fcntl
import hashlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn
from urllib.parse import unquote, urlsplit

HERE = Path(__file__).resolve()
CACHE = Path(os.environ.get("FUAIO_ROOTS") or HERE.parents[1] / "build" / "roots").absolute()
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
CERTIFICATES = "/etc/certificates-of-the-caller.pem"
INDEXES = ("index-url", "extra-index-url")
CERTIFICATE_VARIABLES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
PROXY_VARIABLES = ("http_proxy", "https_proxy", "no_proxy")
# The program that each needs, and Debian's package of it.
TOOLS_OF_MAKE = {"mmdebstrap": "mmdebstrap", "apt-get": "apt"}
TOOLS_OF_RUN = {"unshare": "util-linux", "mount": "mount", "chroot": "coreutils", "ip": "iproute2"}
# What apt says when it got no answer, or the archive has no such suite.
UNREACHABLE = re.compile(
    r"Could not (?:connect|resolve|handshake)|Temporary failure|Unable to connect"
    r"|Connection (?:failed|timed out|refused)|does not have a Release file"
)


class RootsError(Exception):
    """Said to the caller; carries the exit status."""

    def __init__(self, words: str, status: int = 2) -> None:
        super().__init__(words)
        self.status = status


def require_tools(tools: Mapping[str, str]) -> None:
    """Refuse where this machine cannot, and say what would help."""
    if os.geteuid() != 0:
        raise RootsError("needs root, for mounts and chroot")
    missing = sorted({package for tool, package in tools.items() if shutil.which(tool) is None})
    if missing:
        raise RootsError(f"missing here; install the packages: {' '.join(missing)}")


def confined(command: Sequence[str], *, offline: bool = False) -> list[str]:
    """Give *command* in namespaces of its own that end with the process that starts it."""
    net = ["--net"] if offline else []
    unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child", *net]
    return ["setpriv", "--pdeathsig", "KILL", *unshare, "--", *command]


def run_to_the_end(command: Sequence[str], watch: Callable[[str], None] | None = None) -> int:
    """Run *command*, which is confined, and give its status; an exception ends it.

    With *watch* its standard output and error go to standard error, and each line to *watch*.
    """
    pipe = subprocess.PIPE if watch else None
    both = subprocess.STDOUT if watch else None
    with subprocess.Popen(command, stdout=pipe, stderr=both, text=True, errors="replace") as child:
        try:
            for line in child.stdout or ():
                sys.stderr.write(line)
                if watch:
                    watch(line)
            status = child.wait()
        finally:
            end(child)
    return status if status >= 0 else 128 - status


def end(child: subprocess.Popen[str]) -> None:
    """End unshare's child and with it all that it started, and wait for that."""
    if child.poll() is not None:
        return
    inside = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text(encoding="ascii")
    # Process 1 of its namespace: the kernel ends the others before unshare hears of it.
    for pid in [int(word) for word in inside.split()] or [child.pid]:
        os.kill(pid, signal.SIGKILL)
    child.wait()


# make


def archives() -> list[str]:
    """Give the archives that this machine's apt is set to."""
    found = subprocess.run([HERE.with_name("archives")], capture_output=True, text=True)
    if found.returncode != 0:
        raise RootsError("apt of this machine is set to no archive of Debian")
    return found.stdout.split()


def folder_of(suite: str, packages: Sequence[str]) -> Path:
    """Give the folder of a root, whether it is there or not."""
    if not re.fullmatch(r"[a-z][a-z0-9-]*", suite):
        raise RootsError(f"not the name of a suite: {suite!r}; a folder is given with a slash")
    for package in packages:
        # No comma and no option; a version or a suite may stand behind the name.
        if not re.fullmatch(r"[a-z0-9][a-z0-9+.:~=/-]+", package):
            raise RootsError(f"not the name of a package: {package!r}")
    if not packages:
        return CACHE / suite
    words = " ".join(sorted(set(packages)))
    return CACHE / f"{suite}-{hashlib.sha256(words.encode()).hexdigest()[:12]}"


def make(suite: str, packages: Sequence[str]) -> Path:
    """Give the folder of a root, making it unless it is there."""
    folder = folder_of(suite, packages)
    if folder.is_dir():
        return folder
    require_tools(TOOLS_OF_MAKE | TOOLS_OF_RUN)
    if not KEYRING.exists():
        raise RootsError("missing here; install the package: debian-archive-keyring")
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / f".{folder.name}.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Somebody else may have made it meanwhile.
        if not folder.is_dir():
            bootstrap(suite, packages, folder)
    return folder


def bootstrap(suite: str, packages: Sequence[str], folder: Path) -> None:
    """Make a root from the first archive that can be reached."""
    new = folder.with_name(f".{folder.name}.new")
    options = ["--mode=root", "--variant=minbase", f"--keyring={KEYRING}"]
    options += [f"--aptopt={line}" for line in apt_options()]
    if packages:
        options.append(f"--include={','.join(packages)}")
    lines: list[str] = []
    for archive in archives():
        # What an earlier one that was killed has left; its mounts went with its namespace.
        shutil.rmtree(new, ignore_errors=True)
        command = ["mmdebstrap", *options, suite, str(new), f"deb {archive} {suite} main"]
        if run_to_the_end(confined(command), lines.append) == 0:
            folder.with_name(f".{folder.name}.packages").write_text(
                "".join(f"{package}\n" for package in sorted(set(packages))), encoding="ascii"
            )
            new.rename(folder)
            return
    shutil.rmtree(new, ignore_errors=True)
    if any(UNREACHABLE.search(line) for line in lines):
        raise RootsError(f"{suite}: unreachable", 3)
    raise RootsError(f"mmdebstrap made no root of {suite}; its words are above")


def apt_options() -> list[str]:
    """Give how this machine's apt reaches its archives: proxies, and what it does not check."""
    dump = subprocess.run(["apt-config", "dump"], check=True, capture_output=True, text=True)
    return re.findall(r"^Acquire::(?:http|https|Check)\S* .*;$", dump.stdout, re.MULTILINE)


# run, outside


def run(arguments: argparse.Namespace, words: Sequence[str]) -> int:
    """Run the command in a throw-away copy; *words* are the arguments that said so."""
    require_tools(TOOLS_OF_RUN)
    if not arguments.command:
        raise RootsError("run needs a COMMAND")
    for bind in arguments.bind:
        check_bind(bind)
    if "/" not in arguments.root:
        folder = make(arguments.root, [])
    else:
        folder = Path(arguments.root).absolute()
    if not folder.is_dir():
        raise RootsError(f"no such folder: {folder}")
    if subprocess.run(confined(["true"], offline=arguments.offline)).returncode != 0:
        raise RootsError("this machine lets nobody make namespaces (unshare)")
    mount_point().mkdir(parents=True, exist_ok=True)
    inside = [sys.executable, str(HERE), "inside", str(folder), *words]
    return run_to_the_end(confined(inside, offline=arguments.offline))


def mount_point() -> Path:
    """Give the folder that each run mounts on, in a namespace of its own."""
    return CACHE / ".mount"


def check_bind(words: str) -> tuple[Path, str, str]:
    """Take HOST:DIR[:ro] apart."""
    host, colon, inside = words.partition(":")
    inside, _, mode = inside.partition(":")
    if not colon or not inside.startswith("/") or ".." in inside.split("/"):
        raise RootsError(f"--bind {words}: HOST:DIR is wanted, DIR from the root's /")
    if mode not in ("", "ro"):
        raise RootsError(f"--bind {words}: nothing but :ro can stand behind DIR")
    if not Path(host).exists():
        raise RootsError(f"--bind {words}: no such folder: {host}")
    return Path(host).resolve(), inside, mode


# run, inside: process 1 of the new namespaces, which nobody sees from outside


def inside(folder: Path, arguments: argparse.Namespace) -> NoReturn:
    """Mount the copy, then become a shell that runs the command and reaps what it leaves."""
    merged = mount_copy(folder)
    (merged / "etc").mkdir(exist_ok=True)
    write(merged / "etc/hosts", "127.0.0.1 localhost\n::1 localhost\n")
    environment = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "TERM": os.environ.get("TERM", "dumb"),
        "DEBIAN_FRONTEND": "noninteractive",
    }
    if arguments.offline:
        mount_command("ip", "link", "set", "lo", "up")
    else:
        environment |= hand_in_network(merged)
    for words in arguments.bind:
        bind(merged, *check_bind(words))
    for words in arguments.env:
        name, _, value = words.partition("=")
        environment[name] = value
    # Not the command itself: process 1 gets no signal that it has no handler for, and has to reap.
    chroot = shutil.which("chroot") or "chroot"
    script = '"$@"; exit $?'
    os.execve(
        "/bin/sh",
        ["sh", "-c", script, "sh", chroot, str(merged), *arguments.command],
        environment,
    )


def mount_command(*words: str | Path) -> None:
    """Run a command that must succeed; its own words say why not."""
    if subprocess.run(words).returncode != 0:
        raise RootsError(f"failed: {' '.join(str(word) for word in words)}")


def mount_copy(folder: Path) -> Path:
    """Mount *folder* with a layer in memory above it that takes the changes."""
    base = mount_point()
    mount_command("mount", "-t", "tmpfs", "-o", "mode=755", "fuaio-root", base)
    for name in ("lower", "upper", "work", "merged"):
        (base / name).mkdir()
    mount_command("mount", "--bind", folder, base / "lower")
    # Relative names, since a comma or a colon in a path would end it.
    os.chdir(base)
    layers = "lowerdir=lower,upperdir=upper,workdir=work"
    mount_command("mount", "-t", "overlay", "-o", layers, "fuaio-root", "merged")
    merged = base / "merged"
    for name in ("proc", "sys", "dev", "tmp"):
        (merged / name).mkdir(exist_ok=True)
    mount_command("mount", "-t", "proc", "proc", merged / "proc")
    mount_command("mount", "--rbind", "/sys", merged / "sys")
    mount_command("mount", "--rbind", "/dev", merged / "dev")
    if (merged / "dev/shm").is_dir():
        mount_command("mount", "-t", "tmpfs", "-o", "mode=1777", "shm", merged / "dev/shm")
    return merged


def bind(merged: Path, host: Path, inside: str, mode: str = "") -> None:
    """Show a folder or a file of the host inside."""
    target = merged / inside.lstrip("/")
    if host.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    mount_command("mount", "--bind", host, target)
    if mode == "ro":
        mount_command("mount", "-o", "remount,bind,ro", target)


def write(path: Path, text: str) -> None:
    """Write a file anew: what is there may be a link that leads out of the root."""
    path.unlink(missing_ok=True)
    path.write_text(text, encoding="utf-8")


def hand_in_network(merged: Path) -> dict[str, str]:
    """Give the copy the caller's names, certificates and indexes; returns its environment."""
    environment = {}
    for name in PROXY_VARIABLES:
        for variable in (name, name.upper()):
            if variable in os.environ:
                environment[variable] = os.environ[variable]
    if Path("/etc/resolv.conf").exists():
        write(merged / "etc/resolv.conf", Path("/etc/resolv.conf").read_text(encoding="utf-8"))
    configuration = pip_configuration()
    certificates = certificates_of_the_caller(configuration)
    for section in configuration.values():
        section.pop("cert", None)
    if certificates is not None:
        shutil.copyfile(certificates, merged / CERTIFICATES.lstrip("/"))
        environment |= dict.fromkeys(CERTIFICATE_VARIABLES, CERTIFICATES)
    for place in places_named(configuration):
        bind(merged, place, str(place), "ro")
    text = io.StringIO()
    parser = configparser.RawConfigParser()
    parser.read_dict(configuration)
    parser.write(text)
    write(merged / "etc/pip.conf", text.getvalue())
    return environment


def pip_configuration() -> dict[str, dict[str, str]]:
    """Give what the caller's pip is set to, by section; what its environment says comes first."""
    listed = subprocess.run(
        ["python3", "-m", "pip", "config", "list"], capture_output=True, text=True
    )
    sections: dict[str, dict[str, str]] = {"global": {}}
    environment = {}
    for line in listed.stdout.splitlines():
        key, _, value = line.partition("=")
        section, _, name = key.rpartition(".")
        text = str(ast.literal_eval(value))
        if section == ":env:":
            environment[name] = text
        else:
            # An index a line, indented as an ini file wants it.
            sections.setdefault(section, {})[name] = text
    sections["global"] |= environment
    return sections


def certificates_of_the_caller(configuration: Mapping[str, Mapping[str, str]]) -> Path | None:
    """Give the file of certificates that the caller trusts, if there is one."""
    named = [os.environ.get(variable) for variable in CERTIFICATE_VARIABLES]
    named.append(configuration["global"].get("cert"))
    named.append("/etc/ssl/certs/ca-certificates.crt")
    return next((Path(name) for name in named if name and Path(name).is_file()), None)


def places_named(configuration: Mapping[str, Mapping[str, str]]) -> Iterator[Path]:
    """Give what of this machine the configuration of pip names, each once."""
    seen = set()
    for section in configuration.values():
        for name in (*INDEXES, "find-links", "constraint"):
            for word in section.get(name, "").split():
                path = Path(unquote(urlsplit(word).path if word.startswith("file:") else word))
                if not path.is_absolute() or not path.exists():
                    continue
                # The pages of an index lead to files beside it.
                if name in INDEXES and path.parent != Path("/"):
                    path = path.parent
                if path not in seen:
                    seen.add(path)
                    yield path


def parsed(words: Sequence[str]) -> argparse.Namespace:
    """Give the arguments; a wrong call ends here, with status 2."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("ci/roots", description=__doc__, formatter_class=formatter)
    commands = parser.add_subparsers(dest="verb", required=True)
    maker = commands.add_parser("make", help="make a root, print its folder")
    maker.add_argument("suite", metavar="SUITE")
    maker.add_argument("packages", metavar="PACKAGE", nargs="*")
    runner = commands.add_parser("run", help="run a command in a throw-away copy of a root")
    runner.add_argument("--offline", action="store_true", help="no network but lo")
    runner.add_argument("--bind", metavar="HOST:DIR[:ro]", action="append", default=[])
    runner.add_argument("--env", metavar="NAME=VALUE", action="append", default=[])
    runner.add_argument("root", metavar="ROOT", help="a suite, or the folder of a root")
    runner.add_argument("command", metavar="COMMAND", nargs=argparse.REMAINDER)
    return parser.parse_args(words)


def main(words: Sequence[str]) -> int:
    """Do what the arguments say."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        # Not where nohup has it ignored.
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        if words[:1] == ["inside"]:
            inside(Path(words[1]), parsed(words[2:]))
        arguments = parsed(words)
        if arguments.verb == "make":
            print(make(arguments.suite, arguments.packages))
            return 0
        return run(arguments, words)
    except RootsError as error:
        print(f"ci/roots: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
