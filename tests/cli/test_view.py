"""`kalie view`: every stored fact is on the page, an agent's words never become markup, faults are named."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from kalie.cli import view
from kalie.cli._agents import keypoints_in
from kalie.cli._episode_server import EpisodeServer
from kalie.cli._token_texts import TokenTexts
from kalie.cli.main import main
from kalie.core.files import DamagedFileError
from kalie.rl.episode_file import Query
from kalie.rl.episodes import EpisodeIndex
from kalie.rl.rollout import Finished
from kalie.rl.store import TrajectoryStore
from kalie.rl.tokenizer import tiny_tokenizer
from kalie.rl.types import Observation, Trajectory, Turn

ATTACK = '</script><script>document.title="stolen"</script><img src=x onerror=alert(1)>'
CHROMIUM = shutil.which("chromium")


def episode(
    index: int,
    answers: list[str],
    *,
    success: bool = False,
    env: str = "kalie/NumberLine-v0",
    rewards: list[float] | None = None,
) -> Finished:
    """An episode whose answers are valid where they are JSON; each turn shows a picture of its own grey."""
    tokenizer: Any = tiny_tokenizer()
    turns = []
    for number, answer in enumerate(answers):
        last = number == len(answers) - 1
        ids = np.array([*tokenizer(answer)["input_ids"], tokenizer.eos_token_id])
        valid = answer.startswith("{")
        turns.append(
            Turn(
                observation=Observation(f"prompt {index}.{number}", (picture(index, number),)),
                prompt_ids=np.array(tokenizer(f"prompt {index}.{number}")["input_ids"]),
                response_ids=ids,
                log_probs=np.log(np.linspace(0.1, 1.0, len(ids))).astype(np.float32),
                text=answer,
                action=json.loads(answer)["action"] if valid else None,
                valid=valid,
                reward=(rewards or [0.5] * len(answers))[number],
                terminated=last and success,
                truncated=last and not success,
                info={"faithful": True, **({"success": success} if last else {})},
            )
        )
    final = Observation("the end", (picture(index, len(answers)),))
    return Finished(index, Trajectory(env, 100 + index, tuple(turns), final, {"level": "easy"}))


def picture(index: int, number: int) -> np.ndarray:
    return np.full((24, 32, 3), (40 * index + 10 * number) % 256, dtype=np.uint8)


PLUS = '{"thoughts": "3 is less than 5", "action": "+"}'
EPISODES = [
    episode(0, [PLUS, PLUS], success=True),
    episode(1, [PLUS, ATTACK, PLUS], rewards=[0.0, -1.0, 0.0]),
    episode(2, ["mumble"], rewards=[-1.0], env="kalie/Shop-v0"),
]
VALUES = [np.array([0.5, 0.25, 0.0]), np.array([-0.5, -0.75, -1.0, -2.0]), np.array([-0.125, 0.0])]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run as `kalie train` leaves it: two evaluations with values, and the training's own episodes."""
    folder = tmp_path_factory.mktemp("runs") / "train" / "mine"
    evaluations = TrajectoryStore(folder / "evaluations")
    evaluations.write("update-000000", EPISODES[:2], VALUES[:2])
    evaluations.write("update-000010", EPISODES, VALUES)
    TrajectoryStore(folder / "trajectories").write("train-000000", EPISODES[2:])
    (folder / "config.yaml").write_text(
        yaml.safe_dump({"model": {"_target_": "kalie.rl.models.TinyVLMConfig"}})
    )
    return folder


