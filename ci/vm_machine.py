"""A virtual machine: its root file system, kernel and disks, and one command that runs in it.

The root is a Debian of a suite with that suite's kernel, made once and kept in build/vm; a machine
changes nothing in it. What is to run goes in on a disk of its own, with fuaio's wheel and what it
needs of PyPI. The processor is emulated: it works everywhere, and no faster where there is KVM.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / "build" / "vm"
SUITES = ("bookworm", "trixie", "sid")
PACKAGES = (
    *("linux-image-cloud-amd64", "python3", "kmod", "util-linux", "mount", "dmsetup", "mdadm"),
    *("cryptsetup-bin", "e2fsprogs", "xfsprogs", "btrfs-progs"),
)
# As the guest sees them: by the serial number that each disk has.
DISK_BYTES = 1 << 30
LOG_BYTES = 64 << 30
DISKS: Mapping[str, tuple[str, ...]] = {
    "nvme-a": ("nvme,drive={name},serial={name}",),
    "nvme-b": ("nvme,drive={name},serial={name}",),
    "log": ("nvme,drive={name},serial={name}",),
    "virtio-wb": ("virtio-blk-pci,drive={name},serial={name},write-cache=on",),
    "virtio-wt": ("virtio-blk-pci,drive={name},serial={name},write-cache=off",),
    "scsi-fua": ("scsi-hd,drive={name},serial={name},dpofua=on,write-cache=on",),
    "scsi-flush": ("scsi-hd,drive={name},serial={name},dpofua=off,write-cache=on",),
    "scsi-wt-fua": ("scsi-hd,drive={name},serial={name},dpofua=on,write-cache=off",),
    "scsi-wt": ("scsi-hd,drive={name},serial={name},dpofua=off,write-cache=off",),
}
TIMED_OUT = 124
NO_ANSWER = 125


class VmError(Exception):
    """No machine could be made; the message says why, the status is the exit code."""

    def __init__(self, words: str, status: int = 2) -> None:
        super().__init__(words)
        self.status = status


class Result(NamedTuple):
    """What a command in the machine did."""

    code: int
    output: str
    errors: str


class Image(NamedTuple):
    """A root file system on a disk, and what boots it."""

    disk: Path
    kernel: Path
    initrd: Path
    python: str
    """Its version: 3.11."""


def image_of(suite: str) -> Image:
    """Return the image of *suite*, made unless it is there."""
    init = (ROOT / "ci" / "guest_init").read_bytes()
    stamp = hashlib.sha256(" ".join(PACKAGES).encode() + init).hexdigest()[:12]
    folder = CACHE / f"{suite}-{stamp}"
    if not folder.is_dir():
        _make_image(suite, folder)
    return Image(
        folder / "root.img", folder / "vmlinuz", folder / "initrd", (folder / "python").read_text()
    )


def _make_image(suite: str, folder: Path) -> None:
    command = [str(ROOT / "ci" / "roots"), "make", suite, *PACKAGES]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise VmError(f"no root file system of {suite}", done.returncode)
    system = Path(done.stdout.splitlines()[-1])
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as made:
        new = Path(made, "image")
        new.mkdir()
        for name, pattern in (("vmlinuz", "vmlinuz-*"), ("initrd", "initrd.img-*")):
            found = sorted((system / "boot").glob(pattern))
            if not found:
                raise VmError(f"the root file system of {suite} has no /boot/{pattern}")
            shutil.copyfile(found[-1], new / name)
        python = sorted((system / "usr" / "bin").glob("python3.*[0-9]"))[-1]
        (new / "python").write_text(python.name.removeprefix("python"))
        shutil.copyfile(ROOT / "ci" / "guest_init", system / "fuaio-init")
        (system / "fuaio-init").chmod(0o755)
        _make_disk(system, new / "root.img", "fuaio-root", 512 << 20)
        new.rename(folder)


def _make_disk(folder: Path, disk: Path, label: str, free_bytes: int) -> None:
    """Make an ext4 of what is in *folder*, without mounting anything."""
    used = int(subprocess.check_output(["du", "-s", "-B1", folder], text=True).split()[0])
    with disk.open("wb") as file:
        file.truncate((used + used // 8 + free_bytes) // (1 << 20) * (1 << 20))
    options = ["-q", "-F", "-t", "ext4", "-L", label, "-E", "lazy_itable_init=0,root_owner=0:0"]
    subprocess.run(["mke2fs", *options, "-d", folder, disk], check=True)


def payload(wheel: Path, python: str, files: Sequence[Path], command: str, disk: Path) -> None:
    """Make the disk that goes in: *files*, fuaio for that *python*, and a shell's *command*."""
    site = CACHE / f"site-{python}-{hashlib.sha256(wheel.read_bytes()).hexdigest()[:12]}"
    if not site.is_dir():
        for old in CACHE.glob(f"site-{python}-*"):  # of another wheel
            shutil.rmtree(old)
        _install(wheel, python, site)
    with tempfile.TemporaryDirectory(dir=CACHE) as made:
        folder = Path(made)
        shutil.copytree(site, folder / "site")
        for file in files:
            shutil.copy(file, folder)
        (folder / "command").write_text(command + "\n")
        _make_disk(folder, disk, "fuaio-payload", 16 << 20)


