"""Every option of ``labapi.conf``, in one place.

The configuration is an object that is handed down; nothing reads it from a module global.
``list_opts`` feeds ``oslo-config-generator``, which writes ``etc/labapi.conf.sample``.
"""

from __future__ import annotations

import difflib
import getpass
import math
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from oslo_config import cfg, types
from oslo_log import log

import labapi
from labapi import tls
from labapi.exceptions import ConfigError

ETC = Path("/etc/labapi")  # of every machine of a lab

# The largest numbers that mean something: seconds (30 years) and other fractions, whole numbers.
MOST = {cfg.FloatOpt: 1e9, cfg.IntOpt: 1e15}

DEFAULT_OPTS: list[cfg.Opt] = [
    cfg.StrOpt(
        "state-path",
        default=".lab",
        help="Folder for what labapi keeps on disk: the embedded database, the agent's journal.",
    ),
]

API_OPTS: list[cfg.Opt] = [
    cfg.HostAddressOpt("host", default="127.0.0.1", help="Address that the API listens on."),
    cfg.PortOpt("port", default=8774, help="Port that the API listens on."),
    cfg.StrOpt(
        "machine",
        default=socket.gethostname(),
        sample_default="<host name>",
        help="Name of this API's machine in the list of services.",
    ),
    cfg.FloatOpt(
        "heartbeat_interval",
        default=10.0,
        min=0.1,
        help="Seconds between heartbeats of the API, by which the list of services shows it as up.",
    ),
    cfg.IntOpt("workers", default=2, min=1, max=256, help="Processes that serve the API."),
    cfg.IntOpt(
        "threads",
        default=64,
        min=1,
        max=10000,
        help="Requests that labapi-all serves at the same time; the others wait.",
    ),
    cfg.IntOpt(
        "max_body",
        default=16 * 1024 * 1024,
        min=1024,
        help="Most bytes of a body that labapi-all reads, whatever the pipeline allows.",
    ),
    cfg.FloatOpt(
        "receive_timeout",
        default=20.0,
        min=0.1,
        help="Seconds within which a request has to reach labapi-all, its body included.",
    ),
    cfg.IntOpt(
        "greenthreads",
        default=1000,
        min=1,
        max=100000,
        help="Requests that one process of labapi-api serves at the same time; the others wait.",
    ),
    cfg.FloatOpt(
        "follow_interval",
        default=0.5,
        min=0.05,
        help="Seconds between looks for new output while a client follows a case.",
    ),
    cfg.FloatOpt(
        "output_patience",
        default=10.0,
        min=0,
        help="Seconds that readers wait for missing output that may be on its way; after that it is"
        " shown as a gap.",
    ),
    cfg.IntOpt(
        "max_follow",
        default=3600,
        min=1,
        help="Seconds after which a stream of output ends; its reader may go on from the offset"
        " that it has reached.",
    ),
    cfg.StrOpt(
        "paste_config",
        default="api-paste.ini",
        help="The file that assembles the API from filters. A name without a folder is looked for"
        " beside labapi.conf, in /etc/labapi and in the installation.",
    ),
    cfg.IntOpt("max_limit", default=1000, min=1, help="Most items on one page of a collection."),
    cfg.IntOpt(
        "max_wait",
        default=300,
        min=0,
        help="Longest time, in seconds, that POST /testcases?wait= may block.",
    ),
    cfg.FloatOpt(
        "default_timeout",
        deprecated_group="conductor",
        default=600.0,
        min=0.1,
        help="Seconds that a case may run if it does not say otherwise.",
    ),
    cfg.FloatOpt(
        "max_timeout",
        deprecated_group="conductor",
        default=86400.0,
        min=1,
        help="Longest timeout, in seconds, that a case may ask for.",
    ),
    cfg.FloatOpt(
        "database_time",
        default=10.0,
        min=0.5,
        help="Seconds that a request may spend on the database in all (on connections, locks and"
        " answers), after which it is answered 503. One that waits for its case, POST"
        " /testcases?wait=N, is answered within N + 2 seconds at the latest.",
    ),
    cfg.IntOpt(
        "max_json_depth", default=64, min=4, max=200, help="Deepest nesting of a JSON body."
    ),
    cfg.IntOpt(
        "max_plan_size",
        default=6 * 1024 * 1024,
        min=1024,
        max=6 * 1024 * 1024,
        help="Most bytes of a test plan, as it is sent and once matrices, lists of hosts and"
        " parameters are put in. The option larger_bodies of the sizelimit filter has to allow as"
        " much.",
    ),
    cfg.IntOpt(
        "max_plan_entries",
        default=10000,
        min=1,
        max=10000,
        help="Most entries of a test plan, once matrices and lists of hosts are spread.",
    ),
    cfg.IntOpt(
        "inline_output",
        default=65536,
        min=0,
        help="Bytes of a case's output shown inside the case itself; all of it is at"
        " /testcases/{id}/output.",
    ),
    cfg.IntOpt(
        "report_output",
        default=16 * 1024 * 1024,
        min=0,
        help="Most bytes of output in one report of a test plan. Each entry has the same share,"
        " inline_output at most.",
    ),
    cfg.IntOpt(
        "keepalive", default=75, min=1, help="Seconds that an idle connection is kept open."
    ),
    cfg.FloatOpt(
        "drain_delay",
        default=0.0,
        min=0,
        help="Seconds that the API goes on serving when it is to stop, while /healthcheck is 503"
        " already, so that load balancers leave it before it takes no more requests. A second"
        " SIGTERM ends that.",
    ),
    cfg.IntOpt(
        "stop_timeout",
        default=10,
        min=0,
        help="Seconds that requests under way are given when the API stops.",
    ),
]

