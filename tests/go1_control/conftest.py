"""The node in a process of its own, as a user starts it, and a client that talks to it over real DDS on loopback."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install 'quadloop[ros]', or source a ROS 2 installation")

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "ros2_ws" / "src" / "go1_control"
# Away from every other robot and every other test run on this network.
os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 100)
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"

import rclpy  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from lifecycle_msgs.msg import Transition  # noqa: E402
from lifecycle_msgs.srv import ChangeState, GetState  # noqa: E402
from rcl_interfaces.srv import SetParameters  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.node import Node  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

TRANSITIONS = {
    "configure": Transition.TRANSITION_CONFIGURE, "activate": Transition.TRANSITION_ACTIVATE,
    "deactivate": Transition.TRANSITION_DEACTIVATE, "cleanup": Transition.TRANSITION_CLEANUP,
}  # fmt: skip


@pytest.fixture(scope="session", autouse=True)
def ros():
    rclpy.init()
    yield
    rclpy.try_shutdown()


class Client:
    """A node of its own that calls the services of `go1_control` and listens."""

    def __init__(self):
        self.node = Node("client")
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.diagnostics: dict[str, tuple[int, str, dict[str, str]]] = {}
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._take, 10)

    def _take(self, array):
        self.diagnostics = {
            part.name.removeprefix("go1_control: "): (part.level[0], part.message, {value.key: value.value for value in part.values})
            for part in array.status
        }

    def spin(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.executor.spin_once(timeout_sec=0.02)

    def until(self, condition, timeout=10.0):
        """Spin until the condition holds; whether it did."""
        end = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > end:
                return False
            self.executor.spin_once(timeout_sec=0.02)
        return True

    def call(self, kind, name, request, timeout=20.0):
        client = self.node.create_client(kind, name)
        assert client.wait_for_service(timeout), f"no service {name}"
        future = client.call_async(request)
        assert self.until(future.done, timeout), f"{name} did not answer"
        self.node.destroy_client(client)
        return future.result()

    def transition(self, name):
        return self.call(ChangeState, "/go1_control/change_state", ChangeState.Request(transition=Transition(id=TRANSITIONS[name]))).success

    def state(self):
        return self.call(GetState, "/go1_control/get_state", GetState.Request()).current_state.label

    def trigger(self, name):
        return self.call(Trigger, f"/go1_control/{name}", Trigger.Request())

    def rearm(self):
        """Once the robot lies still; whether that was before long."""
        return self.until(lambda: self.trigger("rearm").success)

    def set(self, **values):
        request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg() for name, value in values.items()])
        return self.call(SetParameters, "/go1_control/set_parameters", request).results

    def listen(self, kind, topic, qos=10):
        """What comes from now on: (when, message)."""
        heard = []
        self.node.create_subscription(kind, topic, lambda message: heard.append((time.monotonic(), message)), qos)
        return heard

    def bring_up(self, stand=True):
        assert self.transition("configure") and self.transition("activate")
        if stand:
            answer = self.trigger("stand")
            assert answer.success, answer.message

    def close(self):
        self.executor.shutdown()
        self.node.destroy_node()


@pytest.fixture
def client():
    made = Client()
    yield made
    made.close()


@pytest.fixture
def here(monkeypatch):
    """What a node in this process is made with. What is left of it for a while is seen by no client of another node."""
    monkeypatch.setattr("go1_control.node.spare_the_garbage_collector", lambda: None)
    context = rclpy.Context()
    context.init()
    yield {"context": context, "namespace": "here"}
    context.try_shutdown()


@pytest.fixture
def configure(here):
    """Configures a node in this process; returns why it was refused."""
    from go1_control.node import ControlNode

    nodes = []

    def configured(**parameters):
        given = [Parameter(name, value=str(value)) for name, value in parameters.items()]
        nodes.append(ControlNode(parameter_overrides=given, **here))
        nodes[-1].trigger_configure()
        return nodes[-1].refusal

    yield configured
    for node in nodes:
        node.close()
        node.destroy_node()


class NodeProcess:
    """`go1_control` as a process; `lines` are what it printed, once it has ended."""

    def __init__(self, directory, **parameters):
        arguments = [piece for name, value in parameters.items() for piece in ("-p", f"{name}:={value}")]
        environment = os.environ | {"PYTHONPATH": f"{ROOT}:{PACKAGE}", "ROS_LOG_DIR": str(directory / "log")}
        self._printed = (directory / "node.txt").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "go1_control.node", "--ros-args", *arguments],
            env=environment, cwd=directory, stdout=self._printed, stderr=self._printed,
        )  # fmt: skip
        self._path = directory / "node.txt"

    @property
    def printed(self):
        return self._path.read_text(errors="replace")

    def end(self, number=signal.SIGINT, timeout=10.0):
        """Exit status after a signal."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        finally:
            self._printed.close()


@pytest.fixture
def start_node(tmp_path, write_policy):
    """Starts the node on a twin, with a policy that holds the default posture unless another is named."""
    started = []

    def start(**parameters):
        policy = parameters.pop("policy", None) or write_policy(std=0.05).path
        started.append(NodeProcess(tmp_path, policy=policy, **parameters))
        return started[-1]

    yield start
    for node in started:
        if node.process.poll() is None:
            node.end(signal.SIGKILL)


@pytest.fixture(scope="module")
def lasting_node(tmp_path_factory):
    """A node that serves the tests of a module one after the other, and another that keeps this process known to it meanwhile."""
    node, known = NodeProcess(tmp_path_factory.mktemp("node")), Node("known")
    yield node
    known.destroy_node()
    node.end(signal.SIGKILL)


@pytest.fixture
def shared_node(lasting_node, client, write_policy):
    """Gives that node, which is not configured, its parameters; afterwards it is as it was."""
    from go1_control.parameters import FIXED, GAIT

    def given(**parameters):
        assert all(answer.successful for answer in client.set(policy=str(write_policy(std=0.05).path), **parameters))

    yield given
    if client.state() == "active":
        assert client.transition("deactivate")
    if client.state() == "inactive":
        assert client.transition("cleanup")
    assert all(answer.successful for answer in client.set(**{name: each.default for name, each in (FIXED | GAIT).items()}))
