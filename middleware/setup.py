"""Packaging of labapi-middleware: WSGI filters that need no web framework."""

from setuptools import find_packages, setup

FILTERS = [
    "access_log",
    "audit",
    "basic",
    "context",
    "faultwrap",
    "ip_whitelist",
    "metrics",
    "noauth",
    "proxy",
    "ratelimit",
    "request_id",
    "sizelimit",
]

setup(
    name="labapi-middleware",
    version="0.1.0",
    description="WSGI filters for labapi, OpenStack Swift and other Paste pipelines",
    long_description=open("README.md", encoding="utf-8").read(),  # noqa: SIM115
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["labapi_middleware*"]),
    package_data={"labapi_middleware": ["py.typed"]},
    install_requires=["bcrypt>=4.1", "limits>=5", "prometheus-client>=0.19"],
    extras_require={"redis": ["redis>=5"], "memcached": ["pymemcache>=4"]},
    entry_points={
        "paste.filter_factory": [
            f"{name} = labapi_middleware.{name}:filter_factory" for name in FILTERS
        ],
        "paste.app_factory": ["metrics = labapi_middleware.metrics:app_factory"],
        "labapi_middleware.allow_sources": [
            "application = labapi_middleware.ip_whitelist:application",
            "swift = labapi_middleware.swift:SwiftProxy",
        ],
    },
)
