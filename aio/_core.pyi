# What core.cdef declares, cffi makes when it is imported: a type checker sees no more than this,
# and Any is what it can say of them.
from collections.abc import Iterator
from types import TracebackType
from typing import Any

class CData:
    """A C value: a pointer, a struct, an array, exported memory. Exists for type checkers only."""

    # Any: the type of a member is core.cdef's to know.
    def __getattr__(self, name: str) -> Any: ...  # noqa: ANN401  # see above
    def __setattr__(self, name: str, value: object) -> None: ...
    def __getitem__(self, index: int) -> Any: ...  # noqa: ANN401  # see above
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Any]: ...
    def __int__(self) -> int: ...
    def __hash__(self) -> int: ...
    def __enter__(self) -> CData: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

ffi: Any
lib: Any