DATABASE_OPTS: list[cfg.Opt] = [
    cfg.StrOpt(
        "connection",
        secret=True,
        help="SQLAlchemy URL, for example mysql+pymysql://labapi:secret@db/labapi. The default is"
        " an SQLite file in state_path.",
    ),
    cfg.IntOpt("pool_size", default=30, min=1, help="Connections kept open by one process."),
    cfg.IntOpt("max_overflow", default=0, min=0, help="Connections beyond pool_size under load."),
    cfg.FloatOpt(
        "timeout",
        default=10.0,
        min=0.1,
        help="Seconds that a wait for a connection, a lock or an answer of the database may take;"
        " [api] database_time bounds what a request waits in all.",
    ),
    *tls.options("With it, connections to MariaDB and MySQL use TLS only."),
]

MESSAGING_OPTS: list[cfg.Opt] = [
    cfg.StrOpt(
        "transport_url",
        default="memory://",
        secret=True,
        help="kombu URL of the message broker, for example amqp://labapi:secret@rabbit/lab. Of the"
        " nodes of a cluster, joined by semicolons: the first that takes a connection is used."
        " memory:// joins the services of one process only (labapi-all).",
    ),
    cfg.StrOpt(
        "queue_type",
        default="classic",
        choices=["classic", "quorum"],
        help="Of the queues that are made. RabbitMQ keeps a quorum queue on several nodes of a"
        " cluster, and it works as long as more than half of them do. A queue that is there"
        " already keeps its type. The same on all programs.",
    ),
    cfg.FloatOpt("connect_timeout", default=5.0, min=0.1, help="Seconds to wait for a connection."),
    cfg.FloatOpt(
        "confirm_timeout",
        default=10.0,
        min=0.1,
        help="Seconds to wait until the broker confirms that it has a message.",
    ),
    cfg.IntOpt(
        "heartbeat",
        default=10,
        min=0,
        help="Seconds between signs of life on an idle connection; 0 for none.",
    ),
    cfg.FloatOpt(
        "retry_interval_max",
        default=15.0,
        min=0.5,
        help="Longest pause, in seconds, between attempts to reach a broker that is away.",
    ),
    *tls.options("For amqps://; the default is the issuers that the system trusts."),
]


def metrics(program: str) -> list[cfg.Opt]:
    """Return the options of a program that shows numbers."""
    return [
        cfg.HostAddressOpt(
            "metrics_host",
            default="127.0.0.1",
            help=f"Address at which the {program} shows its numbers. Nobody is asked for a password"
            " there.",
        ),
        cfg.PortOpt(
            "metrics_port",
            min=1,
            help=f"Port at which the {program} shows its numbers to Prometheus, at /metrics. The"
            " default is nowhere.",
        ),
    ]


