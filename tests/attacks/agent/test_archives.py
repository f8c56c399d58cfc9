"""Whatever an archive or a source folder holds, nothing lands or leads outside of the build."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labapi.agent.plugins.build_server import source

Member = tuple[str, bytes, str, bytes]  # name, type, link, content
LINK, TWIN, FILE, DIR = tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.REGTYPE, tarfile.DIRTYPE


def tar(*members: Member) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, kind, link, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, link, len(content)
            info.mode = 0o755
            archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


class Place:
    """A folder to unpack in, and what must stay as it is beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "build" / "source"
        self.precious = folder / "precious"
        self.precious.write_text("as it was")
        self.folder.parent.mkdir()
        self.before = self.outside()

    def outside(self) -> list[tuple[str, int, str]]:
        """Return all that is not in the folder, by name, type and content."""
        root = self.folder.parents[1]
        return sorted(
            (str(path), path.lstat().st_mode, path.read_text() if path.is_file() else "")
            for path in root.rglob("*")
            if not path.is_relative_to(self.folder)
        )

    def unpack(self, archive: bytes) -> None:
        self.folder.mkdir()
        try:
            source.unpack(io.BytesIO(archive), self.folder)
        finally:
            self.check()

    def check(self) -> None:
        assert self.outside() == self.before
        # By way of no link does one get out of the folder, however it is combined with others.
        root = os.path.realpath(self.folder)
        for base, names, files in os.walk(self.folder):
            for name in (*names, *files):
                path = Path(base, name)
                assert Path(os.path.realpath(path)).is_relative_to(root)
                assert stat.S_IFMT(path.lstat().st_mode) in (
                    stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK,
                )  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def beyond_path_max(victim: Path) -> bytes:
    """Return CVE-2025-4517: a link whose real path is too long for realpath(3) to be followed."""
    long, steps = "d" * 247, "abcdefghijklmnop"
    members: list[Member] = []
    path = ""
    for step in steps:
        members.append((os.path.join(path, long), DIR, "", b""))
        members.append((os.path.join(path, step), LINK, long, b""))
        path = os.path.join(path, long)
    far = os.path.join("/".join(steps), "l" * 254)
    members.append((far, LINK, "../" * len(steps), b""))
    members.append(("escape", LINK, f"{far}/../../{victim.name}", b""))
    members.append(("twin", TWIN, "escape", b""))
    members.append(("twin", FILE, "", b"overwritten"))
    return tar(*members)


def test_a_path_beyond_path_max_does_not_help(place: Place) -> None:
    with pytest.raises((source.Refused, OSError)):
        place.unpack(beyond_path_max(place.precious))


@pytest.mark.parametrize(
    "members",
    [
        [("out", LINK, "..", b"")],
        [("out", LINK, "/", b"")],
        [("here", LINK, ".", b""), ("out", LINK, "here/..", b"")],
        [("d/here", LINK, ".", b""), ("out", LINK, "d/here/../../..", b"")],
        [("a/b/c", DIR, "", b""), ("s", LINK, "a/b/c", b""), ("s/../../../../x", FILE, "", b"x")],
        [("a/b/c", DIR, "", b""), ("s", LINK, "a/b/c", b""), ("out", LINK, "s/../..", b"")],
        [("s", LINK, "a", b""), ("a", DIR, "", b""), ("s/x", FILE, "", b"x")],
        [("f", FILE, "", b""), ("f/x", FILE, "", b"x")],
        [("x", TWIN, "../../precious", b"")],
        [("x", TWIN, "nothing", b"")],
        [("x", TWIN, "x", b"")],
        [("d", DIR, "", b""), ("d", FILE, "", b"x")],
        [("n" * 4001, FILE, "", b"x")],
        [("/".join("n" * 2001), FILE, "", b"x")],
        [("fifo", tarfile.FIFOTYPE, "", b"")],
        [("device", tarfile.CHRTYPE, "", b"")],
        [("block", tarfile.BLKTYPE, "", b"")],
        [("unknown", b"Z", "", b"")],
    ],
    ids=lambda members: "-".join(member[0][:9] for member in members).replace("/", "_"),
)
def test_what_leads_out_or_is_no_file_is_refused(place: Place, members: list[Member]) -> None:
    with pytest.raises((source.Refused, OSError)):
        place.unpack(tar(*members))


