"""Show that an installed wheel works with the libraries it brought, and write durably with them.

Usage: wheel_try.py FOLDER [SONAME...]

Each SONAME, a libaio or liburing of the system, is loaded first, for all to see, as another
package of the process might do; without one, the system must have neither. The scratch file in
FOLDER has no name.
"""

from __future__ import annotations

import ctypes
import sys
import sysconfig

from try_write import main as write_and_compare

# All that Debian's suites have called them since bullseye.
SONAMES = ("libaio.so.1", "libaio.so.1t64", "liburing.so.1", "liburing.so.2")
LIBRARIES = ("libaio", "liburing")
ENGINES = ["io_uring", "linux_aio", "threads"]


def is_there(soname: str) -> bool:
    """Load *soname*; False where the system has no such library."""
    try:
        ctypes.CDLL(soname, ctypes.RTLD_GLOBAL)
    except OSError:
        return False
    return True


def wrong_libraries(loaded: tuple[str, ...]) -> list[str]:
    """Say what is not as it should be of the system's libraries, before ours are loaded."""
    found = [soname for soname in SONAMES if is_there(soname)]
    if found == sorted(loaded):
        return []
    return [f"of the system's libraries {found} are here, not {sorted(loaded)}"]


def wrong_facts() -> list[str]:
    """Say what is not as it should be of the package."""
    from fuaio.aio import available
    from fuaio.probe import gather

    facts = gather(["build", "library"]).facts()
    wrong = [
        f"build.{name} is {facts['build', name].state}"
        for name in ("laio_has_fua", "luring_has_fua")
        if facts["build", name].state != "yes"
    ]
    for library in LIBRARIES:
        origin, file = (facts["library", f"{library}_{what}"] for what in ("origin", "file"))
        print(f"{library}: {origin.value}: {file.value}")
        if origin.value != "wheel":
            wrong.append(f"{library} is not the wheel's: {file.value}")
    if sorted(available().engines) != ENGINES:
        wrong.append(f"not every engine works: {available().why_not}")
    has_gil = getattr(sys, "_is_gil_enabled", lambda: True)  # since Python 3.13
    if sysconfig.get_config_var("Py_GIL_DISABLED") and has_gil():
        wrong.append("something that was imported has switched the GIL on again")
    return wrong


def main(folder: str, *loaded: str) -> int:
    """0 if the package works with its own libraries, and what was written came back."""
    wrong = wrong_libraries(loaded) + wrong_facts()
    for words in wrong:
        print(words, file=sys.stderr)
    return write_and_compare(folder) or bool(wrong)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
