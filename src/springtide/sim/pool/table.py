"""A CSV file of times and figures, read line by line: what is wrong in it is told with its line and column."""

from __future__ import annotations

import csv
import gzip
import io
import math
import zlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from springtide.domain.errors import ConfigError

TIMES = ("arrival_s", "arrival", "at_s", "t", "time_s", "time", "timestamp", "created_at")


class Table:
    """A file's columns, and its lines as they are read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines = self._read()
        self.columns = [column.strip() for column in next(self._lines, (1, []))[1]]
        if not self.columns:
            raise ConfigError(f"{path.name} is empty; its first line names the columns, such as arrival_s,seconds")
        time = first_of(self.columns, TIMES)
        if time is None:
            there = ", ".join(self.columns)[:200]
            raise ConfigError(
                f"{path.name} has no column of times; name one of {', '.join(TIMES)}. "
                f"Its columns, separated by commas, are: {there}"
            )
        self.time = time

    def rows(self, *, since_s: float, until_s: float | None) -> Iterator[Row]:
        """Those with a time in the window, once. The object is the same each time."""
        end_s = until_s if until_s is not None else math.inf
        row = Row(self)
        for line, cells in self._lines:
            if row.holds(cells, line) and since_s <= row.at_s < end_s:
                yield row

    def _read(self) -> Iterator[tuple[int, list[str]]]:
        path = self.path
        try:
            with _opened(path) as text:
                reader = csv.reader(text)
                for cells in reader:
                    if cells:
                        yield reader.line_num, cells
        except UnicodeDecodeError as error:
            raise ConfigError(f"the trace {path} cannot be read: it is not a text in UTF-8") from error
        except OSError as error:
            raise ConfigError(f"the trace {path} cannot be read: {error.strerror or error}") from error
        except (EOFError, zlib.error, csv.Error) as error:
            raise ConfigError(f"the trace {path} cannot be read: {error}") from error


class Row:
    """One line: cells by the names of their columns. The same object for all lines, one after the other."""

    __slots__ = ("_cells", "_places", "_table", "_width", "at_s", "in_whole_seconds", "line")

    def __init__(self, table: Table) -> None:
        self._table = table
        self._places = {name: place for place, name in reversed(list(enumerate(table.columns)))}
        self.at_s, self.in_whole_seconds, self.line = 0.0, True, 0

    def holds(self, cells: list[str], line: int) -> bool:
        """Take this line; whether it has a time."""
        self._cells, self._width, self.line = cells, len(cells), line
        time = self.text(self._table.time)
        if not time:
            return False
        self.in_whole_seconds = "." not in time
        try:
            self.at_s = _time(time)
        except ValueError:
            raise self._wrong(self._table.time, time, "seconds, or a date such as 2026-11-22T10:00:00Z") from None
        return True

    def text(self, column: str) -> str:
        """Empty where there is none."""
        place = self._places.get(column, self._width)
        return self._cells[place].strip() if place < self._width else ""

    def number(self, column: str) -> float | None:
        """None where the cell is empty."""
        text = self.text(column)
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise self._wrong(column, text, "a number")
        return value

    def _wrong(self, column: str, text: str, wanted: str) -> ConfigError:
        return ConfigError(
            f"{self._table.path.name}, line {self.line}: {column} is {text[:40]!r}, and should be {wanted}"
        )


def _opened(path: Path) -> io.TextIOWrapper:
    if path.suffix == ".gz":
        return io.TextIOWrapper(gzip.open(path, "rb"), encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def first_of(columns: Sequence[str], names: Sequence[str]) -> str | None:
    """The first of the names that is a column."""
    return next((name for name in names if name in columns), None)


def _time(text: str) -> float:
    try:
        at_s = float(text)
    except ValueError:
        return datetime.fromisoformat(text).timestamp()
    if not math.isfinite(at_s):
        raise ValueError(text)
    return at_s
