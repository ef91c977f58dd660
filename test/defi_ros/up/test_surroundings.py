import os
import sys

import pytest

from defi_models.contract import ConfigError
from defi_ros.up import domain
from defi_ros.up.domain import GraphHereError, NoDomainError, only_graph, reserved_domain
from defi_ros.up.surroundings import check_domain, surroundings


@pytest.fixture
def no_domain(monkeypatch, tmp_path):
    monkeypatch.delenv("ROS_DOMAIN_ID", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return monkeypatch


def test_two_simulated_graphs_get_different_domains():
    with reserved_domain() as one, reserved_domain() as other:
        assert one != other


@pytest.fixture
def one_domain(monkeypatch):
    """Only one domain to choose from, at the end that nobody comes to."""
    monkeypatch.setattr(domain, "FIRST_DOMAIN", domain.LAST_DOMAIN)


def test_a_domain_is_free_again_after_its_run(one_domain):
    for _ in range(2):
        with reserved_domain() as number:
            assert number == domain.LAST_DOMAIN


def test_no_domain_left_says_what_to_do(one_domain):
    with reserved_domain(), pytest.raises(NoDomainError, match="set ROS_DOMAIN_ID"), reserved_domain():
        pass


@pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux's")
def test_a_domain_has_one_graph_and_is_free_again_after_it():
    with only_graph(232):
        with (
            pytest.raises(GraphHereError, match=r"ROS domain 232: .*arm_bridge_node.*set ROS_DOMAIN_ID"),
            only_graph(232),
        ):
            pass
        with only_graph(231):
            pass
    with only_graph(232):
        pass


def test_a_simulated_graph_gets_a_domain_and_the_environment_is_as_before_afterwards(no_domain):
    before = dict(os.environ)
    with surroundings(sim=True):
        assert int(os.environ["ROS_DOMAIN_ID"]) >= domain.FIRST_DOMAIN
        assert os.environ["FASTDDS_BUILTIN_TRANSPORTS"].startswith("LARGE_DATA")
    assert dict(os.environ) == before


def test_a_real_robot_stays_in_the_domain_its_controllers_are_in(no_domain):
    with surroundings(sim=False):
        assert "ROS_DOMAIN_ID" not in os.environ


def test_what_the_user_set_stays(no_domain):
    no_domain.setenv("ROS_DOMAIN_ID", "3")
    no_domain.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "SUBNET")
    with surroundings(sim=True):
        assert os.environ["ROS_DOMAIN_ID"] == "3"
        assert os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "SUBNET"


@pytest.mark.parametrize("text", ["-1", "233", "two"])
def test_a_domain_that_is_none_is_refused(text):
    with pytest.raises(ConfigError, match=r"expected a whole number 0\.\.232"):
        check_domain(text)


def test_a_state_folder_that_cannot_be_made_is_replaced(no_domain, tmp_path):
    (tmp_path / "file").write_text("")
    no_domain.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with surroundings(sim=False) as folder:
        assert folder.is_dir()
