"""Multiply labelled photos: `synthesise(photos, config, seed)`, parallel, deterministic and resumable.

Child k descends from photo k mod N and draws from the sub-seeds (seed, k, attempt); nothing else enters, so
the result does not depend on the number of workers, their order, or interruptions.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np

from ..affordance.labels import LabelledImage
from ..core.chat import ChatConfig
from ..core.ranges import at_least
from ..core.workers import worker_pool
from .binding import SynthesisError
from .checks import NoJudge, Rejected, check_judge
from .compose import ComposeConfig, Composer, compose
from .diffusion import DiffusionConfig, DiffusionRepainter
from .repaint import ProceduralConfig, ProceduralRepainter, Repainter, RepainterConfig, RepaintRequest
from .scene import Scene, analyse
from .store import StoreError, claim, content_hash, read_image, write_image

Progress = Callable[[int, int], None]
Words = Mapping[str, Sequence[str]]
_CHUNK = 10  # children of one photo that a worker draws in a row


@dataclass(frozen=True)
class SynthesisConfig:
    """How many synthetic images, of what kind, and made how.

    Attributes:
        count: synthetic images in all, spread evenly over the photos.
        compose: what is drawn.
        repainter: procedural or diffusion, with its settings.
        judge: none, or a vision-language model that is asked whether an image is usable.
        draws: most draws per image; after half of them h is drawn ever closer to the identity.
        workers: processes; 1 stays in this one.
        batch: images whose objects are repainted together (worth it for diffusion on a GPU).
    """

    count: int = 500
    compose: ComposeConfig = field(default_factory=ComposeConfig)
    repainter: RepainterConfig = field(default_factory=ProceduralConfig)
    judge: NoJudge | ChatConfig = field(default_factory=NoJudge)
    draws: int = 24
    workers: int = 1
    batch: int = 1

    def __post_init__(self) -> None:
        at_least(self, 1, "count", "draws", "workers", "batch")


@dataclass(frozen=True)
class SynthesisReport:
    """How many draws it took.

    Attributes:
        kept: images made.
        rejected: draws thrown away, by reason.
    """

    kept: int
    rejected: Mapping[str, int]

    @classmethod
    def of(cls, images: Iterable[LabelledImage]) -> SynthesisReport:
        """Sum up the provenance of synthetic images."""
        total: Counter[str] = Counter()
        kept = 0
        for image in images:
            rejected = image.provenance.details.get("rejected", {})
            if isinstance(rejected, Mapping):
                total.update({str(key): int(value) for key, value in rejected.items()})
            kept += 1
        return cls(kept, dict(sorted(total.items())))


def synthesise(
    photos: Sequence[LabelledImage],
    config: SynthesisConfig,
    seed: int,
    *,
    folder: Path | None = None,
    words: Words | None = None,
    repainter: Repainter | None = None,
    progress: Progress | None = None,
) -> list[LabelledImage]:
    """Synthetic children of labelled photos; the photos themselves are not among them.

    Args:
        photos: with masks; ids must be unique.
        config: see `SynthesisConfig`.
        seed: of everything random.
        folder: where each image is published as it is finished; those already there are not made again.
        words: appearances to choose from, by photo id; the word list where absent.
        repainter: used instead of `config.repainter`'s (in this process; needs workers=1).
        progress: called with (done, total).

    Returns:
        `config.count` images with new ids, moved labels and masks, and full provenance.

    Raises:
        SynthesisError: a photo is unusable, or none of its draws passed the filters; names the photo.
        StoreError: `folder` belongs to another run.
    """
    _check_photos(photos)
    if repainter is not None and config.workers > 1:
        raise ValueError("workers: a repainter object cannot be shared; use workers=1")
    run = _Run(tuple(photos), config, seed, folder, words or {})
    done = run.finished()
    chunks = _chunks([k for k in range(config.count) if k not in done], len(photos))
    produced = _parallel(run, chunks) if config.workers > 1 else _serial(run, chunks, repainter)
    for k, image in produced:
        done[k] = image
        if progress is not None:
            progress(len(done), config.count)
    return _without_duplicates(run, done, repainter)


@dataclass(frozen=True)
class _Run:
    """Everything a worker needs."""

    photos: tuple[LabelledImage, ...]
    config: SynthesisConfig
    seed: int
    folder: Path | None
    words: Words

    def child_id(self, k: int) -> str:
        return f"{self.photos[k % len(self.photos)].id}-s{self.seed}-{k:05d}"

    def finished(self) -> dict[int, LabelledImage]:
        """Images that an earlier, interrupted run published; damaged ones are made again."""
        if self.folder is None:
            return {}
        claim(self.folder, self._recipe())
        found: dict[int, LabelledImage] = {}
        for k in range(self.config.count):
            if (self.folder / f"{self.child_id(k)}.json").exists():
                try:
                    found[k] = read_image(self.folder, self.child_id(k))
                except StoreError:
                    continue
        return found

    def analyse(self, k: int) -> Scene:
        config = self.config.compose
        return analyse(self.photos[k % len(self.photos)], config.background, config.binding)

    def publish(self, image: LabelledImage) -> None:
        if self.folder is not None:
            write_image(self.folder, image)

    def _recipe(self) -> str:
        """Fingerprint of all that decides the images (their number and the workers do not)."""
        settings = replace(self.config, count=1, workers=1, batch=1)
        digest = hashlib.sha256(repr((settings, self.seed, sorted(self.words.items()))).encode())
        for photo in self.photos:
            digest.update(repr((photo.id, photo.instruction, photo.affordance)).encode())
            digest.update(photo.rgb.tobytes() + (b"" if photo.masks is None else photo.masks.tobytes()))
        return digest.hexdigest()


@dataclass
class _Job:
    """One child in the making: its present draw and what became of the earlier ones."""

    k: int
    scene: Scene
    attempt: int = -1
    rejected: Counter[str] = field(default_factory=Counter)
    composer: Composer | None = None
    request: RepaintRequest | None = None


def _draw(run: _Run, jobs: Sequence[_Job], repainter: Repainter) -> Iterator[tuple[int, LabelledImage]]:
    """Draw children side by side, `batch` at a time; yields each as it passes the filters."""
    waiting = list(jobs)
    active: list[_Job] = []
    while waiting or active:
        while waiting and len(active) < run.config.batch:
            active.append(waiting.pop(0))
        asking = [job for job in active if job.request is not None]
        answers = repainter.repaint([job.request for job in asking if job.request is not None])
        painted = {job.k: answer for job, answer in zip(asking, answers, strict=True)}
        for job in list(active):
            image = _advance(run, job, painted.get(job.k))
            if image is not None:
                active.remove(job)
                run.publish(image)
                yield job.k, image


def _advance(run: _Run, job: _Job, painted: np.ndarray | None) -> LabelledImage | None:
    """Move one child to its next request, or to its end; a rejected draw starts the next one."""
    try:
        if job.composer is None:
            job.composer = _next_draw(run, job)
            job.request = next(job.composer)
        else:
            assert painted is not None  # noqa: S101 (a composer under way has always asked)
            job.request = job.composer.send(painted)
    except StopIteration as end:
        try:
            check_judge(end.value, run.config.judge)
            return _signed(run, job, end.value)
        except Rejected as refusal:
            _refuse(job, refusal)
    except Rejected as refusal:
        _refuse(job, refusal)
    return None


def _next_draw(run: _Run, job: _Job) -> Composer:
    draws = run.config.draws
    job.attempt += 1
    if job.attempt >= draws:
        reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(job.rejected.items()))
        raise SynthesisError(f"image {job.scene.parent.id!r}: none of {draws} draws passed ({reasons})")
    calm = min(1.0, 2 * (1 - job.attempt / max(draws - 1, 1)))
    words = run.words.get(job.scene.parent.id, ())
    return compose(job.scene, run.config.compose, (run.seed, job.k, job.attempt), calm, words)


def _refuse(job: _Job, refusal: Rejected) -> None:
    job.rejected[refusal.reason] += 1
    job.composer = job.request = None


def _signed(run: _Run, job: _Job, image: LabelledImage) -> LabelledImage:
    """Give a finished child its id and the history of its draws."""
    history = {"attempt": job.attempt, "rejected": dict(sorted(job.rejected.items()))}
    provenance = replace(image.provenance, details={**image.provenance.details, **history})
    return replace(image, id=run.child_id(job.k), provenance=provenance)


def _serial(
    run: _Run, chunks: Sequence[Sequence[int]], repainter: Repainter | None
) -> Iterator[tuple[int, LabelledImage]]:
    painter = repainter or make_repainter(run.config.repainter)
    jobs = [job for chunk in chunks for job in _jobs(run, chunk)] if run.config.batch > 1 else []
    if jobs:
        yield from _draw(run, jobs, painter)
        return
    for chunk in chunks:
        yield from _draw(run, _jobs(run, chunk), painter)


def _jobs(run: _Run, chunk: Sequence[int]) -> list[_Job]:
    """Jobs of children of one photo, which share its analysis."""
    scene = run.analyse(chunk[0])
    return [_Job(k, scene) for k in chunk]


_worker: tuple[_Run, Repainter] | None = None


def _start_worker(run: _Run) -> None:
    global _worker
    cv2.setNumThreads(1)
    _worker = run, make_repainter(run.config.repainter)


def _work(chunk: Sequence[int]) -> list[tuple[int, LabelledImage]]:
    assert _worker is not None  # noqa: S101 (the pool's initialiser ran)
    run, repainter = _worker
    return list(_draw(run, _jobs(run, chunk), repainter))


def _parallel(run: _Run, chunks: Sequence[Sequence[int]]) -> Iterator[tuple[int, LabelledImage]]:
    with worker_pool(run.config.workers, _start_worker, (run,)) as pool:
        futures = [pool.submit(_work, chunk) for chunk in chunks]
        try:
            for future in as_completed(futures):
                yield from future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _without_duplicates(
    run: _Run, done: dict[int, LabelledImage], repainter: Repainter | None
) -> list[LabelledImage]:
    """Draw again, in order, any image whose pixels equal an earlier one's or a photo's."""
    seen = {content_hash(photo) for photo in run.photos}
    for k in range(run.config.count):
        while content_hash(done[k]) in seen:
            details = done[k].provenance.details
            rejected = Counter(details["rejected"])  # pyright: ignore[reportArgumentType, reportCallIssue]
            rejected["duplicate"] += 1
            job = _Job(k, run.analyse(k), attempt=int(str(details["attempt"])), rejected=rejected)
            painter = repainter or make_repainter(run.config.repainter)
            done[k] = next(_draw(run, [job], painter))[1]
        seen.add(content_hash(done[k]))
    return [done[k] for k in range(run.config.count)]


def make_repainter(config: RepainterConfig) -> Repainter:
    """The repainter that a config describes."""
    if isinstance(config, ProceduralConfig):
        return ProceduralRepainter(config)
    if isinstance(config, DiffusionConfig):
        return DiffusionRepainter(config)
    raise TypeError(f"repainter: no such kind, {type(config).__name__}")


def _check_photos(photos: Sequence[LabelledImage]) -> None:
    if not photos:
        raise SynthesisError("photos: none given")
    for photo_id, count in Counter(photo.id for photo in photos).items():
        if count > 1:
            raise SynthesisError(f"image {photo_id!r}: id is used {count} times")


def _chunks(children: Sequence[int], photos: int) -> list[list[int]]:
    """Children grouped by photo, at most `_CHUNK` a group."""
    by_photo: dict[int, list[int]] = {}
    for k in children:
        by_photo.setdefault(k % photos, []).append(k)
    return [ks[i : i + _CHUNK] for ks in by_photo.values() for i in range(0, len(ks), _CHUNK)]