CONDUCTOR_OPTS: list[cfg.Opt] = [
    cfg.StrOpt(
        "host",
        default=socket.gethostname(),
        sample_default="<host name>",
        help="Name of this conductor's machine.",
    ),
    cfg.StrOpt(
        "signing_key",
        mutable=True,
        help="File with the private key that signs commands, made by labapi-manage key create. All"
        " conductors may share one. Without it commands are not signed, and agents with"
        " trusted_keys refuse them. SIGHUP has a conductor read it again.",
    ),
    cfg.FloatOpt(
        "service_down_time",
        default=60.0,
        min=1,
        help="Seconds without a heartbeat after which a host counts as down: it is given nothing"
        " new, and its running cases say so.",
    ),
    cfg.FloatOpt(
        "lost_after",
        default=300.0,
        min=1,
        help="Seconds without a heartbeat after which the running cases of a host count as lost;"
        " what it reports until then counts. Time in which no heartbeat could have been heard is"
        " left out: the database or the broker was away, or this conductor. Not less than"
        " service_down_time.",
    ),
    cfg.FloatOpt(
        "sweep_interval",
        default=2.0,
        min=0.1,
        help="Seconds between looks for cases that wait, are overdue or are lost.",
    ),
    cfg.IntOpt(
        "plan_window",
        default=500,
        min=1,
        help="Entries of one test plan that run, or wait for a host, at the same time at most.",
    ),
    cfg.FloatOpt(
        "plan_interval",
        default=2.0,
        min=0.1,
        help="Seconds between looks for test plans of which something has ended without a report:"
        " a case was lost, or cancelled before it began, or the conductor was killed that knew.",
    ),
    cfg.FloatOpt(
        "queue_timeout",
        default=3600.0,
        min=1,
        help="Seconds that a case may wait for its host before it ends as ERROR/expired.",
    ),
    cfg.FloatOpt(
        "resend_interval",
        deprecated_name="offer_interval",
        default=30.0,
        min=1,
        help="Seconds after which a case that its agent has not begun is sent to it again; a"
        " command that waits longer in the broker is dropped.",
    ),
    cfg.IntOpt(
        "max_attempts",
        default=3,
        min=1,
        help="Most attempts at a case with rerun_on_loss, the first one included.",
    ),
    cfg.FloatOpt(
        "report_timeout",
        default=60.0,
        min=1,
        help="Seconds beyond a case's timeout that its agent has to report the result.",
    ),
    cfg.IntOpt(
        "max_output",
        default=64 * 1024 * 1024,
        min=0,
        help="Most bytes of output kept of one case, whatever its agent sends.",
    ),
    cfg.IntOpt("batch", default=200, min=1, max=5000, help="Most messages in one transaction."),
    cfg.IntOpt(
        "heartbeat_batch",
        default=2000,
        min=1,
        max=10000,
        help="Most heartbeats in one transaction.",
    ),
    cfg.FloatOpt(
        "heartbeat_pace",
        default=1.0,
        min=0,
        max=5,
        help="Seconds that heartbeats gather before they are written; this much later a host is"
        " seen as up, or as down.",
    ),
    cfg.FloatOpt(
        "facts_interval",
        default=60.0,
        min=0,
        help="Seconds after which the facts in a host's heartbeats are written again. While at most"
        " 100 heartbeats come in one batch, they are written each time.",
    ),
    cfg.FloatOpt(
        "keep_cases",
        min=0.01,
        help="Days after its end that a case is kept, with its output and its Idempotency-Key; one"
        " that is part of a test plan, as long as the plan. The default is for ever.",
    ),
    cfg.FloatOpt(
        "keep_output",
        min=0.01,
        help="Days after its end that the output of a case is kept; later it is shown as missing."
        " The default is as long as the case.",
    ),
    cfg.FloatOpt(
        "keep_leases",
        min=0.01,
        help="Days after its end that a lease is kept. The default is for ever.",
    ),
    cfg.FloatOpt(
        "keep_hosts",
        min=0.01,
        help="Days that a silent host stays on the list, and the services of other programs"
        " likewise. Its cases stay. So does a host that is disabled or has a case to finish. The"
        " default is for ever.",
    ),
    *metrics("conductor"),
]

