"""Object storage: the only door to it.

`STORAGE_URL` says where the originals of messages are kept:

    file:///var/lib/jobplatform/storage                          a directory of this machine or a shared one
    s3://bucket/prefix?region=eu-central-1                       S3 (django-storages), credentials from the environment
    s3://bucket?endpoint_url=http://127.0.0.1:9000&region=…      anything that speaks S3
    class:package.module.YourStorage?option=value                your Django storage class, with these options

An object is created whole or not at all, and never overwritten: where one is, it stays.
"""

import contextlib
import datetime as dt
import heapq
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, Storage
from django.utils.module_loading import import_string

from ingestion.errors import ObjectConflict, ObjectMissing, StorageUnavailable

ASIDE = "orphaned/"
"""Where objects go that belong to no message, with the time of their move before the name."""

CONNECT_SECONDS = 5
READ_SECONDS = 20  # per try; botocore tries up to five times, which fits into the handler's timeout
# A person waits for a download, and holds a thread of the web process meanwhile:
GET_SECONDS = 15.0  # for all of it
GET_TRIES = 2
GET_READ_SECONDS = 5.0  # per try, until the next bytes

BEHIND_ALL = "g"
"""Keys of messages begin with a hexadecimal digit, so all of them come before this."""

_PART = 64 * 1024  # bytes
_INCOMING = ".incoming"
_UUID = r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"
_KEY = re.compile(rf"{_UUID}/{_UUID}\.json")
_COMPANY = re.compile(_UUID)
_FILE = re.compile(rf"{_UUID}\.json")


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as a listing shows it: its key, its size in bytes, and when it was written (aware)."""

    key: str
    size: int
    modified_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Listing:
    """Objects of messages in the order of their keys, and whether there may be more behind the last."""

    objects: list[StoredObject]
    more: bool


class ObjectStore(Protocol):
    """What each sort of storage can do. `errors` are what its library raises when it cannot."""

    errors: tuple[type[Exception], ...]

    def create(self, key: str, body: bytes) -> bool:
        """Write a new object, whole or not at all; False when there is one already."""

    def read(self, key: str) -> bytes:
        """All of an object. Raises `ObjectMissing`."""

    def read_soon(self, key: str) -> bytes:
        """The same for somebody who waits: with an end to its patience, where the storage can hang."""

    def delete(self, key: str) -> None:
        """Delete an object; that there is none is fine."""

    def listing(self, after: str, limit: int) -> Listing:
        """Up to `limit` objects of messages whose keys come behind `after`."""

    def keys(self, folder: str) -> list[str]:
        """The keys of all objects of the form `folder/part/name`, in order."""

    def remove_leftovers(self, before: dt.datetime) -> int:
        """Remove what interrupted writes left before a moment; returns how many."""


# ------------------------------------------------------------------------------------------------ what may be asked
def put(key: str, body: bytes) -> bool:
    """Store a body under a key: True if it was written, False if it was there already, byte for byte.

    Raises:
        ObjectConflict: there is other content, which stays.
        StorageUnavailable: it did not work this time.
    """
    with _door() as store:
        if store.create(key, body):
            return True
        if store.read(key) != body:
            raise ObjectConflict(key)
        return False


def create(key: str, body: bytes) -> bool:
    """Store a body under a key, unless there is something: then that stays, and False is returned."""
    with _door() as store:
        return store.create(key, body)


def keys(folder: str) -> list[str]:
    """The keys of all objects of the form `folder/part/name`, in order; messages have two parts only."""
    with _door() as store:
        return store.keys(folder)


def get(key: str) -> bytes:
    """The bytes of an object, within `GET_SECONDS` or so. Raises `ObjectMissing`, `StorageUnavailable`."""
    with _door() as store:
        return store.read_soon(key)


def listing(*, after: str, limit: int) -> Listing:
    """Up to `limit` objects of messages in the order of their keys, behind `after` ("" for the beginning).

    What has no key of a message is left out. A listing with more to come has at least one object.
    """
    with _door() as store:
        return store.listing(after, limit)


def copy_aside(key: str, *, now: dt.datetime) -> str:
    """Copy an object to a key of its own under `orphaned/`, and return that key. Raises `ObjectMissing`."""
    aside = f"{ASIDE}{now.astimezone(dt.UTC):%Y%m%dT%H%M%S%fZ}/{key}"
    with _door() as store:
        body = store.read(key)
        if not store.create(aside, body) and store.read(aside) != body:
            raise ObjectConflict(aside)
    return aside


def delete(key: str) -> None:
    """Delete an object that was copied aside."""
    with _door() as store:
        store.delete(key)


def remove_leftovers(*, before: dt.datetime) -> int:
    """Remove what interrupted writes left before a moment; returns how many."""
    with _door() as store:
        return store.remove_leftovers(before)


@contextlib.contextmanager
def _door() -> Iterator[ObjectStore]:
    store = store_of(settings.STORAGE_URL)
    try:
        yield store
    except store.errors as error:
        raise StorageUnavailable(_sentence(error)) from error


def _sentence(error: Exception) -> str:
    """What went wrong, without the paths of this machine."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"{type(error).__name__}: {text}"


