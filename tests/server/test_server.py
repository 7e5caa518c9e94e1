from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from sidiff.server.current import ServedBundle
from sidiff.serving import Bundle, Recommender
from sidiff.serving.lists import UserList

from .conftest import SERVE, Server, serving

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")


def post(server: Server, body: Any, **more: Any) -> httpx.Response:
    return httpx.post(f"{server.url}/recommendations", json=body, timeout=60, **more)


def as_json(found: UserList) -> dict[str, Any]:
    """A list in the server's JSON."""
    items = [
        {
            name: value
            for name, value in (
                ("item_id", item.item_id),
                ("title", item.title),
                ("semantic_id", item.semantic_id),
                ("score", item.score),
                ("transitions", item.transitions),
            )
            if name != "transitions" or value is not None
        }
        for item in found
    ]
    return {
        "items": items,
        "method": found.method,
        "filled_up": found.filled_up,
        "unknown": list(found.unknown),
    }


def some_histories(recommender: Recommender, users: int) -> list[list[str]]:
    random = np.random.default_rng(users)
    ids = recommender.names.item_ids.to_list()
    return [[ids[i] for i in random.integers(0, len(ids), 1 + n)] for n in range(users)]


def test_its_lists_are_the_recommenders(
    server: Server, recommender: Recommender
) -> None:
    histories = [*some_histories(recommender, 9), [], ["unknown"]]
    for decoder in (None, *recommender.decoders):
        answer = post(server, {"histories": histories, "k": 7, "decoder": decoder})
        assert answer.status_code == 200, answer.text
        wanted = recommender.recommend(histories, 7, decoder=decoder)
        assert answer.json() == {
            "bundle": recommender.about["fingerprint"],
            "lists": [as_json(found) for found in wanted],
        }


def test_options_reach_the_recommender(
    server: Server, recommender: Recommender
) -> None:
    ids = recommender.names.item_ids.to_list()
    options = {"k": 50, "exclude_seen": False, "allow": ids[:9], "deny": ids[3:5]}
    answer = post(server, {"histories": [ids[:2]], **options})
    wanted = recommender.recommend([ids[:2]], **options)
    assert answer.json()["lists"] == [as_json(wanted[0])]
    told = post(server, {"histories": [ids[:2]], "k": 1, "explain": True}).json()
    (item,) = recommender.recommend(ids[:2], 1, explain=True)
    (step, *_) = told["lists"][0]["items"][0]["steps"]
    assert item.steps is not None
    assert step["code"] == item.steps[0].code
    assert step["probability"] == item.steps[0].probability
    assert step["likeliest"][0]["code"] == item.steps[0].likeliest[0].code


def test_similar_items(server: Server, recommender: Recommender) -> None:
    item = recommender.names.item_ids[4]
    answer = httpx.get(f"{server.url}/items/{item}/similar", params={"k": 3})
    wanted = recommender.similar(item, 3)
    assert answer.json()["items"] == as_json(wanted)["items"]
    for unknown in ("nobody", "a/b", "%00", "x" * 3000):
        answer = httpx.get(f"{server.url}/items/{unknown}/similar")
        assert answer.status_code == 404
        assert "There is no item" in answer.json()["detail"]


def test_health_and_version(server: Server, recommender: Recommender) -> None:
    health = httpx.get(f"{server.url}/health")
    fingerprint = recommender.about["fingerprint"]
    assert health.json() == {"status": "ok", "bundle": fingerprint}
    version = httpx.get(f"{server.url}/version").json()
    assert version["dataset"] == "shop"
    assert version["items"] == len(recommender.names.item_ids)
    assert version["decoders"] == list(recommender.decoders)