SCHEDULER_OPTS: list[cfg.Opt] = [
    cfg.IntOpt(
        "max_count",
        default=1000,
        min=1,
        max=10000,
        help="Most cases that one request may make.",
    ),
    cfg.IntOpt(
        "max_batch_size",
        default=1024 * 1024,
        min=1024,
        help="Most bytes of parameters that the cases of one request may have together.",
    ),
    cfg.IntOpt(
        "max_shown",
        default=100,
        min=1,
        max=10000,
        help="Most hosts that the answer to POST /testcases?dry_run=true names.",
    ),
    cfg.StrOpt(
        "driver",
        default="filter_scheduler",
        help="What chooses the host of a case that names none: filter_scheduler, chance, ip_prefix,"
        " or another entry point in the group labapi.scheduler.drivers.",
    ),
    cfg.ListOpt(
        "filters",
        default=[
            "access",
            "up",
            "healthy",
            "lease",
            "group",
            "zone",
            "catalogue",
            "requires",
            "same_host",
            "different_host",
            "retry",
            "free_slots",
        ],
        help="What says no to a host: entry points in the group labapi.scheduler.filters. A host is"
        " counted for the first of them that turns it away. Without access, group or lease nothing"
        " keeps a case without a host off what this filter guards.",
    ),
    cfg.DictOpt(
        "weighers",
        default={
            "free_slots": "1.0",
            "memory": "0.5",
            "load": "0.5",
            "faults": "1.0",
            "anti_affinity": "1.0",
            "prefer": "2.0",
        },
        help="What prefers one host to another, NAME:MULTIPLIER: entry points in the group"
        " labapi.scheduler.weighers. Each gives 0 to 1; a negative multiplier turns it round, and"
        " affinity is one more.",
    ),
    cfg.IntOpt(
        "host_subset_size",
        default=1,
        min=1,
        max=1000,
        help="A case goes to one of so many of the best hosts, drawn at random. More than 1 spares"
        " several conductors that decide at the same moment from choosing the same host.",
    ),
    cfg.ListOpt(
        "ip_prefix",
        default=["10.1.0.0/16=doc", "10.2.0.0/16=ops", "*=dev"],
        help="For the driver ip_prefix, NETWORK=PREFIX: callers from the network are given hosts"
        " whose names start with the prefix. The first network that has the caller's address"
        " counts; * has every one, and callers that no line has are given no host.",
    ),
    cfg.IntOpt(
        "dispatch_ahead",
        deprecated_group="conductor",
        default=8,
        min=0,
        help="Cases given to a host beyond its slots, so that the next one is there when one ends."
        " The most urgent of these begins first. A lab with many short cases needs more of them."
        " A case that names no host is given a free slot only.",
    ),
    cfg.FloatOpt(
        "refresh_interval",
        default=5.0,
        min=0.1,
        help="Seconds for which what is known of the hosts is used to choose among them; what a"
        " case is given is looked at again. It is read only when it is needed, and never for more"
        " than a twentieth of the time.",
    ),
    cfg.FloatOpt(
        "patience",
        default=300.0,
        min=1,
        help="Seconds that a case waits until it goes before all that have waited less, whatever"
        " their priority and project.",
    ),
    cfg.DictOpt(
        "shares",
        default={},
        help="What projects are entitled to, in comparison, where cases of the same priority wait:"
        " lab:3,ci:1 gives lab three hosts for each that ci has. A project that is not named"
        " has 1.",
    ),
    cfg.FloatOpt(
        "health_window",
        default=3600.0,
        min=1,
        help="Seconds for which a case that ended by the lab's fault speaks against its host.",
    ),
    cfg.IntOpt(
        "health_faults",
        default=5,
        min=1,
        help="A host with so many faults of the lab within health_window is benched: it is given no"
        " more cases until a health case of its group passes there, or an administrator says so.",
    ),
    cfg.FloatOpt(
        "health_interval",
        default=300.0,
        min=1,
        help="Seconds from the benching of a host to its health case, and from one to the next.",
    ),
    cfg.FloatOpt(
        "max_lease",
        default=7 * 86400.0,
        min=1,
        help="Longest time, in seconds, for which a lease may be made or renewed.",
    ),
    cfg.IntOpt(
        "max_leased_hosts",
        default=100,
        min=0,
        max=1000,
        help="Most hosts that a project may have in leases at the same time, those included that"
        " its waiting leases ask for.",
    ),
]