class Client:
    """Asks a server."""

    def __init__(self, port: int) -> None:
        self.port = port

    def get(
        self, path: str, words: Mapping[str, object] | None = None, host: str = ""
    ) -> tuple[int, str, bytes]:
        """Status, content type and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        address = f"{path}?{urlencode(words)}" if words else path
        connection.request("GET", address, headers={"Host": host} if host else {})
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, answer.getheader("Content-Type") or "", body

    def json(self, path: str, words: Mapping[str, object] | None = None, status: int = 200) -> Any:  # noqa: ANN401
        """A JSON answer of that status."""
        found, kind, body = self.get(path, words)
        assert kind.startswith("application/json")
        assert found == status, body
        return json.loads(body)


@pytest.fixture(scope="module")
def client(run: Path) -> Iterator[Client]:
    server = EpisodeServer(0, EpisodeIndex(run), TokenTexts(run), "Episodes of mine", Query())
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Client(server.server_port)
    server.shutdown()
    thread.join()
    server.server_close()


LAST = "evaluations/update-000010"


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ({"part": LAST}, [0, 1, 2]),
        ({"part": LAST, "outcome": "success"}, [0]),
        ({"part": LAST, "outcome": "failure"}, [1, 2]),
        ({"part": LAST, "answers": "invalid"}, [1, 2]),
        ({"part": LAST, "answers": "valid"}, [0]),
        ({"env": "kalie/Shop-v0"}, [2, 2]),
        ({"part": LAST, "sort": "return"}, [1, 2, 0]),
        ({"part": LAST, "sort": "turns", "descending": "true"}, [1, 0, 2]),
        ({"text": "MUMBLE"}, [2, 2]),
        ({"part": LAST, "text": "prompt 1.2"}, [1]),
        ({"part": LAST, "text": "</script>"}, [1]),
        ({"part": LAST, "text": ".*"}, []),
        ({"part": LAST, "first": 1, "count": 1}, [1]),
        ({}, [0, 1, 0, 1, 2, 2]),
    ],
)
def test_the_list_is_filtered_sorted_searched_and_paged(
    client: Client, words: dict[str, object], found: list[int]
) -> None:
    answer = client.json("/api/episodes", words)
    assert [item["episode"] for item in answer["listed"]] == found
    assert answer["total"] == (3 if "count" in words else len(found))


def test_a_list_tells_return_turns_outcome_and_invalid_answers(client: Client) -> None:
    second = client.json("/api/episodes", {"part": LAST})["listed"][1]
    assert second == {
        "part": LAST,
        "number": 1,
        "episode": 1,
        "seed": 101,
        "env": "kalie/NumberLine-v0",
        "turns": 3,
        "total": -1.0,
        "success": False,
        "invalid": 1,
        "truncated": True,
    }
    assert client.json("/api/run")["parts"] == [
        "evaluations/update-000000",
        LAST,
        "trajectories/train-000000",
    ]


def test_an_episode_has_everything_that_was_stored(client: Client) -> None:
    shown = client.json("/api/episode", {"part": LAST, "number": 1})
    trajectory = EPISODES[1].trajectory
    assert [turn["response"] for turn in shown["turns"]] == [turn.text for turn in trajectory.turns]
    assert [turn["text"] for turn in shown["turns"]] == ["prompt 1.0", "prompt 1.1", "prompt 1.2"]
    assert [turn["action"] for turn in shown["turns"]] == ["+", None, "+"]
    assert [turn["reward"] for turn in shown["turns"]] == [0.0, -1.0, 0.0]
    assert [turn["values"] for turn in shown["turns"]] == [[-0.5], [-0.75], [-1.0]]
    assert shown["turns"][-1]["truncated"] is True
    assert shown["turns"][-1]["info"] == {"faithful": True, "success": False}
    assert shown["reset_info"] == {"level": "easy"}
    assert shown["final"] == {"text": "the end", "images": 1}
    turn = shown["turns"][0]
    np.testing.assert_array_equal(np.float32(turn["log_probs"]), trajectory.turns[0].log_probs)
    assert "".join(turn["pieces"]) == PLUS + "<|end|>"
    assert len(turn["pieces"]) == len(turn["response_ids"])


def test_values_are_absent_where_there_was_no_critic(client: Client) -> None:
    shown = client.json("/api/episode", {"part": "trajectories/train-000000", "number": 0})
    assert shown["turns"][0]["values"] is None


def test_pictures_are_those_that_were_shown(client: Client) -> None:
    for turn in range(4):
        status, kind, body = client.get("/api/image", {"part": LAST, "number": 1, "turn": turn, "place": 0})
        assert (status, kind) == (200, "image/png")
        decoded = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR)
        np.testing.assert_array_equal(decoded, picture(1, turn))


def test_the_whole_prompt_is_told_as_it_was_sampled_after(client: Client) -> None:
    assert client.json("/api/prompt", {"part": LAST, "number": 1, "turn": 2})["text"] == "prompt 1.2"


def test_when_the_tokenizer_is_not_here_expect_the_answer_without_tokens(run: Path, tmp_path: Path) -> None:
    hub = {"_target_": "kalie.rl.models.HubModelConfig", "source": "nobody/nothing"}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"model": hub}))
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval" / "config.yaml").write_text(yaml.safe_dump({"run": str(tmp_path)}))
    for folder in (tmp_path, tmp_path / "eval", tmp_path / "nowhere"):
        assert TokenTexts(folder).pieces([5, 6]) is None


@pytest.mark.parametrize(
    ("path", "words", "status", "message"),
    [
        ("/api/episodes", {"outcome": "sucess"}, 400, "outcome=sucess"),
        ("/api/episodes", {"outcom": "success"}, 400, "did you mean 'outcome'"),
        ("/api/episodes", {"first": "-1"}, 400, "first=-1: must be a whole number"),
        ("/api/episodes", {"count": "1e3"}, 400, "count=1e3"),
        ("/api/episode", {"part": "../config", "number": 0}, 404, "no episode 0 in '../config'"),
        ("/api/episode", {"part": LAST, "number": 3}, 404, "no episode 3"),
        ("/api/image", {"part": LAST, "number": 0, "turn": 5, "place": 0}, 404, "turn 5 shows no picture 0"),
        ("/api/image", {"part": LAST, "number": 0, "turn": 0, "place": 1}, 404, "shows no picture 1"),
        ("/api/prompt", {"part": LAST, "number": 0, "turn": 9}, 404, "has no turn 9"),
        ("/etc/passwd", {}, 404, "nothing here"),
    ],
)
def test_when_a_request_makes_no_sense_expect_an_error_that_names_it(
    client: Client, path: str, words: dict[str, object], status: int, message: str
) -> None:
    assert message in client.json(path, words, status)["error"]


def test_when_a_page_elsewhere_points_here_expect_refusal(client: Client) -> None:
    for host in ("evil.example", f"evil.example:{client.port}", "127.0.0.1.evil.example"):
        assert client.get("/api/episodes", host=host)[0] == 403
    assert client.get("/", host=f"localhost:{client.port}")[0] == 200


def test_the_page_runs_its_own_script_alone_and_holds_no_answer(client: Client) -> None:
    status, kind, body = client.get("/")
    assert (status, kind) == (200, "text/html; charset=utf-8")
    page = body.decode()
    assert "stolen" not in page
    assert "innerHTML" not in page
    assert re.search(r"script-src &#39;sha256-[\w+/=]+&#39;;", page)


def test_an_export_holds_the_episodes_and_no_answer_as_markup(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    select = ["select.outcome=failure", f"select.part={LAST}", "select.sort=return"]
    assert main(["view", f"run={run}", f"export={path}", *select]) == 0
    page = path.read_text("utf-8")
    assert page.count("<script") == page.count("</script>") == 2
    text = page.partition('id="data">')[2].partition("</script>")[0]
    data = json.loads(text)
    assert [one["episode"] for one in data["episodes"]] == [1, 2]
    assert data["episodes"][0]["turns"][1]["response"] == ATTACK
    assert data["episodes"][0]["turns"][1]["images"][0].startswith("data:image/png;base64,")
    assert data["episodes"][0]["final"]["images"]
    assert main(["view", f"run={run}", f"export={path}", "most=1"]) == 0
    assert page != path.read_text("utf-8")


def test_when_nothing_is_as_asked_for_expect_no_export(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["view", f"run={run}", f"export={tmp_path / 'page.html'}", "select.text=nowhere"]) == 1
    assert "no episode is as select asks for" in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()


def test_when_there_is_no_run_or_it_has_no_episodes_expect_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["view", f"run={tmp_path / 'nowhere'}"]) == 2
    assert f"run={tmp_path / 'nowhere'}: no such folder" in capsys.readouterr().err
    (tmp_path / "evaluations").mkdir()
    assert main(["view", f"run={tmp_path}"]) == 2
    assert "no episodes here; training stores those of its evaluations" in capsys.readouterr().err


def test_when_the_port_is_taken_expect_its_key(
    client: Client, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["view", f"run={run}", f"port={client.port}", "open=false"]) == 2
    assert f"port={client.port}: Address already in use; port=0" in capsys.readouterr().err


@pytest.mark.parametrize("keep", [0, 3, 200, -1])
def test_when_a_file_is_cut_short_expect_it_named(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], keep: int
) -> None:
    whole = (run / f"{LAST}.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[:keep])
    assert main(["view", f"run={tmp_path}"]) == 1
    error = capsys.readouterr().err
    assert f"{tmp_path}/cut.parquet: no readable Parquet file" in error
    assert error.count("\n") == 1


def test_when_a_file_holds_something_else_expect_it_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    assert main(["view", f"run={tmp_path}"]) == 1
    assert "other.parquet: no file of episodes: it has no column" in capsys.readouterr().err


def test_when_bits_are_flipped_expect_the_file_named_never_other_episodes(run: Path, tmp_path: Path) -> None:
    whole = (run / f"{LAST}.parquet").read_bytes()
    sound = everything(EpisodeIndex(run), LAST)
    rng = np.random.default_rng(0)
    refused: list[str] = []
    footer = int.from_bytes(whole[-8:-4], "little")
    for place in rng.integers(4, len(whole) - 8 - footer, size=60).tolist():
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        (tmp_path / "x.parquet").write_bytes(damaged)
        try:
            found = everything(EpisodeIndex(tmp_path), "x")
        except DamagedFileError as error:
            refused.append(str(error))
        else:
            assert found == sound
    assert len(refused) > 30
    assert all("x.parquet" in message for message in refused)


def everything(index: EpisodeIndex, part: str) -> list[object]:
    """All that a page may ask about a file."""
    _, listed = index.select(Query(part=part))
    whole: list[object] = []
    for item in listed:
        shown = index.episode(part, item.number)
        whole += [item._replace(part=""), {**shown, "part": ""}]
        whole += [index.prompt_ids(part, item.number, turn) for turn in range(item.turns)]
        whole += [index.image(part, item.number, turn, 0) for turn in range(item.turns + 1)]
    return whole


def test_episodes_written_while_the_page_is_open_appear(run: Path, tmp_path: Path) -> None:
    store = TrajectoryStore(tmp_path / "evaluations")
    store.write("update-000000", EPISODES[:1])
    index = EpisodeIndex(tmp_path)
    store.write("update-000001", EPISODES)
    store.write("update-000000", EPISODES[:2])
    assert index.select(Query())[0] == 1
    index.refresh()
    assert index.select(Query())[0] == 5


def test_an_episode_that_spans_row_groups_comes_whole(tmp_path: Path) -> None:
    long = [episode(index, [f'{{"action": "{n}"}}' for n in range(60)]) for index in range(10)]
    TrajectoryStore(tmp_path).write("long", long)
    index = EpisodeIndex(tmp_path)
    for number in range(10):
        shown = index.episode("long", number)
        assert [turn["action"] for turn in shown["turns"]] == [str(n) for n in range(60)]
        assert shown["turns"][-1]["text"] == f"prompt {number}.59"
        decoded = cv2.imdecode(np.frombuffer(index.image("long", number, 37, 0), np.uint8), 1)
        np.testing.assert_array_equal(decoded, picture(number, 37))
    assert index.select(Query(text="prompt 7.59"))[1][0].number == 7


def test_one_episode_of_many_is_opened_without_reading_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 600 turns: three row groups, the wanted episode in the second.
    TrajectoryStore(tmp_path).write("many", [episode(index, [PLUS] * 3) for index in range(200)])
    read: list[tuple[int, tuple[str, ...]]] = []
    whole = pq.ParquetFile.read_row_group

    def noted(file: pq.ParquetFile, group: int, columns: list[str]) -> object:
        read.append((group, tuple(columns)))
        return whole(file, group, columns=columns)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", noted)
    index = EpisodeIndex(tmp_path)
    assert index.select(Query(sort="return"), 150, 10)[0] == 200
    assert read == []
    index.episode("many", 100)
    index.image("many", 100, 1, 0)
    assert {group for group, _ in read} == {1}
    assert [columns for _, columns in read if "images" in columns] == [("images",)]


def test_serving_ends_with_an_interrupt_and_opens_no_browser_without_a_screen(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(server: EpisodeServer) -> None:
        raise KeyboardInterrupt

    opened: list[str] = []
    monkeypatch.setattr(EpisodeServer, "serve_forever", interrupt)
    monkeypatch.setattr(view.webbrowser, "open", opened.append)
    for screen in ("", ":0"):
        monkeypatch.setenv("DISPLAY", screen)
        monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
        assert main(["view", f"run={run}", "port=0"]) == 0
    assert len(opened) == 1
    assert f"page: {opened[0]}" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
@pytest.mark.parametrize("exported", [False, True])
def test_a_browser_shows_an_answer_that_looks_like_markup_as_text(
    run: Path, client: Client, tmp_path: Path, exported: bool
) -> None:
    address = f"http://127.0.0.1:{client.port}/"
    if exported:
        assert main(["view", f"run={run}", f"export={tmp_path / 'page.html'}", f"select.part={LAST}"]) == 0
        address = (tmp_path / "page.html").as_uri()
    page = dump(f"{address}#{urlencode({'part': LAST, 'number': 1})}", tmp_path)
    assert "<title>Episodes of mine</title>" in page
    assert "&lt;/script&gt;&lt;" in re.sub(r"</?span[^>]*>", "", page)
    assert "<img src=x" not in page
    assert "Turn 3" in page
    assert "value -0.75" in page


POINTS = '{"action": {"affordance": {"grasp": [0.25, 0.5], "function": null, "tool_tilt": 0.1}}}'


def test_the_keypoints_of_an_action_are_found() -> None:
    assert keypoints_in(json.loads(POINTS)["action"]) == {"grasp": (0.25, 0.5)}
    for other in (None, "+", {"guess": "apple"}, {"affordance": None}):
        assert keypoints_in(other) == {}


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_a_browser_marks_the_keypoints_of_an_action_in_the_picture(tmp_path: Path) -> None:
    shown = episode(0, [PLUS, POINTS], env="kalie/Manipulation-v0")
    TrajectoryStore(tmp_path / "run" / "episodes").write("agent", [shown])
    assert main(["view", f"run={tmp_path / 'run'}", f"export={tmp_path / 'page.html'}"]) == 0
    marks = re.findall(r'<span class="mark"[^>]*>', dump((tmp_path / "page.html").as_uri(), tmp_path))
    assert len(marks) == 1
    assert 'title="grasp"' in marks[0]
    assert "left: 25%; top: 50%; background-color: rgb(230, 57, 70)" in marks[0]


def dump(address: str, folder: Path) -> str:
    """A page's elements after its script has run."""
    assert CHROMIUM is not None
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    profile = f"--user-data-dir={folder / 'profile'}"
    command = [CHROMIUM, *flags, profile, "--virtual-time-budget=20000", "--dump-dom", address]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout
