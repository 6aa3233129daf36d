import gzip
from concurrent.futures import ThreadPoolExecutor

from flask import Flask

from web import compression

THREADS = 8
ANSWERS = 400


def test_answers_of_several_threads_are_compressed_rightly() -> None:
    """Law: whoever is answered at the same time, each gets its own bytes."""
    app = Flask(__name__)
    compression.register(app)

    @app.get("/<int:number>")
    def answer(number: int) -> tuple[str, dict[str, str]]:
        return f'"{number}"' * (2_000 + number % 7 * 900), {"Content-Type": "application/json"}

    def is_right(number: int) -> bool:
        given = app.test_client().get(f"/{number}", headers={"Accept-Encoding": "gzip"})
        return gzip.decompress(given.data) == (f'"{number}"' * (2_000 + number % 7 * 900)).encode()

    with ThreadPoolExecutor(THREADS) as pool:
        assert all(pool.map(is_right, range(ANSWERS)))