NOTIFY_OPTS: list[cfg.Opt] = [
    cfg.StrOpt(
        "smtp_host",
        help="Mail server through which conductors tell of the ends of test plans. Without it, mail"
        " is given up.",
    ),
    cfg.PortOpt(
        "smtp_port",
        min=1,
        help="Its port. The default is 587 with starttls, 465 with tls, and 25 with none.",
    ),
    cfg.StrOpt(
        "smtp_security",
        default="starttls",
        choices=["starttls", "tls", "none"],
        help="starttls and tls check the server's certificate, its name included, and never fall"
        " back to plain text. none sends mails as they are, and no password.",
    ),
    cfg.StrOpt("smtp_user", help="User name at the mail server. The default is to send none."),
    cfg.StrOpt("smtp_password", secret=True, help="Password of smtp_user."),
    cfg.StrOpt(
        "mail_from",
        default=f"labapi@{socket.gethostname()}",
        sample_default="labapi@<host name>",
        help="Address that mails come from.",
    ),
    cfg.IntOpt(
        "max_log",
        default=1024 * 1024,
        min=0,
        help="Most bytes of output in a mail. Each entry of the plan has the same share.",
    ),
    cfg.IntOpt(
        "max_entries",
        default=1000,
        min=1,
        max=10000,
        help="Most entries in a mail. Of a larger plan, it has those that did not pass.",
    ),
    cfg.FloatOpt(
        "timeout",
        default=10.0,
        min=0.1,
        help="Seconds that a webhook may take in all, and that each answer of the mail server may"
        " take.",
    ),
    cfg.FloatOpt(
        "retry_interval",
        default=10.0,
        min=0.1,
        help="Seconds from the first try to the second. Each pause is twice as long as the one"
        " before, an hour at most.",
    ),
    cfg.FloatOpt(
        "max_age",
        default=86400.0,
        min=1,
        help="Seconds after the end of a plan for which a mail or a webhook is tried again.",
    ),
    cfg.ListOpt(
        "forbidden",
        default=["loopback", "link_local", "private"],
        item_type=types.String(choices=["loopback", "link_local", "private"]),
        help="Classes of addresses to which no webhook is sent, whatever name leads there. Callers"
        " choose the URLs: what conductors can reach and callers cannot is to be in one of them.",
    ),
    cfg.ListOpt(
        "allowed_networks",
        default=[],
        help="Networks to which webhooks are sent all the same, for example 10.7.0.0/16.",
    ),
    *tls.options("For the mail server and, beside the system's issuers, for webhooks."),
]

SERVICEGROUP_OPTS: list[cfg.Opt] = [
    cfg.StrOpt(
        "driver",
        default="db",
        help="Driver that says which agents are alive: db, tooz, or another entry point in the"
        " group labapi.servicegroup.",
    ),
    cfg.StrOpt(
        "backend_url",
        secret=True,
        help="The coordination service of the driver tooz, for example redis://lab-redis:6379,"
        " memcached://lab-cache:11211, etcd3+http://lab-etcd:2379 or kazoo://lab-zk:2181.",
    ),
    *tls.options("With it, redis:// uses TLS only."),
]

