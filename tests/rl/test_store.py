"""Trajectories on disk and in checkpoints come back exactly."""

from __future__ import annotations

from pathlib import Path

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest

from kalie.core.checkpoint import CheckpointStore
from kalie.rl.decoder import SlotDecoder
from kalie.rl.models import TinyVLMConfig
from kalie.rl.policy import Policy
from kalie.rl.replay import ReplayBuffer
from kalie.rl.rollout import Finished, RolloutConfig, RolloutEngine, episodes
from kalie.rl.store import TrajectoryStore

from .letters import LettersEnv


@pytest.fixture(scope="module")
def finished() -> list[Finished]:
    policy = Policy.load(TinyVLMConfig(hidden=32, layers=1, heads=2, vision_layers=1, image_size=16), 0)
    engine = RolloutEngine(
        lambda: LettersEnv(image_size=12), policy, SlotDecoder(policy, 4, 5, 1.0), RolloutConfig(), "letters"
    )
    return sorted(engine.run(episodes(0, "train", 0, 6)), key=lambda item: item.index)


def flat(items: list[Finished]) -> list[object]:
    """Everything that episodes hold, comparable."""
    return [
        (
            item.index,
            item.trajectory.env,
            item.trajectory.seed,
            item.trajectory.reset_info,
            item.trajectory.final_observation.text,
            [image.tolist() for image in item.trajectory.final_observation.images],
            [
                (
                    turn.observation.text,
                    [(image.dtype.name, image.tolist()) for image in turn.observation.images],
                    *(getattr(turn, name).tolist() for name in ("prompt_ids", "response_ids", "log_probs")),
                    *(getattr(turn, name) for name in ("text", "action", "valid", "reward")),
                    turn.terminated,
                    turn.truncated,
                    dict(turn.info),
                )
                for turn in item.trajectory.turns
            ],
        )
        for item in items
    ]


def test_trajectories_come_back_exactly(finished: list[Finished], tmp_path: Path) -> None:
    store = TrajectoryStore(tmp_path)
    store.write("train-000000", finished[:4])
    store.write("train-000001", finished[4:])
    assert flat(list(store.read())) == flat(finished)
    assert flat(list(store.read(["train-000001"]))) == flat(finished[4:])


def test_values_are_stored_with_the_turn_or_the_token_that_they_precede(
    finished: list[Finished], tmp_path: Path
) -> None:
    store = TrajectoryStore(tmp_path)
    turns = finished[0].trajectory.turns
    tokens = sum(len(turn.response_ids) for turn in turns)
    cases = {"turns": np.arange(len(turns) + 1.0), "tokens": np.arange(tokens + 1.0)}
    for name, values in cases.items():
        table = pq.read_table(store.write(name, finished[:1], [values]), columns=["values"])
        found = table["values"].to_pylist()
        counts = [len(turn.response_ids) for turn in turns] if name == "tokens" else [1] * len(turns)
        assert [len(one) for one in found] == counts
        assert [value for one in found for value in one] == values[:-1].tolist()
    assert pq.read_table(store.write("none", finished[:1]), columns=["values"])["values"].null_count == len(
        turns
    )
    assert flat(list(store.read())) == 3 * flat(finished[:1])


def test_datasets_reads_them_with_images(finished: list[Finished], tmp_path: Path) -> None:
    path = TrajectoryStore(tmp_path / "store").write("train", finished)
    data = datasets.load_dataset(
        "parquet", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache")
    )
    turn = finished[0].trajectory.turns[0]
    assert data[0]["text"] == turn.observation.text
    assert data[0]["response_ids"] == turn.response_ids.tolist()
    assert np.array_equal(np.asarray(data[0]["images"][0]), turn.observation.images[0])
    assert len(data) == sum(len(item.trajectory.turns) for item in finished)


def test_writing_a_name_again_replaces_it_and_leaves_no_rubbish(
    finished: list[Finished], tmp_path: Path
) -> None:
    store = TrajectoryStore(tmp_path)
    for part in (finished, finished[:1]):
        store.write("train", part)
    assert len(list(store.read())) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["train.parquet"]


def test_when_info_is_not_json_expect_an_error_and_the_old_file(
    finished: list[Finished], tmp_path: Path
) -> None:
    store = TrajectoryStore(tmp_path)
    store.write("train", finished)
    first = finished[0].trajectory
    bad = first.__class__("letters", 0, first.turns, first.final_observation, {"set": {1}})  # pyright: ignore
    with pytest.raises(TypeError, match="set"):
        store.write("train", [Finished(0, bad)])
    assert len(list(store.read())) == len(finished)


def test_when_there_is_nothing_expect_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no trajectories"):
        next(TrajectoryStore(tmp_path).read())


def test_the_replay_buffer_keeps_the_newest_turns(finished: list[Finished]) -> None:
    buffer = ReplayBuffer(capacity=9)
    buffer.add(finished)
    assert len(buffer) == 9
    assert [item.index for item in buffer.episodes] == [3, 4, 5]


def test_transitions_are_drawn_uniformly_and_repeat_by_seed(finished: list[Finished]) -> None:
    buffer = ReplayBuffer(capacity=100)
    buffer.add(finished)
    drawn = buffer.sample(18_000, np.random.default_rng(0))
    counts: dict[tuple[int, int], int] = {}
    for one in drawn:
        key = (one.trajectory.seed, one.index)
        counts[key] = counts.get(key, 0) + 1
        assert one.last == one.turn.terminated
    assert len(counts) == 18
    assert min(counts.values()) > 850
    again = buffer.sample(18_000, np.random.default_rng(0))
    assert all(a.turn is b.turn for a, b in zip(drawn, again, strict=True))


def test_the_replay_buffer_survives_a_checkpoint(finished: list[Finished], tmp_path: Path) -> None:
    buffer, other = ReplayBuffer(capacity=100), ReplayBuffer(capacity=100)
    buffer.add(finished)
    CheckpointStore(tmp_path).save(1, {"replay": buffer.state_dict()})
    newest = CheckpointStore(tmp_path).load_newest()
    assert newest is not None
    other.load_state_dict(newest.state["replay"])
    assert flat(list(other.episodes)) == flat(finished)
    assert len(other) == len(buffer)


def test_when_an_empty_buffer_is_drawn_from_expect_an_error() -> None:
    with pytest.raises(ValueError, match="empty"):
        ReplayBuffer(4).sample(1, np.random.default_rng(0))