def test_what_a_source_tree_holds_is_there(place: Place) -> None:
    place.unpack(
        tar(
            ("./", DIR, "", b""),
            ("p/src/main.c", FILE, "", b"old"),
            ("p/src/main.c", FILE, "", b"int main;"),
            ("p/main.c", LINK, "src/main.c", b""),
            ("p/src/up", LINK, "../main.c", b""),
            ("p/twin", TWIN, "p/src/main.c", b""),
            ("/p/absolute", FILE, "", b"x"),
            ("p/main.c", LINK, "src/../src/main.c".replace("src/../", ""), b""),
        )
    )
    top = place.folder / "p"
    assert (top / "main.c").read_text() == (top / "src" / "up").read_text() == "int main;"
    assert (top / "twin").stat().st_ino == (top / "src" / "main.c").stat().st_ino
    assert stat.S_IMODE((top / "absolute").stat().st_mode) == 0o755


def test_what_claims_more_than_it_holds_is_refused(place: Place) -> None:
    whole = tar(("a", FILE, "", b"x" * 2000))
    with pytest.raises((source.Refused, OSError)):
        place.unpack(whole[:1500])


@pytest.mark.parametrize("kind", ["fifo", "device", "link to a device"])
def test_a_source_folder_with_a_device_in_it_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "link").symlink_to("/dev/zero")
    if kind == "fifo":
        os.mkfifo(folder / "odd")
    elif kind == "device" and os.geteuid() == 0:
        os.mknod(folder / "odd", 0o600 | stat.S_IFCHR, os.makedev(1, 5))  # /dev/zero
    program = [sys.executable, "-I", source.__file__]
    out = tmp_path / "out"
    done = subprocess.run(
        [*program, str(folder), str(out)], timeout=60, capture_output=True, text=True, check=False
    )
    if (folder / "odd").exists():
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
        assert "odd is neither a file, a folder nor a link" in done.stderr
    else:
        assert (done.returncode, os.readlink(out / "link")) == (0, "/dev/zero")


@pytest.mark.parametrize("name", ["/dev/zero", "fifo"])
def test_an_archive_is_a_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "fifo":
        os.mkfifo(path)
    with pytest.raises(source.Refused, match="is neither a file"):
        source.main(str(path), tmp_path / "out")


def test_a_header_that_claims_gigabytes_costs_no_memory(tmp_path: Path) -> None:
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 6 * 1024**3
    path = tmp_path / "bomb.tar"
    with path.open("wb") as file:
        file.write(info.tobuf())
        file.truncate(6 * 1024**3)
    program = [sys.executable, "-I", source.__file__, str(path), str(tmp_path / "out")]
    done = subprocess.run(program, timeout=120, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)


NAMES = st.lists(
    st.sampled_from(["a", "b", "..", ".", "", "c" * 250, "ä", "\udcff", "x\ny"]), max_size=6
).map("/".join)
MEMBERS = st.lists(
    st.tuples(
        NAMES,
        st.sampled_from([FILE, DIR, LINK, LINK, TWIN, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE]),
        NAMES,
        st.binary(max_size=20),
    ),
    max_size=12,
)
FUZZ = settings(suppress_health_check=list(HealthCheck))


def attack(archive: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(source.Refused, OSError):
        Place(Path(folder)).unpack(archive)


@FUZZ
@given(members=MEMBERS)
def test_no_tar_gets_out(members: list[Member]) -> None:
    attack(tar(*members))


def a_zip() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("d/file", b"content" * 9)
        archive.writestr("d/other", b"x")
    return packed.getvalue()


@FUZZ
@given(data=st.data())
@pytest.mark.parametrize(
    "make", [a_zip, lambda: tar(("d/f", FILE, "", b"content"), ("l", LINK, "d/f", b""))]
)
def test_no_damage_to_an_archive_gets_out_or_ends_in_a_traceback(
    make: Callable[[], bytes], data: st.DataObject
) -> None:
    archive = bytearray(make())
    for _ in range(data.draw(st.integers(1, 4))):
        archive[data.draw(st.integers(0, len(archive) - 1))] = data.draw(st.integers(0, 255))
    attack(bytes(archive[: data.draw(st.integers(0, len(archive)))]))