@cache
def store_of(url: str) -> ObjectStore:
    """The storage that a `STORAGE_URL` names. Nothing is asked of it yet. Raises ImproperlyConfigured."""
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query))
    match parts.scheme:
        case "file" if parts.path.startswith("/") and not (parts.netloc or options):
            return Directory(unquote(parts.path))
        case "s3" if parts.netloc and set(options) <= Bucket.OPTIONS:
            return Bucket(parts.netloc, unquote(parts.path), options)
        case "class" if parts.path:
            return AnyStorage(_made(parts.path, options))
    message = (
        "STORAGE_URL must be file:///directory, s3://bucket/prefix?endpoint_url=&region=&addressing_style= "
        f"or class:package.module.Class?option=value, not {url!r}."
    )
    raise ImproperlyConfigured(message)


def _made(name: str, options: dict[str, str]) -> Storage:
    try:
        storage: Storage = import_string(name)(**options)
    except (ImportError, TypeError) as error:
        message = f"STORAGE_URL names the storage class {name}, which cannot be made: {error}"
        raise ImproperlyConfigured(message) from error
    return storage


# ------------------------------------------------------------------------------------------------ a directory
class Directory:
    """Objects as files. A file is written beside the others, synced, and linked to its name, which must be free."""

    errors: tuple[type[Exception], ...] = (OSError,)

    def __init__(self, root: str) -> None:
        self._root = Path(root)
        self._files = FileSystemStorage(location=root)  # keeps names within the root

    def create(self, key: str, body: bytes) -> bool:
        """Write a new file, durably."""
        target = Path(self._files.path(key))
        incoming = self._root / _INCOMING
        incoming.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=incoming)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(body)
                file.flush()
                os.fsync(handle)
            self._make_folder(target.parent)
            try:
                os.link(draft, target)
            except FileExistsError:
                return False
            _sync(target.parent)
        finally:
            Path(draft).unlink(missing_ok=True)
        return True

    def read(self, key: str) -> bytes:
        """All of a file."""
        try:
            return Path(self._files.path(key)).read_bytes()
        except FileNotFoundError:
            raise ObjectMissing(key) from None

    read_soon = read

    def delete(self, key: str) -> None:
        """Delete a file."""
        path = Path(self._files.path(key))
        path.unlink(missing_ok=True)
        _sync(path.parent)

    def listing(self, after: str, limit: int) -> Listing:
        """The next files by name. Keeps no more than `limit` names in memory, however many files a folder has."""
        keys = _next_keys(_names(self._root), lambda folder: _names(self._root / folder), after, limit)
        found = []
        for key in keys:
            facts = (self._root / key).stat()
            found.append(StoredObject(key, facts.st_size, dt.datetime.fromtimestamp(facts.st_mtime, dt.UTC)))
        return Listing(found, len(found) >= limit)

    def keys(self, folder: str) -> list[str]:
        """Names of files two levels down."""
        root = self._root / folder
        return sorted(f"{folder}/{part}/{name}" for part in _names(root) for name in _names(root / part))

    def remove_leftovers(self, before: dt.datetime) -> int:
        """Remove drafts whose writer died."""
        removed = 0
        for name in list(_names(self._root / _INCOMING)):
            with contextlib.suppress(FileNotFoundError):
                draft = self._root / _INCOMING / name
                if draft.stat().st_mtime < before.timestamp():
                    draft.unlink()
                    removed += 1
        return removed

    def _make_folder(self, folder: Path) -> None:
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            for parent in folder.relative_to(self._root).parents:
                _sync(self._root / parent)


