"""Test families of towels and racks. Never import this from code that trains or synthesises."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from ..families_train.towel import (
    Bar,
    RackFamily,
    TowelFamily,
    TowelShape,
    Widths,
    build_rack,
    foot,
    upright,
)
from ..objects import ObjectModel
from ..urdf import Colour, Part

HALF_ANGLE = (0.58, 0.68)


def random_colour(rng: np.random.Generator) -> Colour:
    """A random opaque colour that is neither black nor white."""
    red, green, blue = rng.uniform(0.12, 0.95, 3)
    return float(red), float(green), float(blue), 1.0


def _towel(
    rng: np.random.Generator,
    front: tuple[Widths, ...],
    back: tuple[Widths, ...],
    crease_width: float,
    plate: float = 0.024,
    *,
    striped: bool,
) -> TowelShape:
    return TowelShape(
        front,
        back,
        crease_width,
        crease=rng.uniform(0.047, 0.053),
        half_angle=rng.uniform(*HALF_ANGLE),
        plate=plate,
        mass=rng.uniform(0.045, 0.075),
        colour=random_colour(rng),
        hem=random_colour(rng),
        striped=striped,
    )


def _bath_towel(rng: np.random.Generator) -> TowelShape:
    width = rng.uniform(0.125, 0.145)
    tail = ((width, width),) * 3
    return _towel(rng, tail, tail, width, striped=bool(rng.integers(2)))


def _scarf(rng: np.random.Generator) -> TowelShape:
    width = rng.uniform(0.055, 0.07)
    tail = ((width, width),) * 4
    return _towel(rng, tail, tail, width, plate=0.019, striped=True)


def _bandana(rng: np.random.Generator) -> TowelShape:
    """Widest at the crease, tapering to the hems: a kite as seen from above."""
    width, tip = rng.uniform(0.115, 0.14), rng.uniform(0.02, 0.04)
    stations = np.linspace(width, tip, 4)
    tail = tuple((float(a), float(b)) for a, b in pairwise(stations))
    return _towel(rng, tail, tail, width, striped=False)


def _shirt(rng: np.random.Generator) -> TowelShape:
    """A T-shirt folded over its waist: body below, sleeves and a narrower collar above."""
    body, sleeves, collar = rng.uniform(0.075, 0.09), rng.uniform(0.13, 0.15), rng.uniform(0.045, 0.06)
    front = ((body, body), (sleeves, sleeves), (collar, collar))
    back = ((body, body), (body, body), (body, body))
    return _towel(rng, front, back, body, striped=False)


def _rail(rng: np.random.Generator) -> ObjectModel:
    """A square rail standing on its edge, between two wide panels."""
    wood, iron = random_colour(rng), random_colour(rng)
    bar = Bar(
        (0.0, 0.0, rng.uniform(0.17, 0.20)), rng.uniform(0.17, 0.20), rng.uniform(0.0075, 0.0085), square=True
    )
    x, height, depth = bar.length / 2, bar.xyz[2], rng.uniform(0.06, 0.10)
    panels = tuple(
        Part("box", (0.012, depth, height), (sign * x, 0.0, height / 2), (0.0, 0.0, 0.0), iron, 1.5)
        for sign in (1.0, -1.0)
    )
    return build_rack("panel_rail", (bar,), panels, wood)


def _tee(rng: np.random.Generator) -> ObjectModel:
    """A bar across the top of one post on a wide foot: both ends are free."""
    wood, iron = random_colour(rng), random_colour(rng)
    bar = Bar((0.0, 0.0, rng.uniform(0.17, 0.20)), rng.uniform(0.17, 0.20), rng.uniform(0.009, 0.011))
    post = upright(0.0, 0.0, bar.xyz[2], rng.uniform(0.012, 0.016), iron)
    base = foot(0.0, 0.0, (0.12, rng.uniform(0.08, 0.12)), iron, 3.0)
    return build_rack("tee", (bar,), (post, base), wood)


def _gallows(rng: np.random.Generator) -> ObjectModel:
    """An arm from one post, turned up at its free end like a hook."""
    wood, iron = random_colour(rng), random_colour(rng)
    length, radius = rng.uniform(0.17, 0.19), rng.uniform(0.009, 0.011)
    height = rng.uniform(0.17, 0.20)
    bar = Bar((0.0, 0.0, height), length, radius)
    post = upright(-length / 2, 0.0, height + radius, rng.uniform(0.018, 0.026), iron)
    tip = Part(
        "capsule", (radius, 0.025, 0.0), (length / 2, 0.0, height + 0.015), (0.0, 0.0, 0.0), wood, 0.02
    )
    base = foot(-0.04, 0.0, (length - 0.02, rng.uniform(0.07, 0.10)), iron, 3.0)
    return build_rack("gallows", (bar,), (post, tip, base), wood)


def _ladder(rng: np.random.Generator) -> ObjectModel:
    """Two rungs side by side on one frame, far enough apart for the hand; the instruction names one."""
    wood, iron = random_colour(rng), random_colour(rng)
    length, spacing = rng.uniform(0.18, 0.20), rng.uniform(0.25, 0.28)
    height, radius = rng.uniform(0.17, 0.19), rng.uniform(0.009, 0.011)
    bars = tuple(Bar((0.0, sign * spacing / 2, height), length, radius) for sign in (1.0, -1.0))
    corners = [(a * length / 2, b * spacing / 2) for a in (1.0, -1.0) for b in (1.0, -1.0)]
    posts = tuple(upright(x, y, height + radius, 0.014, iron) for x, y in corners)
    runners = tuple(foot(sign * length / 2, 0.0, (0.02, spacing + 0.05), iron) for sign in (1.0, -1.0))
    return build_rack("ladder", bars, (*posts, *runners), wood)


FAMILIES: tuple[TowelFamily | RackFamily, ...] = (
    TowelFamily("bath_towel", "test", _bath_towel),
    TowelFamily("scarf", "test", _scarf),
    TowelFamily("bandana", "test", _bandana),
    TowelFamily("shirt", "test", _shirt),
    RackFamily("panel_rail", "test", _rail),
    RackFamily("tee", "test", _tee),
    RackFamily("gallows", "test", _gallows),
    RackFamily("ladder", "test", _ladder),
)
