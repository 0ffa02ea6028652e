"""Other people's tools on our runs, for real: `python -m tests.experiments.tracking.tools ROOT [OMNIBOARD]`.

ROOT is a folder of runs (`.experiments`) with a completed one, which no program uses at the moment; OMNIBOARD is the
installed program (`node_modules/.bin/omniboard`). Incense must be installed. docs/tools.md says what each can do.
"""

from __future__ import annotations

import http.client
import io
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

from experiments.tracking.mongod import open_embedded
from experiments.tracking.served import Served

METRIC = "validation.student.kl"
FILES = "/sacred/api/v1/files"


def with_pymongo(address: str) -> Any:
    """The best runs, as in the README; returns the id of the last one that was completed."""
    import pymongo

    with pymongo.MongoClient(address) as client:
        runs = client.get_default_database().runs
        for run in runs.find({"status": "COMPLETED"}).sort("result.test.student.accuracy", -1).limit(3):
            print("pymongo:", run["_id"], run["config"]["optimizer"]["lr"], run["result"]["steps"])
        return runs.find_one({"status": "COMPLETED"}, sort=[("start_time", -1)])["_id"]


def with_incense(address: str, run: Any) -> None:
    """Fields, a metric whose name has dots, an artifact, a source."""
    from incense import ExperimentLoader

    loader = ExperimentLoader(mongo_uri=address, db_name="patient_teachers")
    experiment = loader.find_by_id(run)
    print("Incense:", experiment.status, experiment.config.optimizer.lr, sorted(experiment.metrics)[:3])
    # A metric's name has dots itself: a tuple says where the path is parted.
    last = {("metrics", METRIC): lambda series: series.iloc[-1]}
    print(loader.find({"status": "COMPLETED"}).project(on=["config.teaching", "result.steps", last]).to_string())
    card = json.loads(experiment.artifacts["model.json"].content)
    print("Incense: model.json of a", card["name"], "with", card["num_classes"], "classes")


def with_omniboard(program: str, address: str, run: Any) -> None:
    """Start it on a Unix socket, for it listens on all interfaces otherwise, and ask it what its pages ask."""
    with tempfile.TemporaryDirectory() as folder:
        place = f"{folder}/o.sock"
        environment = os.environ | {"MONGO_URI": address, "PORT": place}
        with subprocess.Popen([program], env=environment, stdout=subprocess.DEVNULL) as process:
            try:
                while not Path(place).exists():
                    assert process.poll() is None
                    time.sleep(0.2)
                time.sleep(2.0)
                _ask(place, run)
            finally:
                process.terminate()


def _ask(place: str, run: Any) -> None:
    listed = json.loads(_get(place, "GET", f"/sacred/api/v1/Runs?select={quote('_id,status,config,result')}"))
    (found,) = [each for each in listed if each["_id"] == run]
    print("Omniboard:", len(listed), "runs;", run, found["status"], found["config"]["optimizer"]["lr"])
    query = quote(json.dumps({"run_id": run}))
    metrics = json.loads(_get(place, "GET", f"/sacred/api/v1/Metrics?query={query}"))
    series = {each["name"]: each["values"] for each in metrics}
    print("Omniboard:", len(series), "metrics;", METRIC, series[METRIC][-1])
    sources = zipfile.ZipFile(io.BytesIO(_get(place, "GET", f"{FILES}/downloadAll/{run}/source_files", decode=False)))
    print("Omniboard:", len(sources.namelist()), "source files in its archive")
    print("Omniboard: deleting a run answers", _get(place, "DELETE", f"/sacred/api/v1/Runs/{run}", decode=False)[:120])


def _get(place: str, method: str, path: str, decode: bool = True) -> Any:
    connection = http.client.HTTPConnection("localhost", timeout=30)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(place)
    connection.request(method, path)
    answer = connection.getresponse()
    content = answer.read()
    if decode and answer.status != 200:
        raise RuntimeError(f"{path}: {answer.status} {content[:300]!r}")
    return content.decode() if decode else content


def main(root: str, omniboard: str | None = None) -> None:
    """Serve the runs on a port, and read them with each tool that is here."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = Served(Path(root).absolute(), port)
    with open_embedded(server, Path(root).absolute(), required=True):
        address = server.address_file.read_text().strip()
        run = with_pymongo(address)
        with_incense(address, run)
        if omniboard:
            with_omniboard(omniboard, address, run)


if __name__ == "__main__":
    main(*sys.argv[1:])
