"""The role `load_balancer`: its command against a haproxy of our own, and what it writes."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

ROLE = Path(__file__).parents[2] / "roles" / "load_balancer"


sys.path.append(str(ROLE / "files"))

from coalmine_lb.command_line import main  # noqa: E402
from coalmine_lb.files import Places, pairs  # noqa: E402
from coalmine_lb.haproxy import unescaped  # noqa: E402

STATE = ("2 gateways {number} {name} 127.0.0.1 {up} {flags} 1 1 77 15 3 3 6 0 0 0 - {port} "
         "- 0 0 - - 0")
COMMENTS = "# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state …"
MAP = "# which slot serves\nchat blue\na/b_c+d green\n"


class Haproxy:
    """Answers as haproxy 2.6 does, on an admin socket and on a master's."""

    def __init__(self, folder: Path) -> None:
        self.places = Places(
            admin=folder / "admin.sock", master=folder / "master.sock",
            slots=folder / "slots.map", drained=folder / "drained.state",
            keys=folder / "keys.lst", configuration=folder / "haproxy.cfg",
        )
        self.flags = {"gw1": 0, "gw2": 0}
        self.up = {"gw1": 2, "gw2": 2}
        self.sessions = {"gw1": [0], "gw2": [0]}
        """What each look finds, the last for ever."""
        self.old_sessions: list[int] = []
        self.failed = 0
        self.map = {"chat": "blue", "a/b_c+d": "green"}
        self.refuses = ""
        self.asked: list[str] = []
        self._sockets: list[socket.socket] = []
        for path, answer in ((self.places.admin, self.answer),
                             (self.places.master, self.answer_of_master)):
            server = socket.socket(socket.AF_UNIX)
            server.bind(str(path))
            server.listen()
            self._sockets.append(server)
            threading.Thread(target=self._serve, args=(server, answer), daemon=True).start()

    def _serve(self, server: socket.socket, answer: Any) -> None:
        while True:
            try:
                line, _ = server.accept()
            except OSError:
                return
            with line, line.makefile("rw") as file:
                file.write(answer(file.readline().strip()))
                file.flush()
                if answer == self.answer_of_master:
                    file.read()  # it ends the line only when the other side has

    def close(self) -> None:
        while self._sockets:
            server = self._sockets.pop()
            server.shutdown(socket.SHUT_RDWR)
            server.close()

    def answer(self, command: str) -> str:
        self.asked.append(command)
        if command == "show info":
            return "Name: HAProxy\ndescription: one\n\n"
        if command == "show servers state gateways":
            lines = [STATE.format(number=number, name=name, up=self.up[name], flags=flags,
                                  port=4000 + number)
                     for number, (name, flags) in enumerate(self.flags.items(), 1)]
            return "\n".join(["1", COMMENTS, *lines]) + "\n\n"
        if command == "show stat":
            return self._stat({name: looks.pop(0) if len(looks) > 1 else looks[0]
                               for name, looks in self.sessions.items()})
        if command == f"show map {self.places.slots}":
            return "".join(f"0x55aa {name} {slot}\n" for name, slot in self.map.items()) + "\n"
        if self.refuses:
            return f"{self.refuses}\n\n"
        if found := re.fullmatch(r"set server gateways/(\S+) state (drain|ready)", command):
            self.flags[found[1]] = 8 if found[2] == "drain" else 0
            return "\n"
        if found := re.fullmatch(rf"set map {re.escape(str(self.places.slots))} (\S+) (\S+)",
                                 command):
            self.map[found[1]] = found[2]
            return "\n"
        return f"Unknown command: '{command}'\n"

    def _stat(self, sessions: dict[str, int]) -> str:
        rows = [("gateways", name, count, "UP") for name, count in sessions.items()]
        rows += [("gateways", "BACKEND", 9, "UP"), ("clients", "FRONTEND", 9, "OPEN")]
        for backend, engines in (("engines.chat.blue", ("UP", "DOWN")),
                                 ("engines.chat.green", ("UP 1/2",)),
                                 ("engines.a_2Fb_5Fc_2Bd.green", ("DOWN",)),
                                 ("engines.a_2Fb_5Fc_2Bd.blue", ())):
            rows += [(backend, f"gpu{number}", 0, status) for number, status in enumerate(engines)]
            rows.append((backend, "BACKEND", 0, "UP"))
        lines = [f"{place},{name},0,0,{count},9,{status}," for place, name, count, status in rows]
        return "\n".join(["# pxname,svname,qcur,qmax,scur,smax,status,", *lines]) + "\n\n"

    def answer_of_master(self, command: str) -> str:
        if command == "show proc":
            old = [f"{70 + number} worker 1 0d00h00m09s 2.6.12"
                   for number in range(len(self.old_sessions))]
            return "\n".join([
                "#<PID> <type> <reloads> <uptime> <version>",
                f"60 master 1 [failed: {self.failed}] 0d00h01m24s 2.6.12",
                "# workers", "61 worker 0 0d00h01m15s 2.6.12",
                *(["# old workers", *old] if old else []), "# programs", ""])
        if found := re.fullmatch(r"@!(7\d) show stat", command):
            return self._stat({"gw1": self.old_sessions[int(found[1]) - 70]})
        return f"Unknown command: '{command}'\n"


