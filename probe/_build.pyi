from typing import Any

BUILD: dict[str, Any]
