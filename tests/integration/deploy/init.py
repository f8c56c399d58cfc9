#!/usr/bin/env -S python3 -I
"""A machine's first process, and its ``systemctl``: what of systemd ``docs/deploy.md`` needs.

Without arguments this is process 1, which starts services as their units say: ``ExecStartPre``,
``ExecStart``, ``User``, ``Environment``, ``RuntimeDirectory``, ``StateDirectory`` and ``UMask``,
and waits until they are ready (``Type=notify``, ``forking``). Restrictions and ``Restart=`` are
left out; ``tests/integration/test_units.py`` shows the units to systemd. With arguments it is
``systemctl``, which hands them to process 1. It runs with any Python, so it imports the standard
library only.
"""

import contextlib
import json
import os
import pwd
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

DOOR = "/run/systemctl"
FOLDERS = (Path("/etc/systemd/system"), Path("/lib/systemd/system"))
START = 120.0  # seconds
STOP = 60.0


class Failed(Exception):
    """What systemctl says instead of success."""


class Unit:
    """A service.

    :param name: without ``.service``
    """

    def __init__(self, name):
        self.name = name
        self.process = None
        self.pid = None

    def read(self):
        """Read the file anew, as after ``daemon-reload``."""
        files = [folder / f"{self.name}.service" for folder in FOLDERS]
        file = next((file for file in files if file.exists()), None)
        if file is None:
            raise Failed(f"Unit {self.name}.service not found.")
        text = re.sub(r"\\\n\s*", " ", file.read_text())
        self.options = {}
        for key, value in re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE):
            self.options.setdefault(key, []).append(value)

    def option(self, key, default=None):
        return self.options.get(key, [default])[-1]

    def runs(self):
        """Say whether its main process lives."""
        return self.pid is not None and _lives(self.pid)

    def start(self):
        if self.runs():
            return
        self.read()
        for line in self.options.get("ExecStartPre", []):
            self._ended(self._spawn(line), line)
        kind = self.option("Type", "simple")
        with _Readiness(self.name) as ready:
            self.process = self._spawn(self.option("ExecStart"), NOTIFY_SOCKET=ready.path)
            self.pid = self.process.pid
            if kind == "forking":
                self._ended(self.process, self.option("ExecStart"))
                self.pid = int(Path(self.option("PIDFile")).read_text())
            elif kind == "notify":
                self.pid = ready.wait(self)

    def reload(self):
        self.read()
        line = self.option("ExecReload")
        if not self.runs() or line is None:
            raise Failed(f"{self.name}.service is not active, cannot reload.")
        self._ended(self._spawn(line.replace("$MAINPID", str(self.pid))), line)

    def stop(self):
        """End it with SIGTERM, and what is left of its group with SIGKILL."""
        if self.runs():
            os.kill(self.pid, signal.SIGTERM)
            deadline = time.monotonic() + STOP
            while self.runs() and time.monotonic() < deadline:
                _reap()
                time.sleep(0.02)
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.pid = self.process = None

    def _spawn(self, line, **environment):
        user = self.option("User", "root")
        self._folders(user)
        own = dict(
            part.split("=", 1)
            for text in self.options.get("Environment", [])
            for part in shlex.split(text)
        )
        group = self.option("Group")
        with open(f"/var/log/{self.name}.log", "ab") as log:
            return subprocess.Popen(
                shlex.split(line.lstrip("-+!@")),
                env={"PATH": os.environ["PATH"], "HOME": os.path.expanduser(f"~{user}"),
                     **own, **environment},
                cwd=self.option("WorkingDirectory", "/"),
                user=user, group=group or _group(user), extra_groups=[],
                umask=int(self.option("UMask", "022"), 8),
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip

    def _folders(self, user):
        for option, parent in (("RuntimeDirectory", "/run"), ("StateDirectory", "/var/lib")):
            if name := self.option(option):
                folder = Path(parent, name)
                folder.mkdir(parents=True, exist_ok=True)
                folder.chmod(int(self.option(f"{option}Mode", "755"), 8))
                subprocess.run(["chown", f"{user}:", folder], check=True)

    def _ended(self, process, line):
        deadline = time.monotonic() + START
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        if process.returncode:
            raise Failed(f"{self.name}.service: {line}: status {process.returncode}\n{self.log()}")

    def log(self):
        return Path(f"/var/log/{self.name}.log").read_text(errors="replace")[-4000:]


class _Readiness:
    """The socket on which a service says that it is ready (sd_notify(3))."""

    def __init__(self, name):
        self.path = f"/run/notify-{name}"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def __enter__(self):
        Path(self.path).unlink(missing_ok=True)
        self.socket.bind(self.path)
        os.chmod(self.path, 0o777)
        self.socket.settimeout(0.1)
        return self

    def __exit__(self, *_):
        self.socket.close()

    def wait(self, unit):
        """Return the pid of the main process when the service is ready."""
        pid = unit.process.pid
        deadline = time.monotonic() + START
        while time.monotonic() < deadline:
            try:
                said = self.socket.recv(4096).decode().split("\n")
            except TimeoutError:
                if unit.process.poll() is not None:
                    break
                continue
            pid = next((int(line[8:]) for line in said if line.startswith("MAINPID=")), pid)
            if "READY=1" in said:
                return pid
        raise Failed(f"{unit.name}.service did not start\n{unit.log()}")


def _group(user):
    return pwd.getpwnam(user).pw_gid


def _lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _reap():
    """Take leave of processes that nobody else waits for."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass


def answer(units, arguments):
    """Do what systemctl was asked for, and return what it prints."""
    words = [word for word in arguments if not word.startswith("-")]
    verb, names = words[0], [name.removesuffix(".service") for name in words[1:]]
    chosen = [units.setdefault(name, Unit(name)) for name in names]
    if verb == "is-active":
        if not all(unit.runs() for unit in chosen):
            raise Failed("inactive")
        return "active\n"
    for unit in chosen:
        if verb in ("stop", "restart") or (verb == "disable" and "--now" in arguments):
            unit.stop()
        if verb in ("start", "restart") or (verb == "enable" and "--now" in arguments):
            unit.start()
        if verb == "reload":
            unit.reload()
    if verb not in ("start", "stop", "restart", "reload", "enable", "disable", "daemon-reload"):
        raise Failed(f"this stand-in has no {verb}")
    return ""


def serve():
    """Be process 1."""
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    door.bind(DOOR)
    door.listen()
    door.settimeout(0.2)
    units = {}
    while True:
        try:
            connection, _ = door.accept()
        except TimeoutError:
            _reap()
            continue
        with connection:
            try:
                reply = [0, answer(units, json.loads(connection.recv(65536)))]
            except (Failed, OSError, LookupError) as error:
                reply = [1, f"{error}\n"]
            with contextlib.suppress(OSError):  # whoever asked may be gone
                connection.sendall(json.dumps(reply).encode())


def ask(arguments):
    """Be ``systemctl``; return its exit status."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(DOOR)
        connection.sendall(json.dumps(arguments).encode())
        status, text = json.loads(connection.makefile().read())
    (sys.stderr if status else sys.stdout).write(text)
    return status


if __name__ == "__main__":
    sys.exit(ask(sys.argv[1:]) if len(sys.argv) > 1 else serve())
