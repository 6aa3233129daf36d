"""The limits that end a process which takes too long over something, each with what keeps the work below it.

On a core that is slow or shared everything takes longer, so that work is cut by the seconds that it was seen to take,
and not by what it should cost. What is cut, and where it can be cut no further:

| limit | ends | kept by |
|---|---|---|
| ``TRANSACTION_MS`` | a Kafka transaction: from the first message that a checkpoint produces, after its appends | ``CHECKPOINT_PAGES`` pages and ``PUBLISHED_ROWS`` rows in one checkpoint |
| ``POLL_MS`` | a member that asks for no messages | takes of ``TAKE_S``, and a snapshot in pieces, for ``TURN_S`` of a turn |
| ``pulse.LIVE_S`` | a process whose loop makes no turn | the same, and a beat at each record of a changelog that is restored |
| ``SESSION_MS`` | a member that sends no heartbeat: a thread of its own sends them | nothing: it is for processes that died |
"""  # noqa: E501 - a table

TRANSACTION_MS = 10_000
"""A standby waits so long where a process died in the middle of a transaction."""

POLL_MS = 300_000

SESSION_MS = 10_000

CHECKPOINT_S = 10.0
"""A checkpoint is due when so many seconds went into its takes."""

CHECKPOINT_PAGES = 50_000
"""Or when so many pages were written: each is a message of a changelog, at some 10 us of CPU."""

TURN_S = 30.0
"""So many seconds of a turn go into a snapshot at most; a piece that was begun comes to its end."""

TAKE_S = 5.0
"""A take is as large as can be counted in about so many seconds, by what the one before it cost. Of sales that are
scattered over years, smaller takes write the same pages again and again."""

TAKE_BYTES = 32 * 1024 * 1024
"""And at most so large: all of it is in memory several times."""

PUBLISHED_ROWS = 50_000
"""So many rows of the ``vues-`` topics are produced with one checkpoint."""
