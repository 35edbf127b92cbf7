"""What a job is called: `<replica>.<when><chance>`, so that every replica can tell whose it is.

A replica is called by its address in hexadecimal digits, which says where it is without asking anybody. A
process that has no peers leaves that part out.
"""

import re
import secrets
import time
from ipaddress import IPv4Address, IPv6Address, ip_address

from sd_runtime.jobs.job import JobId

#: Milliseconds since 1970 in 12 digits (ids of one replica sort by age), then 80 bits that nobody can guess.
_OWN_PART = re.compile(r"[0-9a-f]{32}")
_REPLICA = re.compile(r"[0-9a-f]{8}|[0-9a-f]{32}")


def new(replica: str) -> JobId:
    """An id that no other job has."""
    own = f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"
    return JobId(f"{replica}.{own}" if replica else own)


def replica_called(address: str) -> str:
    """The replica at this address; "" at none."""
    return ip_address(address).packed.hex() if address else ""


def address_of(replica: str) -> str:
    """Where the replica of that name is; raises `ValueError` for what is no name of one."""
    if not _REPLICA.fullmatch(replica):
        raise ValueError("not the name of a replica")
    packed = bytes.fromhex(replica)
    return str(IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed))


def replica_of(job: str) -> str | None:
    """The replica whose job this is, "" where the id tells none; None: it is no id of a job."""
    replica, _, own = job.rpartition(".")
    if not _OWN_PART.fullmatch(own) or (replica and not _REPLICA.fullmatch(replica)):
        return None
    return replica