@pytest.fixture
def haproxy(tmp_path: Path) -> Iterator[Haproxy]:
    """A haproxy that runs what is written."""
    running = Haproxy(tmp_path)
    running.places.slots.write_text(MAP)
    running.places.drained.write_text("1\n# drained\n")
    running.places.keys.write_text(f"# keys\n{'a' * 64}\n")
    running.places.configuration.write_text("global\n  description one\n")
    yield running
    running.close()


@pytest.fixture
def call(haproxy: Haproxy, capsys: pytest.CaptureFixture[str]) -> Any:
    """Calls the command; returns its exit code, its answer as JSON, and what it complains of."""
    def called(*words: str) -> tuple[int, Any, str]:
        code = main([*words, "--json"], haproxy.places)
        out, err = capsys.readouterr()
        return code, json.loads(out) if out else None, err
    return called


def test_status_tells_how_things_stand(haproxy: Haproxy, call: Any) -> None:
    haproxy.flags["gw1"], haproxy.sessions["gw1"] = 8, [3]
    haproxy.map["chat"] = "green"
    code, found, _ = call("status")
    assert code == 0
    assert found == {
        "current": True, "path": "gateways", "usable": 1, "emergency_keys": 1,
        "gateways": [
            {"name": "gw1", "address": "127.0.0.1:4001", "state": "drained", "sessions": 3},
            {"name": "gw2", "address": "127.0.0.1:4002", "state": "up", "sessions": 0},
        ],
        "services": [
            {"service": "chat", "slot": "green", "written": "blue",
             "engines": {"blue": {"up": 1, "all": 2}, "green": {"up": 1, "all": 1}}},
            {"service": "a/b_c+d", "slot": "green", "written": "green",
             "engines": {"green": {"up": 0, "all": 1}, "blue": {"up": 0, "all": 0}}},
        ],
    }


@pytest.mark.parametrize(("flags", "up", "state"), [
    (0, 2, "up"), (0, 3, "up"), (0, 1, "up"), (0, 0, "down"), (8, 2, "drained"), (8, 0, "drained"),
    (1, 2, "maintenance"), (9, 0, "maintenance"), (32, 2, "maintenance")])
def test_a_gateway_stands_as_flags_and_checks_say(
    haproxy: Haproxy, call: Any, flags: int, up: int, state: str
) -> None:
    haproxy.flags["gw1"], haproxy.up["gw1"] = flags, up
    assert call("status")[1]["gateways"][0]["state"] == state


def test_the_path_without_gateways_is_the_slow_one_or_none(haproxy: Haproxy, call: Any) -> None:
    haproxy.up = {"gw1": 0, "gw2": 0}
    assert call("status")[1]["path"] == "slow"
    haproxy.places.keys.write_text("# no keys\n")
    assert call("status")[1]["path"] == "none"


