"""CPU time of classifying messages, in microseconds a message on one core, by share of dirt and size of batch.

python benchmarks/classification.py
"""

import time
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from salesviews import classification
from salesviews.simulation import market

MESSAGES = pa.schema(
    [
        pa.field("offset", pa.int64()),
        pa.field("payload", pa.binary()),
        pa.field("kafka_timestamp", pa.timestamp("us", tz="UTC")),
    ]
)
END = datetime(2025, 12, 22, 14, 35, 27, tzinfo=UTC)
COUNT = 20_000
REPEATS = 20


def generated(dirty_pct: float) -> pa.Table:
    batches = market.messages(1, COUNT, END - timedelta(days=1), END, dirty_pct, 5.0, 1)
    payloads = [payload for batch in batches for _, payload in batch]
    return pa.table([range(COUNT), payloads, [END] * COUNT], schema=MESSAGES)


def cpu_s(classify: classification.Classifier, messages: pa.Table) -> float:
    """The least CPU time of several runs."""
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        classify(messages)
        times.append(time.process_time() - start)
    return min(times)


def main() -> None:
    classify = classification.Classifier(MESSAGES, ["offset"])
    print("dirty %  batch   bytes  us/message")
    for dirty_pct in (0.0, 1.0, 10.0):
        messages = generated(dirty_pct)
        size = sum(len(payload or b"") for payload in messages.column("payload").to_pylist()) / COUNT
        for batch in (1_000, 5_000, COUNT):
            cost_s = cpu_s(classify, messages.slice(0, batch))
            print(f"{dirty_pct:7.0f}{batch:7}{size:8.0f}{cost_s / batch * 1e6:12.2f}")


if __name__ == "__main__":
    main()
