"""The catalogue as tables to draw from, and the week's curve. ``market`` draws; nothing here depends on a run's seed.

Times are microseconds since the epoch. A *cell* is a quarter of an hour of the week, counted from Monday 00:00 UTC.
"""

import json
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from salesviews import money
from salesviews.simulation import catalogue

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Fragments = npt.NDArray[np.object_]

SECOND_US = 1_000_000
_HOUR_US = 3600 * SECOND_US
DAY_US = 24 * _HOUR_US
_WEEK_US = 7 * DAY_US
CELL_US = _HOUR_US // 4
_CELLS = _WEEK_US // CELL_US
_MONDAY_US = 4 * DAY_US
"""The first Monday after the epoch, a Thursday."""

_SEED = 20_251_222
_PROMOTION_WEEKS = 64
"""After so many weeks the same promotions come again."""
_POPULARITY_EXPONENT = 0.9
_COSTLY_CENTS = 300_00


def cell(times_us: Integers) -> Integers:
    return (times_us - _MONDAY_US) // CELL_US % _CELLS


def promotion_week(times_us: Integers) -> Integers:
    return (times_us - _MONDAY_US) // _WEEK_US % _PROMOTION_WEEKS


class Choice:
    """Weighted choices: row r has its own weights over the same options."""

    def __init__(self, weights: Floats) -> None:
        """:param weights: [row, option]"""
        self._options = weights.shape[1]
        shares = np.cumsum(weights / weights.sum(axis=1, keepdims=True), axis=1)
        shares[:, -1] = 1.0
        # Row r's cumulated shares lie in (r, r + 1]: one search answers for all rows.
        self._bounds = (shares + np.arange(len(weights))[:, None]).ravel()

    def draw(self, rows: Integers, uniform: Floats) -> Integers:
        found = np.searchsorted(self._bounds, rows + uniform, side="right")
        option: Integers = np.minimum(found - rows * self._options, self._options - 1)
        return option


@dataclass(frozen=True)
class World:
    """The catalogue as tables, indexed by the places in its tuples; fragments are pieces of JSON.

    :param clients: client numbers, country by country, from the one that buys most
    :param first_clients: [country, and one more]: where its clients begin in ``clients``
    :param density: [cell of the week in UTC]: sales, relative
    :param promotions: [week, product]: place in ``PROMOTION_PCTS``
    :param amounts: [product, promotion, quantity - 1]: quantite and montant
    """

    clients: Integers
    first_clients: Integers
    segments: Integers
    names: Fragments
    places: Fragments
    products: Fragments
    amounts: Fragments
    is_costly: npt.NDArray[np.bool_]
    promotions: Integers
    density: Floats
    country: Choice
    product: Choice
    quantity: Choice


def _fragments(texts: list[str]) -> Fragments:
    return np.array(texts, dtype=object)


def _week_curve() -> Floats:
    """[cell of the week in UTC, country]: sales, relative, by the country's own clock."""
    hours = np.array(catalogue.LOCAL_HOUR_WEIGHTS)
    cell_hours = (np.arange(_CELLS) + 0.5) * (CELL_US / _HOUR_US)
    curve = np.empty((_CELLS, len(catalogue.COUNTRIES)))
    for place, country in enumerate(catalogue.COUNTRIES):
        local = (cell_hours + country.utc_offset_h) % (_WEEK_US / _HOUR_US)
        by_hour = np.interp(local % 24, np.arange(24) + 0.5, hours, period=24)
        by_day = np.array(catalogue.WEEKDAY_WEIGHTS)[(local // 24).astype(np.int64)]
        shape = by_hour * by_day
        curve[:, place] = country.weight * shape / shape.sum()
    return curve


def _product_weights() -> Floats:
    """[country and segment, product]: popularity by rank, and tastes."""
    popularity = 1.0 / np.arange(1, len(catalogue.PRODUCTS) + 1) ** _POPULARITY_EXPONENT
    return np.array(
        [
            [
                share * country.tastes.get(product.category, 1.0) * segment.tastes.get(product.category, 1.0)
                for product, share in zip(catalogue.PRODUCTS, popularity, strict=True)
            ]
            for country in catalogue.COUNTRIES
            for segment in catalogue.SEGMENTS
        ]
    )


def _quantity_weights() -> Floats:
    most = max(len(segment.quantity_weights) for segment in catalogue.SEGMENTS)
    return np.array([np.resize([*s.quantity_weights, *[0.0] * most], most) for s in catalogue.SEGMENTS])


def _amount_fragment(product: catalogue.Product, promotion_pct: int, quantity: int) -> str:
    unit_cents = (product.price_cents * (100 - promotion_pct) + 50) // 100
    return f'"quantite": {quantity}, "montant": {money.text_of(unit_cents * quantity)}'


@cache
def world() -> World:
    rng = np.random.default_rng(_SEED)
    countries, segments, products = catalogue.COUNTRIES, catalogue.SEGMENTS, catalogue.PRODUCTS

    def shares(weights: list[float]) -> Floats:
        return np.array(weights) / sum(weights)

    homes = rng.choice(len(countries), catalogue.CLIENT_COUNT, p=shares([c.weight for c in countries]))
    client_segments = rng.choice(len(segments), catalogue.CLIENT_COUNT, p=shares([s.weight for s in segments]))
    names = []
    for home, first, last in zip(homes, *rng.random((2, catalogue.CLIENT_COUNT)), strict=True):
        firsts = catalogue.FIRST_NAMES[countries[home].language]
        lasts = catalogue.LAST_NAMES[countries[home].language]
        names.append(f"{firsts[int(first * len(firsts))]} {lasts[int(last * len(lasts))]}")
    curve = _week_curve()
    quantity_weights = _quantity_weights()
    promotions = rng.choice(
        len(catalogue.PROMOTION_PCTS),
        (_PROMOTION_WEEKS, len(products)),
        p=shares(list(catalogue.PROMOTION_WEEK_WEIGHTS)),
    )

    @cache
    def text(value: str) -> str:
        return json.dumps(value, ensure_ascii=False)

    return World(
        clients=np.argsort(homes, kind="stable"),
        first_clients=np.searchsorted(np.sort(homes), np.arange(len(countries) + 1)),
        segments=client_segments,
        names=_fragments([f'"client_nom": {text(name)}' for name in names]),
        places=_fragments(
            [
                f'"pays": {text(countries[home].name)}, "segment": {text(segments[segment].name)}'
                for home, segment in zip(homes, client_segments, strict=True)
            ]
        ),
        products=_fragments([f'"produit_nom": {text(p.name)}, "categorie": {text(p.category)}' for p in products]),
        amounts=_fragments(
            [
                _amount_fragment(product, pct, quantity)
                for product in products
                for pct in catalogue.PROMOTION_PCTS
                for quantity in range(1, quantity_weights.shape[1] + 1)
            ]
        ).reshape(len(products), len(catalogue.PROMOTION_PCTS), -1),
        is_costly=np.array([product.price_cents >= _COSTLY_CENTS for product in products]),
        promotions=promotions,
        density=curve.sum(axis=1),
        country=Choice(curve),
        product=Choice(_product_weights()),
        quantity=Choice(quantity_weights),
    )