def _next_keys(folders: Iterable[str], files_in: Callable[[str], Iterable[str]], after: str, limit: int) -> list[str]:
    """Up to `limit` keys of messages behind `after`, from the names of folders and of the files in each."""
    found: list[str] = []
    company, _, name = after.partition("/")
    for folder in sorted(entry for entry in folders if _COMPANY.fullmatch(entry) and entry >= company):
        behind = name if folder == company else ""
        names = (entry for entry in files_in(folder) if _FILE.fullmatch(entry) and entry > behind)
        found += [f"{folder}/{file}" for file in heapq.nsmallest(limit - len(found), names)]
        if len(found) >= limit:
            break
    return found


def _names(folder: Path) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                yield entry.name
    except (FileNotFoundError, NotADirectoryError):
        return


def _sync(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# ------------------------------------------------------------------------------------------------ S3
class Bucket:
    """Objects in a bucket. Connections, credentials and names are those of django-storages.

    A key is claimed by a conditional write (`If-None-Match: *`); a service that does not know it is asked first
    whether the object is there.
    """

    OPTIONS = frozenset({"endpoint_url", "region", "addressing_style"})

    def __init__(self, bucket: str, prefix: str, options: dict[str, str]) -> None:
        # Imported here as it takes a third of a second and 30 MB, which those who keep files need not pay.
        from botocore.config import Config  # noqa: PLC0415
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415
        from storages.backends.s3 import S3Storage  # noqa: PLC0415
        from urllib3.exceptions import HTTPError  # noqa: PLC0415

        self.errors: tuple[type[Exception], ...] = (BotoCoreError, ClientError, HTTPError, TimeoutError)
        self._refused: type[Exception] = ClientError
        self._name = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._conditional = True
        endpoint = options.get("endpoint_url")
        # A service that is not Amazon's rarely has a host name for each bucket.
        style: Any = {"addressing_style": options.get("addressing_style") or ("path" if endpoint else "auto")}
        patient = Config(connect_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS, s3=style)
        hasty = patient.merge(
            Config(
                connect_timeout=GET_READ_SECONDS,
                read_timeout=GET_READ_SECONDS,
                retries={"total_max_attempts": GET_TRIES, "mode": "standard"},
            )
        )
        self._storage, self._hasty = (
            S3Storage(
                bucket_name=bucket, endpoint_url=endpoint, region_name=options.get("region"), client_config=config
            )
            for config in (patient, hasty)
        )

    @property
    def _client(self) -> Any:
        """The client of this thread."""
        return self._storage.connection.meta.client

    def create(self, key: str, body: bytes) -> bool:
        """Put a new object."""
        put = {"Bucket": self._name, "Key": self._prefix + key, "Body": body, "ContentType": "application/json"}
        if self._conditional:
            try:
                self._client.put_object(**put, IfNoneMatch="*")
            except self._refused as error:
                match _code_of(error):
                    case "PreconditionFailed" | "412":
                        return False
                    case "NotImplemented" | "501":
                        self._conditional = False
                    case _:
                        raise
            else:
                return True
        if self._storage.exists(self._prefix + key):
            return False
        self._client.put_object(**put)
        return True

    def read(self, key: str) -> bytes:
        """Get an object."""
        try:
            body: bytes = self._client.get_object(Bucket=self._name, Key=self._prefix + key)["Body"].read()
        except self._refused as error:
            if _code_of(error) == "NoSuchKey":
                raise ObjectMissing(key) from None
            raise
        return body

    def read_soon(self, key: str) -> bytes:
        """Get an object with few tries, and as it comes: a service that drips does not reset the clock."""
        deadline = time.monotonic() + GET_SECONDS
        try:
            answer = self._hasty.connection.meta.client.get_object(Bucket=self._name, Key=self._prefix + key)
        except self._refused as error:
            if _code_of(error) == "NoSuchKey":
                raise ObjectMissing(key) from None
            raise
        with contextlib.closing(answer["Body"]) as body:
            stream = body._raw_stream  # noqa: SLF001 - botocore's own read waits until all that was asked for is there
            parts = []
            while part := stream.read1(_PART):
                parts.append(part)
                if time.monotonic() > deadline:
                    message = f"It took longer than {GET_SECONDS:g} seconds."
                    raise TimeoutError(message)
        return b"".join(parts)

    def delete(self, key: str) -> None:
        """Delete an object."""
        self._client.delete_object(Bucket=self._name, Key=self._prefix + key)

    def listing(self, after: str, limit: int) -> Listing:
        """S3's own listings, which have the order of keys, of up to 1,000 each."""
        asked = {"Bucket": self._name, "Prefix": self._prefix}
        found: list[StoredObject] = []
        more = True
        while more and len(found) < limit:
            most = min(1000, limit - len(found))
            page = self._client.list_objects_v2(**asked, MaxKeys=most, StartAfter=self._prefix + after)
            named = [(entry["Key"].removeprefix(self._prefix), entry) for entry in page.get("Contents", ())]
            found += [StoredObject(key, e["Size"], e["LastModified"]) for key, e in named if _KEY.fullmatch(key)]
            after = named[-1][0] if named else ""
            more = bool(page.get("IsTruncated")) and after < BEHIND_ALL
        return Listing(found, more)

    def keys(self, folder: str) -> list[str]:
        """S3's own listings."""
        pages = self._client.get_paginator("list_objects_v2")
        found = pages.paginate(Bucket=self._name, Prefix=f"{self._prefix}{folder}/")
        return [entry["Key"].removeprefix(self._prefix) for page in found for entry in page.get("Contents", ())]

    def remove_leftovers(self, before: dt.datetime) -> int:
        """An interrupted put leaves nothing."""
        return 0


def _code_of(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


# ------------------------------------------------------------------------------------------------ any Django storage
class AnyStorage:
    """Any Django storage class. That it creates objects whole, and does not overwrite, is up to the class."""

    errors: tuple[type[Exception], ...] = (OSError,)

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def create(self, key: str, body: bytes) -> bool:
        """Save a new object."""
        if self._storage.exists(key):
            return False
        name = self._storage.save(key, ContentFile(body))
        if name != key:  # taken meanwhile, and the class made up another name
            self._storage.delete(name)
            return False
        return True

    def read(self, key: str) -> bytes:
        """Read an object."""
        try:
            with self._storage.open(key) as file:
                body: bytes = file.read()
                return body
        except FileNotFoundError:
            raise ObjectMissing(key) from None

    read_soon = read

    def delete(self, key: str) -> None:
        """Delete an object."""
        self._storage.delete(key)

    def listing(self, after: str, limit: int) -> Listing:
        """The next objects by name. Django's interface lists whole folders only."""
        keys = _next_keys(self._storage.listdir("")[0], lambda folder: self._storage.listdir(folder)[1], after, limit)
        found = [StoredObject(key, self._storage.size(key), self._storage.get_modified_time(key)) for key in keys]
        return Listing(found, len(found) >= limit)

    def keys(self, folder: str) -> list[str]:
        """Names two levels down. That a folder is not there is told in as many ways as there are storages."""
        found: list[str] = []
        with contextlib.suppress(FileNotFoundError):
            for part in self._storage.listdir(folder)[0]:
                found += [f"{folder}/{part}/{name}" for name in self._storage.listdir(f"{folder}/{part}")[1]]
        return sorted(found)

    def remove_leftovers(self, before: dt.datetime) -> int:
        """What its writes leave is unknown."""
        return 0