@pytest.mark.parametrize("what", ["another file", "a failed reload"])
def test_what_runs_and_is_not_what_is_written_is_told(
    haproxy: Haproxy, call: Any, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if what == "another file":
        haproxy.places.configuration.write_text("global\n  description two\n")
    else:
        haproxy.failed = 1
    assert call("status")[1]["current"] is False
    assert main(["status"], haproxy.places) == 0
    assert "not the one written" in capsys.readouterr().out


def test_a_drain_waits_until_the_last_session_ends(haproxy: Haproxy, call: Any) -> None:
    haproxy.sessions["gw1"] = [2, 2, 1, 0]
    code, found, _ = call("drain", "gw1", "--wait", "9")
    assert code == 0
    assert found["changed"]
    assert (found["state"], found["sessions"], found["usable"]) == ("drained", 0, 1)
    assert found["waited"] > 0.2


def test_a_drain_is_written_in_the_form_in_which_haproxy_reads_it(
    haproxy: Haproxy, call: Any
) -> None:
    haproxy.up["gw1"] = 0
    call("drain", "gw1")
    version, comment, line = haproxy.places.drained.read_text().splitlines()
    assert version == "1"
    assert comment == "# drained"
    # At its configured address, as if its checks had passed, drained.
    assert line.split()[:7] == ["2", "gateways", "1", "gw1", "-", "2", "8"]
    assert len(line.split()) == len(STATE.split())
    assert haproxy.places.drained.stat().st_mode & 0o777 == 0o644
    call("ready", "gw1")
    assert haproxy.places.drained.read_text() == "1\n# drained\n"


def test_a_drain_that_takes_too_long_fails_and_stays(haproxy: Haproxy, call: Any) -> None:
    haproxy.sessions["gw1"] = [2]
    code, _, complaint = call("drain", "gw1", "--wait", "0.3")
    assert code == 1
    assert "gw1 still has 2 sessions after 0.3 s" in complaint
    assert haproxy.flags["gw1"] == 8


def test_sessions_that_a_reload_left_to_old_processes_count(haproxy: Haproxy, call: Any) -> None:
    haproxy.old_sessions = [1, 3]
    assert call("status")[1]["gateways"][0]["sessions"] == 4
    assert call("drain", "gw1", "--wait", "0.3")[0] == 1


def test_ready_waits_until_the_checks_pass(haproxy: Haproxy, call: Any) -> None:
    haproxy.flags["gw1"], haproxy.up["gw1"] = 8, 0
    code, _, complaint = call("ready", "gw1", "--wait", "0.3")
    assert code == 1
    assert "its checks still fail after 0.3 s" in complaint
    assert haproxy.flags["gw1"] == 0
    passing = threading.Timer(0.4, haproxy.up.update, [{"gw1": 2}])
    passing.start()
    code, found, _ = call("ready", "gw1")
    assert code == 0
    assert (found["state"], found["changed"]) == ("up", False)
    assert found["waited"] >= 0.2


def test_the_second_time_nothing_changes(haproxy: Haproxy, call: Any) -> None:
    for command in (("drain", "gw1"), ("ready", "gw1"), ("slot", "chat", "green")):
        assert call(*command)[1]["changed"], command
        asked = len(haproxy.asked)
        assert not call(*command)[1]["changed"], command
        assert not [words for words in haproxy.asked[asked:] if words.startswith("set ")]


def test_draining_the_last_gateway_says_what_that_means(
    haproxy: Haproxy, capsys: pytest.CaptureFixture[str]
) -> None:
    haproxy.up["gw2"] = 0
    assert main(["drain", "gw1"], haproxy.places) == 0
    assert "no gateway is left" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["drain", "ready"])
def test_a_gateway_that_nobody_knows_is_refused(call: Any, command: str) -> None:
    code, _, complaint = call(command, "gw9")
    assert code == 1
    assert "no gateway gw9: it is one of gw1, gw2" in complaint