AGENT_OPTS: list[cfg.Opt] = [
    cfg.StrOpt(
        "host",
        default=socket.gethostname(),
        sample_default="<host name>",
        help="Name of this lab machine, which cases may give as their host.",
    ),
    cfg.IPOpt(
        "address",
        help="IP address of this lab machine, by which cases may also name it. The default is the"
        " address of the interface that leads to the broker.",
    ),
    cfg.ListOpt(
        "plugins",
        default=["linux_system", "build_server", "http"],
        help="Plugins to load: names of entry points in the group labapi.plugins.",
    ),
    cfg.ListOpt(
        "trusted_keys",
        default=[],
        mutable=True,
        help="Files with the public keys of conductors (labapi-manage key create). Commands that"
        " none of them has signed are refused. Name two keys while one replaces the other;"
        " SIGHUP has the agent read them again.",
    ),
    cfg.BoolOpt(
        "accept_unsigned",
        default=False,
        help="Without trusted_keys, obey whoever can write to the message broker. For trials only;"
        " an agent with neither does not start, unless it is on memory://.",
    ),
    cfg.IntOpt("slots", default=8, min=1, max=10000, help="Cases that run at the same time."),
    cfg.FloatOpt("heartbeat_interval", default=10.0, min=0.1, help="Seconds between heartbeats."),
    cfg.FloatOpt(
        "kill_grace",
        default=5.0,
        min=0,
        help="Seconds between SIGTERM and SIGKILL when a case is ended.",
    ),
    cfg.FloatOpt(
        "drain_timeout",
        default=0.0,
        min=0,
        help="Seconds that running cases are given to end when the agent is to stop; it takes"
        " nothing new meanwhile. What still runs then is ended as ERROR/agent_stopped. A second"
        " SIGTERM ends it at once.",
    ),
    cfg.IntOpt(
        "max_output",
        default=10 * 1024 * 1024,
        min=0,
        help="Most bytes of output kept of one case; the rest is counted and dropped.",
    ),
    cfg.FloatOpt(
        "output_interval", default=0.5, min=0.05, help="Seconds between messages of output."
    ),
    cfg.FloatOpt(
        "journal_keep",
        default=7 * 86400.0,
        min=3600,
        help="Seconds that the journal remembers an attempt after its report. Only time in which"
        " the agent runs counts.",
    ),
    cfg.IntOpt(
        "max_waiting",
        default=200,
        min=1,
        help="Most cases that wait at the agent for a free slot; further ones wait at the broker.",
    ),
    cfg.BoolOpt(
        "journal_sync",
        default=False,
        help="Write each step of a case through to the disk. Otherwise a power failure may cost the"
        " last seconds of the journal; the cases of the host then end as ERROR/agent_lost, for"
        " nobody knows whether they ran. The end of the agent's process loses nothing.",
    ),
    cfg.FloatOpt(
        "plugin_timeout",
        default=10.0,
        min=0.1,
        help="Seconds that a plugin may take to be imported; one that takes longer is left out.",
    ),
    cfg.FloatOpt(
        "resend_expiry",
        deprecated_name="offer_expiry",
        default=120.0,
        min=1,
        help="A case that waits at the agent does not start if its command last came more than so"
        " many seconds ago. The conductor resends the command for as long as the case is to run.",
    ),
    cfg.ListOpt(
        "allowed_methods",
        default=["*"],
        help="Patterns of plugin.method; methods that match none are left out.",
    ),
    cfg.ListOpt(
        "run_shell_allow",
        default=[],
        help="Patterns of the programs that callers may name (run_shell, build): bare names (make),"
        " or absolute paths (/opt/tests/*). Empty allows every program; a careful lab sets it, and"
        " leaves out whatever runs other programs (sh, env, python).",
    ),
    cfg.StrOpt(
        "run_as",
        help="User that processes of cases run as; the agent must be root to change to it. The"
        " default is the agent's own user.",
    ),
    cfg.BoolOpt(
        "new_privileges",
        default=False,
        help="Let programs of cases gain rights that their user does not have: sudo, su, programs"
        " with the setuid bit or with file capabilities (an old ping). Otherwise the kernel"
        " forbids it (no_new_privs). Set it if the tests of your lab use sudo, for example with"
        " run_as.",
    ),
    cfg.ListOpt(
        "environment",
        default=["PATH", "HOME", "LANG", "LC_ALL", "TZ", "USER", "LOGNAME", "SHELL", "TERM"],
        help="Variables that processes of cases have: NAME as the agent has it, or NAME=value."
        " Nothing else of the agent's environment reaches them.",
    ),
    cfg.StrOpt(
        "work_dir",
        help="Folder in which cases have folders of their own while they run. The default is in"
        " state_path.",
    ),
    cfg.IntOpt(
        "nice",
        default=0,
        min=0,
        max=19,
        help="By how much processes of cases are less urgent than the agent (nice(1)).",
    ),
    cfg.IntOpt(
        "memory_limit",
        min=16,
        help="MiB of address space that each process of a case may have. The default is no limit.",
    ),
    cfg.IntOpt(
        "process_limit",
        min=1,
        help="Processes that the user of run_as may have at the same time, in all cases together."
        " The default is no limit.",
    ),
    cfg.StrOpt(
        "lease_keys_file",
        help="File, of the agent's own and with its whole path, into which it puts the ssh keys of"
        " whoever has leased this host, for as long as they have; sshd is to read it for an account"
        " (AuthorizedKeysFile). The default is that leases let nobody in.",
    ),
    cfg.StrOpt(
        "cgroup",
        default="auto",
        choices=["auto", "off", "require"],
        help="Control groups (cgroup v2) for cases. auto: where the agent may make them; off:"
        " never; require: the agent does not start if it may not. In a systemd unit, Delegate=yes"
        " allows them.",
    ),
    *metrics("agent"),
]

