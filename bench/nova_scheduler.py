"""Decisions of nova's own filters and weighers; run by the Python of the environment ``nova``.

    python nova_scheduler.py HOSTS DECISIONS CASE

Its handlers are used as its scheduler uses them, with the filters and weighers of its defaults, on
states of hosts that are in memory already: no database, no placement, no messages. CASE is that of
``bench.scheduler``. Prints the seconds of each decision as a JSON list.
"""

from __future__ import annotations

import datetime
import json
import random
import sys
import time
import uuid

from nova import conf, objects
from nova.scheduler import filters, host_manager, weights

SLOTS = 8
RACKS = 50  # hosts in one rack of so many


def main() -> None:
    number, decisions, case = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    conf.CONF([], project="nova", default_config_files=[])
    objects.register_all()
    hosts = [_host(one) for one in range(number)]
    spec = _request(case)
    handler, weigher_handler = filters.HostFilterHandler(), weights.HostWeightHandler()
    known = {
        kind.__name__: kind
        for kind in handler.get_matching_classes(["nova.scheduler.filters.all_filters"])
    }
    asked = [known[name]() for name in conf.CONF.filter_scheduler.enabled_filters]
    weighers = [
        kind()
        for kind in weigher_handler.get_matching_classes(conf.CONF.filter_scheduler.weight_classes)
    ]
    took = []
    for _ in range(decisions):
        begin = time.perf_counter()
        passing = handler.get_filtered_objects(asked, hosts, spec)
        if passing:
            best = weigher_handler.get_weighed_objects(weighers, passing, spec)[0].obj
            best.consume_from_request(spec)
        took.append(time.perf_counter() - begin)
        if bool(passing) is (case == "nobody"):
            raise SystemExit(f"{case}: {len(passing or ())} hosts")
    sys.stdout.write(json.dumps({"filters": len(asked), "weighers": len(weighers), "took": took}))


def _host(one: int) -> host_manager.HostState:
    draw = random.Random(one)  # the same hosts each time
    host = host_manager.HostState(f"lab-{one}", f"lab-{one}", "cell")
    host.service = {
        "disabled": False,
        "host": host.host,
        "binary": "nova-compute",
        "last_seen_up": datetime.datetime.now(datetime.UTC),
    }
    host.vcpus_total, host.vcpus_used = SLOTS, draw.randrange(SLOTS // 2)
    host.cpu_allocation_ratio = 1.0
    host.total_usable_ram_mb, host.free_ram_mb = 65536, draw.randrange(65536)
    host.free_disk_mb = draw.randrange(10**6)
    host.num_instances = host.vcpus_used
    host.stats = {"rack": f"r{one % RACKS}"}
    host.aggregates, host.instances = [], {}
    return host


def _request(case: str) -> objects.RequestSpec:
    wanted = {"any": {}, "rack": {"capabilities:rack": "r7"}, "nobody": {"capabilities:rack": "-"}}
    flavor = objects.Flavor(
        vcpus=1, memory_mb=64, root_gb=0, ephemeral_gb=0, swap=0, extra_specs=wanted[case]
    )
    return objects.RequestSpec(
        flavor=flavor,
        image=None,
        instance_group=None,
        numa_topology=None,
        pci_requests=None,
        requested_destination=None,
        scheduler_hints={},
        num_instances=1,
        instance_uuid=str(uuid.uuid4()),
        project_id="p1",
    )


if __name__ == "__main__":
    main()
