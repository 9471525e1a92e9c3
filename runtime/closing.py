"""Makes objects with connections to close usable in a `with` statement."""

from abc import ABC, abstractmethod
from typing import Self


class Closing(ABC):
    """An object that its `with` block closes at the end."""

    @abstractmethod
    def close(self) -> None:
        """Close the connections."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
