# The cffi module's own types are not known to a type checker: core.cdef declares them.
from typing import Any

ffi: Any
lib: Any
