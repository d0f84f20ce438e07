"""A real Slurm on one machine: munge, slurmctld and several slurmd on the loopback interface, with GPUs that are none.

    python tests/cluster/local_slurm.py     until Ctrl-C; every user of this machine may submit jobs meanwhile

The Debian packages are installed where they are missing. Needs root: munge and the device files want it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

PACKAGES = {"slurmctld": "slurmctld", "slurmd": "slurmd", "sbatch": "slurm-client", "munged": "munge"}
NODES = ("n1", "n2")
CPUS, MEMORY_MB, GPUS = 2, 80000, 2  # that each node claims to have
# Where Slurm looks by itself: the executor plugin removes SLURM_CONF from the environment of a job.
INSTALLED = Path("/etc/slurm/slurm.conf")
# One cluster per machine, because there is one such place: whoever holds this lock may write there.
LOCK = Path("/tmp/hiper-slurm.lock")
PREFIX = "hiper-slurm-"  # of the clusters' folders, in /tmp because sockets want a short path
PATIENCE = 600.0  # seconds for the nodes to become idle
TURN = 1800.0  # seconds to wait for another cluster's end
SETTINGS = """\
ClusterName=local
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={port}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
PlugStackConfig={folder}/plugstack.conf
# neither cgroups nor accounting: a container has none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SlurmdParameters=config_overrides
ReturnToService=2
SchedulerParameters=bf_interval=1,sched_interval=1,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
MinJobAge=3600
KillWait=5
# a busy machine answers late
MessageTimeout=100
TCPTimeout=60
BatchStartTimeout=300
"""


class NotHere(Exception):
    """Why this machine cannot run a cluster of its own."""


def require() -> None:
    """NotHere, with the reason, unless this machine can run a cluster; missing packages are installed."""
    if os.geteuid() != 0:
        raise NotHere("a Slurm of one's own needs root")
    missing = [package for program, package in PACKAGES.items() if shutil.which(program, path=search_path()) is None]
    if missing:
        install(missing)


def search_path() -> str:
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def install(packages: list[str]) -> None:
    """With apt; a policy file keeps the packages from starting their own services."""
    if shutil.which("apt-get") is None:
        raise NotHere(f"{', '.join(packages)} not installed, and no apt-get to install them with")
    policy = Path("/usr/sbin/policy-rc.d")
    made = not policy.exists()
    if made:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *packages]
    try:
        for attempt in (command, ["apt-get", "update", "-q"], command):
            done = subprocess.run(attempt, env=environment, capture_output=True, text=True)
            if attempt is command and done.returncode == 0:
                return
    finally:
        if made:
            policy.unlink()
    raise NotHere(f"apt-get could not install {', '.join(packages)}: {done.stderr.strip().splitlines()[-1:]}")


def free_ports(count: int) -> int:
    """The first of `count` ports in a row that nobody listens on, below the range from which the kernel draws."""
    for first in range(21000, 32000, 50):
        opened = [socket.socket() for _ in range(count)]
        try:
            for offset, one in enumerate(opened):
                one.bind(("127.0.0.1", first + offset))
            return first
        except OSError:
            continue
        finally:
            for one in opened:
                one.close()
    raise NotHere("no free ports")


def take_turn() -> int:
    """The descriptor that holds the lock, once no other cluster does."""
    descriptor = os.open(LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC)
    limit = time.monotonic() + TURN
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > limit:
                os.close(descriptor)
                raise NotHere(f"another cluster has held {LOCK} for {TURN:.0f} s") from None
            time.sleep(1.0)
        else:
            return descriptor


def remove_leftover() -> None:
    """What a killed cluster of ours left; NotHere if the configuration is not one of ours. The lock must be held."""
    if INSTALLED.is_symlink() and INSTALLED.readlink().parent.name.startswith(PREFIX):
        LocalSlurm(INSTALLED.readlink().parent).stop()
    if INSTALLED.exists() or INSTALLED.is_symlink():
        raise NotHere(f"{INSTALLED} is another cluster's")


class LocalSlurm:
    """The cluster in `folder`: its configuration, keys, devices, logs and the process numbers of its daemons."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.configuration = folder / "slurm.conf"
        self.environment = {**os.environ, "PATH": search_path(), "SLURM_CONF": str(self.configuration)}
        self.turn: int | None = None  # the descriptor that holds the lock

    def command(self, *words: str, check: bool = True) -> str:
        """What a Slurm command prints."""
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True)
        if check and done.returncode != 0:
            raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    @classmethod
    def started(cls) -> LocalSlurm:
        """A new cluster whose nodes are idle; NotHere where there can be none."""
        require()
        cluster = cls(Path(tempfile.mkdtemp(prefix=PREFIX, dir="/tmp")))
        try:
            cluster.turn = take_turn()
            remove_leftover()
            cluster._start()
        except BaseException:
            cluster.stop()
            raise
        return cluster

    def _start(self) -> None:
        (self.folder / "state").mkdir()
        self._write_configuration()
        self._write_key()
        INSTALLED.parent.mkdir(exist_ok=True)
        INSTALLED.symlink_to(self.configuration)
        munge = [f"--{name}={self.folder}/munge.{end}" for name, end in (("key-file", "key"), ("socket", "socket"))]
        munge += [f"--{name}-file={self.folder}/munge.{end}" for name, end in (("pid", "pid"), ("log", "log"))]
        self._daemon("munged", "--force", f"--seed-file={self.folder}/munge.seed", *munge)
        self._daemon("slurmctld", "-c", "-f", str(self.configuration))
        for node in NODES:
            self._daemon("slurmd", "-f", str(self.configuration), "-N", node)
        self._await_nodes()

    def stop(self) -> None:
        """End all jobs and daemons, leave nothing, and let another cluster have its turn."""
        if self.configuration.exists() and self._running("slurmctld"):
            self.command("scancel", "--user=root", check=False)
            self.command("scancel", "--signal=KILL", "--full", "--user=root", check=False)
        for name in (*(f"slurmd.{node}" for node in NODES), "slurmctld", "munge"):
            self._end(name)
        if INSTALLED.is_symlink() and INSTALLED.readlink() == self.configuration:
            INSTALLED.unlink()
        # a job's last step may still write there; what it leaves does no harm
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.turn is not None:
            os.close(self.turn)
            self.turn = None

    def _daemon(self, *command: str) -> None:
        with (self.folder / "start.log").open("a") as log:
            done = subprocess.run(command, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        if done.returncode != 0:
            raise RuntimeError(f"{command[0]} did not start:\n{self.logs()}")

    def _await_nodes(self) -> None:
        limit = time.monotonic() + PATIENCE
        while len(self.command("sinfo", "-h", "-N", "-t", "idle", "-o", "%N", check=False).split()) < 2 * len(NODES):
            if time.monotonic() > limit:
                raise RuntimeError(f"the nodes did not become idle:\n{self.logs()}")
            time.sleep(0.1)

    def logs(self) -> str:
        """The last lines of every daemon."""
        return "\n".join(
            "\n".join([path.name, *path.read_text(errors="replace").splitlines()[-15:]])
            for path in sorted(self.folder.glob("*.log"))
        )

    def _running(self, name: str) -> int | None:
        """The process of a daemon of ours; a number that now belongs to another program is not it."""
        try:
            process = int((self.folder / f"{name}.pid").read_text())
            command = Path(f"/proc/{process}/cmdline").read_text().replace("\0", " ")
        except (OSError, ValueError):
            return None
        return process if str(self.folder) in command else None

    def _end(self, name: str) -> None:
        process = self._running(name)
        for number, seconds in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
            if process is None:
                return
            with suppress(ProcessLookupError):
                os.kill(process, number)
            limit = time.monotonic() + seconds
            while (process := self._running(name)) is not None and time.monotonic() < limit:
                time.sleep(0.05)

    def _write_key(self) -> None:
        key = self.folder / "munge.key"
        key.touch(0o600)
        key.write_bytes(os.urandom(128))

    def _write_configuration(self) -> None:
        port = free_ports(1 + len(NODES))
        lines = [SETTINGS.format(port=port, folder=self.folder)]
        devices = []
        for number, node in enumerate(NODES, start=1):
            for gpu in range(GPUS):
                # any character device will do; the digits at its end become CUDA_VISIBLE_DEVICES
                device = self.folder / f"{node}-gpu{gpu}"
                os.mknod(device, 0o666 | 0o020000, os.makedev(1, 3))
            devices.append(f"NodeName={node} Name=gpu Type=none File={self.folder}/{node}-gpu[0-{GPUS - 1}]\n")
            (self.folder / f"spool.{node}").mkdir()
            lines.append(
                f"NodeName={node} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port + number} CPUs={CPUS} "
                f"RealMemory={MEMORY_MB} Gres=gpu:none:{GPUS} State=UNKNOWN\n"
            )
        lines.append("PartitionName=cpu Nodes=ALL Default=YES MaxTime=INFINITE State=UP\n")
        lines.append("PartitionName=gpu Nodes=ALL MaxTime=INFINITE State=UP\n")
        self.configuration.write_text("".join(lines))
        (self.folder / "gres.conf").write_text("".join(devices))
        (self.folder / "plugstack.conf").touch()


if __name__ == "__main__":
    try:
        running = LocalSlurm.started()
    except NotHere as reason:
        sys.exit(str(reason))
    sys.stdout.write(f"{INSTALLED} is the cluster's; its logs: {running.folder} (stop with Ctrl-C)\n")
    ends = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)  # only now: the daemons would inherit it
    signal.sigwait(ends)
    running.stop()
