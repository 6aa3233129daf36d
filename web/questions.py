"""What data endpoints are asked: their own parameters, and which snapshot shall answer."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from flask import request
from werkzeug.datastructures import MultiDict

from salesviews.maintenance import history
from salesviews.manifest import Manifest
from web import parameters
from web.parameters import Kind, Parameter
from web.past import PastSnapshots
from web.snapshot import Snapshot, SnapshotStore

AS_OF = Parameter(
    history.PARAMETER,
    Kind(
        history.parse,
        {"anyOf": [{"type": "string", "pattern": "^[0-9]{1,18}$"}, {"type": "string", "format": "date-time"}]},
    ),
    "an earlier snapshot: its id, or a time; default: the one that is served",
)


@dataclass(frozen=True)
class Questions:
    """
    :param live: the snapshot that is served
    :param past: the earlier ones
    """

    live: SnapshotStore
    past: PastSnapshots

    def manifest(self) -> tuple[Manifest, str | None]:
        """The manifest of the snapshot that this request asks for, and its ``as_of``: for what reads the lake itself.

        :raises ParameterError: if ``as_of`` cannot be used
        :raises SalesviewsError: as ``read``
        """
        given = {AS_OF.name: request.args.getlist(AS_OF.name)} if AS_OF.name in request.args else {}
        asked = parameters.read((AS_OF,), MultiDict(given))[AS_OF.name]
        if asked is not None:
            return self.past.history.resolve(asked), request.args[AS_OF.name]
        with self.live.read() as snapshot:
            return snapshot.manifest, None

    @contextmanager
    def read(self, declared: Sequence[Parameter]) -> Iterator[tuple[dict[str, Any], Snapshot]]:
        """The values of this request's parameters, and the snapshot that it asks for with ``as_of``.

        Leave it before anything is sent. The answer is to name the snapshot's ``manifest`` and ``as_of``.

        :raises ParameterError: naming the parameter that cannot be used
        :raises SalesviewsError: as ``SnapshotStore.read`` and ``PastSnapshots.read``
        """
        values = parameters.read((*declared, AS_OF), request.args)
        asked = values.pop(AS_OF.name)
        if asked is None:
            with self.live.read() as snapshot:
                yield values, snapshot
        else:
            with self.past.read(asked, request.args[AS_OF.name]) as snapshot:
                yield values, snapshot