BAD: list[tuple[bytes, int, str]] = [
    (b"", 422, "Field required"),
    (b"{", 400, "no JSON"),
    (b"\xff\xfe", 400, "body"),
    (b"[" * 100_000, 400, "body"),
    (b"null", 422, "body"),
    (b"[]", 422, "body"),
    (b"{}", 422, "histories: Field required"),
    (b'{"histories": []}', 422, "at least 1"),
    (b'{"histories": "B0"}', 422, "histories"),
    (b'{"histories": [["a", 3]]}', 422, "histories.0.1"),
    (b'{"histories": [["a", null]]}', 422, "histories.0.1"),
    (b'{"histories": [["\\ud800"]]}', 422, "histories.0.0"),
    (b'{"histories": [["a"]], "k": NaN}', 422, "k"),
    (b'{"histories": [["a"]], "k": Infinity}', 422, "k"),
    (b'{"histories": [["a"]], "k": 0}', 422, "k: Input should be greater"),
    (b'{"histories": [["a"]], "k": 1e400}', 422, "k"),
    (b'{"histories": [["a"]], "k": ' + b"9" * 5000 + b"}", 400, "JSON"),
    (b'{"histories": [["a"]], "k": true}', 422, "k"),
    (b'{"histories": [["a"]], "k": "10"}', 422, "k"),
    (b'{"histories": [["a"]], "decoder": "beam"}', 422, "decoder"),
    (b'{"histories": [["a"]], "exclude_seen": 1}', 422, "exclude_seen"),
    (b'{"histories": [["a"]], "user": 1}', 422, "user: Extra inputs"),
    (json.dumps({"histories": [["a"] * 10_001]}).encode(), 422, "at most 10000"),
    (json.dumps({"histories": [[]] * 257}).encode(), 422, "at most 256"),
    (b'{"histories": [["a"]], "k": 101, "explain": true}', 422, "a k of 100"),
    (json.dumps({"histories": [[]] * 11, "explain": True}).encode(), 422, "most 10"),
    (json.dumps({"histories": [[]], "x" * 9000: 1}).encode(), 422, "xxx...: Extra"),
    (json.dumps({"histories": [["a" * 513]]}).encode(), 422, "at most 512"),
    (json.dumps({"histories": [["a"] * 1_000_000]}).encode(), 413, "larger than"),
]


@pytest.mark.parametrize(("body", "status", "words"), BAD)
def test_a_wrong_body_is_told_in_one_sentence(
    server: Server, body: bytes, status: int, words: str
) -> None:
    headers = {"Content-Type": "application/json"}
    answer = httpx.post(
        f"{server.url}/recommendations", content=body, headers=headers, timeout=30
    )
    assert answer.status_code == status, answer.text
    sentence = answer.json()["detail"]
    assert words in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert len(sentence) < 300


def test_a_body_without_length_is_limited_too(server: Server) -> None:
    def endless() -> Any:
        for _ in range(100):
            yield b'"' + b"a" * 100_000

    answer = httpx.post(f"{server.url}/recommendations", content=endless(), timeout=30)
    assert answer.status_code == 413


def test_other_paths_and_methods(server: Server) -> None:
    assert httpx.get(f"{server.url}/nothing").json() == {"detail": "Not Found."}
    assert httpx.get(f"{server.url}/recommendations").status_code == 405
    assert httpx.get(f"{server.url}/docs").status_code == 200


def test_every_field_of_the_openapi_schema_is_described(server: Server) -> None:
    schema = httpx.get(f"{server.url}/openapi.json").json()
    own = {
        name: model
        for name, model in schema["components"]["schemas"].items()
        if "ValidationError" not in name  # FastAPI's
    }
    assert {"ListsRequest", "UserList", "Item", "Step", "CodeProbability"} <= own.keys()
    missing = [
        f"{name}.{field}"
        for name, model in own.items()
        for field, value in model["properties"].items()
        if not value.get("description")
    ]
    assert not missing
    assert all(model.get("description") for model in own.values())