GROUPS: dict[str | None, list[cfg.Opt]] = {
    None: DEFAULT_OPTS,
    "api": API_OPTS,
    "database": DATABASE_OPTS,
    "messaging": MESSAGING_OPTS,
    "conductor": CONDUCTOR_OPTS,
    "scheduler": SCHEDULER_OPTS,
    "notify": NOTIFY_OPTS,
    "servicegroup": SERVICEGROUP_OPTS,
    "agent": AGENT_OPTS,
}


# Of oslo.log's own format only the request id is of use here.
LOG_FORMAT = (
    "%(asctime)s.%(msecs)03d %(process)d %(levelname)s %(name)s [%(request_id)s] %(message)s"
)

# What the command line of every program takes too (--state-path, --api-port, …).
CLI = {(None, "state-path"), ("api", "host"), ("api", "port"), ("agent", "host")}


def list_opts() -> list[tuple[str | None, list[cfg.Opt]]]:
    """Return all options for ``oslo-config-generator``."""
    return list(GROUPS.items())


def new(**defaults: Any) -> cfg.ConfigOpts:
    """Return a configuration with every option registered and nothing read.

    :param defaults: ``group__option`` (or ``option``) → value, instead of the option's default
    """
    conf = cfg.ConfigOpts()
    log.register_options(conf)
    for group, options in GROUPS.items():
        for option in options:
            register = conf.register_cli_opt if (group, option.name) in CLI else conf.register_opt
            register(option, group=group)
    for name, value in defaults.items():
        section, _, key = name.rpartition("__")
        conf.set_default(key, value, group=section or None)
    return conf


def load(args: Sequence[str], *, prog: str, description: str, **defaults: Any) -> cfg.ConfigOpts:
    """Read the command line and the files it names.

    :param args: the command line without the program's name
    :param defaults: as for :func:`new`
    :raises oslo_config.cfg.Error: an option or a file that cannot be used
    :raises ConfigError: a value cannot be used, or the folder of files may not be looked into
    """
    conf = new(**defaults)
    log.set_defaults(LOG_FORMAT)
    quiet = [*log.get_default_log_levels(), "amqp=WARN", "kombu=WARN", "alembic=WARN"]
    log.set_defaults(default_log_levels=quiet)
    conf(
        list(args),
        project="labapi",
        prog=prog,
        description=description,
        version=labapi.__version__,
    )
    # oslo.config would take the defaults: it finds no file where it may not look. labapi-all works
    # with the defaults.
    unseen = ETC.exists() and not os.access(ETC, os.X_OK)
    if unseen and not conf.config_file and prog != "labapi-all":
        user = getpass.getuser()
        raise ConfigError(f"the user {user} may not look for labapi.conf in {ETC}")
    _check(conf)
    return conf


def _check(conf: cfg.ConfigOpts) -> None:
    """Check all values; oslo.config looks at one when it is asked for, perhaps by a request.

    :raises ConfigError: one cannot be used
    """
    for group, options in GROUPS.items():
        values = conf if group is None else conf[group]
        for option in options:
            name = f"[{group or 'DEFAULT'}] {option.name}"
            try:
                value = values[option.dest]
            except ValueError as error:
                raise ConfigError(f"{name}: {error.__context__ or error}") from None
            most = MOST.get(type(option), math.inf)
            if isinstance(value, int | float) and not value <= most:  # it may be nan
                raise ConfigError(f"{name}: {value:g} is no number of at most {most:g}")


def unknown(conf: cfg.ConfigOpts) -> list[str]:
    """Return a text for each option in the files that is none, in a section that is labapi's.

    oslo.config reads what it is asked for and passes over the rest, misspelt names as well.
    """
    names: dict[str, set[str]] = {group or "DEFAULT": set() for group in GROUPS}
    names["DEFAULT"] |= set(conf)  # oslo.log's, and of the command line
    for group, options in GROUPS.items():
        for option in options:
            names[group or "DEFAULT"].add(option.dest)
            for old in option.deprecated_opts:
                names[old.group or group or "DEFAULT"].add(old.name or option.name)
    found = []
    for file in conf.config_file:
        sections: dict[str, dict[str, Any]] = {}
        cfg.ConfigParser(file, sections).parse()
        for section in sections.keys() & names.keys():
            known = {name.replace("-", "_") for name in names[section]}
            for name in sorted({word.replace("-", "_") for word in sections[section]} - known):
                near = difflib.get_close_matches(name, known, 1)
                hint = f"; did you mean '{near[0]}'?" if near else ""
                found.append(f"{file}: [{section}] {name} is no option of labapi{hint}")
    return found
