"""What all tests share: no test depends on speed, and each run tries the same examples."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "labapi",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("labapi")
