"""The simulated shop, declared as values: what it sells, where, to whom. ``market`` makes sales from them.

These stay the same in every run, whatever its seed: two runs sell the same products to the same clients.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Product:
    """A product. The place in ``PRODUCTS`` is the rank in popularity, and gives ``produit_id``.

    :param price_cents: of one, without a promotion
    """

    name: str
    category: str
    price_cents: int


@dataclass(frozen=True)
class Country:
    """A country of clients.

    :param weight: its share of the sales, relative to the others'
    :param utc_offset_h: its clock, which moves its lunch and its evening; without daylight saving
    :param tastes: category to factor on its products' popularity there (default 1)
    """

    name: str
    weight: float
    utc_offset_h: int
    language: str
    tastes: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Segment:
    """A customer segment.

    :param quantity_weights: how often 1, 2, 3... are bought at once
    """

    name: str
    weight: float
    quantity_weights: tuple[float, ...]
    tastes: Mapping[str, float] = field(default_factory=dict)


FIRST_PRODUCT_ID = 101

PRODUCTS: tuple[Product, ...] = (
    Product("Ordinateur portable", "Electronique", 899_99),
    Product("Écouteurs sans fil", "Electronique", 79_90),
    Product("Café en grains 1 kg", "Alimentation", 17_90),
    Product("Téléphone", "Electronique", 649_00),
    Product("T-shirt en coton", "Mode", 19_99),
    Product("Roman policier", "Livres", 9_20),
    Product("Chocolat noir (coffret)", "Alimentation", 24_50),
    Product("Baskets", "Mode", 89_95),
    Product("Cafetière à piston", "Maison", 34_90),
    Product("Souris ergonomique", "Electronique", 42_50),
    Product("Jeu de construction", "Jouets", 49_99),
    Product("Crème hydratante", "Beaute", 14_75),
    Product("Bande dessinée", "Livres", 12_95),
    Product("Tapis de yoga", "Sport", 29_90),
    Product("Lampe de bureau", "Maison", 39_00),
    Product("Jean droit", "Mode", 59_90),
    Product("Écran 27 pouces", "Electronique", 279_00),
    Product("Thé vert bio", "Alimentation", 7_85),
    Product("Parfum 50 ml", "Beaute", 68_00),
    Product("Livre de cuisine", "Livres", 27_00),
    Product("Ballon de football", "Sport", 22_99),
    Product("Clavier mécanique", "Electronique", 109_00),
    Product("Couette 220 cm", "Maison", 74_95),
    Product("Peluche", "Jouets", 18_49),
    Product("Sac à dos", "Mode", 54_90),
    Product("Huile d'olive 75 cl", "Alimentation", 11_60),
    Product("Puzzle 1000 pièces", "Jouets", 15_99),
    Product("Shampoing solide", "Beaute", 8_90),
    Product("Montre de sport", "Sport", 199_00),
    Product("Batterie de cuisine", "Maison", 129_00),
    Product("Dictionnaire", "Livres", 31_50),
    Product("Imprimante", "Electronique", 159_90),
    Product("Manteau en laine", "Mode", 179_00),
    Product('Téléviseur 55"', "Electronique", 549_00),
    Product("Miel de lavande", "Alimentation", 9_95),
    Product("Vélo électrique", "Sport", 1_499_00),
    Product("Trottinette", "Jouets", 64_90),
    Product("Aspirateur robot", "Maison", 329_00),
    Product("Raquette de tennis", "Sport", 119_50),
    Product("Coffret maquillage", "Beaute", 44_90),
)

COUNTRIES: tuple[Country, ...] = (
    Country("France", 34, 1, "fr", {"Alimentation": 1.3, "Livres": 1.2}),
    Country("Allemagne", 14, 1, "de", {"Electronique": 1.2, "Maison": 1.2}),
    Country("UK", 12, 0, "en", {"Livres": 1.3}),
    Country("Espagne", 9, 1, "es", {"Mode": 1.3, "Sport": 1.2}),
    Country("Italie", 9, 1, "it", {"Mode": 1.5, "Alimentation": 1.2}),
    Country("Belgique", 6, 1, "fr", {"Alimentation": 1.4}),
    Country("Pays-Bas", 5, 1, "nl", {"Sport": 1.5}),
    Country("Suisse", 4, 1, "de", {"Beaute": 1.2, "Maison": 1.2}),
    Country("USA", 5, -5, "en", {"Electronique": 1.4, "Jouets": 1.2}),
    Country("Canada", 2, -5, "fr", {"Sport": 1.3}),
)

SEGMENTS: tuple[Segment, ...] = (
    Segment("Particulier", 76, (70, 20, 7, 2, 1)),
    Segment(
        "Entreprise",
        16,
        (45, 20, 12, 6, 8, 3, 1, 1, 0, 4),
        {"Electronique": 2.5, "Maison": 1.2, "Jouets": 0.2, "Beaute": 0.3, "Mode": 0.4},
    ),
    Segment("Etudiant", 8, (82, 14, 4), {"Livres": 2.0, "Electronique": 1.2, "Maison": 0.5}),
)

FIRST_NAMES: Mapping[str, tuple[str, ...]] = {
    "fr": ("Camille", "Chloé", "Émilie", "François", "Hélène", "Inès", "Jérôme", "Louis", "Manon", "Noël", "Zoé"),
    "de": ("Anna", "Björn", "Felix", "Jürgen", "Katharina", "Lena", "Lukas", "Maximilian", "Sören", "Ulrike"),
    "en": ("Alice", "Charlotte", "Emily", "George", "Harry", "Jack", "James", "John", "Olivia", "Sophie", "William"),
    "es": ("Alejandro", "Begoña", "Carmen", "Diego", "Íñigo", "José", "Lucía", "María", "Pablo", "Sofía"),
    "it": ("Alessandro", "Chiara", "Francesca", "Giulia", "Lorenzo", "Luca", "Marco", "Matteo", "Nicolò", "Sara"),
    "nl": ("Anouk", "Bram", "Daan", "Femke", "Lotte", "Noor", "Pieter", "Sanne", "Thijs", "Zoë"),
}

LAST_NAMES: Mapping[str, tuple[str, ...]] = {
    "fr": ("Bernard", "Dubois", "Durand", "Fournier", "Garçon", "Lefèvre", "Lemaître", "Martin", "Moreau", "Petit"),
    "de": ("Bauer", "Becker", "Fischer", "Groß", "Hoffmann", "Krüger", "Müller", "Schäfer", "Schmidt", "Weber"),
    "en": ("Brown", "Clarke", "Davies", "Evans", "Johnson", "Jones", "O'Neill", "Smith", "Taylor", "Wilson"),
    "es": ("Castaño", "Fernández", "García", "Gómez", "López", "Martínez", "Muñoz", "Ortega", "Pérez", "Ruiz"),
    "it": ("Bianchi", "Colombo", "D'Angelo", "Esposito", "Ferrari", "Greco", "Ricci", "Romano", "Rossi", "Russo"),
    "nl": ("Bakker", "de Boer", "de Vries", "Jansen", "Meijer", "Mulder", "Smit", "van Dijk", "van den Berg", "Visser"),
}

CLIENT_COUNT = 40_000

LOCAL_HOUR_WEIGHTS: tuple[float, ...] = (
    *(0.6, 0.3, 0.2, 0.15, 0.15, 0.3, 0.8, 1.6),
    *(2.6, 3.4, 3.8, 4.6, 6.6, 6.0, 4.0, 3.6),
    *(3.9, 4.8, 6.2, 7.8, 8.6, 7.2, 4.4, 1.8),
)
"""Sales by hour of the client's clock: a peak at lunch, a higher one in the evening, hardly any at night."""

WEEKDAY_WEIGHTS: tuple[float, ...] = (0.95, 0.92, 0.98, 1.0, 1.15, 1.3, 0.85)
"""Sales by day of the client's week, from Monday."""

PROMOTION_PCTS: tuple[int, ...] = (0, 10, 15, 20)
PROMOTION_WEEK_WEIGHTS: tuple[float, ...] = (88, 6, 4, 2)
"""How often a product has each reduction; one lasts a week."""