def test_it_keeps_to_its_openapi(server: Server, tmp_path: Path) -> None:
    # Too much is refused before anybody looks what is wrong with it.
    (tmp_path / "schemathesis.toml").write_text(
        "[checks.negative_data_rejection]\n"
        'expected-statuses = ["400", "401", "404", "405", "413", "422"]\n'
    )
    done = subprocess.run(  # noqa: S603
        [
            *(str(SCHEMATHESIS), "run", f"{server.url}/openapi.json"),
            *("--max-examples", "40", "--seed", "1", "--no-color"),
            *("--phases", "examples,coverage,fuzzing", "--request-timeout", "30"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert server.process.poll() is None


def test_requests_share_batches_and_are_counted(
    server: Server, recommender: Recommender
) -> None:
    def counted() -> dict[str, float]:
        text = httpx.get(f"{server.url}/metrics").text
        return {
            f"{sample.name} {sample.labels.get('route', '')}": sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.labels.get("status", "200") == "200"
        }

    histories = some_histories(recommender, 60)
    wanted = [as_json(found) for found in recommender.recommend(histories, 10)]
    before = counted()
    with ThreadPoolExecutor(30) as pool:
        answers = list(pool.map(lambda h: post(server, {"histories": [h]}), histories))
    after = counted()
    assert [answer.json()["lists"][0] for answer in answers] == wanted

    def more(name: str) -> float:
        return after[name] - before[name]

    assert more("sidiff_requests_total /recommendations") == 60
    assert more("sidiff_request_seconds_count /recommendations") == 60
    assert more("sidiff_batch_users_sum ") == 60
    assert more("sidiff_batch_users_count ") < 60
    assert after["sidiff_waiting_users "] == 0


def test_a_token_is_asked_for(folder: Path) -> None:
    with serving(folder, SIDIFF_TOKEN="secret") as server:  # noqa: S106
        assert httpx.get(f"{server.url}/health").status_code == 200
        for headers in (
            {},
            {"Authorization": "secret"},
            {"Authorization": "Bearer secre"},
            {"Authorization": "Basic secret"},
            {"Authorization": b"Bearer s\xc3\xa9cret"},
        ):
            for path in ("version", "metrics", "openapi.json", "docs", "nothing"):
                answer = httpx.get(f"{server.url}/{path}", headers=headers)
                assert answer.status_code == 401
                assert answer.headers["WWW-Authenticate"] == "Bearer"
        right = {"Authorization": "Bearer secret"}
        assert httpx.get(f"{server.url}/version", headers=right).status_code == 200
        answer = post(server, {"histories": [[]]}, headers=right)
        assert answer.status_code == 200


def test_bundles_are_exchanged_while_clients_ask(
    bundle: Bundle, recommender: Recommender, tmp_path: Path
) -> None:
    """Every request is answered, by one bundle or the other as a whole."""
    histories = some_histories(recommender, 12)
    wanted: dict[str, list[dict[str, Any]]] = {}

    def publish(version: str, scale: float) -> None:
        weights = {name: a * np.float32(scale) for name, a in bundle.weights.items()}
        replace(bundle, weights=weights).write(tmp_path / version / "bundle")
        loaded = Recommender.load(tmp_path / version / "bundle")
        lists = loaded.recommend(histories, 5)
        wanted[loaded.about["fingerprint"]] = [as_json(found) for found in lists]

    publish("v1", 1.0)
    answers: list[httpx.Response] = []
    ended = threading.Event()

    with serving(tmp_path, "--watch-seconds", "0.2") as server:

        def ask() -> None:
            with httpx.Client(timeout=60) as client:
                while not ended.is_set():
                    body = {"histories": histories, "k": 5}
                    url = f"{server.url}/recommendations"
                    answers.append(client.post(url, json=body))

        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        for number in (2, 3):
            publish(f"v{number}", 1.0 + number)
            _wait_for(server, list(wanted)[-1])
        # One that is damaged does not take over.
        publish("v4", 9.0)
        _wait_for(server, list(wanted)[3])
        damaged = tmp_path.with_name("damaged")
        bundle.write(damaged / "bundle")
        weights = damaged / "bundle" / "weights.safetensors"
        weights.write_bytes(weights.read_bytes()[:-5])
        # Only now, or the server may have taken it over while it was whole.
        damaged.rename(tmp_path / "v5")
        _wait_for_metric(server, "sidiff_bundles_refused_total 1.0")
        _wait_for(server, list(wanted)[3])
        ended.set()
        for thread in threads:
            thread.join()
    assert len(answers) > 20
    for answer in answers:
        assert answer.status_code == 200, answer.text
        told = answer.json()
        assert told["lists"] == wanted[told["bundle"]]
    assert {answer.json()["bundle"] for answer in answers} >= set(list(wanted)[:3])


def _wait_for(server: Server, fingerprint: str) -> None:
    for _ in range(1200):  # a busy machine is not a failure
        if httpx.get(f"{server.url}/health").json()["bundle"] == fingerprint:
            return
        threading.Event().wait(0.1)
    raise AssertionError(f"{fingerprint} is not taken over")


def _wait_for_metric(server: Server, line: str) -> None:
    for _ in range(1200):  # a busy machine is not a failure
        if line in httpx.get(f"{server.url}/metrics").text:
            return
        threading.Event().wait(0.1)
    raise AssertionError(f"no {line}")


def test_a_bundle_that_is_still_being_copied_is_looked_at_again(
    bundle: Bundle, tmp_path: Path
) -> None:
    bundle.write(tmp_path / "served" / "v1" / "bundle")
    weights = {name: a * np.float32(2) for name, a in bundle.weights.items()}
    replace(bundle, weights=weights).write(tmp_path / "whole")
    current = ServedBundle(tmp_path / "served", "cpu")
    first = current.recommender.about["fingerprint"]
    copy = tmp_path / "served" / "v2" / "bundle"
    copy.mkdir(parents=True)
    shutil.copy(tmp_path / "whole" / "manifest.json", copy)
    current.look()
    current.look()
    refused = REGISTRY.get_sample_value("sidiff_bundles_refused_total")
    assert refused == 1, "it has not changed"
    assert current.recommender.about["fingerprint"] == first
    shutil.copytree(tmp_path / "whole", copy, dirs_exist_ok=True)
    current.look()
    assert current.recommender.about["fingerprint"] != first


def test_a_name_of_this_machine_needs_no_warning(folder: Path) -> None:
    with serving(folder, "--host", "localhost") as server:
        assert httpx.get(f"{server.url}/health").status_code == 200
    assert "open to all clients" not in server.log


def test_who_is_being_served_is_served_to_the_end(
    folder: Path, recommender: Recommender
) -> None:
    histories = some_histories(recommender, 200)
    body = {"histories": histories, "k": 50, "decoder": "cpd"}
    with serving(folder) as server, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(post, server, body)
        _wait_for_metric(server, "sidiff_waiting_users 0.0")
        threading.Event().wait(0.3)
        os.kill(server.process.pid, signal.SIGTERM)
        assert answer.result().status_code == 200
        assert server.process.wait(30) in (0, -signal.SIGTERM)


def test_a_slow_client_holds_nobody_up(server: Server) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as slow:
        slow.sendall(
            b"POST /recommendations HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n"
            b"Content-Type: application/json\r\n\r\n{"
        )
        assert post(server, {"histories": [[]]}).status_code == 200
        slow.settimeout(30)
        assert slow.recv(100).startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["serve", "/nowhere"], "contains no bundle"),
        (["serve", "FOLDER", "--host", "203.0.113.1"], "cannot be listened on"),
        (["serve", "FOLDER", "--device", "cuda"], "no CUDA device"),
    ],
)
def test_what_cannot_be_served_is_told(
    folder: Path, arguments: list[str], words: str
) -> None:
    given = [str(folder) if part == "FOLDER" else part for part in arguments]
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", SERVE, *given],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr
