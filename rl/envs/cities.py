"""Cities and plain facts about them, for Guess My City; written for this project.

The order matters: games of N cities and K facts take the first ones of each. Olympic hosts are those of
Summer Games up to 2024.
"""

from __future__ import annotations

from .knowledge import Knowledge

FACTS = (
    "a capital", "on the sea", "in Europe", "in Asia", "south of the equator", "an Olympic host",
    "on an island", "English-speaking", "in North America", "snowy in winter", "Spanish-speaking",
    "in Africa", "in South America", "in a desert", "German-speaking", "famous for ancient ruins",
)  # fmt: skip

CITIES = Knowledge.of(
    tuple(fact.lower() for fact in FACTS),
    {
        name.lower(): facts.lower()
        for name, facts in {
            "Paris": "in Europe, a capital, an Olympic host",
            "Tokyo": "in Asia, a capital, on the sea, an Olympic host, on an island",
            "New York": "in North America, on the sea, English-speaking, snowy in winter",
            "Cairo": "in Africa, a capital, in a desert, famous for ancient ruins",
            "Rio de Janeiro": "in South America, on the sea, south of the equator, an Olympic host",
            "Sydney": "on the sea, south of the equator, English-speaking, an Olympic host",
            "London": "in Europe, a capital, English-speaking, an Olympic host, on an island",
            "Moscow": "in Europe, a capital, an Olympic host, snowy in winter",
            "Mexico City": "in North America, a capital, Spanish-speaking, an Olympic host",
            "Mumbai": "in Asia, on the sea",
            "Nairobi": "in Africa, a capital, south of the equator, English-speaking",
            "Buenos Aires": "in South America, a capital, south of the equator, Spanish-speaking",
            "Oslo": "in Europe, a capital, on the sea, snowy in winter",
            "Singapore": "in Asia, a capital, on the sea, on an island, English-speaking",
            "Los Angeles": "in North America, on the sea, English-speaking, an Olympic host",
            "Vienna": "in Europe, a capital, German-speaking",
            "Lagos": "in Africa, on the sea, English-speaking",
            "Jakarta": "in Asia, a capital, on the sea, on an island, south of the equator",
            "Barcelona": "in Europe, on the sea, Spanish-speaking, an Olympic host",
            "Toronto": "in North America, English-speaking, snowy in winter",
            "Auckland": "on the sea, on an island, south of the equator, English-speaking",
            "Seoul": "in Asia, a capital, an Olympic host, snowy in winter",
            "Dublin": "in Europe, a capital, on the sea, on an island, English-speaking",
            "Havana": "in North America, a capital, on the sea, on an island, Spanish-speaking",
            "Athens": "in Europe, a capital, on the sea, an Olympic host, famous for ancient ruins",
            "Sao Paulo": "in South America, south of the equator",
            "Osaka": "in Asia, on the sea, on an island",
            "Munich": "in Europe, German-speaking, an Olympic host",
            "Dubai": "in Asia, on the sea, in a desert",
            "Durban": "in Africa, on the sea, south of the equator, English-speaking",
            "Las Vegas": "in North America, English-speaking, in a desert",
            "Helsinki": "in Europe, a capital, on the sea, an Olympic host, snowy in winter",
            "Rome": "in Europe, a capital, an Olympic host, famous for ancient ruins",
            "Berlin": "in Europe, a capital, German-speaking, an Olympic host",
            "Madrid": "in Europe, a capital, Spanish-speaking",
            "Lisbon": "in Europe, a capital, on the sea",
            "Stockholm": "in Europe, a capital, on the sea, on an island, an Olympic host, snowy in winter",
            "Manchester": "in Europe, on an island, English-speaking",
            "Reykjavik": "in Europe, a capital, on the sea, on an island, snowy in winter",
            "Istanbul": "in Europe, in Asia, on the sea, famous for ancient ruins",
            "Beijing": "in Asia, a capital, an Olympic host",
            "New Delhi": "in Asia, a capital",
            "Riyadh": "in Asia, a capital, in a desert",
            "Manila": "in Asia, a capital, on the sea, on an island",
            "Montreal": "in North America, an Olympic host, snowy in winter",
            "Atlanta": "in North America, English-speaking, an Olympic host",
            "Lima": "in South America, a capital, on the sea, south of the equator, Spanish-speaking",
            "Bogota": "in South America, a capital, Spanish-speaking",
            "Brasilia": "in South America, a capital, south of the equator",
            "Casablanca": "in Africa, on the sea",
            "Accra": "in Africa, a capital, on the sea, English-speaking",
            "Wellington": "a capital, on the sea, on an island, south of the equator, English-speaking",
            "Perth": "on the sea, south of the equator, English-speaking",
        }.items()
    },
)