def test_a_slot_is_switched_now_and_in_the_file(haproxy: Haproxy, call: Any) -> None:
    code, found, _ = call("slot", "chat", "green")
    assert code == 0
    assert found == {"service": "chat", "slot": "green", "before": "blue", "changed": True,
                     "up": 1, "all": 1}
    assert haproxy.map["chat"] == "green"
    assert haproxy.places.slots.read_text() == MAP.replace("chat blue", "chat green")


def test_a_file_that_says_another_slot_is_mended(haproxy: Haproxy, call: Any) -> None:
    haproxy.map["chat"] = "green"
    assert call("slot", "chat", "green")[1]["changed"]
    assert "chat green\n" in haproxy.places.slots.read_text()


@pytest.mark.parametrize(("words", "complaint"), [
    (("nothing", "green"), "no service nothing: it is one of chat, a/b_c+d"),
    (("a/b_c+d", "blue"), "a/b_c+d has no engine in slot blue")])
def test_a_slot_that_cannot_be_is_refused(
    haproxy: Haproxy, call: Any, words: tuple[str, str], complaint: str
) -> None:
    code, _, said = call("slot", *words)
    assert code == 1
    assert complaint in said
    assert haproxy.places.slots.read_text() == MAP


def test_a_slot_that_haproxy_refuses_is_not_written(haproxy: Haproxy, call: Any) -> None:
    haproxy.refuses = "Permission denied"
    code, _, complaint = call("slot", "chat", "green")
    assert code == 1
    assert "Permission denied" in complaint
    assert haproxy.places.slots.read_text() == MAP


def test_without_haproxy_it_says_where_to_look(haproxy: Haproxy, call: Any) -> None:
    haproxy.close()
    code, _, complaint = call("slot", "chat", "green")
    assert code == 3
    assert "systemctl status haproxy" in complaint
    assert haproxy.places.slots.read_text() == MAP


@pytest.mark.parametrize("words", [("slot", "chat", "red"), ("drain",), ("drain", "gw1", "--wait",
                                   "-1"), ()])
def test_what_cannot_be_understood_is_usage(haproxy: Haproxy, words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*words], haproxy.places)
    assert ended.value.code == 2


def test_a_host_gets_all_that_the_command_is_made_of() -> None:
    tasks = yaml.safe_load((ROLE / "tasks/configure.yml").read_text())
    brought = next(task["loop"] for task in tasks if task["name"] == "Bring what it is made of")
    assert brought == sorted(path.stem for path in (ROLE / "files/coalmine_lb").glob("*.py"))


# ------------------------------------------------------------------------------- templates


GATEWAYS = [{"name": "gw1", "address": "10.0.0.5", "port": 4001},
            {"name": "gw2", "address": "fd00::5", "port": 4001}]
SERVICES = {
    "chat": {"slot": "blue", "engines": {
        "blue": [{"name": "gpu1", "address": "10.0.0.11", "port": 8001}],
        "green": [{"name": "gpu1", "address": "10.0.0.11", "port": 8002}]}},
    "a/b_c+d": {"slot": "green", "engines": {
        "green": [{"name": "gpu2", "address": "10.0.0.12", "port": 8002}]}},
}


def _render(name: str, **given: Any) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ROLE / "templates"), trim_blocks=True,
        keep_trailing_newline=True, undefined=jinja2.StrictUndefined, autoescape=False)
    environment.filters["hash"] = lambda text, kind: hashlib.new(kind, text.encode()).hexdigest()
    values = {
        "ansible_managed": "Ansible managed", "load_balancer_gateways": GATEWAYS,
        "load_balancer_addresses": ["*"], "load_balancer_port": 4000,
        "load_balancer_services": SERVICES, "load_balancer_engine_key": "sk-engine",
        "load_balancer_emergency_keys": ["AB" * 32], "load_balancer_connections": 4000,
        "load_balancer_buffer": 262144, "load_balancer_metrics_address": "127.0.0.1",
        "__load_balancer_timeouts": {"connect": 3, "answer": 3600, "request": 30,
                                     "keep_alive": 120},
        "__load_balancer_lines": [], "__load_balancer_drained": [], "load_balancer_tls": None,
        "__load_balancer_own": "",
    }
    given = {**values, **given}
    return environment.get_template(name).render(
        {key: value for key, value in given.items() if value is not None})


