"""What lies in the cluster while the table is gone through.

Guarded are all containers but ``open`` and ``front``: their ``allow-dev`` is one address. Whatever
lies in a guarded container says SECRET.
"""

from __future__ import annotations

import json

from tests.integration.swift.curl import Answer, curl
from tests.integration.swift.signed import KEY, manifest, md5

ALLOWED = "198.51.100.12"
DENIED = "198.51.100.13"

USERS = {
    "owner": ("test:tester", "testing"),
    "reader": ("test:reader", "reading"),
    "other": ("test2:tester2", "testing2"),
    "operator": ("admin:admin", "admin"),
}


SECRET = b"SECRET"
ACCOUNT = "/v1/AUTH_test"
LIST = {"X-Container-Meta-Allow-Dev": ALLOWED}
WORLD = {"X-Container-Read": ".r:*,.rlistings"}
WEB = {
    "X-Container-Meta-Web-Index": "index.html",
    "X-Container-Meta-Web-Error": "error.html",
    "X-Container-Meta-Web-Listings": "true",
}


class Tokens:
    """Tokens of the users, fetched when they are needed, and again after a flush of the cache."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._tokens: dict[str, str] = {}

    def forget(self) -> None:
        self._tokens.clear()

    def __call__(self, who: str) -> dict[str, str]:
        """Return the header that makes a request that user's; none for ``anonymous``."""
        if who == "anonymous":
            return {}
        if who not in self._tokens:
            user, key = USERS[who]
            answer = curl(
                f"{self._url}/auth/v1.0", headers={"X-Auth-User": user, "X-Auth-Key": key}
            )
            assert answer.status == 200, answer
            self._tokens[who] = answer.headers["x-auth-token"]
        return {"X-Auth-Token": self._tokens[who]}


class Lab:
    """The account of ``test:tester``, by way of a proxy without the filter.

    :param url: of that proxy
    """

    def __init__(self, url: str, token: Tokens) -> None:
        self._url = url
        self._token = token

    def send(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
        who: str = "owner",
    ) -> Answer:
        """Send a request that has to succeed."""
        sent = {**self._token(who), **(headers or {})}
        answer = curl(self._url + path, method, sent, body)
        assert answer.status < 300, (method, path, answer)
        return answer

    def container(self, name: str, *headers: dict[str, str]) -> None:
        """Make a container."""
        merged = {key: value for some in headers for key, value in some.items()}
        self.send("PUT", f"{ACCOUNT}/{name}", merged)

    def put(self, name: str, content: bytes = SECRET, **headers: str) -> None:
        """Put an object."""
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        self.send("PUT", f"{ACCOUNT}/{name}", named, content)

    def look(self, path: str) -> tuple[int, bytes, dict[str, str]]:
        """Return status, body and the headers that say whether a thing has changed."""
        answer = curl(self._url + path, "GET", self._token("operator"))
        telling = ("etag", "x-timestamp", "x-container-object-count", "x-container-read")
        kept = {
            name: value
            for name, value in answer.headers.items()
            if name in telling or "-meta-" in name or name.startswith("x-versions")
        }
        return answer.status, answer.body if answer.status < 300 else b"", kept

    def furnish(self) -> None:
        """Make everything that the rows need."""
        self.send("POST", ACCOUNT, {"X-Account-Meta-Temp-URL-Key": KEY})
        self._containers()
        for name in ("guarded", "public", "shared"):
            for thing in ("secret", "to-delete", "to-post", "/doubled"):
                self.put(f"{name}/{thing}")
            for part in ("seg_1", "seg_2"):
                self.put(f"{name}/{part}", SECRET + part.encode())
        self.put("open/plain", b"plain")
        self._pointers()
        self._another_account()
        self._another_script()
        self._websites()
        self._versions()

    def _containers(self) -> None:
        self.container("open", WORLD, {"X-Container-Write": "test2:tester2"})
        self.container("guarded", LIST)
        self.container("to-delete", LIST)
        self.container("to-delete-2", LIST)
        cors = {"X-Container-Meta-Access-Control-Allow-Origin": "https://a.example"}
        self.container("public", LIST, WORLD, cors)
        both = {
            "X-Container-Read": "test2:tester2,test:reader",
            "X-Container-Write": "test2:tester2",
        }
        self.container("shared", LIST, both)

    def _pointers(self) -> None:
        """Make what lies in the open and points into a guarded container."""
        self.put("open/dlo", b"", X_Object_Manifest="public/seg_")
        self.put("open/link", b"", X_Symlink_Target="public/secret")
        static = {"X_Symlink_Target": "public/secret", "X_Symlink_Target_Etag": md5(SECRET)}
        self.put("open/static-link", b"", **static)
        for name in ("slo", "slo-2", "slo-to-delete-later"):
            for part in ("1", "2"):
                self.put(f"public/{name}_{part}")
            path = f"{ACCOUNT}/open/{name}?multipart-manifest=put"
            self.send("PUT", path, {}, manifest(f"public/{name}_1", f"public/{name}_2"))
        self.put("open/first-is-plain_1", b"plain")
        path = f"{ACCOUNT}/open/mixed?multipart-manifest=put"
        self.send("PUT", path, {}, manifest("open/first-is-plain_1", "public/slo_2"))

    def _another_script(self) -> None:
        self.container("%E5%BC%80", LIST)
        self.put("%E5%BC%80/seg_1")
        path = f"{ACCOUNT}/open/slo-of-another?multipart-manifest=put"
        self.send("PUT", path, {}, manifest("\u5f00/seg_1"))

    def _another_account(self) -> None:
        own = "/v1/AUTH_test2/own"
        self.send("PUT", own, who="other")
        across = {"X-Symlink-Target": "public/secret", "X-Symlink-Target-Account": "AUTH_test"}
        self.send("PUT", f"{own}/link", across, b"", who="other")

    def _websites(self) -> None:
        self.container("web", LIST, WORLD, WEB)
        self.container("web-of-nothing", LIST, WORLD, {**WEB, "X-Container-Meta-Web-Listings": "f"})
        self.put("web/index.html", b"SECRET index")
        self.put("web/error.html", b"SECRET error")
        self.put("web/401error.html", b"SECRET error")
        self.put("web/404error.html", b"SECRET error")
        self.put("web/folder/page.html", b"SECRET page")

    def _versions(self) -> None:
        self.container("versioned", LIST, WORLD)
        self.send("POST", f"{ACCOUNT}/versioned", {"X-Versions-Enabled": "true"})
        self.put("versioned/thing", b"SECRET first")
        self.put("versioned/thing", b"SECRET second")
        self.container("archive", LIST, WORLD)
        self.container("front", WORLD, {"X-Versions-Location": "archive"})
        self.put("front/thing", b"SECRET first")
        self.put("front/thing", b"second")

    def version_of(self, name: str) -> str:
        """Return the id of the oldest version of an object in ``versioned``."""
        answer = self.send("GET", f"{ACCOUNT}/versioned?versions&format=json&prefix={name}")
        versions: list[dict[str, str]] = json.loads(answer.body)
        return versions[-1]["version_id"]
