"""A subset of the rows of an array that may be larger than the memory.

Shapes: n of N rows; d values per row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Matrix(Protocol):
    """(n, d) values read by rows: an array, or a `RowSubset` of one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, d)."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> NDArray[np.float32]: ...


@dataclass(frozen=True)
class RowSubset:
    """A subset of an array's rows, read on access.

    Attributes:
        array: (N, d), possibly memory-mapped.
        numbers: (n,) the subset's rows.
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
