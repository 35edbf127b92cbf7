"""Ids of jobs: whose they are can be read off them, and nothing else passes for one."""

import pytest

from sd_runtime.jobs import identity

V4, V6 = "10.0.3.7", "fd00::1:2"


@pytest.mark.parametrize("address", [V4, V6])
def test_a_job_leads_to_the_address_of_its_replica(address):
    job = identity.new(identity.replica_called(address))
    assert identity.address_of(identity.replica_of(job)) == address


def test_without_an_address_a_job_names_no_replica():
    assert identity.replica_called("") == ""
    assert identity.replica_of(identity.new("")) == ""


def test_ids_differ():
    assert len({identity.new("0a000307") for _ in range(1000)}) == 1000


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "x",
        "0a000307.",
        "0a000307.abc",
        "../etc",
        "zz000307." + "0" * 32,
        "0a0003." + "0" * 32,
        "0" * 31,
    ],
)
def test_what_is_no_id_is_nobodys(text):
    assert identity.replica_of(text) is None


@pytest.mark.parametrize("replica", ["", "localhost", "0a0003", "0A000307"])
def test_what_is_no_name_of_a_replica_leads_nowhere(replica):
    with pytest.raises(ValueError, match="replica"):
        identity.address_of(replica)
