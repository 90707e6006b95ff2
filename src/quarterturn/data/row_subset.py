"""Some rows of an array that may be larger than the memory.

Shapes: n rows of N; d values of each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Matrix(Protocol):
    """(n, d) values that are read by rows: an array, or `RowSubset` of one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, d)."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> NDArray[np.float32]: ...


@dataclass(frozen=True)
class RowSubset:
    """Some rows of an array, read when they are asked for: it may be larger than the memory.

    Attributes:
        array: (N, d), perhaps memory-mapped.
        numbers: (n,) the rows that count.
    """

    array: NDArray[np.float32]
    numbers: NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, d)."""
        return (len(self.numbers), *self.array.shape[1:])

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, rows: Any) -> NDArray[np.float32]:
        return self.array[self.numbers[rows]]