def _sections(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        if line and not line.startswith((" ", "#")):
            lines = found.setdefault(line, [])
        elif line.strip() and not line.strip().startswith("#"):
            lines.append(line.strip())
    return found


def test_each_slot_of_each_service_has_a_way_and_engines() -> None:
    found = _sections(_render("haproxy.cfg.j2"))
    ways = [line for line in found["frontend clients"] if line.startswith("use_backend")]
    backends = {name.removeprefix("backend "): lines for name, lines in found.items()
                if name.startswith("backend engines.")}
    assert [way.split()[1] for way in ways] == list(backends)
    assert len(ways) == 4
    servers = {name: [line for line in lines if line.startswith("server")]
               for name, lines in backends.items()}
    assert servers["engines.chat.green"] == ["server gpu1 10.0.0.11:8002"]
    assert servers["engines.a_2Fb_5Fc_2Bd.green"] == ["server gpu2 10.0.0.12:8002"]
    assert servers["engines.a_2Fb_5Fc_2Bd.blue"] == []
    assert {unescaped(name.split(".")[1]) for name in backends} == set(SERVICES)


def test_no_secret_stands_in_the_configuration() -> None:
    text = _render("haproxy.cfg.j2")
    assert "sk-engine" not in text
    assert ("AB" * 32).lower() not in text.lower()
    assert not re.search(r"%r\b", text)  # the request's line has its query
    assert "capture" not in text


def test_keys_are_compared_in_lower_case() -> None:
    assert ("ab" * 32) in _render("emergency-keys.lst.j2").splitlines()


def test_without_keys_the_slow_path_is_closed_before_anything_is_read() -> None:
    text = _render("haproxy.cfg.j2", load_balancer_emergency_keys=[])
    lines = _sections(text)["frontend clients"]
    closed = next(number for number, line in enumerate(lines) if "the slow path is closed" in line)
    assert lines[closed].startswith("http-request return status 503 ")
    assert closed < next(number for number, line in enumerate(lines) if "wait-for-body" in line)
    assert not [line for line in _sections(_render("haproxy.cfg.j2"))["frontend clients"]
                if "the slow path is closed" in line]


def test_every_rule_of_the_slow_path_is_for_it_alone() -> None:
    lines = _sections(_render("haproxy.cfg.j2"))["frontend clients"]
    start = lines.index("acl slow var(txn.slow) -m bool")
    rules = [line for line in lines[start + 1:] if line != "default_backend gateways"]
    assert rules
    assert [line for line in rules if not re.search(r" if slow\b", line)] == []


def test_the_key_of_engines_is_sent_only_where_there_is_one() -> None:
    assert "engine-key.map" in _render("haproxy.cfg.j2")
    text = _render("haproxy.cfg.j2", load_balancer_engine_key=None)
    assert "engine-key.map" not in text
    assert "del-header Authorization if slow" in text


def test_it_listens_where_it_is_told_to() -> None:
    lines = _sections(_render(
        "haproxy.cfg.j2", load_balancer_addresses=["10.0.0.7", "fd00::7"],
        load_balancer_certificate="/etc/haproxy/cert.pem"))["frontend clients"]
    assert [line for line in lines if line.startswith("bind")] == [
        "bind 10.0.0.7:4000 ssl crt /etc/haproxy/cert.pem alpn h2,http/1.1",
        "bind [fd00::7]:4000 ssl crt /etc/haproxy/cert.pem alpn h2,http/1.1"]
    assert "server gw2 [fd00::5]:4001" in _render("haproxy.cfg.j2")
    assert "frontend metrics" not in _render("haproxy.cfg.j2")
    assert "bind 127.0.0.1:8405" in _render("haproxy.cfg.j2", load_balancer_metrics_port=8405)


TLS = {"certificate": "gw1.pem", "key": "gw1.key", "authority": "ca.pem", "names": ["gw1"]}
VERIFIED = "ssl verify required ca-file /etc/haproxy/tls/ca.pem verifyhost"


def test_who_has_a_certificate_is_verified_by_name() -> None:
    secured = {"chat": {"slot": "blue", "engines": {"blue": [
        {"name": "gpu1", "address": "10.0.0.11", "port": 8001, "tls_name": "gpu1"},
        {"name": "gpu2", "address": "10.0.0.12", "port": 8001}]}}}
    found = _sections(_render(
        "haproxy.cfg.j2", load_balancer_tls=TLS, load_balancer_services=secured,
        load_balancer_gateways=[{**GATEWAYS[0], "tls_name": "one.example"}, GATEWAYS[1]]))
    assert [line for line in found["backend gateways"] if line.startswith("server")] == [
        f"server gw1 10.0.0.5:4001 {VERIFIED} one.example", "server gw2 [fd00::5]:4001"]
    assert [line for line in found["backend engines.chat.blue"] if line.startswith("server")] == [
        f"server gpu1 10.0.0.11:8001 {VERIFIED} gpu1", "server gpu2 10.0.0.12:8001"]


@pytest.mark.parametrize(("other", "shown"), [
    (None, "/etc/haproxy/tls/host.pem"), ("/etc/letsencrypt/lb.pem", "/etc/letsencrypt/lb.pem")])
def test_clients_may_be_shown_another_certificate(other: str | None, shown: str) -> None:
    """Prometheus never: it trusts the hosts' authority."""
    found = _sections(_render("haproxy.cfg.j2", load_balancer_tls=TLS,
                              load_balancer_certificate=other, load_balancer_metrics_port=8405))
    assert f"bind *:4000 ssl crt {shown} alpn h2,http/1.1" in found["frontend clients"]
    assert "http-request set-header X-Forwarded-Proto https" in found["frontend clients"]
    assert "bind 127.0.0.1:8405 ssl crt /etc/haproxy/tls/host.pem" in found["frontend metrics"]


def test_its_own_errors_are_json() -> None:
    errors = re.findall(r"(?:http-error|http-request return) status (\d+) "
                        r"content-type application/json string '([^']*)'",
                        _render("haproxy.cfg.j2"))
    assert len(errors) == 10
    for status, text in errors:
        error = json.loads(text)["error"]
        assert error.keys() == {"message", "type", "param", "code"}, status
        assert (error["type"] == "server_error") == (status >= "500")


def test_another_configuration_has_another_description() -> None:
    def described(**given: Any) -> str:
        found = re.search(r"^  description (\w{64})$", _render("haproxy.cfg.j2", **given), re.M)
        assert found is not None
        return found[1]
    assert described() == described()
    assert described() != described(load_balancer_connections=1)
    assert described(load_balancer_tls=TLS, __load_balancer_own="a") != described(
        load_balancer_tls=TLS, __load_balancer_own="b"), "a new certificate wants a reload"


@pytest.mark.parametrize(("lines", "written"), [
    ([], {"chat": "blue", "a/b_c+d": "green"}),
    ([["chat", "green"], ["gone", "blue"]], {"chat": "green", "a/b_c+d": "green"}),
    # No engine is left where it was switched to.
    ([["a/b_c+d", "blue"]], {"chat": "blue", "a/b_c+d": "green"})])
def test_a_slot_that_was_switched_stays(lines: list[list[str]], written: dict[str, str]) -> None:
    text = _render("slots.map.j2", __load_balancer_lines=lines)
    assert pairs(text) == written


def test_a_drained_gateway_stays_so_until_it_is_another() -> None:
    lines = [STATE.format(number=number, name=name, up=2, flags=8, port=port).split()
             for number, (name, port) in enumerate([("gw1", 4001), ("gw2", 4009), ("gone", 4001)])]
    version, comment, *kept = _render("drained.state.j2",
                                      __load_balancer_drained=lines).splitlines()
    assert version == "1"
    assert comment.startswith("#")
    assert kept == [" ".join(lines[0])]
