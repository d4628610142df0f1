"""Object families by category and split: the project's own, and those that a user registers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module

from .objects import Category, ObjectFamily, Split
from .task import Task, TaskName
from .tasks.drawer import DrawerTask
from .tasks.pour import PourTask
from .tasks.sweep import SweepTask
from .tasks.towel import TowelTask
from .tasks.unplug import UnplugTask

_FILES = ("sweep", "drawer", "towel", "pour", "unplug", "clutter")
_FOLDERS: dict[Split, str] = {
    "train": "families_train",
    "validation": "families_train",
    "test": "families_test",
}
_TASKS: Mapping[TaskName, Callable[[], Task]] = {
    "sweep": SweepTask,
    "drawer": DrawerTask,
    "towel": TowelTask,
    "pour": PourTask,
    "unplug": UnplugTask,
}
TASK_NAMES: tuple[TaskName, ...] = tuple(_TASKS)


class UnknownFamily(ValueError):
    """No family matches; the message says which category, split or name."""


class Registry:
    """Families, looked up by category and split.

    Args:
        extra: families beside the project's own, e.g. from `user_objects.load_families`.
        exclusive: whether a category that `extra` covers in a split uses only those.
    """

    def __init__(self, extra: Iterable[ObjectFamily] = (), exclusive: bool = True) -> None:
        self._extra = tuple(extra)
        self._exclusive = exclusive

    def families(self, category: Category, split: Split) -> tuple[ObjectFamily, ...]:
        """All families of a category in a split, in a fixed order.

        Raises:
            UnknownFamily: there is none.
        """
        extra = tuple(f for f in self._extra if f.category == category and f.split == split)
        own = () if extra and self._exclusive else tuple(own_families(category, split))
        if not own + extra:
            raise UnknownFamily(f"no family of category {category!r} in split {split!r}")
        return own + extra


def own_families(category: Category, split: Split) -> Iterable[ObjectFamily]:
    """The project's families. Test families are imported only when they are asked for."""
    for name in _FILES:
        module = import_module(f"{__package__}.{_FOLDERS[split]}.{name}")
        for family in module.FAMILIES:
            if family.category == category and family.split == split:
                yield family


def task(name: TaskName) -> Task:
    """One of the five tasks by name."""
    return _TASKS[name]()
