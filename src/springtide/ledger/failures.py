"""Database errors told in the ledger's own words. Nothing of SQLAlchemy, sqlite3 or asyncpg leaves this package bare.

An error is either one operation's own (a constraint, a value the database cannot hold), which must not hurt the others
in its batch, or the database's, which is `Unavailable` to everybody.
"""

from __future__ import annotations

import sqlite3

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from springtide.domain.errors import Conflict, InvalidInput, SpringtideError, Unavailable

# A CompileError, say, is none of these: it is a bug here, and shall look like one.
# The last one comes from what SQLite is asked past SQLAlchemy.
FAILURES = (DBAPIError, PoolTimeout, OSError, sqlite3.Error)
_REFUSED = (IntegrityError, sqlite3.IntegrityError)
_NO_PLACE = (DataError, sqlite3.DataError, OverflowError, UnicodeError)


def is_own(error: BaseException) -> bool:
    """Whether one operation's own values caused this, so that the others of its batch would go through."""
    if isinstance(error, (*_REFUSED, *_NO_PLACE)):
        return True
    # SQLSTATE classes 22 and 23: data exception, integrity constraint violation.
    return _sqlstate(error)[:2] in {"22", "23"}


def is_passing(error: BaseException) -> bool:
    """Whether PostgreSQL rolled back only to untie transactions (SQLSTATE class 40): the same again will do."""
    return _sqlstate(error)[:2] == "40"


def is_disconnect(error: BaseException) -> bool:
    return isinstance(error, DBAPIError) and error.connection_invalidated


def translated(error: BaseException) -> SpringtideError:
    """The error to raise `from error`."""
    if isinstance(error, SpringtideError):
        return error
    reason = _reason(error)
    if not is_own(error):
        return Unavailable(f"the ledger's database cannot be used: {reason}")
    if isinstance(error, _REFUSED) or _sqlstate(error)[:2] == "23":
        return Conflict(f"the ledger refuses this: {reason}")
    return InvalidInput(f"the ledger cannot hold this value: {reason}")


def _sqlstate(error: BaseException) -> str:
    original = getattr(error, "orig", None)
    return str(getattr(original, "sqlstate", None) or "")


def _reason(error: BaseException) -> str:
    """The driver's own first line: SQLAlchemy's text would add the statement and everybody's values."""
    original = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return (str(original).strip() or type(original).__name__).splitlines()[0]