def _install(wheel: Path, python: str, site: Path) -> None:
    new = site.with_name(site.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    options = ["--quiet", "--target", str(new), "--python-version", python]
    options += ["--only-binary=:all:", "--implementation", "cp", "--abi", "abi3"]
    options += ["--abi", f"cp{python.replace('.', '')}", "--abi", "none"]
    for platform in ("manylinux_2_34_x86_64", "manylinux_2_28_x86_64", "manylinux_2_17_x86_64"):
        options += ["--platform", platform]
    command = [sys.executable, "-m", "pip", "install", *options, str(wheel)]
    if subprocess.run(command, check=False).returncode:
        raise VmError("pip did not install the wheel for the virtual machine")
    new.rename(site)


def boot(image: Image, payload_disk: Path, folder: Path, limit_s: float) -> Result:
    """Run the payload's command in a machine with all of `DISKS`, and end the machine.

    Args:
        image: The root.
        payload_disk: See `payload`.
        folder: For the disks and what the machine says; console is the kernel's words.
        limit_s: The machine is ended after so long; the result's code is then 124.
    """
    lines = {name: folder / name for name in ("console", "output", "errors", "status")}
    # One thread for both processors: with two, a kernel that patched its own code panicked.
    # It ends with this process, however that ends.
    command = ["setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64"]
    command += ["-machine", "q35", "-accel", "tcg,thread=single"]
    command += ["-cpu", "max", "-smp", "2"]
    command += ["-m", "1536", "-display", "none", "-monitor", "none", "-nic", "none", "-no-reboot"]
    for line in lines.values():
        command += ["-serial", f"file:{line}"]
    command += ["-kernel", str(image.kernel), "-initrd", str(image.initrd), "-append"]
    command += ["root=LABEL=fuaio-root ro console=ttyS0 panic=-1 quiet init=/fuaio-init"]
    command += _drive("root", image.disk, "snapshot=on")
    command += ["-device", "nvme,drive=root,serial=root"]
    command += _drive("payload", payload_disk, "snapshot=on")
    command += ["-device", "virtio-blk-pci,drive=payload,serial=payload"]
    command += ["-device", "virtio-scsi-pci"]
    for name, devices in DISKS.items():
        disk = folder / f"{name}.img"
        with disk.open("wb") as file:
            file.truncate(LOG_BYTES if name == "log" else DISK_BYTES)
        command += _drive(name, disk, "cache=unsafe,discard=unmap")
        for device in devices:
            command += ["-device", device.format(name=name)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, text=True) as machine:
        try:
            machine.wait(limit_s)
        except subprocess.TimeoutExpired:
            return Result(TIMED_OUT, _read(lines["output"]), _read(lines["errors"]))
        finally:
            machine.kill()
    word, _, code = _read(lines["status"]).strip().partition(" ")
    status = int(code) if word == "exit" else NO_ANSWER
    return Result(status, _read(lines["output"]), _read(lines["errors"]))


def _drive(name: str, file: Path, options: str) -> list[str]:
    return ["-drive", f"file={file},if=none,id={name},format=raw,{options}"]


def _read(file: Path) -> str:
    return file.read_text("utf-8", "replace") if file.exists() else ""


@contextmanager
def machine_folder() -> Iterator[Path]:
    """A folder for one machine, which goes with the block."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="machine-", dir=CACHE) as folder:
        yield Path(folder)
